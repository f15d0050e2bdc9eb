"""Short rows of pairs.jsonl, completed: what follows from the pictures and masks need not be written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any  # rows are JSON until the record has checked them

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.images import load_image
from likeness.core.masks import read_mask
from likeness.core.rows import existing_file

__all__ = ["box_of", "completed"]

Row = dict[str, Any]

_ALIASES = {"refs": "references", "win": "preferred", "lose": "rejected"}


def completed(row: Row, *, number: int, folder: Path) -> tuple[Row, frozenset[str]]:
    """The row with every key that can be derived, and the names of those it lacked.

    The shortest row holds prompt, references (paths), preferred, rejected and prior_mask, or subjects with a mask each
    in its place. Derived are id (the line), subjects (one, under prior_mask), phrase (class_name, else "subject"),
    disrupted (of a subject alone), reference_index (the place), box (the mask's), size (of the preferred picture),
    subset (the number of subjects), category (of the first disrupted subject; object where nothing says) and prior_mask
    (the mask of the only disrupted subject; of several, their union, which is no file). Other mistakes are left for the
    record to name. Raises: DataError without references or masks, or for a file that must be read and cannot.
    """
    full = {_ALIASES.get(key, key): value for key, value in row.items()}
    filled = _Filled(folder)
    filled.fill(full, "id", lambda: f"pair-{number:05d}")
    if not full.get("subjects") and isinstance(full.get("prior_mask"), str):
        filled.fill(full, "subjects", lambda: [{"mask": full["prior_mask"]}])
    _require_both(full)
    references, subjects = _records(full.get("references")), _records(full.get("subjects"))
    if references and subjects:
        full |= {"references": references, "subjects": subjects}
        filled.subjects(subjects)
        filled.pair(full, references=references, subjects=subjects)
    return full, frozenset(filled.keys)


def _require_both(full: Row) -> None:
    if full.get("references") in (None, [], ""):
        raise DataError("references: expected at least one reference picture, got none; a pair compares with them.")
    if full.get("subjects") in (None, [], ""):
        raise DataError("subjects: expected prior_mask, or subjects with a mask each, got neither; name a mask.")


class _Filled:
    """Derived values of one row; `keys` are the names of those that were absent."""

    def __init__(self, folder: Path) -> None:
        self.keys: set[str] = set()
        self._folder = folder

    def fill(self, record: Row, key: str, value: Callable[[], Any]) -> None:
        """`record` has `key`."""
        if record.get(key) is None:
            record[key] = value()
            self.keys.add(key)

    def subjects(self, subjects: list[Row]) -> None:
        """Every subject has its reference and box, and one alone is disrupted."""
        for index, subject in enumerate(subjects):
            if "ref_index" in subject:
                subject["reference_index"] = subject.pop("ref_index")
            self.fill(subject, "reference_index", partial(int, index))
            if len(subjects) == 1:
                self.fill(subject, "disrupted", lambda: True)
            if isinstance(mask := subject.get("mask"), str) and subject.get("box") is None:
                box = box_of(existing_file(Path(mask), folder=self._folder, what="subject mask"))
                self.fill(subject, "box", partial(list, box))

    def pair(self, full: Row, *, references: list[Row], subjects: list[Row]) -> None:
        """The pair has a category, phrases, size, subset and prior."""
        own = _first_disrupted(references, subjects)
        self.fill(full, "category", lambda: own.get("category", "object"))
        for record in (*references, *subjects):
            self.fill(record, "phrase", partial(str, record.get("class_name") or "subject"))
        for reference in references:
            self.fill(reference, "category", lambda: full["category"])
        if isinstance(full.get("preferred"), str):
            self.fill(full, "size", lambda: self._size_of(full["preferred"]))
        self.fill(full, "subset", lambda: "single" if len(subjects) == 1 else "multi")
        masks = [subject.get("mask") for subject in subjects if subject.get("disrupted")]
        self.fill(full, "prior_mask", lambda: masks[0] if len(masks) == 1 else None)

    def _size_of(self, picture: str) -> tuple[int, int]:
        return load_image(existing_file(Path(picture), folder=self._folder, what="preferred")).size


def _records(value: Any) -> list[Row]:
    """References or subjects as objects, a path alone as one with an image; none where one is something else."""
    items: list[Any] = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    records: list[Any] = [{"image": item} if isinstance(item, str) else item for item in items]
    return [dict(record) for record in records] if all(isinstance(item, dict) for item in records) else []


def _first_disrupted(references: list[Row], subjects: list[Row]) -> Row:
    """The reference of the first disrupted subject, empty where no such one is named."""
    first = next((subject["reference_index"] for subject in subjects if subject.get("disrupted")), None)
    return references[first] if isinstance(first, int) and 0 <= first < len(references) else {}


def box_of(mask: Path) -> tuple[float, float, float, float]:
    """The box of a mask in shares of the sides. Raises: DataError for a mask that covers nothing."""
    covered = read_mask(mask, what="subject mask")
    box = Image.fromarray(covered).getbbox()
    if box is None:
        raise DataError(f"subject mask {mask}: expected white on the subject, got none; draw the mask again.")
    height, width = covered.shape
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height
