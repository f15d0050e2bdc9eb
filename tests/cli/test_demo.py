"""demo: three benchmarks on one page and one contact sheet; with stand-ins, and slowly with the embedded weights."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from likeness.cli import app
from likeness.cli.checks import EMBEDDED
from likeness.core.files import write_jsonl
from likeness.core.records import Case, CasesFile
from likeness.core.weights import embedded_names

runner = CliRunner()


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rooms behind the demo that draw plain squares and measure nothing; the list holds what was called."""
    calls: list[str] = []

    def cases(source: Any, *, limit: int, folder: Path) -> CasesFile:
        return CasesFile(
            cases=tuple(Case(id=f"c-{k}", prompt=f"{source.benchmark} {k}") for k in range(limit)), rejected=()
        )

    def generate(cases: tuple[Case, ...], *, out: Path, **_: Any) -> None:
        calls.append(out.name)
        (out / "images").mkdir(parents=True)
        for case in cases:
            Image.new("RGB", (16, 16), "teal").save(out / "images" / f"{case.id}-0.png")
        write_jsonl(out / "cases.jsonl", [case.model_dump(mode="json") for case in cases])
        rows = [{"id": f"{case.id}-0", "case_id": case.id, "image": f"images/{case.id}-0.png"} for case in cases]
        write_jsonl(out / "manifest.jsonl", rows)

    monkeypatch.setattr("likeness.cli.cases.benchmark_cases", cases)
    monkeypatch.setattr("likeness.cli.progress.quiet_libraries", lambda: None)
    monkeypatch.setattr("likeness.generate.run.generate_run", generate)
    monkeypatch.setattr("likeness.evaluate.run.load_encoders", lambda _: {})
    monkeypatch.setattr("likeness.evaluate.run.evaluate_run", lambda *_, **__: {})
    return calls


def test_demo_ends_with_one_page_for_three_benchmarks(stand_ins: list[str], tmp_path: Path) -> None:
    result = runner.invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--cases", "3", "--json"])
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert stand_ins == ["world-single", "world-multi", "world-hard"]
    html = Path(facts["report"]).read_text(encoding="utf-8")
    assert html.count("<article") == 3 + 3 + 2  # world-hard gets two thirds
    with Image.open(facts["contact_sheet"]) as sheet:
        assert sheet.width == 8 * (192 + 12) + 12


@pytest.mark.slow
@pytest.mark.skipif(not set(EMBEDDED) <= set(embedded_names()), reason="the embedded checkpoints are not there")
def test_demo_on_the_embedded_world_ends_with_the_same_bytes_when_repeated(tmp_path: Path) -> None:
    pages: list[bytes] = []
    for _ in range(2):
        result = runner.invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--cases", "2"])
        assert result.exit_code == 0, result.stderr
        pages.append((tmp_path / "demo" / "report.html").read_bytes())
    assert pages[0] == pages[1]
