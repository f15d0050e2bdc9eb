"""One wrong type or missing key in a file of a run ends with an error that names the file and the row, never otherwise.

The damage is done to every key of every file in turn, so that what a page reads need not be listed here.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from damage import SOME, refusals

from likeness.core.errors import DataError
from likeness.core.files import read_json, write_json
from likeness.report import build_report

RunMaker = Callable[..., Path]


@pytest.fixture
def run(run_maker: RunMaker, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small run with every file that a page reads; pictures are not drawn into the page, for speed."""
    monkeypatch.setattr("likeness.report.pictures.webp_uri", lambda _: "data:,")
    run = run_maker(num_cases=2)
    (run / "rejected.jsonl").write_text('{"where": "a:1", "reason": "x"}\n{"where": "a:2", "reason": "y"}\n')
    write_json(run / "commands.json", {"generate": "likeness generate", "evaluate": "likeness evaluate run"})
    return run


FILES = ("run.json", "manifest.jsonl", "commands.json", "rejected.jsonl", "evaluation/scores.jsonl")


@SOME
@pytest.mark.parametrize("name", [*FILES, "evaluation/summary.json"])
def test_damage_is_shown_or_named_with_file_and_row(run: Path, name: str, every: int) -> None:
    said = refusals(run / name, lambda: build_report(run), every=every)
    assert said
    place = f"{run / name}:2: " if name.endswith(".jsonl") else f"{run / name}"
    assert [line for line in said if not line.startswith(place) and "UTF-8" not in line] == []


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mean", 1e308, "expected a number up to 1e+30 as 'rows.0.mean', got 1e+308"),
        ("n", "many", "expected a count as 'rows.0.n', got 'many'"),
        ("unit", None, "expected Unicode text as 'rows.0.unit', got null"),
        ("n", 10**400, "expected a count as 'rows.0.n', got a number of about 400 digits"),
    ],
)
def test_the_message_says_what_was_wanted_and_found(run: Path, key: str, value: object, words: str) -> None:
    path = run / "evaluation" / "summary.json"
    summary = read_json(path)
    summary["rows"][0][key] = value
    write_json(path, summary)
    with pytest.raises(DataError) as caught:
        build_report(run)
    assert words in str(caught.value)


def test_blank_lines_count_when_a_row_is_named(run: Path) -> None:
    path = run / "manifest.jsonl"
    path.write_text("\n\n" + path.read_text(encoding="utf-8") + "\n{}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.jsonl:6: expected Unicode text as 'id', got nothing;"):
        build_report(run)
