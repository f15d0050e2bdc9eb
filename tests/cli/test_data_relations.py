"""`likeness data relations` and `data lint` on its sets: what they are handed, what they say, and how they end."""

import json
from pathlib import Path
from typing import Any

import pytest
from published_relations import write_samples
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.files import read_jsonl, write_jsonl
from likeness.data.relations.findings import KeypointCounts, RelationLint
from likeness.data.relations.making import RelationSummary

runner = CliRunner()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls that reach the recipes, which make nothing here."""
    calls: list[dict[str, Any]] = []

    def fake(what: Any, **settings: Any) -> RelationSummary:
        calls.append({"what": what, **settings})
        out = settings["out"]
        points = KeypointCounts(0, 0)
        lint = RelationLint(folder=out, num_examples=1, num_benchmarks=0, counts={}, keypoints=points, findings=())
        return RelationSummary(out, 1, 2, {}, 0, (), lint)

    for name in ("world:make_world", "models:make_model", "photos:make_photo"):
        monkeypatch.setattr(f"likeness.data.relations.{name.replace(':', '.')}_relations", fake)
    return calls


def test_flags_reach_the_recipes(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    lines = (
        f"-n 7 --out {tmp_path}",
        f"-n 2 --action hug --action kiss --seed 3 --split test --size 64 --workers 2 --out {tmp_path}",
        f"--source photos --folder {tmp_path} --detector owl:D --segmenter box --pose P --device cpu --out {tmp_path}",
        f"--source models -n 3 --model M --lora L --steps 4 --size 96 --subject cat --subject dog --out {tmp_path}",
    )
    for line in lines:
        result = runner.invoke(app, ["data", "relations", *line.split()])
        assert result.exit_code == 0, result.output
        assert "1 example in" in result.output
        assert "2 were asked for" in result.output
    plain, world, photos, made = asked
    assert (plain["what"], plain["size"], plain["actions"], plain["split"]) == (7, 128, (), "train")
    assert (world["what"], world["actions"], world["seed"]) == (2, ["hug", "kiss"], 3)
    assert (world["split"], world["size"], world["workers"]) == ("test", 64, 2)
    look = photos["look"]
    assert (photos["what"], photos["size"], look.detector, look.detector_weights) == (tmp_path, 512, "owl", "D")
    assert (look.segmenter, look.pose_weights, look.device) == ("box", "P", "cpu")
    assert (made["what"], made["subjects"], made["draw"].model) == (3, ["cat", "dog"], "M")
    assert (made["draw"].loras, made["draw"].options) == (("L",), {"size": 96, "steps": 4})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "-n: expected a number of examples with --source world, got none"),
        ("--source photos -n 3 --folder x", "-n: expected none with --source photos, got 3"),
        ("--source published", "--folder: expected one with --source published, got none"),
        ("-n 3 --folder x", "--folder: expected only with --source photos, published, got --source world"),
        ("-n 3 --lora x", "--lora: expected only with --source models"),
        ("--source published --folder x --action hug", "--action: expected only with --source world, models"),
        ("-n 3 --action yodel", "got 'yodel'"),
        ("-n 3 --source web", "web"),
        ("--source photos --folder x --detector yolo", "--detector: expected grounding_dino or owl"),
    ],
)
def test_wrong_input_ends_with_2(line: str, said: str, tmp_path: Path) -> None:
    result = runner.invoke(app, ["data", "relations", "--out", str(tmp_path / "set"), *line.split()])
    assert result.exit_code == 2
    where, _, what = said.rpartition(": ")
    shown = " ".join(result.output.split())
    assert where in shown
    assert what in shown
    assert not (tmp_path / "set").exists()


def test_a_set_is_made_linted_and_found_faulty(tmp_path: Path) -> None:
    out = tmp_path / "set"
    result = runner.invoke(app, ["data", "relations", "-n", "1", "--size", "64", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["num_examples"], facts["source"], facts["lint"]["num_errors"]) == (1, "world", 0)
    result = runner.invoke(app, ["data", "lint", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_examples"] == 1
    (row,) = read_jsonl(out / "relations.jsonl")
    write_jsonl(out / "relations.jsonl", [row | {"predicate": "eating"}])
    result = runner.invoke(app, ["data", "lint", str(out)])
    assert result.exit_code == 1
    assert "error predicate_not_in_prompt (1)" in result.stdout
    result = runner.invoke(app, ["data", "lint", str(out), "--tolerance", "3"])
    assert result.exit_code == 2
    assert "expected only for pairs" in result.output


def test_published_folders_are_read_and_repairs_told(tmp_path: Path) -> None:
    source = write_samples(tmp_path / "data")
    (source / "shake" / "masks" / "3" / "motion1.png").unlink()
    arguments = ["--source", "published", "--folder", str(source), "--out", str(tmp_path / "set")]
    result = runner.invoke(app, ["data", "relations", *arguments])
    assert result.exit_code == 0, result.output
    assert "9 examples in" in result.stdout
    assert "9 repairs told in their rows" in result.stdout
    assert "shake/3: " in result.stdout
