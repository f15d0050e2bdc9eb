"""Every generated table and picture of the pages comes from one part of figures/all.py; headline numbers are cards'."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import child_environment, load_script

from likeness.benchmarks.cards import cards
from likeness.core.hashing import short
from likeness.core.records import Case
from likeness.evaluate.aggregate import summary_rows
from likeness.evaluate.cards import under_cards

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
every: Any = load_script("figures/all.py")
results: Any = load_script("figures/results.py")


def places_in(page: Path) -> set[str]:
    """Generated blocks, whole generated pages and pictures of a page, as figures/all.py names them."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    found = {f"{name}#{block}" for block in re.findall(r"<!-- (\S+?):begin -->", text)}
    found |= {name} if re.search(r"^Written by `python [^`]*> " + re.escape(name), text, re.MULTILINE) else set()
    pictures = re.findall(r"\]\(([^)\s]+\.(?:png|webp))\)", text)
    return found | {(page.parent / each).resolve().relative_to(ROOT).as_posix() for each in pictures}


def test_every_generated_place_is_written_by_exactly_one_part() -> None:
    claimed = [place for part in every.PARTS for place in part.writes]
    assert len(claimed) == len(set(claimed))
    generated = {place for page in PAGES for place in places_in(page)}
    assert len(generated) >= 14
    assert generated - set(claimed) == set()
    shown = {place for place in claimed if not place.endswith(".json")}
    assert shown - generated == set(), "no page shows this"
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/pictures").iterdir()} <= set(claimed)


def test_the_list_tells_scripts_times_and_places() -> None:
    command = [sys.executable, "figures/all.py", "--list"]
    said = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, check=True).stdout
    for part in every.PARTS:
        assert f"{part.name}: {part.takes}" in said
        assert all(f"writes {place}" in said for place in part.writes)
        assert (ROOT / part.command.split()[0]).is_file()
        assert part.quick.split()[0] == part.command.split()[0]
        assert set(part.needs) <= {each.name for each in every.PARTS}
    with pytest.raises(ValueError, match=r"expected names of cards, .*got tabels"):
        every.chosen(["tabels"])


def test_a_quick_part_writes_to_the_copy_only_and_is_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a part of its own, so that nothing heavy runs."""
    before = (ROOT / "docs/cards.md").read_bytes()
    script = "figures/blocks.py"  # prints nothing
    part = every.Part("cards", script, script, ("docs/cards.md",), "seconds", printed=True)
    monkeypatch.setattr(every, "PARTS", (part,))
    monkeypatch.setattr(sys, "argv", ["all.py", "--quick", "--out", str(tmp_path)])
    every.main()
    assert (tmp_path / "pages/docs/cards.md").read_text() == ""
    assert (ROOT / "docs/cards.md").read_bytes() == before
    (tmp_path / "pages/docs/cards.md").unlink()
    every.main()
    assert not (tmp_path / "pages/docs/cards.md").exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--only", "cards"])
    every.main()
    assert (tmp_path / "pages/docs/cards.md").exists()


@pytest.mark.slow
def test_everything_runs_at_small_sizes(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in PAGES}
    command = [sys.executable, "figures/all.py", "--quick", "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=child_environment(), check=True)
    assert {path: path.read_bytes() for path in PAGES} == before
    finished = json.loads((tmp_path / "finished.json").read_text())
    assert list(finished) == [part.name for part in every.PARTS]
    for place in (place.partition("#")[0] for part in every.PARTS for place in part.writes):
        assert (tmp_path / "pages" / place).is_file()


# -- headline numbers ----------------------------------------------------------------------------------------------
VALUES = {
    "attribute_accuracy": [0.5, 1.0, 0.75, 0.25, 1.0, 0.5],
    "leakage": [0.0, 0.5, 0.25, None, 0.0, 0.0],
    "action_recognised": [1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
    "scene_recognised": [1.0] * 6,
    "dino": [0.7, 0.6, 0.65, 0.55, 0.5, 0.4],
    "clip_i": [0.5, 0.6, 0.5, 0.55, 0.5, 0.4],
    "clip_t": [0.3, 0.2, 0.25, 0.35, 0.3, 0.1],
}


def summary_of(benchmark: str) -> dict[str, Any]:
    """A summary of six pictures, as `evaluate` computes it, measured by the weights that the newest card pins."""
    card = max((card for card in cards().values() if card.cases.benchmark == benchmark), key=lambda card: card.version)
    pattern = card.cases.ids.replace("[0-9]{4}", "{:04d}")
    names = [pattern.format(number) for number in range(6)]
    cases = [Case(id=name, prompt=f"prompt {number % 4}") for number, name in enumerate(names)]
    rows = [
        {
            **{"id": f"{name}-0", "case_id": name, "prompt": cases[number].prompt, "row": "generated"},
            **{"subjects": ["abc"[number % 3]], "group": "abc"[number % 3]},
            "values": {key: {"value": some[number], "note": ""} for key, some in VALUES.items()},
        }
        for number, name in enumerate(names)
    ]
    encoders = {name: f"kind {name}@{short(digest)}; text" for name, digest in card.weights_sha256.items()}
    kinds = {"generated": rows, "floor": [], "ceiling": []}
    found = under_cards(kinds, cases=cases, benchmark=benchmark, encoders=encoders)
    return {"rows": summary_rows(kinds, num_missing=0), **found}


@pytest.mark.parametrize("benchmark", results.CARDS)
def test_numbers_of_the_pages_are_those_of_the_cards_and_of_the_summary(benchmark: str) -> None:
    summary = summary_of(benchmark)
    keys = {"Attributes": "attribute_accuracy", "Leakage": "leakage", "DINO": "dino", "CLIP-T": "clip_t"}
    for column, metric in keys.items():
        row = results.card_row(summary, benchmark, column)
        (same,) = [each for each in summary["rows"] if (each["row"], each["metric"]) == ("generated", metric)]
        assert [row[key] for key in ("mean", "ci_low", "ci_high", "n")] == [
            same[key] for key in ("mean", "ci_low", "ci_high", "n")
        ]
    figures = {each.name: each for each in results.benchmark_figures(benchmark, summary, summary)}
    leakage = figures[f"{benchmark}: leakage"]
    assert (leakage.mean, leakage.n) == (pytest.approx((0.0 + 0.25 + 0.125) / 3), 5)
    assert figures[f"{benchmark}: dino"].mean == pytest.approx((0.625 + 0.55 + 0.525) / 3)
    if benchmark != "world-hard":
        assert figures[f"{benchmark}: attribute accuracy / ceiling"].mean == pytest.approx(1.0)


def test_a_run_that_no_card_stands_for_has_no_headline() -> None:
    with pytest.raises(ValueError, match="expected numbers under one version of world/multi, got"):
        results.card_row(summary_of("world-single"), "world-multi", "Attributes")


def test_the_stored_pages_are_filled_from_the_stored_numbers(tmp_path: Path) -> None:
    demo: Any = load_script("figures/demo.py")
    stored = json.loads((ROOT / "docs/demo.json").read_text())
    assert demo.told(stored) in (ROOT / "README.md").read_text(encoding="utf-8")
    blocks: Any = load_script("figures/blocks.py")
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n")
    blocks.fill_block(page, "x", "new\n")
    assert page.read_text() == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"
    with pytest.raises(ValueError, match="expected the marks of y once, got 0 and 0"):
        blocks.fill_block(page, "y", "")


def test_the_rows_of_the_demo_are_those_of_its_comparison() -> None:
    demo: Any = load_script("figures/demo.py")
    ends = {"ci_low": 0.125, "ci_high": 0.375, "n": 4, "n_subjects": 4, "missing": 0, "reason": ""}
    means = [{"method": "before", "mean": 0.5}, {"method": "after", "mean": 0.75}]
    metric = {
        "metric": "dino",
        "label": "DINO",
        "means": means,
        "differences": [{"method": "after", "mean": 0.25} | ends],
    }
    nothing = {**metric, "differences": [{"method": "after", "mean": None} | ends]}
    (row,) = demo.rows_of({"metrics": [metric, nothing]})
    assert row == {"metric": "dino", "label": "DINO", "before": 0.5, "after": 0.75, "difference": {"mean": 0.25} | ends}
    assert "| DINO | 0.500 | 0.750 | +0.250 | +0.125 to +0.375 |" in demo.told({"rows": [row]})
