"""Parquet shards: the same rows and bytes on the way back, features in the words of `datasets`, damage named."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likeness.core.errors import DataError, OutputError
from likeness.core.files import read_jsonl
from likeness.core.images import load_image
from likeness.data.formats.parquet import FEATURES, export_parquet, import_parquet


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def named_files(folder: Path) -> dict[str, bytes]:
    """The files that pairs.jsonl names, and itself with a fixed order of keys."""
    rows = read_jsonl(folder / "pairs.jsonl")
    paths = {
        path
        for row in rows
        for path in (
            *(row[name] for name in ("preferred", "rejected", "prior_mask")),
            *(item[key] for item in row["references"] for key in ("image", "mask") if item[key]),
            *(item["mask"] for item in row["subjects"]),
        )
    }
    return {path: (folder / path).read_bytes() for path in paths}


@pytest.fixture(scope="module")
def exported(clean_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parquet")
    summary = export_parquet(clean_set, out, max_shard_bytes=70_000)
    assert summary.num_pairs == 12
    assert len(summary.shards) >= 3
    return out


def test_the_set_comes_back_with_the_same_records_and_bytes(clean_set: Path, exported: Path, tmp_path: Path) -> None:
    summary = import_parquet(exported, tmp_path / "back")
    assert summary.num_pairs == 12
    assert not summary.left_out
    assert named_files(tmp_path / "back") == named_files(clean_set)
    # through a second round the file of rows itself is byte-identical: defaults are written out once
    export_parquet(tmp_path / "back", tmp_path / "again")
    import_parquet(tmp_path / "again", tmp_path / "third")
    assert contents(tmp_path / "third") == contents(tmp_path / "back")
    ids = [row["id"] for row in read_jsonl(clean_set / "pairs.jsonl")]
    assert [row["id"] for row in read_jsonl(tmp_path / "back" / "pairs.jsonl")] == ids


def test_equal_sets_give_equal_bytes(clean_set: Path, exported: Path, tmp_path: Path) -> None:
    export_parquet(clean_set, tmp_path, max_shard_bytes=70_000)
    assert contents(tmp_path) == contents(exported)


def test_shards_are_named_per_split_as_the_hub_wants(exported: Path) -> None:
    names = sorted(path.name for path in (exported / "data").iterdir())
    for split in ("train", "validation"):
        own = [name for name in names if name.startswith(split)]
        assert own == [f"{split}-{i:05d}-of-{len(own):05d}.parquet" for i in range(len(own))]
    assert len(names) == len(list(exported.rglob("*.*")))


def test_the_schema_tells_datasets_where_the_pictures_are(exported: Path) -> None:
    schema = pq.read_schema(next((exported / "data").iterdir()))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names == list(FEATURES)
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for name, feature in features.items():
        kind = schema.field(name).type
        if isinstance(feature, list):
            assert feature == [{"_type": "Image"}]
            assert kind.value_type == picture
        elif feature == {"_type": "Image"}:
            assert kind == picture
        else:
            assert str(kind) == feature["dtype"]


def test_pictures_decode_from_the_cells(clean_set: Path, exported: Path) -> None:
    table = pq.read_table(sorted((exported / "data").iterdir())[0]).to_pylist()
    rows = {row["id"]: row for row in read_jsonl(clean_set / "pairs.jsonl")}
    for cells in table:
        row = rows[cells["id"]]
        assert cells["preferred"]["path"] == row["preferred"]
        with Image.open(io.BytesIO(cells["preferred"]["bytes"])) as got:
            assert np.array_equal(np.asarray(got), np.asarray(load_image(clean_set / row["preferred"])))
        assert len(cells["references"]) == len(cells["reference_masks"]) == len(row["references"])
        assert len(cells["subject_masks"]) == len(row["subjects"])
        has_mask = [subject.get("rejected_mask") is not None for subject in row["subjects"]]
        assert [cell is not None for cell in cells["rejected_masks"]] == has_mask


def test_a_reference_without_mask_stays_without(clean_set: Path, tmp_path: Path) -> None:
    rows = read_jsonl(clean_set / "pairs.jsonl")
    rows[0]["references"][0]["mask"] = None
    set_with_rows(clean_set, tmp_path / "set", rows)
    export_parquet(tmp_path / "set", tmp_path / "out")
    import_parquet(tmp_path / "out", tmp_path / "back")
    assert read_jsonl(tmp_path / "back" / "pairs.jsonl")[0]["references"][0]["mask"] is None


def set_with_rows(clean: Path, folder: Path, rows: list[Any]) -> None:
    import shutil

    from likeness.core.files import write_jsonl

    shutil.copytree(clean, folder)
    write_jsonl(folder / "pairs.jsonl", rows)


def test_files_from_elsewhere_travel_along(clean_set: Path, tmp_path: Path) -> None:
    rows = read_jsonl(clean_set / "pairs.jsonl")[:2]
    elsewhere = tmp_path / "elsewhere.png"
    elsewhere.write_bytes((clean_set / rows[0]["references"][0]["image"]).read_bytes())
    rows[0]["references"][0]["image"] = str(elsewhere)
    set_with_rows(clean_set, tmp_path / "set", rows)
    export_parquet(tmp_path / "set", tmp_path / "out")
    import_parquet(tmp_path / "out", tmp_path / "back")
    image = read_jsonl(tmp_path / "back" / "pairs.jsonl")[0]["references"][0]["image"]
    assert image.startswith("outside/")
    assert (tmp_path / "back" / image).read_bytes() == elsewhere.read_bytes()


def test_a_missing_shard_is_named(exported: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(exported, tmp_path / "part")
    first = sorted((tmp_path / "part" / "data").glob("train-*"))[0]
    first.unlink()
    with pytest.raises(DataError, match="without number 0"):
        import_parquet(tmp_path / "part", tmp_path / "back")


def test_damage_and_foreign_tables_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(DataError, match="expected Parquet shards, got none"):
        import_parquet(folder, tmp_path / "back")
    (folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="expected a Parquet file"):
        import_parquet(folder, tmp_path / "back")
    pq.write_table(pa.table({"jpg_0": [b""]}), folder / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match="--layout pickapic"):
        import_parquet(folder, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_rows_that_lead_out_of_the_folder_are_refused(exported: Path, tmp_path: Path) -> None:
    shard = sorted((exported / "data").iterdir())[0]
    table = pq.read_table(shard)
    records = [json.loads(text) for text in table.column("record").to_pylist()]
    records[0]["preferred"] = "../../evil.png"
    column = pa.array([json.dumps(record) for record in records])
    evil = table.set_column(table.schema.get_field_index("record"), "record", column)
    (tmp_path / "evil").mkdir()
    pq.write_table(evil, tmp_path / "evil" / "train-00000-of-00001.parquet")
    try:
        summary = import_parquet(tmp_path / "evil", tmp_path / "a" / "b" / "back")
        reasons = [row.reason for row in summary.left_out]
    except DataError as error:
        reasons = [str(error)]
    assert "expected a path inside the set" in reasons[0]
    assert not list(tmp_path.rglob("evil.png"))


def test_an_import_needs_a_folder_without_a_set(exported: Path, clean_set: Path) -> None:
    with pytest.raises(OutputError, match="without a pair set"):
        import_parquet(exported, clean_set)


def test_an_export_never_mixes_with_another(clean_set: Path, exported: Path) -> None:
    with pytest.raises(OutputError, match="another export"):
        export_parquet(clean_set, exported)


def test_shards_must_hold_something(clean_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 1 byte"):
        export_parquet(clean_set, tmp_path, max_shard_bytes=0)
