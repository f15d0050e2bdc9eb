"""Pages of small runs, opened in Debian's chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any  # playwright may be absent, so its types are not named

import pytest
from report_runs import make_run
from scripts import load_script
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.files import read_jsonl, write_jsonl
from likeness.report import build_report, files_of

CHROMIUM = "/usr/bin/chromium"


def _playwright() -> ModuleType:
    return pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`: pip install playwright")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests."""
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    with _playwright().sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of one run, of two runs compared, of several runs that are not, and of methods side by side."""
    folder = tmp_path_factory.mktemp("pages")
    before, after, plain = (make_run(folder / name, num_cases=9) for name in ("before", "after", "plain"))
    shutil.rmtree(plain / "evaluation")
    rows = read_jsonl(after / "evaluation/scores.jsonl")
    for index, row in enumerate(rows):
        row["values"]["attribute_accuracy"]["value"] += 0.02 * index
    write_jsonl(after / "evaluation/scores.jsonl", rows)
    write_jsonl(plain / "rejected.jsonl", [{"where": f"{'long_name' * 12}.jsonl:9", "reason": "empty prompt"}])
    found = {"one": [before], "compared": [before, after], "several": [before, after, plain]}
    made = {name: folder / f"{name}.html" for name in found}
    for name, runs in found.items():
        result = CliRunner().invoke(app, ["report", *map(str, runs), "--out", str(made[name])])
        assert result.exit_code == 0, result.output
    return {**made, "methods": _methods(folder, [before, after]), "many": _many(folder / "many")}


def _many(folder: Path) -> Path:
    """The page of 200 photographs, which lie beside it."""
    script = load_script("benchmarks/perf/report.py")
    vars(script)["SIDE"] = 300
    page = build_report(script.write_run(folder, count=200, workers=1))
    assert files_of(page).is_dir()
    return page


def _methods(folder: Path, runs: list[Path]) -> Path:
    """The page of `likeness compare` with everything that it can show."""
    for run in runs:
        rows = read_jsonl(run / "evaluation/scores.jsonl")
        for row in rows:
            parts = {"matrix": [[0.0, 0.125], [-0.25, 0.0]]}
            row["values"]["leakage_matrix"] = {"value": 0.125, "note": "", "parts": parts}
        write_jsonl(run / "evaluation/scores.jsonl", rows)
    vote = {"rater": "r", "options": ["before", "after"], "choice": "after"}
    write_jsonl(folder / "votes.jsonl", [{**vote, "query": f"case-{k:05d}"} for k in range(3)])
    page = folder / "methods.html"
    words = [*map(str, runs), "--votes", str(folder / "votes.jsonl"), "--margin", "leakage=0.01", "--out", str(page)]
    result = CliRunner().invoke(app, ["compare", *words])
    assert result.exit_code == 0, result.output
    return page
