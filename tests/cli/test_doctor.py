"""doctor: finds what is missing, says how to get it, and its exit code can be trusted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from likeness.cli import app, checks
from likeness.cli.checks import Check
from likeness.encoders import PHOTO_ENCODERS

runner = CliRunner()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures speed for a hundredth of a second only."""
    monkeypatch.setattr(checks, "MATMUL_SECONDS", 0.01)
    monkeypatch.setattr(checks, "MATMUL_SIDE", 64)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("status", "exit_code"), [("ok", 0), ("broken", 1), ("absent", 1)])
def test_exit_code_follows_what_the_world_needs(monkeypatch: pytest.MonkeyPatch, status: str, exit_code: int) -> None:
    needed = Check(name="embedded flux", status=status, detail="", needed=True)  # type: ignore[arg-type]
    monkeypatch.setattr(checks, "check_embedded", lambda: [needed])
    result = runner.invoke(app, ["doctor", "--json"])
    assert result.exit_code == exit_code
    facts = json.loads(result.stdout)
    assert facts["usable"] is (exit_code == 0)
    assert "--dtype" in facts["devices"][-1]["detail"]


@pytest.mark.usefixtures("quick")
def test_missing_published_weights_come_with_their_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    head, *found = checks.check_published()
    assert head.status == "ok"
    for item in found:
        hub_id, _, revision = item.name.partition("@")
        assert item.status == "absent"
        assert f"hf download {hub_id}" in item.fix
        assert not revision or f"--revision {revision}" in item.fix


def test_the_default_encoders_are_among_the_published_weights() -> None:
    assert set(PHOTO_ENCODERS.values()) <= set(checks.PUBLISHED)
    assert PHOTO_ENCODERS["clip"] == "openai/clip-vit-base-patch32@refs/pr/15"


def cached(cache: Path, *, revision: str, commit: str, file: str) -> None:
    """A file of CLIP in the layout of the hub's cache."""
    folder = cache / "models--openai--clip-vit-base-patch32"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / file).write_bytes(b"")
    (folder / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(commit)


def test_published_weights_in_the_cache_need_safetensors_of_their_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def clip() -> Check:
        return {item.name: item for item in checks.check_published()}["openai/clip-vit-base-patch32@refs/pr/15"]

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached(tmp_path, revision="main", commit="abc", file="pytorch_model.bin")
    assert clip().status == "broken"
    assert "no safetensors of this revision, and pickles are never read" in clip().detail
    assert "--revision refs/pr/15" in clip().fix
    cached(tmp_path, revision="v2", commit="def", file="model.safetensors")  # another revision's do not help
    assert clip().status == "broken"
    cached(tmp_path, revision="refs/pr/15", commit="123", file="model.safetensors")
    assert (clip().status, clip().fix) == ("ok", "")


def test_a_skia_that_cannot_load_comes_with_the_packages_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skia", None)  # makes `import skia` fail
    (found,) = checks.check_drawing()
    assert (found.status, found.needed) == ("broken", True)
    assert "apt-get install libgl1 libegl1" in found.fix


def test_a_package_of_another_version_is_named_with_the_wanted_one() -> None:
    found = checks._check_package("numpy", versions=">=999")
    assert found.status == "broken"
    assert found.detail.endswith("wanted >=999")
    assert found.fix == "`pip install 'numpy>=999'`"


def test_every_required_package_is_looked_at() -> None:
    names = {item.name for item in checks.check_packages()}
    assert {"python", "torch", "diffusers", "skia-python", "typer"} <= names
