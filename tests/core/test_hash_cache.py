"""Hashes of large files are remembered: the same as read anew, never of other content, whatever became of the cache."""

import hashlib
import os
from pathlib import Path

import pytest

from likeness.core import hash_cache
from likeness.core.errors import DataError
from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import file_sha256, folder_sha256
from likeness.core.weights import weights_facts

LARGE = b"x" * 5000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache file; files above 4 kB count as large."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hash_cache, "LARGE_BYTES", 4000)
    return tmp_path / "cache" / "likeness" / "hashes.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with large and small files, some of which no folder hash sees."""
    folder = tmp_path / "model"
    names = ["b.safetensors", "a/b.safetensors", "a-b.safetensors", ".cache/x", "__pycache__/y", "a/calibration.json"]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(LARGE + bytes([number]))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read to be hashed."""
    names: list[str] = []

    def counting(path: Path) -> str:
        names.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(hash_cache, "file_sha256", counting)
    return names


def test_a_folder_has_the_hash_that_folder_sha256_gives(cache: Path, model: Path) -> None:
    for _ in range(2):  # read, then remembered
        assert remembered_sha256(model) == folder_sha256(model)
        assert remembered_sha256(model / "config.json") == file_sha256(model / "config.json")
    assert cache.is_file()


@pytest.mark.usefixtures("cache")
def test_weights_facts_read_a_large_file_once(model: Path, read: list[str]) -> None:
    first = weights_facts(model, model)
    assert "b.safetensors" in read
    read.clear()
    assert weights_facts(model, model) == first
    assert read == ["config.json"]


@pytest.mark.usefixtures("cache")
def test_a_link_is_known_by_the_file_it_leads_to(model: Path, read: list[str], tmp_path: Path) -> None:
    """The hub's cache links every revision's names to the same blobs."""
    remembered_sha256(model / "b.safetensors")
    (tmp_path / "linked.safetensors").symlink_to(model / "b.safetensors")
    read.clear()
    assert remembered_sha256(tmp_path / "linked.safetensors") == hashlib.sha256(LARGE + b"\0").hexdigest()
    assert read == []


@pytest.mark.usefixtures("cache")
def test_changed_files_are_read_again(model: Path) -> None:
    path = model / "b.safetensors"
    before = remembered_sha256(path)
    path.write_bytes(LARGE + b"longer")
    longer = remembered_sha256(path)
    path.write_bytes(LARGE + b"LONGER")  # as long
    os.utime(path, ns=(1, 1))
    assert before != longer
    assert remembered_sha256(path) == file_sha256(path) != longer


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}', "\x00", '["x"]'])
def test_a_damaged_cache_is_replaced(cache: Path, model: Path, read: list[str], text: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    for _ in range(2):
        assert remembered_sha256(model / "b.safetensors") == file_sha256(model / "b.safetensors")
    assert read == ["b.safetensors"]


def test_an_entry_that_is_no_hash_is_not_believed(cache: Path, model: Path) -> None:
    expected = remembered_sha256(model / "b.safetensors")
    cache.write_text(cache.read_text().replace(expected, "no hash"))
    assert remembered_sha256(model / "b.safetensors") == expected


def test_a_cache_that_cannot_be_written_costs_only_time(cache: Path, model: Path, read: list[str]) -> None:
    cache.parent.parent.write_text("a file where the folder should be")
    for _ in range(2):
        assert remembered_sha256(model / "b.safetensors") == file_sha256(model / "b.safetensors")
    assert read == ["b.safetensors"] * 2


@pytest.mark.usefixtures("cache")
def test_missing_and_empty_places_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        remembered_sha256(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        remembered_sha256(tmp_path / "empty")
