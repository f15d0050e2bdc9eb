"""`likeness fetch` on the command line: the list, the answers, and a scorer that finds what was fetched."""

import json
from pathlib import Path

import pytest
import tiny_encoders as tiny
import torch
from published_files import as_open_clip
from scripts import ROOT
from typer.testing import CliRunner

from likeness.backbones.published import published_backbones
from likeness.cli import app
from likeness.cli.checks import PUBLISHED
from likeness.cli.fetch import published
from likeness.core.errors import WeightsError
from likeness.core.fetched import copied_folder
from likeness.core.published import Published
from likeness.core.weights import resolve_processing, resolve_weights
from likeness.encoders import ENCODERS, hps, load_encoder
from likeness.encoders.faces import PACKS
from likeness.encoders.fetchable import FETCHABLE
from likeness.encoders.open_clip import ClipHeads


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "likeness" / "weights"


def test_the_list_shows_source_size_licence_and_state(cache: Path) -> None:
    text = CliRunner().invoke(app, ["fetch"]).stdout
    assert CliRunner().invoke(app, ["fetch", "--all", "--dry-run"]).stdout == text
    for name, facts in FETCHABLE.items():
        assert name in text
        assert (facts.url or facts.page) in text
        assert f"licence: {facts.licence}" in text
    assert str(cache) in text
    rows = json.loads(CliRunner().invoke(app, ["fetch", "--json"]).stdout)["fetchable"]
    assert rows.keys() == published().keys()
    assert rows["aesthetic"]["num_bytes"] == 3_714_759
    assert list(rows["aesthetic"]["sha256"].values()) == [FETCHABLE["aesthetic"].sha256]
    assert rows["dinov2"]["num_bytes"] is rows["dinov2"]["sha256"] is None  # not known is null, never a guess
    one = json.loads(CliRunner().invoke(app, ["fetch", "dinov2", "--dry-run", "--json"]).stdout)["fetchable"]
    assert one == {"dinov2": rows["dinov2"]}


def test_every_default_of_an_encoder_and_every_line_of_a_table_is_listed() -> None:
    listed = {item.source for item in published().values()} | published().keys()
    for name, facts in ENCODERS.items():
        for spec in filter(None, (facts.photo or facts.published or "").split("+")):
            assert spec in listed, name
    assert {
        *PACKS,
        "dreamsim",
        "flux_dev",
        "uno",
        "ms_diffusion",
        "ssr_encoder",
        "dreambench",
        "celebamask_hq",
        "relationbench",
    } <= listed
    assert {facts.base for facts in FETCHABLE.values() if facts.base} <= listed
    assert set(PUBLISHED) <= listed  # of `doctor`
    for name, item in published().items():
        assert item.what
        assert item.licence
        assert item.place
        assert item.needed_by
        revision = item.source.partition("@")[2]
        if item.way == "hub":
            assert item.note == ("the revision is not pinned" if revision in ("", "main") else ""), name
            assert resolves_to_copy(item.source), name


def test_the_pages_of_backbones_name_what_to_fetch() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "backbones").glob("*.md"))
    assert [name for name in published_backbones() if f"likeness fetch {name}" not in pages] == []
    for item in published_backbones().values():
        assert item.source in pages


def resolves_to_copy(spec: str) -> bool:
    """Whether a copy in the listed place is found by the hub id."""
    folder = copied_folder(spec)
    folder.mkdir(parents=True)
    return resolve_weights(spec) == folder == resolve_processing(spec)


def test_a_copied_snapshot_is_the_encoder_of_its_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tiny.write_vit(tmp_path / "downloaded")
    result = CliRunner().invoke(app, ["fetch", "dinov2", "--from", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["folder"] == str(copied_folder(published()["dinov2"].source))
    encoder = load_encoder("dinov2", str(ENCODERS["dinov2"].published))
    assert f" {ENCODERS['dinov2'].published}@" in encoder.id
    rows = json.loads(CliRunner().invoke(app, ["fetch", "--json"]).stdout)["fetchable"]
    assert [name for name, row in rows.items() if row["is_there"]] == ["dinov2"]


def test_all_goes_on_after_a_failure_and_lists_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(name: str, item: Published, **_: object) -> tuple[Path, bool]:
        if name != "dino":
            raise WeightsError(f"{name}: expected a network, got none; copy it by hand.")
        return Path("dino"), False

    monkeypatch.setattr("likeness.cli.fetch._fetch", fake)
    result = CliRunner().invoke(app, ["fetch", "--all", "--json"])
    assert result.exit_code == 2
    facts = json.loads(result.stdout)
    assert facts["fetched"] == {"dino": "dino"}
    by_way = {way: {name for name, item in published().items() if item.way in way} for way in (("hub", "convert"),)}
    assert facts["failed"].keys() == by_way["hub", "convert"] - {"dino"}
    assert facts["by_hand"].keys() == published().keys() - by_way["hub", "convert"]
    assert "run the same command to continue" in result.stderr


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
    assert CliRunner().invoke(app, ["fetch"]).stdout.count("; there") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fetch", "--from", "a.pt"], "expected what --from or --base is for, got none"),
        (["fetch", "hsp_v2"], "did you mean hps_v2"),
        (["fetch", "hps_v1"], "--from FILE"),
        (["fetch", "hps_v1", "--all"], "expected it without a name, got hps_v1 too"),
        (["fetch", "dreambench"], "licence: not known here"),
        (["fetch", "dreambench"], "put them in any folder, named by --data FOLDER"),
        (["fetch", "dlib"], "pip install 'likeness[offline]'"),
        (["fetch", "dinov2", "--base", "x"], "expected it with a file that is converted"),
    ],
)
def test_what_is_wrong_ends_with_2(words: list[str], told: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
