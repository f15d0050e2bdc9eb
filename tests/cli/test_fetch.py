"""`likeness fetch` on the command line: the list, the answers, and a scorer that finds what was fetched."""

import json
from pathlib import Path

import pytest
import tiny_encoders as tiny
import torch
from published_files import as_open_clip
from typer.testing import CliRunner

from likeness.cli import app
from likeness.encoders import hps
from likeness.encoders.fetchable import FETCHABLE
from likeness.encoders.open_clip import ClipHeads


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "likeness" / "weights"


def test_the_list_shows_source_size_licence_and_state(cache: Path) -> None:
    text = CliRunner().invoke(app, ["fetch"]).stdout
    for name, facts in FETCHABLE.items():
        assert name in text
        assert (facts.url or facts.page) in text
        assert f"licence: {facts.licence}" in text
    assert str(cache) in text
    rows = json.loads(CliRunner().invoke(app, ["fetch", "--json"]).stdout)["fetchable"]
    assert rows.keys() == FETCHABLE.keys()


def test_a_fetched_scorer_is_found_by_its_name(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hps, "VIT_H_14", ClipHeads(2, 2, "gelu"))
    torch.save({"state_dict": as_open_clip(tiny.tiny_clip())}, tmp_path / "HPS.pt")
    base = tiny.write_clip(tmp_path / "base")
    command = ["fetch", "hps_v2", "--from", str(tmp_path / "HPS.pt"), "--base", str(base)]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"name": "hps_v2", "folder": str(cache / "hps_v2"), "was_there": False}
    again = CliRunner().invoke(app, ["fetch", "hps_v2"]).stdout
    assert "(was there). Next: likeness evaluate RUN --metric hps_v2" in again
    assert CliRunner().invoke(app, ["fetch"]).stdout.count("; fetched") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fetch", "--from", "a.pt"], "expected what --from or --base is for, got none"),
        (["fetch", "hsp_v2"], "did you mean hps_v2"),
        (["fetch", "hps_v1"], "--from FILE"),
    ],
)
def test_what_is_wrong_ends_with_2(words: list[str], told: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
