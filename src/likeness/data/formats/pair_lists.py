"""Lists of preference pairs of two other trainers, read and written; each docstring shows a row.

Neither knows of masks. The rows that we write for Flow-Factory carry ours in `metadata`, which it never reads.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any  # JSON of others, checked here

from likeness.core.errors import DataError, OutputError
from likeness.core.files import atomic_write_bytes, atomic_write_text, numbered_lines, read_text
from likeness.core.kinds import CATEGORIES
from likeness.core.pairs import PreferencePair, pair_files, read_pairs
from likeness.core.rows import LeftOut, json_object
from likeness.data.formats.packed import ExportSummary, packed
from likeness.data.formats.rows import LayoutRow, attempt

__all__ = ["export_flow_factory", "export_longcat", "flow_factory", "longcat"]

FLOW_FACTORY, LONGCAT = "train.jsonl", "train.txt"
OURS = "likeness"
"""Key of `metadata` under which our own rows carry what Flow-Factory has no place for."""


# -- Flow-Factory ----------------------------------------------------------------------------------------------
def flow_factory(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """A JSONL file of schema 2, or the folder of train.jsonl; paths relative to the file's folder.

    {"schema_version": 2, "input": {"prompt": "a dog", "media": [{"type": "image", "path": "ref.png"}]},
     "supervision": {"type": "preference", "chosen": {"media": [...]}, "rejected": {"media": [...]}}, "metadata": {}}
    The media of the input are the references, in that order. Rows with other supervision or media than one picture are
    left out.
    Source: X-GenGroup/Flow-Factory, guidance/datasets.md ("Offline V2 records") and data_utils/schema.py.
    """
    path = source / FLOW_FACTORY if source.is_dir() else source
    yield from _rows(path, _flow_factory_row)


def _flow_factory_row(row: Mapping[str, Any], *, where: str, number: int, folder: Path) -> LayoutRow:
    version, supervision = row.get("schema_version"), _object(row, "supervision")
    if version != 2 or supervision.get("type") != "preference":
        got = f"{version} and {supervision.get('type')}"
        raise DataError(f"expected schema_version 2 and supervision of type preference, got {got}.")
    given = _object(row, "input")
    candidates = [_pictures(_object(supervision, key), what=key) for key in ("chosen", "rejected")]
    for key, pictures in zip(("chosen", "rejected"), candidates, strict=True):
        if len(pictures) != 1:
            raise DataError(f"{key}: expected one picture, got {len(pictures)}.")
    ours = _ours(row)
    references = _pictures(given, what="input")
    covers = tuple(folder / cover if cover else None for cover in _texts(ours.get("reference_masks")))
    return LayoutRow(
        where,
        str(ours.get("id") or number),
        _prompt(given),
        folder / candidates[0][0],
        folder / candidates[1][0],
        tuple(folder / path for path in references),
        mask=folder / ours["prior_mask"] if isinstance(ours.get("prior_mask"), str) else None,
        class_name=str(ours.get("class_name") or ""),
        category=next((known for known in CATEGORIES if known == ours.get("category")), None),
        reference_masks=tuple(folder / cover if cover else None for cover in covers)
        if len(covers) == len(references)
        else (),
    )


def _ours(row: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = row.get("metadata")
    found = metadata.get(OURS) if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


def _texts(value: Any) -> list[str | None]:
    """A list of texts and nulls; anything else holds none."""
    items: list[Any] = value if isinstance(value, list) else []
    return [item if isinstance(item, str) and item else None for item in items]


def _pictures(record: Mapping[str, Any], *, what: str) -> list[str]:
    """The paths of `media`. Raises: DataError for videos, sounds and entries without a path."""
    media = record.get("media", [])
    entries: list[Any] = media if isinstance(media, list) else [media]
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("type") != "image" or not isinstance(entry.get("path"), str):
            raise DataError(f"{what}: expected media of type image with a path, got {str(entry)[:80]}.")
    return [entry["path"] for entry in entries]


def export_flow_factory(folder: Path | str, out: Path) -> ExportSummary:
    """`out` is a data set directory of Flow-Factory for offline-dpo: train.jsonl and copies of all files.

    Raises: DataError when the set cannot be read; OutputError when `out` holds another list or cannot be written.
    """
    return _export(Path(folder), out, name=FLOW_FACTORY, row_of=_to_flow_factory)


def _to_flow_factory(pair: PreferencePair) -> dict[str, Any]:
    def media(*paths: Path) -> list[dict[str, str]]:
        return [{"type": "image", "path": path.as_posix()} for path in paths]

    covers = [reference.mask and reference.mask.as_posix() for reference in pair.references]
    ours = {
        "id": pair.id,
        "category": pair.category,
        "class_name": pair.references[0].class_name,
        "prior_mask": pair.prior_mask and pair.prior_mask.as_posix(),
        "reference_masks": covers,
    }
    return {
        "schema_version": 2,
        "input": {"prompt": pair.prompt, "media": media(*(reference.image for reference in pair.references))},
        "supervision": {
            "type": "preference",
            "chosen": {"media": media(pair.preferred)},
            "rejected": {"media": media(pair.rejected)},
        },
        "metadata": {OURS: ours},
    }


# -- LongCat ---------------------------------------------------------------------------------------------------
def longcat(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """A text file with one JSON object per line, or the folder of train.txt; paths relative to the file's folder.

    {"img_path_win": "good.png", "img_path_lose": "bad.png", "ref_img_path": "ref.png", "prompt": "a dog",
     "width": 1024, "height": 1024}
    Rows for text to image have no ref_img_path. Width and height are those of the pictures here, whatever a row says.
    Source: meituan-longcat/LongCat-Image, the table "edit dpo" in its notes on training; its loader reads a line as
    JSON. Differs: it opens relative paths from the working directory.
    """
    path = source / LONGCAT if source.is_dir() else source
    yield from _rows(path, _longcat_row)


def _longcat_row(row: Mapping[str, Any], *, where: str, number: int, folder: Path) -> LayoutRow:
    for key in ("img_path_win", "img_path_lose"):
        if not isinstance(row.get(key), str):
            raise DataError(f"expected img_path_win, img_path_lose and prompt, got no {key}.")
    reference = row.get("ref_img_path")
    references: tuple[Path, ...] = (folder / reference,) if isinstance(reference, str) else ()
    name = Path(row["img_path_win"]).stem
    return LayoutRow(where, name, _prompt(row), folder / row["img_path_win"], folder / row["img_path_lose"], references)


def export_longcat(folder: Path | str, out: Path) -> ExportSummary:
    """`out` holds train.txt for LongCat's edit DPO, to be started in that folder, and copies of all files.

    Pairs of several references are left out, since a row has one; masks have no place in it.
    Raises: DataError when the set cannot be read; OutputError when `out` holds another list or cannot be written.
    """
    return _export(Path(folder), out, name=LONGCAT, row_of=_to_longcat)


def _to_longcat(pair: PreferencePair) -> dict[str, Any]:
    reference, *others = pair.references
    if others:
        raise DataError(f"pair {pair.id}: expected one reference, as a row of LongCat has, got {len(pair.references)}.")
    return {
        "img_path_win": pair.preferred.as_posix(),
        "img_path_lose": pair.rejected.as_posix(),
        "ref_img_path": reference.image.as_posix(),
        "prompt": pair.prompt,
        "width": pair.size[0],
        "height": pair.size[1],
    }


# -- both ------------------------------------------------------------------------------------------------------
def _rows(path: Path, make: Callable[..., LayoutRow]) -> Iterator[LayoutRow | LeftOut]:
    """Every line of the list as a row, or why it is none. Raises: DataError when the list cannot be read."""
    for number, line in numbered_lines(read_text(path)):
        where = f"{path}:{number}"
        yield attempt(where, partial(_row, line, make, where=where, number=number, folder=path.parent))


def _row(line: str, make: Callable[..., LayoutRow], *, where: str, number: int, folder: Path) -> LayoutRow:
    return make(json_object(line), where=where, number=number, folder=folder)


def _object(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key)
    if not isinstance(value, dict):
        raise DataError(f"{key}: expected an object, got {type(value).__name__}.")
    return value


def _prompt(row: Mapping[str, Any]) -> str:
    prompt = row.get("prompt")
    if not isinstance(prompt, str):
        raise DataError(f"prompt: expected a text, got {type(prompt).__name__}.")
    return prompt


def _export(folder: Path, out: Path, *, name: str, row_of: Callable[[PreferencePair], dict[str, Any]]) -> ExportSummary:
    """`out` holds the list `name`, written last, and copies of the files of its pairs, by their names in the set."""
    found = read_pairs(folder)
    left_out, lines = list(found.left_out), list[str]()
    for pair in found.pairs:
        inside, files = packed(pair, folder=folder)
        try:
            lines.append(json.dumps(row_of(inside), ensure_ascii=False, allow_nan=False))
        except DataError as error:
            left_out.append(LeftOut.at(pair.id, error))
            continue
        for slot, path in pair_files(inside).items():
            atomic_write_bytes(out / path, files[slot], sync=False)
    if not lines:
        reasons = "; ".join(row.reason for row in left_out[:1])
        raise DataError(f"{folder}: expected a pair that the format can hold, got none; first: {reasons}")
    text, target = "".join(f"{line}\n" for line in lines), out / name
    if target.is_file() and read_text(target) != text:
        raise OutputError(f"{target}: expected no list of another export, got one; choose another folder.")
    atomic_write_text(target, text)
    return ExportSummary(out, len(lines), (target,), tuple(left_out))
