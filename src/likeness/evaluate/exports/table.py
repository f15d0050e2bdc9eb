"""One row per picture of an evaluated run, as Parquet and as CSV.

Columns: `id`, `case_id`, `group`, `subjects`, `prompt`, `sha256` (of the picture's file), `image` where its name does
not say it; for each metric its value (float64, null where there is none), `<metric>_status` and `<metric>_reason`;
`per_subject` and `parts` as JSON. The schema's metadata says by what and under which cards the numbers were measured.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any  # pyarrow is untyped and rows are JSON

from likeness.core.files import canonical_json
from likeness.core.rows import LeftOut
from likeness.evaluate.scored import Scored

Row = dict[str, Any]
_TEXTS = ("id", "case_id", "group", "prompt", "sha256", "image")
_ABOUT = ("benchmark", "inputs_sha256", "encoders", "versions", "protocol", "metrics")


def parquet(scored: Scored, options: Mapping[str, str]) -> tuple[bytes, list[LeftOut]]:
    """The bytes of the Parquet file."""
    return parquet_bytes(scored.summary, scored.rows), []


def csv_text(scored: Scored, options: Mapping[str, str]) -> tuple[bytes, list[LeftOut]]:
    """The bytes of the CSV file: UTF-8, numbers in full, nothing where there is no value, `subjects` as JSON."""
    keys = _keys(scored.summary, scored.rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(_columns(keys)), lineterminator="\n")
    writer.writeheader()
    for row in scored.rows:
        cells = _cells(row, keys)
        writer.writerow({**cells, "subjects": json.dumps(cells["subjects"], ensure_ascii=False)})
    return buffer.getvalue().encode(), []


def parquet_bytes(summary: Mapping[str, Any], rows: Sequence[Row]) -> bytes:
    """The Parquet file of an evaluation's rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = _keys(summary, rows)
    kinds: dict[str, Any] = {"text": pa.string(), "texts": pa.list_(pa.string()), "number": pa.float64()}
    about: dict[str, Any] = {name: summary.get(name) for name in _ABOUT}
    about["cards"] = {name: card.get("sha256") for name, card in summary.get("cards", {}).items()}
    schema = pa.schema(
        [(name, kinds[kind]) for name, kind in _columns(keys).items()], metadata={"likeness": canonical_json(about)}
    )
    table = pa.Table.from_pylist([_cells(row, keys) for row in rows], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _keys(summary: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys([*summary["metrics"], *(key for row in rows for key in row["values"])]))


def _columns(keys: Sequence[str]) -> dict[str, str]:
    """Column -> kind, in order."""
    told = [pair for key in keys for pair in ((key, "number"), (f"{key}_status", "text"), (f"{key}_reason", "text"))]
    return {**dict.fromkeys(_TEXTS, "text"), "subjects": "texts", **dict(told), "per_subject": "text", "parts": "text"}


def _cells(row: Row, keys: Sequence[str]) -> Row:
    values = row["values"]
    parts = {key: values[key]["parts"] for key in keys if values.get(key, {}).get("parts")}
    return {
        **{name: row.get(name) for name in _TEXTS},
        "subjects": row["subjects"],
        **dict(pair for key in keys for pair in _value_cells(key, values.get(key))),
        "per_subject": canonical_json(row.get("per_subject", [])),
        "parts": canonical_json(parts) if parts else None,
    }


def _value_cells(key: str, value: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    """A metric's three cells of a picture; a value may have a reason too, such as a prompt that was cut."""
    found = value or {}
    number = found.get("value")
    yield key, None if number is None else float(number)
    yield f"{key}_status", found.get("status")
    yield f"{key}_reason", found.get("note") or None
