"""`likeness data dip`: what it hands to the recipe, what it says, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.pairs import read_pairs
from likeness.data.judging.gate import Thresholds
from likeness.data.pairs.dip import DipSummary

runner = CliRunner()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls that reach make_pairs, which draws nothing here."""
    calls: list[dict[str, Any]] = []

    def fake(n: int, **settings: Any) -> DipSummary:
        calls.append({"n": n, **settings})
        settings["progress"](n, n)
        return DipSummary(settings["out"], n, 2 * n, {"preferred": n})

    monkeypatch.setattr("likeness.data.pairs.dip.make_pairs", fake)
    return calls


def test_the_defaults_are_the_papers(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    result = runner.invoke(app, ["data", "dip", "-n", "3", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert call["thresholds"] == Thresholds(9, 6)
    assert (call["split"], call["subset"], call["losers"], call["hard"]) == ("train", "both", "drawn", False)
    assert call["judge"].probe == "probe"
    assert call["regenerate"] is None
    assert "3 pairs" in result.stdout
    assert "50% of 6 attempts" in result.stdout


def test_flags_reach_the_recipe(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    flags = {
        "--source": "world", "--split": "test", "--subset": "multi", "--losers": "mixed", "--seed": "4",
        "--workers": "2", "--size": "64", "--preferred-min": "8", "--rejected-max": "5", "--model": "somewhere",
        "--probe": "mine", "--device": "cpu",
    }  # fmt: skip
    given = [word for flag in flags.items() for word in flag]
    result = runner.invoke(app, ["data", "dip", "-n", "3", "--out", str(tmp_path), "--hard", "--json", *given])
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert (call["split"], call["subset"], call["losers"], call["hard"]) == ("test", "multi", "mixed", True)
    assert (call["seed"], call["workers"], call["size"]) == (4, 2, 64)
    assert call["thresholds"] == Thresholds(8, 5)
    assert (call["regenerate"].model, call["regenerate"].device, call["judge"].probe) == ("somewhere", "cpu", "mine")
    facts = json.loads(result.stdout)
    assert (facts["num_pairs"], facts["num_attempts"], facts["source"]) == (3, 6, "world")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "web"], "web"),
        (["--split", "all"], "all"),
        (["--losers", "bought"], "bought"),
        (["-n", "0"], "or equal"),
        (["--rejected-max", "9"], "expected 0 <= rejected_max < preferred_min <= 10"),
        (["--probe", "nowhere"], "got 'nowhere'"),
        (["--losers", "mixed", "--model", "nowhere"], "got 'nowhere'"),
    ],
)
def test_wrong_flags_end_with_2_and_leave_nothing(
    tmp_path: Path, unchecked: None, arguments: list[str], said: str
) -> None:
    out = tmp_path / "pairs"
    result = runner.invoke(app, ["data", "dip", "-n", "1", "--out", str(out), *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not out.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    result = runner.invoke(app, ["data", "dip", "-n", "1", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "holiday.jpg" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.slow
def test_the_embedded_probe_keeps_pairs(tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    result = runner.invoke(app, ["data", "dip", "-n", "6", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_pairs"] == 6
    for pair in read_pairs(out).pairs:
        assert all(sum(answer is True for answer in answers) >= 9 for answers in pair.qa.preferred.judge)
        for index in pair.disrupted:
            assert sum(answer is not False for answer in pair.qa.rejected.judge[index]) <= 6


# -- photographs -----------------------------------------------------------------------------------------------
def write_photos(folder: Path) -> Path:
    """Two striped balls, three photographs of each, with masks beside them."""
    from PIL import Image, ImageDraw

    for subject, color in (("red_ball", "red"), ("blue_ball", "blue")):
        (folder / subject).mkdir(parents=True)
        for number in range(3):
            image, mask = Image.new("RGB", (96, 96), "lightgreen"), Image.new("L", (96, 96))
            box = (16 + 3 * number, 20, 76 + 3 * number, 80)
            ImageDraw.Draw(image).ellipse(box, fill=color)
            ImageDraw.Draw(image).line((box[0] + 5, 50, box[2] - 5, 50), fill="white", width=6)
            ImageDraw.Draw(mask).ellipse(box, fill=255)
            image.save(folder / subject / f"{number}.png")
            mask.save(folder / subject / f"{number}.mask.png")
    return folder


def test_photographs_become_pairs_with_lint_and_the_next_command(tmp_path: Path) -> None:
    photos, out = write_photos(tmp_path / "my photos"), tmp_path / "my pairs"
    (photos / "red_ball" / "3.png").write_bytes(b"no picture")
    arguments = ["data", "dip", "-n", "6", "--source", "photos", "--photos", str(photos), "--out", str(out)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "1 left out:\n  red_ball/3:" in result.stdout
    assert f"6 pairs in {out}, made of 6 photographs of 2 subjects" in result.stdout
    assert f"Lint: {out}: 6 pairs, 0 errors" in result.stdout
    assert f"--set 'data.pairs={out}' --set data.size=128" in result.stdout
    again = runner.invoke(app, [*arguments, "--json"])
    facts = json.loads(again.stdout)
    assert (facts["num_pairs"], facts["num_photos"], facts["lint"]["num_errors"]) == (6, 6, 0)
    assert [row["where"] for row in facts["left_out"]] == ["red_ball/3"]
    assert set(facts["train"]) == {"embedded", "flux"}
    assert "model.lora=bytedance-research/UNO" in facts["train"]["flux"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "photos"], "expected --photos FOLDER, got none"),
        (["--source", "photos", "--photos", ".", "--hard"], "--hard what expected only with --source world"),
        (["--source", "photos", "--photos", ".", "--preferred-min", "8"], "--preferred-min what expected only with"),
        (["--photos", "."], "--photos what expected only with --source photos, got --source world"),
        (["--source", "photos", "--photos", ".", "--losers", "drawn"], "expected one of disrupted, regenerated"),
        (["--source", "photos", "--photos", ".", "--masks", "by-hand"], "expected grabcut, sam2 or a folder"),
        (["--losers", "disrupted"], "expected one of drawn, regenerated, mixed"),
    ],
)
def test_options_of_another_source_are_refused(
    tmp_path: Path, unchecked: None, arguments: list[str], said: str
) -> None:
    result = runner.invoke(app, ["data", "dip", "-n", "1", "--out", str(tmp_path / "pairs"), *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "pairs").exists()


# -- one's own pictures ----------------------------------------------------------------------------------------
def write_own(folder: Path, count: int) -> Path:
    """So many pairs of a ball that is red, and another colour in the rejected picture."""
    from PIL import Image, ImageDraw

    def ball(path: str, color: object, at: int = 30) -> None:
        image = Image.new("RGB", (128, 128), (170, 200, 170))
        ImageDraw.Draw(image).ellipse((at, 30, at + 64, 94), fill=color)  # pyright: ignore[reportArgumentType]
        ImageDraw.Draw(image).line((at + 8, 62, at + 56, 62), fill="white", width=6)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / path)

    ball("refs/ball.png", (200, 30, 30), at=34)
    for number in range(count):
        ball(f"preferred/a red ball {number:02d}.png", (200, 30, 30), at=number)
        ball(f"rejected/a red ball {number:02d}.png", (30, 30, 90 + 5 * number), at=number)
    return folder


def test_own_pictures_become_pairs(tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    arguments = ["data", "new", str(write_own(tmp_path / "mine", 3)), "--out", str(out)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"3 pairs in {out}" in result.stdout
    assert "filled in 3 times: mask (made: where both pictures differ)" in result.stdout
    assert "3 pairs, 0 errors" in result.stdout
    assert f"likeness train recipes/focus_dpo_world.toml --out runs/mine --set data.pairs={out}" in result.stdout
    facts = json.loads(runner.invoke(app, [*arguments[:-1], str(tmp_path / "again"), "--json"]).stdout)
    assert (facts["num_pairs"], facts["filled"]["prompt (the file's name)"], facts["left_out"]) == (3, 3, [])


def test_faults_of_own_pictures_end_with_1(tmp_path: Path) -> None:
    mine = write_own(tmp_path / "mine", 2)
    for side in ("preferred", "rejected"):  # the same pair twice
        (mine / side / "a red ball 09.png").write_bytes((mine / side / "a red ball 00.png").read_bytes())
    result = runner.invoke(app, ["data", "new", str(mine), "--out", str(tmp_path / "pairs")])
    assert result.exit_code == 1
    assert "error duplicate_pair (1)" in result.stdout


@pytest.mark.slow
def test_thirty_own_pairs_to_a_lora_in_three_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/your-own-pairs.md says, with fewer steps."""
    import shlex

    monkeypatch.chdir(tmp_path)
    recipes = Path(__file__).parents[2] / "recipes"
    write_own(tmp_path / "mine", 30)
    made = runner.invoke(app, ["data", "new", "mine", "--out", "pairs", "--json"])
    assert made.exit_code == 0, made.output
    facts = json.loads(made.stdout)
    assert facts["num_pairs"] == 30
    train = shlex.split(facts["train"]["embedded"].replace("recipes/", f"{recipes}/"))[1:]
    tuned = runner.invoke(app, [*train, "--set", "train.steps=3", "--set", "train.warmup=1", "--json"])
    assert tuned.exit_code == 0, tuned.output
    lora = json.loads(tuned.stdout)["lora"]
    arguments = ["generate", "--prompt", "a red ball in the snow", "--ref", "mine/refs/ball.png", "--steps", "2"]
    drawn = runner.invoke(app, [*arguments, "--lora", lora, "--out", "pictures"])
    assert drawn.exit_code == 0, drawn.output
    assert list((tmp_path / "pictures").rglob("*.png"))
