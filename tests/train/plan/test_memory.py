"""Which settings make a run fit, by arithmetic on given costs; and whole plans."""

import json
from pathlib import Path
from typing import Any

import preference_runs as runs
import pytest
import torch
from published_configs import write_configs
from typer.testing import CliRunner

from likeness.backbones.fitting import quantise
from likeness.cli import app
from likeness.cli.train_plan import plan_text
from likeness.train.config import read_train_config
from likeness.train.optimizer import state_bytes
from likeness.train.plan.memory import (
    CARDS,
    GIB,
    Choice,
    Counts,
    changed,
    changes_in_order,
    count_base,
    training_memory,
    usable,
    what_fits,
)
from likeness.train.plan.run import find, plan
from likeness.train.plan.step import StepCost

IMAGE_ATTENTION = 2 * 2048 * (10 * 640 + 60 * 1280)
"""Keys and values of IP-Adapter-Plus in SDXL, from tokens 2048 wide: 10 layers 640 wide and 60 of 1280."""
GIVEN = Choice(batch_size=2, accumulation=3, gradient_checkpointing=False, optimizer="adamw")
COUNTS = Counts(base=1000, in_blocks=800, largest_layer=50, frozen=100, trained=(4096, 10))


def test_memory_by_hand() -> None:
    found = training_memory(COUNTS, StepCost(500, 700, 1), GIVEN, precision=torch.bfloat16, averages=2)
    trained = 4 * 4106
    assert found == {
        "base weights": 2000,
        "frozen adapter": 200,
        "trained adapter": trained,
        "gradients": trained,
        "optimizer states": 2 * trained,
        "averages": 2 * trained,
        "saved activations": 500,
        "work space": 200,
    }
    fewer = changed(GIVEN, [{"model.quantise": "nf4"}, {"model.merge_lora": "true"}, {"train.optimizer": "adamw_8bit"}])
    found = training_memory(COUNTS, StepCost(500, 700, 1), fewer, precision=torch.bfloat16, averages=0)
    assert found["base weights"] == 200 * 2 + int(800 * (0.5 + 1 / 64 + 1 / 4096))
    assert found["frozen adapter"] == found["averages"] == 0
    assert found["work space"] == 200 + 100  # the largest layer, as it is multiplied with
    assert found["optimizer states"] == state_bytes("adamw_8bit", [4096, 10])


def test_layers_in_blocks_are_those_behind_a_number() -> None:
    network = torch.nn.ModuleDict(
        {
            "inside": torch.nn.ModuleList([torch.nn.Linear(4, 6), torch.nn.Linear(2, 2)]),
            "outside": torch.nn.Linear(9, 9),
        }
    )
    network["inside"][1].extra = torch.nn.Linear(5, 5)  # pyright: ignore[reportArgumentType, reportIndexIssue]
    assert count_base(network) == (24 + 6 + 4 + 2 + 90 + 30, 25, 25)


def test_a_base_in_nf4_takes_the_bytes_that_are_planned() -> None:
    """A real layer of a million weights; its tables, the same for every size, are at most 4 KiB."""
    pytest.importorskip("bitsandbytes", exc_type=ImportError)
    block = torch.nn.ModuleDict({"to_q": torch.nn.Linear(1024, 1024, bias=False)})
    network: Any = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([block])})
    quantise(network, "nf4", device="cpu", dtype=torch.bfloat16)
    weight = network["blocks"][0]["to_q"].weight
    scales = weight.quant_state
    parts = (weight.data, scales.absmax, scales.code, scales.state2.absmax, scales.state2.code)
    counts = Counts(base=2**20, in_blocks=2**20, largest_layer=2**20, frozen=0, trained=())
    chosen = changed(GIVEN, [{"model.quantise": "nf4"}])
    planned = training_memory(counts, StepCost(0, 0, 1), chosen, precision=torch.bfloat16, averages=0)["base weights"]
    assert 0 <= sum(tensor.nbytes for tensor in parts) - planned <= 4096


def test_changes_are_taken_in_order_and_needless_ones_taken_back() -> None:
    changes = changes_in_order(GIVEN, has_frozen_adapter=True, size=600)
    assert [next(iter(change)) for change in changes] == [
        *("train.gradient_checkpointing", "train.optimizer", "train.batch_size", "model.quantise", "model.quantise"),
        *("model.merge_lora", "data.size", "data.size"),
    ]
    assert changes[2] == {"train.batch_size": "1", "train.accumulation": "6"}

    def needs(choice: Choice) -> int:
        savings = {"train.gradient_checkpointing": 50, "train.optimizer": 1, "model.quantise": 20, "data.size": 15}
        nf4 = 10 if choice.quantise == "nf4" else 0
        return 100 - nf4 - sum(savings.get(key, 0) for key in choice.changed)

    def settings(room: int) -> str | None:
        found = what_fits(room, GIVEN, changes, needs=needs)
        return None if found is None else found.arguments()

    assert settings(100) == ""
    assert settings(50) == "--set train.gradient_checkpointing=true"
    assert settings(30) == "--set train.gradient_checkpointing=true --set model.quantise=int8"
    assert settings(20) == "--set train.gradient_checkpointing=true --set model.quantise=nf4"
    assert settings(4) == (
        "--set train.gradient_checkpointing=true --set train.optimizer=adamw_8bit --set model.quantise=nf4 "
        "--set data.size=512"
    )
    assert settings(3) is None


def test_nothing_is_proposed_that_is_in_force() -> None:
    given = Choice(1, 1, True, "paged_adamw_8bit", quantise="fp8", merge_lora=True)
    assert changes_in_order(given, has_frozen_adapter=True, size=300) == []


def recipe(path: Path, *, base: Path, pairs: str, lora: str | None = None, **train: Any) -> Path:
    values = {"precision": "bf16", **train}
    lines = ["[model]", f'base = "{base}"', *([f'lora = "{lora}"'] if lora else []), "[data]", f'pairs = "{pairs}"']
    lines += ["size = 512", "[objective]", 'kind = "focus_dpo"', "beta = 2000.0", "[train]"]
    path.write_text("\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in values.items())]) + "\n")
    return path


def test_a_small_plan_from_the_command_line(tmp_path: Path) -> None:
    model = runs.write_model(tmp_path / "flux")
    config = runs.write_recipe(tmp_path / "run.toml", model=model, pairs=runs.write_pairs(tmp_path / "pairs", count=3))
    shown = CliRunner().invoke(app, ["train", str(config), "--plan", "--device", "cpu", "--json"])
    assert shown.exit_code == 0, shown.output
    made = json.loads(shown.stdout)
    assert made["pair"] == {
        "size": [64, 64], "references": [[32, 32], [32, 32]], "num_pairs": 3, "found": True
    }  # fmt: skip
    state = runs.train(config, tmp_path / "run", "train.steps=1")
    assert state.steps == 1
    adapter = sum(path.stat().st_size for path in (tmp_path / "run" / "lora").iterdir())
    assert 0.5 * adapter < made["disk"]["adapter"] < adapter  # the header of so small a file counts
    shards = sum(path.stat().st_size for path in (tmp_path / "pairs" / "cache").rglob("*.safetensors"))
    assert made["disk"]["cache"] == pytest.approx(shards, rel=0.35)
    assert all(card["fits"] and card["settings"] == "" for card in made["cards"])
    text = plan_text(made)
    assert "16 GB (RTX 4080)" in text
    assert "nothing to change" in text


def test_a_run_still_needs_its_folder(tmp_path: Path) -> None:
    model = runs.write_model(tmp_path / "flux")
    config = runs.write_recipe(tmp_path / "run.toml", model=model, pairs=tmp_path)
    shown = CliRunner().invoke(app, ["train", str(config)])
    assert shown.exit_code == 2
    assert "--out" in shown.output


def test_counts_of_the_published_models(tmp_path: Path) -> None:
    dev = write_configs(tmp_path / "dev", "FluxPipeline")
    config = recipe(tmp_path / "dev.toml", base=dev, pairs="nowhere", lora="bytedance-research/UNO")
    planner = find(config)
    counts = planner.counts()
    assert counts.base == 11_901_408_320
    assert sum(counts.trained) * 16 / GIB == pytest.approx(1.1, abs=0.02)  # with gradients and the averages of Adam
    assert counts.frozen == sum(counts.trained) * 512 // 32
    assert planner.caching(planner.given())["text_encoder_2"] / GIB == pytest.approx(8.9, abs=0.05)
    assert planner.pairs.shape == ((512, 512), ((320, 320), (320, 320)))
    assert planner.pairs.number == 10_000
    sdxl = write_configs(tmp_path / "sdxl", "StableDiffusionXLPipeline")
    planner = find(recipe(tmp_path / "sdxl.toml", base=sdxl, pairs="nowhere"))
    counts = planner.counts()
    assert counts.base == 2_567_463_684 + IMAGE_ATTENTION
    assert sum(counts.trained) / 1e6 == pytest.approx(46.4 + 14.5, abs=0.06)  # attention, and that of images
    assert sum(planner.caching(planner.given()).values()) / GIB == pytest.approx(4.0, abs=0.5)


@pytest.mark.slow
def test_the_goals_are_met(tmp_path: Path) -> None:
    """FLUX.1-dev with UNO and two references in 24 GB, klein-base-4B in 16 GB, both at 512 px."""
    dev = write_configs(tmp_path / "dev", "FluxPipeline")
    made = plan(recipe(tmp_path / "dev.toml", base=dev, pairs="nowhere", lora="bytedance-research/UNO"), device="cpu")
    cards = {card["gib"]: card for card in made["cards"]}
    assert "model.quantise=int8" in cards[24]["settings"]
    assert cards[24]["needs"] < 18 * GIB
    assert cards[16]["settings"] is not None
    assert not cards[48]["fits"]
    klein = write_configs(tmp_path / "klein", "Flux2KleinPipeline")
    made = plan(recipe(tmp_path / "klein.toml", base=klein, pairs="nowhere"), device="cpu")
    assert made["parameters"]["base"] / 1e9 == pytest.approx(3.876, abs=0.001)
    sixteen = made["cards"][0]
    assert sixteen["settings"] == "--set train.gradient_checkpointing=true"
    assert sixteen["needs"] <= usable(CARDS[0]) < 16 * GIB


@pytest.mark.slow
def test_sdxl_is_planned_by_its_configs(tmp_path: Path) -> None:
    """At 512 px, with checkpointing: 5.4 GiB of weights in bf16, 0.9 of what is trained, in 16 GB."""
    sdxl = write_configs(tmp_path / "sdxl", "StableDiffusionXLPipeline")
    config = recipe(tmp_path / "sdxl.toml", base=sdxl, pairs="nowhere", gradient_checkpointing=True)
    made = plan(config, device="cpu")
    parts = made["memory"]["training"]
    assert parts["base weights"] == 2 * made["parameters"]["base"]
    assert sum(parts[name] for name in ("trained adapter", "gradients", "optimizer states")) / GIB == pytest.approx(
        16 * 60.9e6 / GIB, rel=0.01
    )
    assert all(card["fits"] for card in made["cards"])
    assert made["saved_activations"]["checkpointed"] < made["saved_activations"]["plain"] / 5
    text, references = 77 * 2048 + 1280, 2 * 16 * 2048
    pair = 2 * 4 * 4 * 64 * 64 + 2 * (text + references) + 4 * 64 * 64 * 3 + 2 + 2 * 16
    assert made["disk"]["cache"] == 10_000 * pair


def test_every_proposed_setting_is_one_of_a_config(tmp_path: Path) -> None:
    config = recipe(tmp_path / "run.toml", base=tmp_path, pairs="nowhere", lora="bytedance-research/UNO", batch_size=2)
    proposed = changes_in_order(GIVEN, has_frozen_adapter=True, size=1024)
    said = [f"{key}={value}" for change in proposed for key, value in change.items()]
    read: Any = read_train_config(config, changes=said)
    assert read.train.batch_size == 1
    assert read.train.optimizer == "adamw_8bit"
    assert (read.model.quantise, read.model.merge_lora) == ("nf4", True)
