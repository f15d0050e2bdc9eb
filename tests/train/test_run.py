"""Preference runs as folders: what they leave behind, and that interruptions change no byte."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from preference_runs import same, train, write_pairs, write_recipe
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_klein import build_tiny_klein
from tiny_qwen import build_tiny_qwen

from likeness.backbones.flux2.klein import Flux2Klein
from likeness.backbones.flux2.options import KleinOptions
from likeness.backbones.qwen.edit import QwenImageEdit
from likeness.backbones.qwen.folder import QwenOptions
from likeness.train.pairs import maps as mapping
from likeness.train.state import load_state


def test_a_run_leaves_what_it_promises(recipe: Path, tiny_flux: Path, tmp_path: Path) -> None:
    made = train(recipe, tmp_path / "run", "train.ema=0.9")
    run = tmp_path / "run"
    names = {path.relative_to(run).as_posix() for path in run.iterdir()}
    assert names - {"tensorboard"} == {"run.json", "config.toml", "log.jsonl", "lora", "state", "maps"}
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert made.last == rows[-1]
    assert (made.steps, made.num_rows, made.lora) == (4, 6, run / "lora")
    with safe_open(made.lora / "pytorch_lora_weights.safetensors", framework="pt") as opened:
        facts = opened.metadata()
    identity = json.loads((run / "run.json").read_text())
    assert facts["likeness.base_sha256"] == identity["model"]["sha256"]
    assert facts["likeness.base_model"] == tiny_flux.name
    config = json.loads(facts["likeness.config"])
    assert (config["train"]["learning_rate"], config["train"]["steps"], config["train"]["precision"]) == (
        1e-3,
        4,
        "fp32",
    )
    assert (config["data"]["pairs"], config["model"]["base"]) == ("pairs", tiny_flux.name)
    assert str(tmp_path) not in facts["likeness.config"]
    assert str(tmp_path) not in (run / "run.json").read_text()  # nobody learns where things lay
    averaged = load_file(run / "lora" / "pytorch_lora_weights.safetensors")
    state = load_state(run / "state")
    assert state is not None
    name = next(iter(state["adapter"]))
    saved = averaged["transformer." + name.replace(".focus", "")]
    assert torch.equal(saved, state["ema"]["averages"][name])
    assert not torch.equal(saved, state["adapter"][name])


def test_the_maps_follow_their_schema(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "TIMES", (0.95, 0.05))
    monkeypatch.setattr(mapping, "NUM_PAIRS", 4)
    train(recipe, tmp_path / "run", "train.log_maps_every=2")
    files = sorted(path.name for path in (tmp_path / "run" / "maps").glob("*.json"))
    assert files == ["000000.json", "000002.json", "000004.json"]
    facts = json.loads((tmp_path / "run" / "maps" / files[-1]).read_text())
    assert (facts["version"], facts["step"], facts["objective"]) == (1, 4, "focus_dpo")
    assert len(facts["pairs"]) == 4
    for pair in facts["pairs"]:
        rows, columns = pair["grid"]
        assert all((tmp_path / "run" / path).is_file() for path in [pair["preferred"], *pair["references"]])
        assert len(pair["references"]) == len(pair["subjects"]) == len(pair["disrupted"])
        assert [level["t"] for level in pair["levels"]] == facts["times"]
        for level in pair["levels"]:
            weight = np.array(level["weight"])
            assert weight.shape == (rows, columns)
            assert len(level["matched"]) == len(level["scores"]) == len(pair["references"])
            prior, field = np.array(pair["prior"]), np.array(level["field"])
            assert level["focus_share"] == pytest.approx(field.sum() / prior.sum(), abs=1e-4)
            assert bool((weight[prior == 0] == 0).all())
    assert {len(pair["references"]) for pair in facts["pairs"]} == {1, 2}


def test_steps_in_two_sittings_are_the_steps_of_one(recipe: Path, tmp_path: Path) -> None:
    changes = ["train.ema=0.9", "train.save_every=3"]
    train(recipe, tmp_path / "whole", *changes, "train.steps=6")
    train(recipe, tmp_path / "parts", *changes, "train.steps=2")
    train(recipe, tmp_path / "parts", *changes, "train.steps=6")
    assert same(tmp_path / "whole", tmp_path / "parts", but=frozenset({"maps/000002.json"}))


def test_a_finished_run_called_again_changes_nothing(recipe: Path, tmp_path: Path) -> None:
    first = train(recipe, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert train(recipe, tmp_path / "run") == first
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_rows_after_the_last_state_are_dropped(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "run", "train.steps=2")
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"step": 3, "loss": 9.0}) + '\n{"step": 4, "lo')
    train(recipe, tmp_path / "run")
    assert same(tmp_path / "whole", tmp_path / "run", but=frozenset({"maps/000002.json"}))


def test_tensorboard_gets_what_the_log_gets(recipe: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(recipe, tmp_path / "run", "objective.sft_anchor=2.0")
    read = events.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    read.Reload()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "anchor", "inside", "accuracy", "focus_share", "gradient_norm"):
        curve = read.Scalars(name)
        assert [point.step for point in curve] == [1, 2, 3, 4]
        assert [point.value for point in curve] == pytest.approx([row[name] for row in rows])
    assert [p.value for p in read.Scalars("errors/ref_rejected")] == pytest.approx(
        [row["errors"]["ref_rejected"] for row in rows]
    )
    tenths = [tag for tag in read.Tags()["scalars"] if tag.startswith("focus_share_by_t/")]
    drawn = {t for row in rows for t, count in enumerate(row["focus_share_by_t"]["count"]) if count}
    assert tenths
    assert {round(10 * float(tag.rpartition("/")[2])) for tag in tenths} == drawn


@pytest.mark.parametrize("kind", ["sft", "dpo", "patch_dpo", "focus_dpo"])
def test_every_objective_trains_klein(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "TIMES", (0.5,))
    monkeypatch.setattr(mapping, "NUM_PAIRS", 1)
    model, pairs = build_tiny_klein(tmp_path / "klein"), write_pairs(tmp_path / "pairs", count=2)
    recipe = write_recipe(tmp_path / "run.toml", model=model, pairs=pairs)
    made = train(recipe, tmp_path / "run", f"objective.kind={kind}", "train.steps=30", "train.learning_rate=3e-3")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    first, last = (sum(row["loss"] for row in some) for some in (rows[:5], rows[-5:]))
    assert last < 0.9 * first  # two pairs are learnt by heart
    assert 't_sampler = "logit_normal"' in (tmp_path / "run" / "config.toml").read_text()
    fresh, tuned = (Flux2Klein.load(model, loras=loras) for loras in ((), (made.lora,)))
    options = KleinOptions(steps=2, cfg_scale=1.0)
    assert fresh.generate("a cat", seed=1, options=options) != tuned.generate("a cat", seed=1, options=options)


@pytest.mark.parametrize(
    "kind", ["focus_dpo", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("sft", "dpo", "patch_dpo"))]
)
def test_every_objective_trains_qwen(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "TIMES", (0.5,))
    monkeypatch.setattr(mapping, "NUM_PAIRS", 1)
    model, pairs = build_tiny_qwen(tmp_path / "qwen"), write_pairs(tmp_path / "pairs", count=2)
    recipe = write_recipe(tmp_path / "run.toml", model=model, pairs=pairs)
    made = train(recipe, tmp_path / "run", f"objective.kind={kind}", "train.steps=30", "train.learning_rate=1e-2")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    first, last = (sum(row["loss"] for row in some) for some in (rows[:5], rows[-5:]))
    assert last < 0.9 * first
    row = QwenImageEdit.load(model).prepare("a cat")
    options = QwenOptions(steps=2, cfg_scale=1.0)
    fresh, tuned = (QwenImageEdit.load(model, loras=loras) for loras in ((), (made.lora,)))
    assert fresh.paint(row, seed=1, options=options) != tuned.paint(row, seed=1, options=options)
