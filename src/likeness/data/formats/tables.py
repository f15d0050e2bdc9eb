"""Readers of layouts made of Parquet tables with pictures inside; each docstring shows the columns."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # pyarrow is untyped and cells are checked here

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.rows import LeftOut
from likeness.data.formats.rows import LayoutRow

__all__ = ["pickapic", "subjects200k"]

BATCH = 32
PADDING = 16  # px around and between the two pictures of Subjects200K


def pickapic(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """Columns caption, jpg_0, jpg_1 (bytes or {bytes, path}), label_0 (1: the first wins, 0: the second, 0.5: a tie).

    Ties and rows whose has_label is false are left out, as in Diffusion-DPO.
    Source: yuvalkirstain/pickapic_v2; the DPO example of diffusers reads the same columns.
    """
    for where, cells in _rows(source, columns=("caption", "jpg_0", "jpg_1", "label_0"), optional=("has_label",)):
        label = cells["label_0"]
        pictures = [_bytes(cells["jpg_0"]), _bytes(cells["jpg_1"])]
        if cells.get("has_label") is False or label not in (0, 1):
            yield LeftOut.at(where, f"expected label_0 of 0 or 1, got {label}: a tie or no label.")
        elif pictures[0] is None or pictures[1] is None:
            yield LeftOut.at(where, "expected bytes in jpg_0 and jpg_1, got an empty cell.")
        else:
            winner, loser = pictures if label == 1 else reversed(pictures)
            name = where.rpartition(":")[2]
            yield LayoutRow(where, name, str(cells["caption"] or ""), winner or b"", loser)


def subjects200k(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """Columns image (two pictures side by side, 16 px of padding) and description (item, description_0, description_1).

    The left picture is the reference, the right one the preferred picture; there is no rejected one.
    Source: Yuanshi/Subjects200K and the data loader of OminiControl.
    """
    for where, cells in _rows(source, columns=("image", "description"), optional=()):
        told, data = cells["description"], _bytes(cells["image"])
        description: dict[str, Any] = told if isinstance(told, dict) else {}
        prompt = description.get("description_1")
        if data is None or not isinstance(prompt, str) or not prompt:
            yield LeftOut.at(where, "expected image and description_1, got an empty cell or one of another type.")
            continue
        try:
            left, right = _halves(data)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            yield LeftOut.at(where, f"expected two pictures side by side, got {error}.")
            continue
        name, item = where.rpartition(":")[2], str(description.get("item") or "")
        yield LayoutRow(where, name, str(prompt), right, references=(left,), class_name=item)


def _halves(data: bytes) -> list[bytes]:
    """The two squares of a picture of (2 s + 3 p) x (s + 2 p) px. Raises: ValueError for other shapes."""
    halves: list[bytes] = []
    with Image.open(io.BytesIO(data)) as image:
        side = image.height - 2 * PADDING
        if side < 1 or image.width < 2 * side + 3 * PADDING:
            raise ValueError(f"{image.width} x {image.height} px")
        for left in (PADDING, side + 2 * PADDING):
            buffer = io.BytesIO()
            image.crop((left, PADDING, left + side, PADDING + side)).convert("RGB").save(buffer, format="PNG")
            halves.append(buffer.getvalue())
    return halves


def _bytes(cell: Any) -> bytes | None:
    """The bytes of a picture's cell, whether plain or as the Image feature stores them."""
    value = cell.get("bytes") if isinstance(cell, dict) else cell
    return value if isinstance(value, bytes) and value else None


def _rows(source: Path, *, columns: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and cells of every row of a Parquet file, or of all files of a folder. Raises: DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not files:
        raise DataError(f"{source}: expected Parquet files, got none; check the path.")
    for path in files:
        try:
            file = pq.ParquetFile(path)
            present = set(file.schema_arrow.names)
            if missing := [name for name in columns if name not in present]:
                raise DataError(f"{path}: expected the columns {', '.join(columns)}, got none called {missing[0]}.")
            batches = file.iter_batches(batch_size=BATCH, columns=[*columns, *(present & set(optional))])
            rows = (cells for batch in batches for cells in batch.to_pylist())
            yield from ((f"{path}:{number}", cells) for number, cells in enumerate(rows, start=1))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: expected a Parquet file, got {error}; copy or download it again.") from error
