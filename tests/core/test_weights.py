"""Weights are found by name, by folder or on the hub, and damaged files never get as far as a model."""

import hashlib
import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from safetensors.numpy import save_file

from likeness.core import weights
from likeness.core.errors import WeightsError
from likeness.core.weights import resolve_adapter, weights_facts


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "assets" / "tiny"
    (folder / "transformer").mkdir(parents=True)
    tensors = {"a": np.arange(6, dtype=np.float32), "b": np.zeros((2, 3), dtype=np.float16)}
    save_file(tensors, folder / "transformer" / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_local_folder_is_itself(checkpoint: Path) -> None:
    assert weights.resolve_weights(str(checkpoint)) == checkpoint


def test_embedded_name_comes_first(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "embedded_folder", lambda: checkpoint.parent)
    assert weights.embedded_names() == ["tiny"]
    assert weights.embedded("tiny") == weights.resolve_weights("tiny") == checkpoint


def test_a_folder_named_like_an_embedded_checkpoint_stays_itself(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found once for the run's facts and once by the process that loads it."""
    monkeypatch.setattr(weights, "embedded_folder", lambda: checkpoint.parent)
    own = Path(shutil.copytree(checkpoint, tmp_path / "own" / "tiny"))
    monkeypatch.chdir(own.parent)
    found = weights.resolve_weights("./tiny")
    assert found == own
    assert weights.resolve_weights(str(found)) == own


@pytest.mark.parametrize("name", ["none", "", ".", "..", "../core", "tiny/transformer"])
def test_unknown_embedded_name_lists_the_known(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(weights, "embedded_folder", lambda: checkpoint.parent)
    with pytest.raises(WeightsError, match="expected one of tiny, got"):
        weights.embedded(name)


@pytest.mark.parametrize("spec", ["no such thing", "/no/such/folder", "a/b/c"])
def test_unknown_spec_says_what_would_do(spec: str) -> None:
    with pytest.raises(WeightsError, match=r"an embedded name .* an existing folder or a hub id"):
        weights.resolve_weights(spec)


def test_file_instead_of_folder(checkpoint: Path) -> None:
    with pytest.raises(WeightsError, match="expected a folder of weights, got a file"):
        weights.resolve_weights(str(checkpoint / "transformer" / "model.safetensors"))


def test_hub_id_and_revision_are_passed_on_without_pickles(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def snapshot_download(hub_id: str, **options: object) -> str:
        asked.update(options, hub_id=hub_id)
        return str(checkpoint)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert weights.resolve_weights("owner/name@refs/pr/1") == checkpoint
    assert asked["hub_id"] == "owner/name"
    assert asked["revision"] == "refs/pr/1"
    assert not any(str(pattern).endswith((".bin", ".pt", ".ckpt", "*")) for pattern in asked["allow_patterns"])  # type: ignore[attr-defined]


def hub_with(files: list[str], *, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub with one repository of these files; what is fetched lands in `cache`, as the real patterns choose."""

    def snapshot_download(hub_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        for name in filter_repo_objects(files, allow_patterns=allow_patterns):
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".safetensors"):
                save_file({"a": np.zeros(2, dtype=np.float32)}, cache / name)
            else:
                (cache / name).write_text("{}")
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def fetched(cache: Path) -> list[str]:
    return sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())


def test_a_revision_without_safetensors_is_refused_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_with(["config.json", "pytorch_model.bin"], cache=tmp_path, monkeypatch=monkeypatch)
    with pytest.raises(WeightsError) as caught:
        weights.resolve_weights("owner/name@v1")
    message = str(caught.value)
    assert message.startswith("owner/name@v1: expected safetensors (pickles are never read)")
    assert "owner/name@refs/pr/N" in message
    assert "converted local copy" in message


def test_of_a_pipeline_the_safetensors_beside_its_index_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ["model_index.json", "text_encoder/a.safetensors", "transformer/a.safetensors", "transformer/config.json"]
    files = [*parts, "flux1-dev.safetensors", "ae.safetensors", "README.md", "vae/pickle.bin"]
    hub_with(files, cache=tmp_path, monkeypatch=monkeypatch)
    assert weights.resolve_weights("owner/flux") == tmp_path
    assert fetched(tmp_path) == parts


@pytest.mark.parametrize("files", [["dit_lora.safetensors"], ["config.json", "model.safetensors", "x/y.safetensors"]])
def test_of_adapters_and_encoders_all_safetensors_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    hub_with([*files, "README.md", "pytorch_model.bin"], cache=tmp_path, monkeypatch=monkeypatch)
    assert weights.resolve_weights("owner/name") == tmp_path
    assert fetched(tmp_path) == files


def cached_snapshot(cache: Path, files: list[str]) -> Path:
    """A snapshot in the layout of the hub's cache, with the list of all files that the hub has of it."""
    commit, folder = "c" * 40, cache / "models--owner--flux"
    snapshot = folder / "snapshots" / commit
    for name in files:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_text("{}")
        if name.endswith(".safetensors"):
            save_file({"a": np.zeros(2, dtype=np.float32)}, snapshot / name)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    listed = {name: {"size": 2, "blob_id": "b" * 40} for name in [*files, "flux1-dev.safetensors"]}
    (folder / "trees").mkdir()
    (folder / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": listed}))
    return snapshot


def test_a_cached_pipeline_is_found_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own look-up knows that flux1-dev.safetensors exists and must not miss it."""
    snapshot = cached_snapshot(tmp_path, ["model_index.json", "transformer/a.safetensors"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert weights.resolve_weights("owner/flux") == snapshot


def test_offline_failure_names_id_cache_and_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(hub_id: str, **options: object) -> str:
        raise LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(WeightsError) as caught:
        weights.resolve_weights("owner/name")
    message = str(caught.value)
    assert message.startswith("owner/name: ")
    assert huggingface_hub.constants.HF_HUB_CACHE in message
    assert "path of a local copy" in message


def damage(data: bytes, kind: str) -> bytes:
    return {
        "truncated": data[:-1],
        "half a header": data[:20],
        "empty": b"",
        "overlong": data + b"\0",
        "wrong length": b"\xff" * 8 + data[8:],
        "no json": data[:8] + b"x" * (len(data) - 8),
        "text": b"hello, this is a text file of some length, no weights at all",
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "half a header", "empty", "overlong", "wrong length", "no json", "text"])
def test_damaged_safetensors_are_refused(checkpoint: Path, kind: str) -> None:
    path = checkpoint / "transformer" / "model.safetensors"
    path.write_bytes(damage(path.read_bytes(), kind))
    with pytest.raises(WeightsError, match=r"model\.safetensors: expected a whole safetensors file"):
        weights.resolve_weights(str(checkpoint))


def test_lfs_pointer_is_named(checkpoint: Path) -> None:
    path = checkpoint / "transformer" / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n")
    with pytest.raises(WeightsError, match="git lfs pull"):
        weights.resolve_weights(str(checkpoint))


def test_missing_safetensors_is_a_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        weights.check_safetensors(tmp_path / "x.safetensors")


def test_adapter_is_a_file_or_a_folder(checkpoint: Path) -> None:
    file = next(checkpoint.rglob("*.safetensors"))
    assert resolve_adapter(file) == file
    assert resolve_adapter(checkpoint) == checkpoint
    with pytest.raises(WeightsError, match="existing folder"):
        resolve_adapter(checkpoint / "nothing here")


def test_facts_follow_the_content_and_not_the_place(checkpoint: Path, tmp_path: Path) -> None:
    file = next(checkpoint.rglob("*.safetensors"))
    assert weights_facts(file, file) == {"id": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    moved = shutil.copytree(checkpoint, tmp_path / "elsewhere" / checkpoint.name)
    assert weights_facts(moved, moved) == weights_facts(checkpoint, checkpoint)
    assert weights_facts("owner/name@main", checkpoint)["id"] == "owner/name@main"
