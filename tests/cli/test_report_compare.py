"""`likeness report A B C`: runs of one benchmark are compared as by `compare`; others stand one below the other."""

import re
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


def test_runs_of_one_benchmark_are_compared_as_by_compare_and_named_by_run(run_maker: Maker) -> None:
    runs = [run_maker("runs/plain"), run_maker("runs/tuned", gains=GAINS), run_maker("runs/other", gains=[0.125] * 6)]
    for some in (runs,):
        html = report(*some)
        words = ["compare", *map(str, some), "--out", "compared.html"]
        assert CliRunner().invoke(app, words).exit_code == 0
        found = read_json("page.comparison.json")
        assert found == read_json("compared.json")
        (row, *_) = found["metrics"][0]["differences"]
        assert (row["mean"], row["n"]) == (pytest.approx(mean(GAINS)), 6)
        assert f'<td data-label="95% interval">{row["ci_low"]:+.4f} to {row["ci_high"]:+.4f}</td>' in html
        start, end = '<details class="fold" id="scores" open>', '<details class="fold" id="differences"'
        table, other = (
            text[text.index(start) : text.index(end)]
            for text in (html, Path("compared.html").read_text(encoding="utf-8"))
        )
        assert table == other
        names = [run.name for run in some]
        assert f"<h1>{' and '.join(names)}</h1>" in html
        assert f"<h2>{' and '.join(names)} compared</h2>" in html
        assert "differences are from plain" in html
        assert f"likeness report {' '.join(map(str, some))} --out page.html</pre>" in html


def test_no_heading_stands_on_a_page_twice(run_maker: Maker) -> None:
    same = [run_maker("runs/plain"), run_maker("runs/tuned", gains=GAINS)]
    other = other_benchmark(run_maker("runs/single"))
    for runs in ([same[0]], same, [same[0], other], [*same, other]):
        html = report(*runs)
        headings = re.findall(r"<(?:h1|h2|summary)>([^<]+)", html)
        assert sorted(headings) == sorted(set(headings))
        assert html.count('data-index="') == len(runs)
        ids = re.findall(r' id="([^"]+)"', html)
        assert sorted(ids) == sorted(set(ids))
        if len(runs) > 1:
            assert [text for text in headings if text.startswith("All cases")] == [
                f"All cases in {run.name} " for run in runs
            ]


def test_a_run_named_twice_is_refused(run_maker: Maker) -> None:
    run = run_maker("runs/plain")
    result = CliRunner().invoke(app, ["report", str(run), f"{run}/../plain", "--out", "page.html"])
    assert result.exit_code == 2
    assert "expected each run once" in " ".join(result.stderr.split())


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
        assert reason in report(first, run_maker("third"), run)


@pytest.mark.parametrize("name", ["manifest.jsonl", "evaluation/scores.jsonl", "evaluation/summary.json"])
@pytest.mark.parametrize("text", ["[]\n", '{"id": 3}\n', '{"id": "a", "case_id": "b"}\n', "{\n"])
def test_a_damaged_file_ends_with_2_and_its_name(run_maker: Maker, name: str, text: str) -> None:
    run = run_maker("damaged")
    (run / name).write_text(text)
    for words in (["report", "damaged"], ["report", str(run_maker("whole")), "damaged", "--out", "page.html"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2, result.output
        assert f"damaged/{name}" in "".join(result.stderr.split("\n"))
