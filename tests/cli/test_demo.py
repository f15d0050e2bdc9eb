"""demo: pictures before and after a tuning on one page; with stand-ins, and slowly with embedded weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import likeness.evaluate.folder  # noqa: F401 # pyright: ignore[reportUnusedImport] - before its parts are replaced
from likeness.cli import app
from likeness.cli.checks import EMBEDDED
from likeness.cli.demo import TUNING_PAIRS
from likeness.core.files import write_json, write_jsonl
from likeness.core.records import Case, CasesFile
from likeness.core.weights import embedded_names
from likeness.train.config import read_train_config

runner = CliRunner()


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rooms behind the demo that draw plain squares and measure nothing; the list holds what was called.

    Tuned pictures are orange, others teal.
    """
    calls: list[str] = []

    def cases(name: str, *, limit: int, folder: Path) -> CasesFile:
        return CasesFile(cases=tuple(Case(id=f"c-{k}", prompt=f"{name} {k}") for k in range(limit)), left_out=())

    def generate(cases: tuple[Case, ...], *, out: Path, loras: Sequence[Path] = (), **_: Any) -> None:
        calls.append(f"{out.name} with {loras[0].parent.parent.name}" if loras else out.name)
        (out / "images").mkdir(parents=True)
        for case in cases:
            Image.new("RGB", (16, 16), "orange" if loras else "teal").save(out / "images" / f"{case.id}-0.png")
        write_jsonl(out / "cases.jsonl", [case.model_dump(mode="json") for case in cases])
        rows = [{"id": f"{case.id}-0", "case_id": case.id, "image": f"images/{case.id}-0.png"} for case in cases]
        write_jsonl(out / "manifest.jsonl", rows)

    def evaluate(run: Path, *, benchmark: str, **_: Any) -> None:
        write_jsonl(run / "evaluation" / "scores.jsonl", [])
        summary = {"benchmark": benchmark, "inputs_sha256": "", "metrics": {}, "rows": []}
        write_json(run / "evaluation" / "summary.json", summary)

    def make_pairs(n: int, *, out: Path, **_: Any) -> None:
        calls.append(f"{n} pairs")

    def tune(recipe: Path, *, out: Path, **_: Any) -> SimpleNamespace:
        config = read_train_config(recipe)  # what the demo writes must be a sound recipe
        calls.append(f"{config.train.steps} steps of {config.objective.model_dump()['kind']}")
        objective = config.objective.model_dump()
        facts = {"label": "FocusDPO", "compares": True}
        write_json(out / "run.json", {"kind": "train", "objective": facts, "config": {"objective": objective}})
        return SimpleNamespace(trained=out / "lora", steps=config.train.steps, num_rows=5, noun="pairs")

    monkeypatch.setattr("likeness.data.pairs.dip.make_pairs", make_pairs)
    monkeypatch.setattr("likeness.train.run.tune", tune)
    monkeypatch.setattr("likeness.benchmarks.benchmark_cases", cases)
    monkeypatch.setattr("likeness.cli.progress.quiet_libraries", lambda: None)
    monkeypatch.setattr("likeness.generate.run.generate_run", generate)
    monkeypatch.setattr("likeness.evaluate.run.load_encoders", lambda _: {})
    monkeypatch.setattr("likeness.evaluate.run.evaluate_run", evaluate)
    return calls


def run_demo(*words: str) -> dict[str, Any]:
    result = runner.invoke(app, ["demo", *words, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_demo_without_tuning_ends_with_one_page(stand_ins: list[str], tmp_path: Path) -> None:
    facts = run_demo("--out", str(tmp_path / "demo"), "--cases", "3", "--tuning-steps", "0")
    assert stand_ins == ["world-multi"]
    html = Path(facts["report"]).read_text(encoding="utf-8")
    assert html.count("<article") == 3
    assert "Before and after tuning" not in html
    assert facts["tuned_runs"] == []
    with Image.open(facts["contact_sheet"]) as sheet:
        assert sheet.width == 3 * (192 + 12) + 12


def test_demo_tunes_between_drawing_and_drawing_again(stand_ins: list[str], tmp_path: Path) -> None:
    out = tmp_path / "demo"
    facts = run_demo("--out", str(out), "--cases", "3", "--tuning-steps", "7")
    assert stand_ins == [
        "world-multi",
        f"{TUNING_PAIRS} pairs",
        "7 steps of focus_dpo",
        "world-multi with tuned-7",
    ]
    assert facts["tuned_runs"] == [str(out / "tuned-7" / "world-multi")]
    html = Path(facts["report"]).read_text(encoding="utf-8")
    assert "Before and after tuning" in html
    assert "after 7 steps of FocusDPO. It was tuned on 5 pairs of other characters" in html
    assert html.count("<figcaption>before</figcaption>") == html.count("<figcaption>after</figcaption>") == 3
    assert "How this run looks" in (out / "tuned-7/training/report.html").read_text(encoding="utf-8")
    line = json.loads((out / "tuned-7/world-multi/commands.json").read_text())["generate"]
    assert "--lora" in line
    assert str(tmp_path) not in line


@pytest.mark.slow
@pytest.mark.skipif(not set(EMBEDDED) <= set(embedded_names()), reason="the embedded checkpoints are not there")
def test_demo_on_the_embedded_world_ends_with_the_same_bytes_when_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likeness.cli.demo.TUNING_PAIRS", 4)
    pages: list[bytes] = []
    for _ in range(2):
        result = runner.invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--cases", "2", "--tuning-steps", "2"])
        assert result.exit_code == 0, result.stderr
        pages.append((tmp_path / "demo" / "report.html").read_bytes())
    assert pages[0] == pages[1]
