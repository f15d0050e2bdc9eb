"""RelationBench's prompts through the documented commands, on every backbone that takes references here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import preference_runs as runs
import pytest
import tiny_encoders as tiny
from tiny_ms import build_tiny_ms
from tiny_sdxl import build_tiny_sdxl
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.files import read_json, read_jsonl

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "flux": runs.write_model, "sdxl": build_tiny_sdxl, "ms": build_tiny_ms,
}  # fmt: skip
SMALL = ["--size", "64", "--steps", "1", "--device", "cpu", "--workers", "1"]


def done(*words: str) -> None:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "name", ["ms", pytest.param("flux", marks=pytest.mark.slow), pytest.param("sdxl", marks=pytest.mark.slow)]
)
def test_pictures_numbers_and_a_page_of_each_backbone(name: str, tmp_path: Path) -> None:
    """15 cases, the last of them with two subjects; the CLIPs that read are tiny."""
    model, run = BUILDERS[name](tmp_path / "model"), tmp_path / "runs" / name
    done("generate", "--benchmark", "relation-world", "--limit", "15", "--model", str(model), "--out", str(run), *SMALL)
    words = ["--clip", str(tiny.write_clip(tmp_path / "clip")), "--dino", str(tiny.write_vit(tmp_path / "dino"))]
    words += ["--encoder", f"relation_clip={tiny.write_clip(tmp_path / 'reads')}", "--metric", "clip_r"]
    done("evaluate", str(run), *words, "--workers", "1", "--features", str(tmp_path / "seen"))
    done("report", str(run))
    rows = read_jsonl(run / "evaluation" / "scores.jsonl")
    assert len(rows) == 15
    assert all(row["values"]["clip_r"]["status"] == "measured" for row in rows)
    two = [row for row in rows if len(row["subjects"]) == 2]
    assert two
    assert "clip_r" in read_json(run / "evaluation" / "summary.json")["metrics"]
    assert (run / "report.html").is_file()
    sources = {row["id"]: row.get("layout", {}).get("source") for row in read_jsonl(run / "manifest.jsonl")}
    actions = {case["id"]: case["action"] for case in read_jsonl(run / "cases.jsonl")}
    for row in rows:
        wanted = f"{actions[row['case_id']]}: mean of 96 drawn pictures" if name == "ms" else None
        assert sources[row["id"]] == wanted
