"""doctor: finds what is missing, says how to get it, and its exit code can be trusted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from likeness.cli import app, checks
from likeness.cli.checks import Finding

runner = CliRunner()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures speed for a hundredth of a second only."""
    monkeypatch.setattr(checks, "MATMUL_SECONDS", 0.01)
    monkeypatch.setattr(checks, "MATMUL_SIDE", 64)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("status", "exit_code"), [("ok", 0), ("broken", 1), ("absent", 1)])
def test_exit_code_follows_what_the_world_needs(monkeypatch: pytest.MonkeyPatch, status: str, exit_code: int) -> None:
    needed = Finding(name="embedded flux", status=status, detail="", needed=True)  # type: ignore[arg-type]
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
    assert all(item.status == "absent" and item.name in item.fix for item in found)


def test_published_weights_in_the_cache_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--facebook--dino-vits16" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert {item.name: item.status for item in checks.check_published()}["facebook/dino-vits16"] == "ok"


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
