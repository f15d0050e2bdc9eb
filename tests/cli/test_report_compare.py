"""`likeness report A B`: two runs of one benchmark are compared in pairs; others stand one below the other, said so."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest
from report_runs import make_run
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl

Maker = Callable[..., Path]
GAINS = [0.125, 0.25, 0.125, 0.25, 0.125, 0.25]


@pytest.fixture
def run_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Runs below the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, *, gains: list[float] | None = None, num_cases: int = 6, evaluated: bool = True) -> Path:
        run = make_run(Path(name), num_cases=num_cases, evaluated=evaluated)
        if gains is not None:
            rows = read_jsonl(run / "evaluation/scores.jsonl")
            for row, gain in zip(rows, gains, strict=True):
                row["values"]["attribute_accuracy"]["value"] += gain
            write_jsonl(run / "evaluation/scores.jsonl", rows)
        return run

    return make


def report(*words: object) -> str:
    """The page that the command writes."""
    result = CliRunner().invoke(app, ["report", *map(str, words), "--out", "page.html"])
    assert result.exit_code == 0, result.output
    return Path("page.html").read_text(encoding="utf-8")


def test_two_runs_of_one_benchmark_get_the_paired_table_named_by_run(run_maker: Maker) -> None:
    html = report(run_maker("runs/plain"), run_maker("runs/tuned", gains=GAINS))
    row = next(row for row in read_json("page.comparison.json")["rows"] if row["metric"] == "attribute_accuracy")
    assert row["difference"]["mean"] == pytest.approx(mean(GAINS))
    assert row["difference"]["n"] == 6
    difference, low, high = (f"{row['difference'][key]:+.3f}" for key in ("mean", "ci_low", "ci_high"))
    assert f'{difference} <span class="good-text">better</span>' in html
    assert f'<td data-label="95% interval">{low} to {high}</td>' in html
    for text in (
        "<h1>plain and tuned</h1>",
        "<h2>plain</h2>",
        "<h2>tuned</h2>",
        '<th scope="col" class="num">tuned</th>',
    ):
        assert text in html
    assert "differences are tuned minus plain" in html
    assert "likeness report runs/plain runs/tuned --out page.html</pre>" in html


def test_runs_of_one_name_are_told_apart_in_the_table(run_maker: Maker) -> None:
    html = report(run_maker("a/multi"), run_maker("b/multi", gains=GAINS))
    assert '<th scope="col" class="num">b/multi</th>' in html


def other_benchmark(run: Path) -> Path:
    path = run / "evaluation/summary.json"
    write_json(path, {**read_json(path), "benchmark": "world-single"})
    return run


def test_what_cannot_be_compared_is_said_and_shown_without_a_table(run_maker: Maker) -> None:
    first = run_maker("first")
    reasons = {
        "runs of different benchmarks: world-multi and world-single": other_benchmark(run_maker("other")),
        "second has not been evaluated": run_maker("second", evaluated=False),
        "different cases": run_maker("fewer", num_cases=3),
    }
    for reason, run in reasons.items():
        html = report(first, run)
        assert reason in html
        assert "Difference" not in html
        assert html.count('class="run"') == 2
    assert "`likeness compare` sets several" in report(first, first, first)


@pytest.mark.parametrize("name", ["manifest.jsonl", "evaluation/scores.jsonl", "evaluation/summary.json"])
@pytest.mark.parametrize("text", ["[]\n", '{"id": 3}\n', '{"id": "a", "case_id": "b"}\n', "{\n"])
def test_a_damaged_file_ends_with_2_and_its_name(run_maker: Maker, name: str, text: str) -> None:
    run = run_maker("damaged")
    (run / name).write_text(text)
    for words in (["report", "damaged"], ["report", str(run_maker("whole")), "damaged", "--out", "page.html"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2, result.output
        assert f"damaged/{name}" in "".join(result.stderr.split("\n"))
