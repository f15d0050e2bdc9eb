"""Archives: only what is asked for is unpacked, nothing is written elsewhere, and damage is told."""

import zipfile
from pathlib import Path

import pytest

from likeness.core.errors import WeightsError
from likeness.core.hashing import file_sha256
from likeness.encoders.archive import opened_parts, parts_sha256

PARTS = ("a.txt", "inner/b.txt", "c.txt")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as file:
        file.writestr("a.txt", "one")
        file.writestr("inner/b.txt", "two")
        file.writestr("other.txt", "three")
    return tmp_path / "some.zip"


def test_the_parts_that_are_there_are_files_while_it_is_open(archive: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "c.txt").write_text("of a killed process")
    with opened_parts(archive, PARTS, place=place) as folder:
        files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files == {"a.txt": "one", "inner/b.txt": "two"}
    assert not place.exists()


def test_a_folder_stays_as_it_is(tmp_path: Path) -> None:
    with opened_parts(tmp_path, PARTS, place=tmp_path / "place") as folder:
        assert folder == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../a.txt", "inner/../../a.txt", "/a.txt", "C:/a.txt", "inner\\..\\..\\a.txt"])
def test_a_name_that_leads_out_is_refused(name: str, archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, "elsewhere")
    before = set(tmp_path.rglob("*"))
    with (
        pytest.raises(WeightsError, match=r"some\.zip: expected names inside the archive, got .*a\.txt', which leads"),
        opened_parts(archive, (*PARTS, name), place=tmp_path / "place"),
    ):
        pass
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("size", [0, 10, 150])
def test_a_cut_archive_is_damage(size: int, archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:size])
    with (
        pytest.raises(WeightsError, match=r"some\.zip: expected a whole zip archive, got BadZipFile"),
        opened_parts(archive, PARTS, place=tmp_path / "place"),
    ):
        pass


def test_a_changed_byte_is_damage(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes().replace(b"two", b"tow", 1))
    with (
        pytest.raises(WeightsError, match=r"got BadZipFile: Bad CRC-32"),
        opened_parts(archive, PARTS, place=tmp_path / "place"),
    ):
        pass
    assert not (tmp_path / "place").exists()


def test_the_hash_is_of_what_is_read(archive: Path, tmp_path: Path) -> None:
    assert parts_sha256(archive, PARTS) == file_sha256(archive)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    first = parts_sha256(folder, PARTS)
    (folder / "log.txt").write_text("not read")
    assert parts_sha256(folder, PARTS) == first
    (folder / "c.txt").write_text("one")
    second = parts_sha256(folder, PARTS)
    (folder / "c.txt").rename(folder / "d.txt")
    assert len({first, second}) == 2
    assert parts_sha256(folder, PARTS) == first
