"""Pictures with boxes in the layout of COCO:

    FOLDER/images/*.jpg
    FOLDER/instances.json     optional: {"images": [{id, file_name, width, height}], "annotations": [{image_id, bbox}]}

`bbox` is [left, top, width, height] in px. Of the downloads, images is train2017 and instances.json is
annotations/instances_train2017.json. Without instances.json every picture of images/ is taken, without boxes.
Source: Lin et al., "Microsoft COCO" (arXiv:1405.0312), and its page on the data format.
Differs: crowds (iscrowd 1) have no box, and outlines are not read.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard  # Any: JSON of others, checked here

from likeness.core.errors import DataError
from likeness.core.files import read_json
from likeness.core.images import pictures_in
from likeness.core.rows import LeftOut

ANNOTATIONS_NAME = "instances.json"
Box = tuple[float, float, float, float]


class CocoPicture(NamedTuple):
    """A picture of the folder; `boxes` are (left, top, right, bottom) in shares of its sides."""

    path: Path
    boxes: tuple[Box, ...]


def read_coco(folder: Path) -> tuple[tuple[CocoPicture, ...], tuple[LeftOut, ...]]:
    """The pictures of a folder by name, and what was left out: pictures that are not there and boxes that are none.

    Raises: DataError for a folder without usable pictures, or annotations of another layout.
    """
    if not (folder / "images").is_dir():
        raise DataError(f"{folder}: expected a folder images with pictures, got none; see the layout of COCO.")
    found = {path.name: path for path in pictures_in(folder)}
    annotations = folder / ANNOTATIONS_NAME
    if not annotations.is_file():
        pictures = tuple(CocoPicture(path, ()) for path in found.values())
        return _required(pictures, folder, left_out=())
    pictures, left_out = _annotated(read_json(annotations), found, where=annotations)
    return _required(pictures, folder, left_out=left_out)


def _required(
    pictures: tuple[CocoPicture, ...], folder: Path, *, left_out: tuple[LeftOut, ...]
) -> tuple[tuple[CocoPicture, ...], tuple[LeftOut, ...]]:
    if not pictures:
        reason = f"{len(left_out)} left out; first: {left_out[0].reason}" if left_out else "none; check the path."
        raise DataError(f"{folder}: expected at least one picture, got {reason}")
    return pictures, left_out


def _annotated(
    content: Any, found: dict[str, Path], *, where: Path
) -> tuple[tuple[CocoPicture, ...], tuple[LeftOut, ...]]:
    images, annotations = (_list(content, name, where=where) for name in ("images", "annotations"))
    left_out: list[LeftOut] = []
    sizes: dict[Any, tuple[str, float, float]] = {}
    for number, row in enumerate(images):
        place = f"{where}:images[{number}]"
        name, width, height = row.get("file_name"), row.get("width"), row.get("height")
        if name not in found:
            left_out.append(LeftOut.at(place, f"expected a picture {name} in images, got none."))
        elif not (_is_positive(width) and _is_positive(height)):
            left_out.append(LeftOut.at(place, f"expected width and height in px, got {width} and {height}."))
        else:
            sizes[row.get("id")] = str(name), float(width), float(height)
    boxes: dict[Any, list[Box]] = {key: [] for key in sizes}
    for number, row in enumerate(annotations):
        key = row.get("image_id")
        if key not in sizes or row.get("iscrowd"):
            continue
        box = _shares(row.get("bbox"), width=sizes[key][1], height=sizes[key][2])
        if box is None:
            wanted = "expected a box of 4 numbers with an area inside the picture"
            left_out.append(LeftOut.at(f"{where}:annotations[{number}]", f"{wanted}, got {row.get('bbox')}."))
        else:
            boxes[key].append(box)
    pictures = [CocoPicture(found[name], tuple(boxes[key])) for key, (name, _, _) in sizes.items()]
    return tuple(sorted(pictures, key=lambda picture: picture.path.name)), tuple(left_out)


def _list(content: Any, name: str, *, where: Path) -> list[dict[str, Any]]:
    rows = content.get(name) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{where}: expected a list of objects as {name}, got another layout; see that of COCO.")
    return rows


def _is_positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _shares(bbox: Any, *, width: float, height: float) -> Box | None:
    """The box cut to the picture; None where it is none or nothing is left of it."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in bbox):
        return None
    left, top, wide, high = bbox
    ends = (left / width, top / height, (left + wide) / width, (top + high) / height)
    box = tuple(min(max(end, 0.0), 1.0) for end in ends)
    return (box[0], box[1], box[2], box[3]) if box[0] < box[2] and box[1] < box[3] else None
