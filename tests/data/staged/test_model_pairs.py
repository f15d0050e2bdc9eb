"""Pairs from models, end to end: every stage runs a tiny model of the true class, from the recipe to a training."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from preference_runs import train, write_recipe
from tiny_pair_models import build_models, make, recipe_text
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.errors import ConfigError, OutputError
from likeness.core.files import read_json, read_jsonl
from likeness.core.images import load_image
from likeness.core.masks import read_mask, union
from likeness.core.pairs import read_pairs
from likeness.data.judging.gate import Thresholds
from likeness.data.lint.run import lint_pairs
from likeness.data.pairs.paste import dilate
from likeness.data.staged.ledger import LEDGER_NAME, read_entries
from likeness.data.staged.model_pairs import ModelSummary
from likeness.data.staged.recipe import read_recipe
from likeness.data.staged.records import asked_of

NUMBER = 16
runner = CliRunner()


class Made(NamedTuple):
    models: dict[str, Path]
    recipe: Path
    summary: ModelSummary


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("models")
    models = build_models(folder)
    (folder / "recipe.toml").write_text(recipe_text(models, number=NUMBER))
    return Made(models, folder / "recipe.toml", make(folder / "recipe.toml", folder / "pairs"))


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LEDGER_NAME]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_every_record_is_a_pair_or_told(made: Made) -> None:
    done = made.summary
    names = [f"models-0-{index:06d}" for index in range(NUMBER)]
    pairs = [row["id"] for row in read_jsonl(done.folder / "pairs.jsonl")]
    rejected = read_jsonl(done.folder / "rejected.jsonl")
    assert sorted([*pairs, *(row["where"] for row in rejected)]) == names
    assert (done.num_pairs, done.num_rejected, done.num_failed) == (len(pairs), len(rejected), 0)
    assert len(pairs) >= 1
    assert {row["outcome"] for row in rejected} == {"rejected"}
    assert all(row["cause"].startswith(f"{row['stage']}: ") and row["reason"] for row in rejected)
    facts = read_json(done.folder / "summary.json")
    assert facts["num_records"] == NUMBER
    assert facts["lint"]["num_errors"] == 0
    assert (done.folder / "contact_sheet.png").is_file()


def test_rejected_pictures_differ_in_the_disrupted_subjects_alone(made: Made) -> None:
    """Of all records that came so far, pairs or not: the other subject stays as it is to the byte."""
    folder, kept = made.summary.folder, 0
    for (record, stage), entry in read_entries(folder).items():
        if stage != "inpaint":
            continue
        asked = asked_of(read_recipe(made.recipe), int(record[-6:])).facts["subjects"]
        preferred, rejected = (
            np.asarray(load_image(folder / "images" / f"{record}-{name}.png")) for name in ("preferred", "rejected")
        )
        masks = [read_mask(folder / "masks" / f"{record}-{place}.png") for place in range(len(asked))]
        own = union(mask for mask, subject in zip(masks, asked, strict=True) if subject["disrupted"])
        assert np.array_equal(read_mask(folder / "masks" / f"{record}-prior.png"), own)
        changed = (preferred != rejected).any(-1)
        assert not (changed & ~dilate(own, radius=4)).any()
        assert changed[own].mean() > 0.5
        assert np.sum(masks, axis=0).max() == 1
        assert set(entry.facts["seeds"]) == {str(place) for place, each in enumerate(asked) if each["disrupted"]}
        for mask, subject in zip(masks, asked, strict=True):
            assert subject["disrupted"] or not changed[mask].any()
            kept += not subject["disrupted"]
    assert kept >= 2


def test_pairs_say_how_every_field_was_filled(made: Made) -> None:
    for pair in read_pairs(made.summary.folder).pairs:
        models = pair.models
        assert str(models["generator"]).startswith("flux_uno flux@")
        assert str(models["inpainter"]).startswith("flux_fill fill@")
        assert models["mask"] == f"{models['detector']}, then {models['segmenter']}"
        assert str(models["inpaint_caption"]).startswith("Describer vlm@")
        assert str(models["judge"]).startswith("vlm judge vlm@")
        assert (models["prompt"], models["human_scores"]) == ("recipe", None)
        assert set(pair.seeds) >= {"target", "reference_0"}
        assert pair.qa.preferred.human is None
        for index, subject in enumerate(pair.subjects):
            assert (subject.inpaint_caption is not None) == (index in pair.disrupted) == subject.disrupted
            assert subject.detection_score is not None
            assert pair.references[subject.reference_index].id == subject.id
            assert min(answers.count(True) for answers in pair.qa.preferred.judge) >= 3


@pytest.mark.slow
def test_the_set_passes_lint_and_is_trained_on(made: Made, tmp_path: Path) -> None:
    folder = made.summary.folder
    report = lint_pairs(folder, thresholds=Thresholds(3, 2))
    assert report.num_errors == 0
    tables: dict[str, Any] = {"data": {"size": 64}, "train": {"steps": 1, "batch_size": 1, "save_every": 1}}
    train(write_recipe(tmp_path / "run.toml", model=made.models["flux"], pairs=folder, **tables), tmp_path / "run")
    assert (tmp_path / "run" / "lora" / "pytorch_lora_weights.safetensors").is_file()


@pytest.mark.slow
def test_stopped_half_way_with_other_batches_it_ends_with_the_same_bytes(made: Made, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made.summary.folder, tmp_path / "pairs"))
    lines = (out / LEDGER_NAME).read_bytes().splitlines(keepends=True)
    begun = [line for line in lines if json.loads(line)["record"] not in ("models-0-000001", "models-0-000004")]
    (out / LEDGER_NAME).write_bytes(b"".join(begun) + lines[0][:40])
    for name in ("pairs.jsonl", "rejected.jsonl", "summary.json", "contact_sheet.png"):
        (out / name).unlink()
    for path in out.rglob("models-0-000004*"):
        path.unlink()
    text = (
        made.recipe.read_text().replace("batch_size = 2", "batch_size = 1").replace("batch_size = 3", "batch_size = 2")
    )
    (tmp_path / "r.toml").write_text(text.replace("num_gpus = 0.5", "num_gpus = 0.25"))
    make(tmp_path / "r.toml", out)
    assert contents(out) == contents(made.summary.folder)
    assert len(read_entries(out)) == len(lines)


def test_another_recipe_is_refused_and_more_records_are_not(made: Made, tmp_path: Path) -> None:
    other = recipe_text(made.models, number=NUMBER, threshold="0.1")
    (tmp_path / "r.toml").write_text(other)
    with pytest.raises(OutputError, match=r"stages\.locate\.threshold: 0\.0 there, 0\.1 here"):
        make(tmp_path / "r.toml", made.summary.folder)
    with pytest.raises(OutputError, match="num_records: 16 there, 2 here"):
        make(made.recipe, made.summary.folder, limit=2)
    with pytest.raises(ConfigError, match="limit: expected at least 1, got 0"):
        make(made.recipe, made.summary.folder, limit=0)


# -- the command -----------------------------------------------------------------------------------------------
def dip(*arguments: str) -> Any:
    return runner.invoke(app, ["data", "dip", "--source", "models", *arguments])


def test_the_command_ends_with_what_comes_next(made: Made) -> None:
    where = ["--recipe", str(made.recipe), "--out", str(made.summary.folder), "--device", "cpu"]
    result = dip(*where)
    assert result.exit_code == 0, result.output
    done = made.summary
    assert f"of 16 records: {done.num_rejected} rejected, 0 failed." in result.stdout
    assert f"{done.num_rejected} left out:" in result.stdout
    assert f"--set data.pairs={done.folder}" in result.stdout
    facts = json.loads(dip(*where, "--json").stdout)
    assert (facts["num_pairs"], facts["num_records"], facts["lint"]["num_errors"]) == (done.num_pairs, NUMBER, 0)
    assert set(facts) == {
        "out", "source", "num_pairs", "num_records", "num_rejected", "num_failed", "refused_for", "lint", "train",
    }  # fmt: skip


def test_a_dry_run_loads_and_writes_nothing(made: Made, tmp_path: Path) -> None:
    where = ["--recipe", str(made.recipe), "--out"]
    before = dip(*where, str(tmp_path / "new"), "--dry-run", "--limit", "9")
    assert before.exit_code == 0, before.output
    assert "9 records, 0 of them begun; nothing was loaded or written." in before.stdout
    assert "Time and disk: not measured yet; make some first, with --limit 8." in before.stdout
    assert not (tmp_path / "new").exists()
    facts = json.loads(dip(*where, str(made.summary.folder), "--dry-run", "--json").stdout)
    assert [stage["name"] for stage in facts["stages"]] == [
        "generate", "locate", "caption", "inpaint", "judge", "gate",
    ]  # fmt: skip
    assert facts["num_begun"] == NUMBER
    assert facts["hours"] == 0
    sizes = [file.bytes for entry in read_entries(made.summary.folder).values() for file in entry.files.values()]
    assert facts["stages"][0]["measured"] == NUMBER
    assert 0 < facts["gigabytes"] * 1e9 == pytest.approx(sum(sizes), rel=0.6)
    assert all(stage["gib"] > 0 for stage in facts["stages"][:5])


def test_a_model_that_is_not_here_is_unknown_and_not_zero(made: Made, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(made.recipe.read_text())
    told = dip(
        "--recipe", str(tmp_path / "r.toml"), "--model", str(tmp_path / "none"), "--out", "x", "--dry-run", "--json"
    )
    stage = json.loads(told.stdout)["stages"][0]
    assert stage["gib"] is None
    assert "model not counted: weights: expected an embedded name" in stage["note"]


def words_of(said: str) -> str:
    """Without the frame around an error."""
    return " ".join(said.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected --recipe FILE, got none"),
        (["-n", "3"], "-n what expected only with --source world, photos, got --source models"),
        (["--seed", "3"], "--seed what expected only with --source world, photos"),
        (["--recipe", "nowhere.toml"], "nowhere.toml what expected a TOML file"),
    ],
)
def test_wrong_flags_end_with_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = dip("--out", str(tmp_path / "pairs"), *arguments)
    assert result.exit_code == 2
    assert said in words_of(result.stderr)
    assert not (tmp_path / "pairs").exists()


def test_flags_of_models_are_refused_elsewhere(tmp_path: Path) -> None:
    result = runner.invoke(app, ["data", "dip", "-n", "1", "--out", str(tmp_path), "--limit", "2"])
    assert result.exit_code == 2
    assert "--limit what expected only with --source models, got --source world" in words_of(result.stderr)
    none = runner.invoke(app, ["data", "dip", "--out", str(tmp_path / "x")])
    assert none.exit_code == 2
    assert "-n what expected the number of pairs for --source world, got none" in words_of(none.stderr)
