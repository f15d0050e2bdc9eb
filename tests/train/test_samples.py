"""Pictures of fixed cases while a run goes on: what is drawn, that it is drawn once, and that it changes no number."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from preference_runs import edit_row, same, train, write_pairs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.lora import load_adapter
from likeness.backbones.open import open_backbone
from likeness.core.errors import ConfigError, DataError
from likeness.core.tracking import tracking
from likeness.train import samples
from likeness.train.config import SamplesTable, read_train_config
from likeness.train.pairs.task import PairsTask
from likeness.train.run import tune

CASES = """{"prompt": "a cat hugs a dog", "references": ["p1-ref0.png", "p1-ref1.png"], "id": "two", "seed": 7}
{"prompt": "a red fox", "id": "none", "seed": 8}
{"prompt": "a third case", "id": "third"}
"""


@pytest.fixture
def cases(recipe: Path) -> Path:
    """Three cases beside the pairs of the recipe."""
    path = recipe.parent / "pairs" / "cases.jsonl"
    path.write_text(CASES)
    return path


def wanted(cases: Path, *, every: int = 2, limit: int = 2) -> list[str]:
    return [f"samples.every={every}", f"samples.cases={cases}", f"samples.limit={limit}"]


def drawn(run: Path) -> list[str]:
    return sorted(path.relative_to(run / "samples").as_posix() for path in run.glob("samples/0*/*.png"))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_pictures_are_those_of_generate_and_change_no_number(recipe: Path, cases: Path, tmp_path: Path) -> None:
    """Step 0 is the untuned model; after the last step the averaged adapter draws, as RUN/lora does."""
    ema = "train.ema=0.5"
    before = torch.get_rng_state()
    train(recipe, tmp_path / "shown", ema, *wanted(cases))
    assert torch.equal(torch.get_rng_state(), before)
    train(recipe, tmp_path / "plain", ema)
    assert same(tmp_path / "plain", tmp_path / "shown")
    run = tmp_path / "shown"
    assert drawn(run) == [f"00000{step}/{name}.png" for step in (0, 2, 4) for name in ("none", "two")]
    facts = json.loads((run / "samples" / "samples.json").read_text())
    assert [case["id"] for case in facts["cases"]] == ["two", "none"]
    shown = [Image.open(run / name) for name in facts["cases"][0]["references"]]
    assert [np.asarray(image).shape for image in shown] == [(32, 32, 3)] * 2
    model = read_train_config(run / "config.toml").model.base
    backbone = open_backbone(Path(model), device="cpu", dtype=torch.float32)
    for step in (0, 4):
        if step:
            load_adapter(backbone, run / "lora")
        expected = backbone.generate("a cat hugs a dog", shown, seed=7)
        assert np.array_equal(pixels(run / "samples" / f"{step:06d}" / "two.png"), np.asarray(expected))
    first, last = (pixels(run / "samples" / step / "two.png") for step in ("000000", "000004"))
    assert not np.array_equal(first, last)


def test_a_run_in_bf16_draws_too(recipe: Path, cases: Path, tmp_path: Path) -> None:
    """References are encoded in fp32 for the pairs, and told to the network in its own precision."""
    train(recipe, tmp_path / "run", "train.precision=bf16", "train.steps=1", *wanted(cases, every=1, limit=1))
    assert drawn(tmp_path / "run") == ["000000/two.png", "000001/two.png"]
    conditions = samples.read_conditions(tmp_path / "run")
    assert {tensor.dtype for tensor in conditions[0].row.values()} == {torch.bfloat16}


def test_a_continued_run_draws_and_encodes_nothing_twice(
    recipe: Path, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, prompts, paint, prepare = list[int](), list[str](), FluxUno.paint, FluxUno.prepare

    def counted(self: Any, row: Any, **others: Any) -> Any:
        seeds.append(others["seed"])
        return paint(self, row, **others)

    def read(self: Any, prompt: str, references: Any = (), **others: Any) -> Any:
        prompts.append(prompt)
        return prepare(self, prompt, references, **others)

    monkeypatch.setattr(FluxUno, "paint", counted)
    train(recipe, tmp_path / "whole", *wanted(cases))
    assert seeds == [7, 8] * 3
    train(recipe, tmp_path / "parts", *wanted(cases), "train.steps=2")
    monkeypatch.setattr(FluxUno, "prepare", read)
    seeds.clear()
    train(recipe, tmp_path / "parts", *wanted(cases))
    assert (seeds, prompts) == ([7, 8], [])
    last_of_first = frozenset({"maps/000002.json"})
    assert same(tmp_path / "whole", tmp_path / "parts", but=last_of_first)
    assert drawn(tmp_path / "whole") == drawn(tmp_path / "parts")
    for name in drawn(tmp_path / "whole"):
        assert (tmp_path / "whole" / "samples" / name).read_bytes() == (
            tmp_path / "parts" / "samples" / name
        ).read_bytes()
    train(recipe, tmp_path / "parts", *wanted(cases, limit=3), "train.steps=6")  # other cases: pictures from now on
    assert [name for name in drawn(tmp_path / "parts") if "third" in name] == ["000006/third.png"]


def test_the_pairs_own_cases_are_those_kept_for_validation(recipe: Path, tmp_path: Path) -> None:
    place = write_pairs(tmp_path / "mixed", count=6)

    def own(limit: int) -> list[Any]:
        config = read_train_config(recipe, changes=[f"data.pairs={place}", "samples.every=1"])
        task = PairsTask.find(config, model=Path(config.model.base), precision=torch.float32)
        return list(task.cases(limit))

    trained = own(4)
    assert len(trained) == 4
    assert [len(case.subjects) for case in trained] == [2, 1, 2, 1]
    assert len({case.seed for case in trained}) == 4
    assert own(2) == trained[:2]
    for number in (1, 4):
        edit_row(place, lambda row: row.update(split="validation"), number=number)
    assert {case.id for case in own(4)} == {"p1", "p4"}
    assert [case.prompt for case in own(4) if case.id == "p1"] == ["a red fox waves on the beach"]


def test_tensorboard_has_the_pictures(recipe: Path, cases: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", *wanted(cases, every=4))
    log = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags: Any = log.Tags()["images"]
    assert sorted(tags) == ["samples/none", "samples/two"]
    events = log.Images("samples/two")
    assert [event.step for event in events] == [0, 4]
    assert (events[0].width, events[0].height) == (64, 64)


def test_trackio_has_the_rows_and_the_pictures(
    recipe: Path, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no dependency of the tests, so a stand-in answers as version 0.43 does, and to nothing else."""
    logged, started = list[Any](), list[Any]()

    def init(
        *, project: str, name: str, resume: str, embed: bool, auto_log_cpu: bool, auto_log_gpu: bool
    ) -> SimpleNamespace:
        print("* Trackio project initialized")
        started.append((project, name, resume))
        return SimpleNamespace(log=lambda values, step: logged.append((step, values)), finish=lambda: print("done"))

    module = SimpleNamespace(init=init, Image=lambda value: ("picture", value.size))
    monkeypatch.setitem(sys.modules, "trackio", module)
    changes = [*wanted(cases, every=4), "train.steps=1"]
    tune(recipe, out=tmp_path / "run", changes=changes, device="cpu", track=tracking("trackio:mine"))
    assert started == [("mine", "run", "allow")]
    picture = ("picture", (64, 64))
    shown = [entry for entry in logged if "loss" not in entry[1]]
    assert shown == [(step, {"samples/two": picture, "samples/none": picture}) for step in (0, 1)]
    assert [(step, values["loss"] > 0) for step, values in logged if "loss" in values] == [(1, True)]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere.jsonl", r"samples\.cases: expected a file of cases or one of world-single.*nowhere"),
        ("dreambench-single", r"samples\.cases: .*got dreambench-single, which is of photos"),
    ],
)
def test_cases_that_are_nowhere_are_told_at_once(recipe: Path, tmp_path: Path, value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train(recipe, tmp_path / "run", "samples.every=1", f"samples.cases={value}")
    assert not (tmp_path / "run").exists()


def test_a_case_that_the_model_cannot_draw_is_named(cases: Path, tmp_path: Path, tiny_flux: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("likeness.backbones.flux.uno.MAX_REFERENCES", 1)
        backbone = open_backbone(tiny_flux, device="cpu", dtype=torch.float32)
    table = SamplesTable(every=1, cases=str(cases))
    with pytest.raises(DataError, match=r"samples\.cases, two: references: expected at most 1, got 2"):
        samples.prepare_samples(table, own=(), run=tmp_path / "run", backbone=backbone)
