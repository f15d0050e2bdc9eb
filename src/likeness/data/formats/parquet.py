"""Pair sets as Parquet shards with embedded pictures, as the Hub of Hugging Face shows and loads them.

    OUT/data/train-00000-of-00002.parquet

Pictures are structs {bytes, path} and the schema says so in the words of `datasets`, so that `load_dataset(OUT)`
decodes them; `record` holds the whole row of pairs.jsonl as JSON, so that nothing is lost on the way back.
Source: storage of the Image feature in huggingface/datasets, `Features.arrow_schema` and `Image.pa_type`.
"""

import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # pyarrow is untyped and rows are JSON

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes
from likeness.core.pairs import PreferencePair, pair_files, read_pairs
from likeness.core.rows import LeftOut
from likeness.data.formats.packed import (
    MAX_SHARD_BYTES,
    ExportSummary,
    ImportSummary,
    Numbered,
    PackedPair,
    packed,
    require_own_folder,
    shards_of,
    write_unpacked,
)

__all__ = ["FEATURES", "export_parquet", "import_parquet"]

ROW_GROUP = 64
"""Pairs that a reader must hold at once."""

_IMAGE: dict[str, Any] = {"_type": "Image"}
_TEXT: dict[str, Any] = {"dtype": "string", "_type": "Value"}
_NUMBER: dict[str, Any] = {"dtype": "int64", "_type": "Value"}
FEATURES: dict[str, Any] = {
    "row": _NUMBER,
    "id": _TEXT,
    "subset": _TEXT,
    "category": _TEXT,
    "prompt": _TEXT,
    "preferred": _IMAGE,
    "rejected": _IMAGE,
    "prior_mask": _IMAGE,
    # a list around a feature is read by every version of datasets; "List" only by 4.0 and later
    "references": [_IMAGE],
    "reference_masks": [_IMAGE],
    "subject_masks": [_IMAGE],
    "rejected_masks": [_IMAGE],
    "record": _TEXT,
}
"""Column -> feature, in the words of `datasets`. `reference_masks` and `rejected_masks` have None for no mask."""

_SHARD = re.compile(r"(?P<split>[a-z]+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.parquet")


def export_parquet(folder: Path | str, out: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> ExportSummary:
    """`out`/data holds the pair set of `folder` in one series of shards per split; equal sets give equal bytes.

    Raises: DataError when the set cannot be read; OutputError when `out` holds other shards or cannot be written.
    """
    folder = Path(folder)
    found = read_pairs(folder)
    plan = _plan(list(enumerate(found.pairs)), max_bytes=max_shard_bytes)
    require_own_folder(out, planned=plan, pattern="*.parquet")
    for name, numbered in plan.items():
        atomic_write_bytes(out / name, _shard(numbered, folder=folder))
    return ExportSummary(out, len(found.pairs), tuple(out / name for name in plan), found.left_out)


def _plan(pairs: list[Numbered], *, max_bytes: int) -> dict[str, list[Numbered]]:
    """File name -> numbered pairs; splits apart, since a shard belongs to one split for every reader of the Hub."""
    plan: dict[str, list[Numbered]] = {}
    for split in dict.fromkeys(pair.split for _, pair in pairs):
        runs = shards_of([item for item in pairs if item[1].split == split], max_bytes=max_bytes)
        for index, run in enumerate(runs):
            plan[f"data/{split}-{index:05d}-of-{len(runs):05d}.parquet"] = run
    return plan


def _shard(numbered: list[Numbered], *, folder: Path) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, buffer = _schema(), io.BytesIO()
    texts = [name for name, feature in FEATURES.items() if feature in (_TEXT, _NUMBER)]
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_statistics": texts}
    with pq.ParquetWriter(buffer, schema, **options) as writer:
        for start in range(0, len(numbered), ROW_GROUP):
            group = numbered[start : start + ROW_GROUP]
            rows = [_columns(*packed(pair, folder=folder), row=number) for number, pair in group]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return buffer.getvalue()


def _schema() -> Any:
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds: dict[str, Any] = {"int64": pa.int64(), "string": pa.string()}
    fields = [
        (name, pa.list_(picture) if isinstance(feature, list) else kinds.get(feature.get("dtype"), picture))
        for name, feature in FEATURES.items()
    ]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})})


def _columns(pair: PreferencePair, files: dict[str, bytes], *, row: int) -> dict[str, Any]:
    """The cells of one pair."""
    cells = {slot: {"bytes": files[slot], "path": path.as_posix()} for slot, path in pair_files(pair).items()}
    references, subjects = range(len(pair.references)), range(len(pair.subjects))
    return {
        "row": row,
        **{name: getattr(pair, name) for name in ("id", "subset", "category", "prompt")},
        **{name: cells.get(name) for name in ("preferred", "rejected", "prior_mask")},
        "references": [cells[f"reference_{i}"] for i in references],
        "reference_masks": [cells.get(f"reference_mask_{i}") for i in references],
        "subject_masks": [cells[f"subject_mask_{i}"] for i in subjects],
        "rejected_masks": [cells.get(f"rejected_mask_{i}") for i in subjects],
        "record": json.dumps(pair.model_dump(mode="json"), ensure_ascii=False, allow_nan=False),
    }


def import_parquet(source: Path | str, out: Path) -> ImportSummary:
    """`out` holds the pair set that `export_parquet` wrote to `source`: the same rows, in the same order, and files.

    Raises: DataError for missing, damaged or foreign shards; OutputError when `out` holds a set.
    """
    source = Path(source)
    shards = _complete(sorted(source.rglob("*.parquet")), source=source)
    numbers = {shard: _open(shard).read(columns=["row"])["row"].to_pylist() for shard in shards}
    order = sorted((_place(row), shard) for shard, rows in numbers.items() for row in rows)
    streams = {shard: _pairs(shard) for shard in shards}  # each shard is read front to back, a small group at a time
    return write_unpacked((next(streams[shard]) for _, shard in order), out=out, source=source)


def _place(row: Any) -> float:
    """The row's number; rows without one come last."""
    return row if isinstance(row, int | float) else float("inf")


def _complete(shards: list[Path], *, source: Path) -> list[Path]:
    """The shards, once every series is whole. Raises: DataError naming what is missing."""
    series = defaultdict[tuple[str, int], set[int]](set)
    for shard in shards:
        match = _SHARD.fullmatch(shard.name)
        if match is None:
            raise DataError(f"{shard}: expected a name such as train-00000-of-00001.parquet; rename or move the file.")
        series[match["split"], int(match["count"])].add(int(match["index"]))
    if not shards:
        raise DataError(f"{source}: expected Parquet shards, got none; check the path.")
    for (split, count), seen in series.items():
        if missing := sorted(set(range(count)) - seen):
            what = f"expected {count} shards of {split}, got {len(seen)} without number {missing[0]}"
            raise DataError(f"{source}: {what}; copy or export it again.")
    return shards


def _open(shard: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(shard)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shard}: expected a Parquet file, got {error}; copy or export it again.") from error
    if missing := sorted({"row", "record"} - set(file.schema_arrow.names)):
        what = f"expected a pair set of likeness, got a table without the column {missing[0]}"
        raise DataError(f"{shard}: {what}; for Pick-a-Pic columns use --layout pickapic.")
    return file


def _pairs(shard: Path) -> Iterator[PackedPair | LeftOut]:
    import pyarrow as pa

    try:
        for batch in _open(shard).iter_batches(batch_size=ROW_GROUP):
            yield from (_packed(cells, shard=shard) for cells in batch.to_pylist())
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shard}: expected whole pages, got {error}; copy or export it again.") from error


def _packed(cells: dict[str, Any], *, shard: Path) -> PackedPair | LeftOut:
    lists = {"references": "reference"} | {f"{of}_masks": f"{of}_mask" for of in ("reference", "subject", "rejected")}
    pictures = {name: cells.get(name) for name in ("preferred", "rejected", "prior_mask")}
    for column, slot in lists.items():
        listed = cells.get(column)
        pictures |= {
            f"{slot}_{index}": picture for index, picture in enumerate(listed if isinstance(listed, list) else [])
        }
    files = {slot: data for slot, picture in pictures.items() if (data := _bytes(picture)) is not None}
    where = f"{shard}, row {cells['row']}"
    try:
        return PackedPair(json.loads(cells["record"]), files, where)
    except (ValueError, TypeError, RecursionError) as error:
        return LeftOut.at(where, f"expected JSON in the column record, got {error}; export it again.")


def _bytes(cell: Any) -> bytes | None:
    """The bytes of a picture's cell."""
    data = cell.get("bytes") if isinstance(cell, dict) else None
    return data if isinstance(data, bytes) else None
