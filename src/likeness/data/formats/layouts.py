"""Pair sets of other projects, brought into ours: the table `LAYOUTS` names what can be read.

What a layout does not know is filled in the same way everywhere and written down in `models`: without a reference
picture the preferred one stands in, without a mask the whole picture is the prior. No judgement is invented.
"""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple  # Any: rows as JSON

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import atomic_write_bytes, read_jsonl, write_json, write_jsonl
from likeness.core.images import load_image, save_png
from likeness.core.kinds import Category
from likeness.core.masks import find_mask, inside
from likeness.core.pairs import PAIRS_NAME, PairReference, PairSubject, PreferencePair, pair_row
from likeness.core.rows import LeftOut
from likeness.core.short_rows import box_of
from likeness.data.formats import LAYOUTS, OWN_FORMATS
from likeness.data.formats.packed import ImportSummary, write_set
from likeness.data.formats.rows import LayoutRow, PictureFile, Read, named_references, pictures_by_stem

__all__ = ["Beside", "import_layout"]

RESULTS = ("dreambench-plus", "geneval", "patchdpo", "stellar")
"""Layouts of results: with --rejected, a second tree of the same layout holds the rejected pictures."""

NOTES = ("prompt", "box", "size", "reference masks")
"""What a row may tell beside, of fields that other layouts give."""

_SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}


class Beside(NamedTuple):
    """Folders beside the source whose pictures have the names of its rows, where the layout lacks them.

    A folder of references with one picture serves every row; several of a row are called <name>-0, <name>-1.
    """

    rejected: Path | None = None
    references: Path | None = None
    masks: Path | None = None


def import_layout(
    layout: str, source: Path, out: Path, *, beside: Beside | None = None, category: Category = "object"
) -> ImportSummary:
    """`out` holds the pairs of `source` as pairs.jsonl with copies of all files; unusable rows come with reasons.

    `category` is that of subjects for which the layout names none.
    Raises: ConfigError for an unknown layout; DataError when the source cannot be read or no row is usable; OutputError
    when `out` holds a set or cannot be written.
    """
    if layout in OWN_FORMATS:
        return resolve_name(OWN_FORMATS[layout])(source, out)
    if layout not in LAYOUTS:
        known = ", ".join((*LAYOUTS, *OWN_FORMATS))
        raise ConfigError(f"--layout: expected one of {known}, got {layout}; correct the name.")
    if not source.exists():
        raise DataError(f"{source}: expected a file or folder, got nothing; check the path.")

    def make(number: int, row: LayoutRow) -> dict[str, Any]:
        return _imported(row, layout=layout, name=f"{layout}-{number:06d}", out=out, category=category)

    done = write_set(_completed(layout, source, beside=beside or Beside()), make, out=out, source=source)
    return _summarised(done)


def _summarised(done: ImportSummary) -> ImportSummary:
    """With what was filled in, also as summary.json; rows left out stand in rejected.jsonl."""
    counts = Counter(what for row in read_jsonl(done.out / PAIRS_NAME) for what in _filled(row["models"]))
    filled = dict(sorted(counts.items()))
    left_out = [row.model_dump() for row in done.left_out]
    facts = {"num_pairs": done.num_pairs, "num_rejected_rows": len(left_out), "filled": filled}
    write_json(done.out / "summary.json", facts)
    if left_out:
        write_jsonl(done.out / "rejected.jsonl", left_out)
    return done._replace(filled=filled)


def _filled(models: dict[str, Any]) -> Iterator[str]:
    """What of a row nobody said, in words."""
    for key in ("reference", "mask", "category", *NOTES):
        if key in models and not str(models[key]).startswith("given"):
            yield f"{key} ({models[key]})"


# -- what lies beside the source -------------------------------------------------------------------------------
def _completed(layout: str, source: Path, *, beside: Beside) -> Iterator[LayoutRow | LeftOut]:
    """The rows with losers, references and masks from beside, where they have none of their own."""
    losers = _losers(layout, beside.rejected)
    references = _pictures(beside.references)
    masks = _pictures(beside.masks)
    read: Read = resolve_name(LAYOUTS[layout])
    for row in read(source):
        if isinstance(row, LeftOut):
            yield row
            continue
        loser = row.rejected or losers.get(row.name) or losers.get(f"{row.name}-0")
        if loser is None:
            need = f"{layout} has none, and --rejected none of that name" if losers else "add --rejected FOLDER"
            yield LeftOut.at(row.where, f"expected a rejected picture {row.name}, got none; {need}.")
            continue
        own = row.references or named_references(references, name=row.name)
        yield row._replace(rejected=loser, references=own, mask=row.mask or masks.get(row.name))


def _losers(layout: str, folder: Path | None) -> dict[str, PictureFile]:
    if folder is None:
        return {}
    if layout in RESULTS:
        read: Read = resolve_name(LAYOUTS[layout])
        return {row.name: row.preferred for row in read(folder) if isinstance(row, LayoutRow)}
    return dict(_pictures(folder))


def _pictures(folder: Path | None) -> dict[str, Path]:
    """By path without suffix, and by stem alone where that names one picture only."""
    if folder is None:
        return {}
    found = pictures_by_stem(folder)
    if not found:
        raise DataError(f"{folder}: expected pictures, got none; check the path.")
    return {path.stem: path for path in found.values()} | found


# -- one pair --------------------------------------------------------------------------------------------------
def _imported(row: LayoutRow, *, layout: str, name: str, out: Path, category: Category) -> dict[str, Any]:
    """The row of pairs.jsonl, its files written. Raises: DataError for pictures that are none or do not fit."""
    assert row.rejected is not None, "rows without are left out before"
    preferred = _copied(row.preferred, out=out, path=f"images/{name}-preferred")
    rejected = _copied(row.rejected, out=out, path=f"images/{name}-rejected")
    size, other = load_image(out / preferred).size, load_image(out / rejected).size
    if size != other:
        got = f"{size[0]} x {size[1]} and {other[0]} x {other[1]}"
        raise DataError(f"pictures: expected two of one size, got {got}; resize one of them.")
    given = [_copied(picture, out=out, path=f"images/{name}-reference-{i}") for i, picture in enumerate(row.references)]
    made = None if row.mask_of is None else row.mask_of(_pixels(out / preferred), _pixels(out / rejected))
    mask, how = _mask(row.mask, size=size, name=name, out=out) if made is None else _kept(made, name=name, out=out)
    covers = [_cover(path, out / given[i], i, name=name, out=out) for i, path in enumerate(row.reference_masks)]
    kind, phrase = row.category or category, row.class_name or "subject"
    references = given or [preferred]
    pair = PreferencePair(
        id=name,
        subset="single" if len(references) == 1 else "multi",
        category=kind,
        prompt=row.prompt,
        references=tuple(
            PairReference(image=path, mask=cover, phrase=phrase, category=kind, class_name=row.class_name)
            for path, cover in zip(references, covers or [None] * len(references), strict=True)
        ),
        preferred=preferred,
        rejected=rejected,
        subjects=tuple(
            PairSubject(phrase=phrase, reference_index=i, mask=mask, box=box_of(out / mask), disrupted=True)
            for i in range(len(references))
        ),
        prior_mask=mask,
        size=size,
        models={
            "layout": layout,
            "source": Path(row.where).name,
            "reference": "given" if given else "none: the preferred picture stands in",
            "mask": how,
            "category": "given" if row.category else "assumed",
            "judge": None,
            **row.notes,
        },
    )
    return pair_row(pair, folder=out)


def _copied(picture: PictureFile, *, out: Path, path: str) -> Path:
    """Where the picture lies below `out`, byte for byte, with the suffix of its format. Raises: DataError."""
    try:
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            suffix = _SUFFIX.get(image.format or "")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"picture: expected a readable one, got {error}.") from None
    if suffix is None:
        raise DataError(f"picture: expected one of {', '.join(_SUFFIX)}, got another format; convert it.")
    target = Path(path + suffix)
    atomic_write_bytes(out / target, data)
    try:
        load_image(out / target)
    except DataError:
        (out / target).unlink()
        raise
    return target


def _pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(load_image(path))


def _kept(mask: NDArray[np.bool_], *, name: str, out: Path) -> tuple[Path, str]:
    """The file of a mask that was made, and how."""
    target = Path(f"masks/{name}.png")
    save_png(Image.fromarray(mask).convert("L"), out / target)
    return target, "made: where both pictures differ"


def _cover(mask: Path | None, reference: Path, number: int, *, name: str, out: Path) -> Path | None:
    """The mask of a reference in black and white. Raises: DataError for another size, and for one that is empty."""
    if mask is None:
        return None
    covered = inside(find_mask(mask, size=load_image(reference).size, what="reference mask").image)
    if not covered.any():
        raise DataError(f"reference mask {mask}: expected white (255) on the subject, got none; draw it again.")
    target = Path(f"masks/{name}-reference-{number}.png")
    save_png(Image.fromarray(covered).convert("L"), out / target)
    return target


def _mask(mask: Path | None, *, size: tuple[int, int], name: str, out: Path) -> tuple[Path, str]:
    """The mask in black and white at the picture's size, or one that covers all; and where it comes from.

    Raises: DataError for another size, and for a mask that covers nothing.
    """
    if mask is None:
        whole = Path(f"masks/whole-{size[0]}x{size[1]}.png")
        if not (out / whole).is_file():
            save_png(Image.new("L", size, 255), out / whole)
        return whole, "none: the whole picture"
    found = find_mask(mask, size=size)
    covered = inside(found.image)
    if not covered.any():
        brightest = int(np.asarray(found.image).max())
        raise DataError(f"mask {mask}: expected white (255) on the subject, got {brightest} at most; draw it again.")
    target = Path(f"masks/{name}.png")
    save_png(Image.fromarray(covered).convert("L"), out / target)
    return target, "given" if found.note is None else f"given: {found.note}"
