"""`likeness compare`: one page and four files that hold the same numbers; mistakes end with 2."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from report_runs import make_run
from scripts import ROOT
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl

Maker = Callable[..., Path]
GAINS = [0.125, 0.25, 0.375, 0.125, 0.25, 0.375]


@pytest.fixture
def run_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Runs below the working folder, `gain` times GAINS above the first in attributes."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, *, gain: float = 0.0) -> Path:
        run = make_run(Path(name), num_cases=6, prompt="<b>a cat & a dog</b>")
        rows = read_jsonl(run / "evaluation/scores.jsonl")
        for row, step in zip(rows, GAINS, strict=True):
            row["values"]["attribute_accuracy"]["value"] = (
                row["values"]["attribute_accuracy"]["value"] / 2 + gain * step
            )
        write_jsonl(run / "evaluation/scores.jsonl", rows)
        return run

    return make


def compare(*words: object, code: int = 0) -> str:
    """What the command says."""
    result = CliRunner().invoke(app, ["compare", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def told_keys(command: str) -> set[str]:
    """The keys that AGENTS.md promises of a command's JSON."""
    lines = (ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| `{command}` | ")]
    return set(re.findall(r"`(\w+)`", re.sub(r"\{[^}]*\}", "", line.split(" | ")[1])))


def test_page_and_files_hold_the_same_numbers(run_maker: Maker) -> None:
    runs = [run_maker("plain"), run_maker("up", gain=1.0), run_maker("down", gain=-0.5)]
    said = json.loads(compare(*runs, "--out", "page.html", "--margin", "attribute_accuracy=0.5", "--json"))
    assert set(said) == told_keys("compare")
    found = read_json("page.json")
    assert (said["page"], said["base"], said["metrics"]) == ("page.html", "plain", found["metrics"])
    metric = found["metrics"][0]
    up, down = metric["differences"]
    assert metric["metric"] == "attribute_accuracy"
    assert (up["mean"], down["mean"]) == pytest.approx((0.25, -0.125))
    assert (up["p"], up["ties"]) == (2 / 2**6, True)
    html = Path("page.html").read_text(encoding="utf-8")
    for text in (
        "<h1>plain and up and down</h1>",
        "+0.2500",
        "-0.1250",
        "&lt;b&gt;a cat &amp; a dog",
        "<small>best, n = 6</small>",
    ):
        assert text in html
    assert f"{up['ci_low']:+.4f} to {up['ci_high']:+.4f}" in html
    assert "likeness compare plain up down --out page.html --margin attribute_accuracy=0.5</pre>" in html
    assert html.count('class="refs"') == html.count('<article class="card"') == len(found["cases"]) == 6
    assert "+0.2500" in Path("page.md").read_text(encoding="utf-8")
    assert "\\textbf{" in Path("page.tex").read_text(encoding="utf-8")
    rows = list(csv.DictReader(Path("page.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["difference_mean"] for row in rows[:3]] == ["", str(up["mean"]), str(down["mean"])]


def test_the_same_runs_give_the_same_bytes(run_maker: Maker) -> None:
    runs = [run_maker("plain"), run_maker("up", gain=1.0)]
    kinds = ("html", "md", "tex", "csv", "correlations.csv", "json")
    written: list[list[bytes]] = []
    for _ in range(2):
        compare(*runs, "--out", "page.html")
        written.append([Path(f"page.{kind}").read_bytes() for kind in kinds])
    assert written[0] == written[1]


def test_another_base_and_votes(run_maker: Maker) -> None:
    runs = [run_maker("plain"), run_maker("up", gain=1.0)]
    vote = {"query": "case-00000", "rater": "r", "options": ["plain", "up"], "choice": "up"}
    write_jsonl("votes.jsonl", [vote, {**vote, "query": "case-00001"}])
    compare(*runs, "--base", "up", "--votes", "votes.jsonl", "--metric", "attribute_accuracy", "--out", "page.html")
    found = read_json("page.json")
    assert [row["method"] for row in found["metrics"][0]["differences"]] == ["plain"]
    assert [(row["metric"], row["tau_mean"], row["kept"]) for row in found["votes"]] == [("attribute_accuracy", 1.0, 2)]
    assert "Agreement with votes" in Path("page.html").read_text(encoding="utf-8")


def test_mistakes_end_with_2_and_are_told(run_maker: Maker) -> None:
    plain, up = run_maker("plain"), run_maker("up", gain=1.0)
    wrong = {
        "two runs or more, got 1": [plain],
        "expected one of plain, up, got other": [plain, up, "--base", "other"],
        "expected NAME=VALUE with a number above 0": [plain, up, "--margin", "dino=-1"],
        "expected metrics among": [plain, up, "--metric", "hps_v21"],
    }
    for message, words in wrong.items():
        assert message in " ".join(compare(*words, "--out", "page.html", code=2).split())
    assert "ends in .html" in " ".join(compare(plain, up, "--out", "page.pdf", code=2).split())
    path = up / "evaluation/summary.json"
    write_json(path, {**read_json(path), "benchmark": "world-single"})
    assert "compare runs of one benchmark" in " ".join(compare(plain, up, "--out", "page.html", code=2).split())
    assert not Path("page.html").exists()


def test_trainings_of_a_method_are_named_together(run_maker: Maker) -> None:
    first, second, _ = run_maker("one", gain=0.5), run_maker("two", gain=1.5), run_maker("plain")
    words = ("plain", f"focus={first},{second}", "--out", "page.html", "--metric", "attribute_accuracy")
    said = json.loads(compare(*words, "--json"))
    assert said["runs"] == {"plain": "plain", "focus": "one"}
    assert said["trainings"] == {"plain": ["plain"], "focus": ["one", "two"]}
    (row,) = said["metrics"][0]["differences"]
    assert (row["method"], row["mean"], row["n"], row["n_subjects"]) == ("focus", 0.25, 12, row["n_subjects"])
    assert row["trainings"] == {"means": [0.125, 0.375], "deviation": pytest.approx(0.25 / 2**0.5)}
    assert row["ci_high"] - row["mean"] >= 0.125 * 12.7  # two trainings that are 0.25 apart
    assert "trainings" not in said["metrics"][0]["means"][0]
    assert [note.partition(":")[0] for note in said["notes"]] == ["focus", "plain"]
    assert "reach 12.7 standard errors" in said["notes"][0]
    files = [Path(f"page.{kind}").read_text() for kind in ("html", "md", "tex")]
    assert all("reach 12.7 standard errors" in text for text in files)
    _, focus = csv.DictReader(Path("page.csv").read_text().splitlines())
    assert (focus["trainings"], float(focus["trainings_deviation"])) == ("2", pytest.approx(0.25 / 2**0.5))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["=a"], "expected NAME=RUN or NAME=RUN,RUN, got =a"),
        (["focus=a,,b"], "expected NAME=RUN or NAME=RUN,RUN, got focus=a,,b"),
        (["focus=a", "focus=b"], "expected each name once, got focus again"),
        (["focus=a,b,./a"], "expected different trainings of focus, got a run twice"),
    ],
)
def test_badly_named_trainings_are_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = " ".join(compare("plain", *words, "--out", "page.html", code=2).split())
    assert message in said
