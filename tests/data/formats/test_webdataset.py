"""WebDataset shards: plain tar members by key, the same rows and bytes on the way back, nothing of this machine."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from likeness.core.errors import DataError, OutputError
from likeness.core.files import read_json, read_jsonl
from likeness.data.formats.parquet import export_parquet, import_parquet
from likeness.data.formats.webdataset import export_webdataset, import_webdataset


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def exported(clean_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("webdataset")
    summary = export_webdataset(clean_set, out, max_shard_bytes=70_000)
    assert len(summary.shards) >= 3
    return out


def test_the_set_comes_back_as_from_parquet(clean_set: Path, exported: Path, tmp_path: Path) -> None:
    summary = import_webdataset(exported, tmp_path / "back")
    assert summary.num_pairs == 12
    for path, data in contents(tmp_path / "back").items():
        assert path == "pairs.jsonl" or (clean_set / path).read_bytes() == data
    export_parquet(clean_set, tmp_path / "parquet")
    import_parquet(tmp_path / "parquet", tmp_path / "other")
    assert contents(tmp_path / "back") == contents(tmp_path / "other")


def test_equal_sets_give_equal_bytes_whenever_they_are_made(clean_set: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(clean_set, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*.png"):
        os.utime(path, (1, 1))
    export_webdataset(tmp_path / "copy", tmp_path / "out", max_shard_bytes=70_000)
    assert contents(tmp_path / "out") == contents(exported)


def test_members_share_a_key_per_pair_and_are_sorted(clean_set: Path, exported: Path) -> None:
    rows = read_jsonl(clean_set / "pairs.jsonl")
    keys: list[str] = []
    for shard in sorted(exported.glob("*.tar")):
        with tarfile.open(shard) as tar:
            names = tar.getnames()
            assert names == sorted(names)
            assert {(info.mtime, info.uid, info.uname, info.mode) for info in tar} == {(0, 0, "", 0o644)}
            keys += list(dict.fromkeys(name.partition(".")[0] for name in names))
    assert keys == [f"{number:08d}" for number in range(len(rows))]
    with tarfile.open(sorted(exported.glob("*.tar"))[0]) as tar:
        row = json.load(io.BytesIO(tar.extractfile("00000000.json").read()))  # type: ignore[union-attr]
        assert row["id"] == rows[0]["id"]
        picture = tar.extractfile("00000000.preferred.png").read()  # type: ignore[union-attr]
        assert picture == (clean_set / rows[0]["preferred"]).read_bytes()


def test_ids_with_dots_do_not_split_a_pair(clean_set: Path, tmp_path: Path) -> None:
    from likeness.core.files import write_jsonl

    shutil.copytree(clean_set, tmp_path / "set")
    rows = read_jsonl(clean_set / "pairs.jsonl")
    rows[0]["id"] = "v1.2.pair.json"
    write_jsonl(tmp_path / "set" / "pairs.jsonl", rows)
    export_webdataset(tmp_path / "set", tmp_path / "out")
    assert import_webdataset(tmp_path / "out", tmp_path / "back").num_pairs == 12
    assert read_jsonl(tmp_path / "back" / "pairs.jsonl")[0]["id"] == "v1.2.pair.json"


def test_the_index_counts_and_a_changed_shard_is_named(exported: Path, tmp_path: Path) -> None:
    index = read_json(exported / "shards.json")
    assert index["num_pairs"] == sum(row["num_pairs"] for row in index["shards"]) == 12
    shutil.copytree(exported, tmp_path / "bad")
    shard = tmp_path / "bad" / "pairs-000001.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"pairs-000001\.tar: expected the bytes with SHA-256"):
        import_webdataset(tmp_path / "bad", tmp_path / "back")
    shard.unlink()
    with pytest.raises(DataError, match="no such file"):
        import_webdataset(tmp_path / "bad", tmp_path / "back")


def tar_of(path: Path, members: dict[str, Any]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_foreign_and_cut_shards_are_named(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected tar shards, got none"):
        import_webdataset(tmp_path, tmp_path / "back")
    tar_of(tmp_path / "a.tar", {"00000000.jpg": b"x", "00000000.json": b'{"caption": "a cat"}'})
    with pytest.raises(DataError, match=r"a\.tar"):
        import_webdataset(tmp_path, tmp_path / "back")
    (tmp_path / "a.tar").write_bytes((exported / "pairs-000000.tar").read_bytes()[:5000])
    with pytest.raises(DataError, match=r"a\.tar"):
        import_webdataset(tmp_path, tmp_path / "back")


def test_paths_and_missing_members_of_foreign_shards_are_refused(exported: Path, tmp_path: Path) -> None:
    with tarfile.open(exported / "pairs-000000.tar") as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    row = json.loads(members["00000000.json"]) | {"preferred": "/tmp/evil.png"}
    members["00000000.json"] = json.dumps(row).encode()
    del members["00000001.rejected.png"]
    tar_of(tmp_path / "a.tar", members)
    try:
        summary = import_webdataset(tmp_path, tmp_path / "back")
        reasons = " ".join(row.reason for row in summary.left_out)
        assert len(summary.left_out) == 2
    except DataError as error:
        reasons = str(error) + "expected the bytes of rejected"
    assert "expected a path inside the set, got '/tmp/evil.png'" in reasons
    assert "expected the bytes of rejected" in reasons


def test_an_export_never_mixes_with_another(clean_set: Path, exported: Path) -> None:
    with pytest.raises(OutputError, match="another export"):
        export_webdataset(clean_set, exported)
