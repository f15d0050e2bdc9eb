"""Files are whole or absent, and malformed ones are named with their line."""

import errno
import json
import os
from pathlib import Path

import pytest

from likeness.core.errors import DataError, OutputError
from likeness.core.files import (
    atomic_write_bytes,
    atomic_write_text,
    canonical_json,
    read_json,
    read_jsonl,
    read_text,
    recover_folder,
    remove_stale_temporaries,
    replaced_folder,
    update_text,
    write_json,
    write_jsonl,
)


def test_write_creates_folders_and_leaves_no_temporary(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "a" / "b" / "c.bin", b"\x00\x01")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\x00\x01"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.bin"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    atomic_write_text(path, "old")

    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match=r"x\.txt: expected a writable folder.*No space left.*free the disk"):
        atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_bytes_that_need_not_reach_the_disk_at_once_are_whole_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("forced to the disk"))
    atomic_write_bytes(tmp_path / "a" / "x.bin", b"new", sync=False)
    assert [path.read_bytes() for path in (tmp_path / "a").iterdir()] == [b"new"]


def filled(folder: Path, *names: str) -> None:
    with replaced_folder(folder) as fresh:
        for name in names:
            (fresh / name).write_text(name)


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for names in (["a", "b"], ["c"]):
        filled(tmp_path / "deep" / "x", *names)
        assert sorted(path.name for path in (tmp_path / "deep" / "x").iterdir()) == names
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x"]


def test_an_error_while_a_folder_is_filled_leaves_the_old_one(tmp_path: Path) -> None:
    filled(tmp_path / "x", "old")
    with pytest.raises(TypeError):
        filled(tmp_path / "x", "half", 3)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["old"]
    filled(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "new"]


def test_a_kill_between_the_renames_is_recovered(tmp_path: Path) -> None:
    filled(tmp_path / "x", "old")
    (tmp_path / "x").rename(tmp_path / "x.old")
    (tmp_path / "x.next").mkdir()
    recover_folder(tmp_path / "x")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["old"]
    recover_folder(tmp_path / "x")
    recover_folder(tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.next"]


def test_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        atomic_write_text(tmp_path / "file" / "x.txt", "text")


def test_read_only_folder_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(OutputError, match="Read-only file system"):
        atomic_write_text(tmp_path / "x.txt", "text")


def test_stale_temporaries_go_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in (".abc.tmp", "images/.def.tmp", "kept.tmp", ".hidden"):
        (tmp_path / name).write_text("half")
    assert remove_stale_temporaries(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".hidden", "kept.tmp"]


def test_canonical_json_by_hand() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("x")])
def test_values_json_does_not_have_are_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="write null with a reason"):
        write_json(tmp_path / "x.json", {"value": value})
    assert not (tmp_path / "x.json").exists()


def test_half_surrogate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Unicode"):
        write_json(tmp_path / "x.json", "\ud800")


def test_json_round_trip_keeps_key_order(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"z": 1, "a": [True, "ü"]})
    assert (tmp_path / "x.json").read_text(encoding="utf-8").index('"z"') < 10
    assert read_json(tmp_path / "x.json") == {"z": 1, "a": [True, "ü"]}


def test_jsonl_round_trip_with_line_separators_inside_strings(tmp_path: Path) -> None:
    rows = [{"prompt": "one\u2028two\nthree\x85"}, [], None, 4]
    write_jsonl(tmp_path / "x.jsonl", rows)
    assert read_jsonl(tmp_path / "x.jsonl") == rows


def test_jsonl_skips_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf{}\r\n\r\n   \n[1]")
    assert read_jsonl(tmp_path / "x.jsonl") == [{}, [1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"x:2: expected one JSON value"),
        (b"[" * 100_000, r"x:1: .*nesting"),
        (b"\xff\xfe\x00", r"x: expected UTF-8 text, got byte 0"),
    ],
)
def test_malformed_jsonl_names_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_jsonl(tmp_path / "x")


def test_malformed_json_names_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n "a": oops}')
    with pytest.raises(DataError, match=r"x\.json:2:7: expected JSON"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="nesting"):
        read_json(tmp_path / "x.json")


def test_missing_file_and_folder_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_text(tmp_path / "none")
    with pytest.raises(DataError, match="directory"):
        read_text(tmp_path)


def test_written_json_is_json(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [{"a": 1}])
    assert json.loads((tmp_path / "x.jsonl").read_text()) == {"a": 1}


def test_an_update_leaves_a_file_alone_that_holds_the_text_already(tmp_path: Path) -> None:
    path = tmp_path / "a" / "page.html"
    assert update_text(path, "one ü")
    os.utime(path, ns=(1, 1))
    assert not update_text(path, "one ü")
    assert path.stat().st_mtime_ns == 1
    assert update_text(path, "two ü")
    assert path.read_text(encoding="utf-8") == "two ü"
    with pytest.raises(OutputError):
        update_text(tmp_path, "a folder")
    with pytest.raises(DataError, match="Unicode"):
        update_text(path, "\ud800")
