"""Sources with a bad row among good ones: that row is left out with its reason, and nothing is dropped in silence."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl
from likeness.core.pairs import read_pairs
from likeness.data.formats.layouts import Beside, import_layout
from likeness.data.formats.parquet import export_parquet, import_parquet
from likeness.data.formats.webdataset import export_webdataset, import_webdataset


def picture(path: Path, color: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 32), color).save(path)


def text(path: Path, words: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words, encoding=encoding)


# -- folders ---------------------------------------------------------------------------------------------------
def test_a_usual_kohya_folder_with_losers_from_beside(tmp_path: Path) -> None:
    for stem in ("a", "b", "silent", "alone"):
        picture(tmp_path / "set" / "10_dog" / f"{stem}.png")
        picture(tmp_path / "losers" / f"{stem}.png", "blue")
    for stem in ("a", "b", "alone"):
        text(tmp_path / "set" / "10_dog" / f"{stem}.txt", f"a dog {stem}")
    (tmp_path / "losers" / "alone.png").unlink()
    done = import_layout("kohya", tmp_path / "set", tmp_path / "out", beside=Beside(rejected=tmp_path / "losers"))
    pairs = read_pairs(tmp_path / "out").pairs
    assert [pair.prompt for pair in pairs] == ["a dog a", "a dog b"]
    assert {pair.references[0].phrase for pair in pairs} == {"dog"}
    reasons = sorted(row.reason.partition(": ")[2] for row in done.left_out)
    assert reasons[0].startswith("expected a caption in silent.txt")
    assert reasons[1].startswith("expected a rejected picture alone, got none")


def test_what_was_filled_in_is_counted_and_what_was_left_out_is_listed(tmp_path: Path) -> None:
    for stem in ("a", "b", "c"):
        picture(tmp_path / "set" / "1_rex" / "w" / f"{stem}.png")
        picture(tmp_path / "set" / "1_rex" / "l" / f"{stem}.png", "blue")
        text(tmp_path / "set" / "1_rex" / "w" / f"{stem}.txt", "a dog")
    text(tmp_path / "set" / "1_rex" / "w" / "c.txt", "")
    done = import_layout("kohya", tmp_path / "set", tmp_path / "out")
    filled = {
        "category (assumed)": 2,
        "mask (none: the whole picture)": 2,
        "reference (none: the preferred picture stands in)": 2,
    }
    assert done.filled == filled
    facts = {"num_pairs": 2, "num_rejected_rows": 1, "filled": filled}
    assert read_json(tmp_path / "out" / "summary.json") == facts
    assert [Path(row["where"]).name for row in read_jsonl(tmp_path / "out" / "rejected.jsonl")] == ["c.png"]


def test_a_latin_1_caption_and_a_repeated_name_cost_one_row_each(tmp_path: Path) -> None:
    winners, losers = tmp_path / "set" / "w", tmp_path / "set" / "l"
    for stem in ("a", "b"):
        picture(winners / f"{stem}.png")
        picture(losers / f"{stem}.png", "blue")
    text(winners / "a.txt", "a dog")
    text(winners / "b.txt", "a caf\xe9", "latin-1")
    picture(winners / "a.jpg", "green")
    done = import_layout("kohya", tmp_path / "set", tmp_path / "out")
    assert done.num_pairs == 1
    reasons = {Path(row.where).name: row.reason for row in done.left_out}
    assert reasons.keys() == {"a.jpg", "b.png"}
    assert "expected one picture a, got a.png too" in reasons["a.jpg"]
    assert "expected UTF-8 text" in reasons["b.png"]


def test_a_bad_json_beside_a_picture_costs_its_row(tmp_path: Path) -> None:
    for place, color in (("set", "red"), ("losers", "blue")):
        for stem in ("1-0-00", "2-0-00", "3-0-00"):
            picture(tmp_path / place / f"{stem}.png", color)
            text(tmp_path / place / f"{stem}.json", json.dumps({"prompt": "a man"}))
    text(tmp_path / "set" / "2-0-00.json", "{")
    text(tmp_path / "set" / "3-0-00.json", "[" * 100_000)
    done = import_layout("stellar", tmp_path / "set", tmp_path / "out", beside=Beside(rejected=tmp_path / "losers"))
    assert done.num_pairs == 1
    assert len(done.left_out) == 2


@pytest.mark.parametrize("linked", [7, {"a": 1}, [["losers"]], [None], "nowhere", None])
def test_odd_conditioning_data_is_one_error(tmp_path: Path, linked: object) -> None:
    rows = [{"id": "good", "instance_data_dir": ".", "conditioning_data": linked}]
    text(tmp_path / "multidatabackend.json", json.dumps(rows))
    with pytest.raises(DataError, match="expected a data set whose conditioning_data is reference_strict, got none"):
        import_layout("simpletuner", tmp_path, tmp_path / "out")


# -- tar shards ------------------------------------------------------------------------------------------------
Change = Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]


def rewritten(clean: Path, folder: Path, change: Change, *, suffix: str) -> Path:
    """The exported set in one shard, with the member of pair 1 that ends in `suffix` changed; without an index."""
    (shard,) = export_webdataset(clean, folder).shards
    (folder / "shards.json").unlink()
    with tarfile.open(shard) as tar:
        members = [(info, file.read()) for info in tar if (file := tar.extractfile(info)) is not None]
    with tarfile.open(shard, "w") as tar:
        for info, data in members:
            is_meant = info.name.startswith("00000001.") and info.name.endswith(suffix)
            changed, content = change(info, data) if is_meant else (info, data)
            tar.addfile(changed, io.BytesIO(content))
    return folder


def other_bytes(data: bytes) -> Change:
    def change(info: tarfile.TarInfo, _: bytes) -> tuple[tarfile.TarInfo, bytes]:
        info.size = len(data)
        return info, data

    return change


def linked(info: tarfile.TarInfo, _: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info.type, info.linkname, info.size = tarfile.SYMTYPE, "../../secret", 0
    return info, b""


@pytest.mark.parametrize(
    ("change", "suffix", "reason"),
    [
        (other_bytes(b"{"), ".json", "expected the row of a pair in its json member"),
        (other_bytes(b"[" * 100_000), ".json", "expected the row of a pair in its json member"),
        (other_bytes(b"\xff\xfe\xfd"), ".json", "expected the row of a pair in its json member"),
        (other_bytes(b"[1]"), ".json", "row: expected a JSON object"),
        (linked, ".preferred.png", "a link or device"),
    ],
)
def test_a_bad_member_costs_its_pair(clean_set: Path, tmp_path: Path, change: Change, suffix: str, reason: str) -> None:
    done = import_webdataset(rewritten(clean_set, tmp_path / "tar", change, suffix=suffix), tmp_path / "out")
    assert done.num_pairs == 11
    assert reason in done.left_out[0].reason
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_a_member_larger_than_its_shard_is_never_read(clean_set: Path, tmp_path: Path) -> None:
    def huge(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return info, data

    folder = rewritten(clean_set, tmp_path / "tar", huge, suffix=".json")
    (shard,) = folder.glob("*.tar")
    with tarfile.open(shard) as tar:
        last = list(tar)[-1]
    data = bytearray(shard.read_bytes())
    last.size = 8 * 2**40
    data[last.offset : last.offset + 512] = last.tobuf(tarfile.GNU_FORMAT)
    shard.write_bytes(data)
    with pytest.raises(DataError) as caught:
        import_webdataset(folder, tmp_path / "out")
    assert "whole tar file" in str(caught.value)


@pytest.mark.parametrize("index", ["[]", '{"shards": 7}', '{"shards": [{"name": 7}]}', '{"shards": [7]}', "7"])
def test_an_odd_index_is_one_error(clean_set: Path, tmp_path: Path, index: str) -> None:
    export_webdataset(clean_set, tmp_path / "tar")
    text(tmp_path / "tar" / "shards.json", index)
    with pytest.raises(DataError, match=r'shards\.json: expected an object with "shards"'):
        import_webdataset(tmp_path / "tar", tmp_path / "out")


# -- Parquet ---------------------------------------------------------------------------------------------------
def changed_table(clean: Path, folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """The exported set as one shard whose rows were changed."""
    shards = export_parquet(clean, folder).shards
    rows = [row for shard in shards for row in pq.ParquetFile(shard).read().to_pylist()]
    for shard in shards:
        shard.unlink()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "train-00000-of-00001.parquet")
    return folder


def spoilt(**cells: object) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[1].update(cells)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (spoilt(record=None), "expected JSON in the column record"),
        (spoilt(record="{"), "expected JSON in the column record"),
        (spoilt(preferred=None), "expected the bytes of preferred"),
        (spoilt(preferred={"bytes": None, "path": "x"}), "expected the bytes of preferred"),
        (spoilt(references=None), "expected the bytes of reference_0"),
        (spoilt(row=None, record=None), "expected JSON in the column record"),
    ],
)
def test_a_null_cell_costs_its_row(
    clean_set: Path, tmp_path: Path, change: Callable[[list[dict[str, Any]]], None], reason: str
) -> None:
    done = import_parquet(changed_table(clean_set, tmp_path / "table", change), tmp_path / "out")
    assert done.num_pairs == 11
    assert reason in done.left_out[0].reason


@pytest.mark.parametrize("column", ["preferred", "references"])
def test_a_missing_or_wrong_column_is_told(clean_set: Path, tmp_path: Path, column: str) -> None:
    def without(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            del row[column]

    def as_text(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row[column] = "text"

    for number, change in enumerate((without, as_text)):
        folder = changed_table(clean_set, tmp_path / f"table{number}", change)
        with pytest.raises(DataError, match="expected at least one usable pair"):
            import_parquet(folder, tmp_path / f"out{number}")


def test_a_description_as_text_costs_its_row(tmp_path: Path) -> None:
    table = {"image": [b"x"], "description": ["a chair"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="an empty cell or one of another type"):
        import_layout("subjects200k", tmp_path / "a.parquet", tmp_path / "out")


@pytest.fixture(autouse=True)
def _no_temporaries(tmp_path: Path) -> Iterator[None]:
    """No import leaves a temporary file."""
    yield
    assert not list(tmp_path.rglob("*.tmp"))
