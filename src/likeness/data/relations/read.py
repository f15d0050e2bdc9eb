"""The reader of a set of relation examples: everything that training relies on is checked here, once.

Every fault names the file, what is wrong with it and what to do. `likeness data lint` looks further, into the pixels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import numbered_lines, read_text
from likeness.core.hashing import file_sha256
from likeness.core.rows import LeftOut, existing_file, json_object, sift_rows
from likeness.data.relations.records import RELATIONS_NAME, RelationExample, example_files, with_files

__all__ = ["RelationsFile", "file_faults", "read_relations"]


class RelationsFile(NamedTuple):
    """What a set held: usable examples in file order with the paths of their files, and every row left out."""

    examples: tuple[RelationExample, ...]
    left_out: tuple[LeftOut, ...]


class FileFault(NamedTuple):
    """What is wrong with a file: `changed` or `wrong_size`, and the sentence."""

    kind: str
    what: str


def read_relations(path: Path | str, *, check_files: bool = True) -> RelationsFile:
    """All usable examples of a folder's `relations.jsonl` or of such a file, and every unusable row with its reason.

    With `check_files`, each file must hold the bytes that the row says (by hash) and have the size it says; without,
    it must only be there. A predicate must stand in the prompt.
    Raises: DataError when the file cannot be read or no row is usable.
    """
    path = Path(path)
    path = path / RELATIONS_NAME if path.is_dir() else path

    def make(_: int, line: str) -> RelationExample:
        row = RelationExample.of_row(json_object(line))
        words = {"reference": "reference image", "target": "target picture"}

        def existing(slot: str, file: Path) -> Path:
            name = slot.rstrip("_0123456789")
            return existing_file(file, folder=path.parent, what=words.get(name, name.replace("_", " ")))

        example = with_files(row, existing)
        if check_files:
            _require_sound(example, as_written=row)
        return example

    examples, left_out = sift_rows(numbered_lines(read_text(path)), make, path=path, what="example")
    return RelationsFile(examples, left_out)


def _require_sound(example: RelationExample, *, as_written: RelationExample) -> None:
    """Raises: DataError for the first fault of a file, or a predicate that the prompt does not hold."""
    for fault in file_faults(example, as_written=as_written):
        raise DataError(fault.what)
    if example.predicate is not None and example.predicate not in example.prompt:
        wanted = f"predicate: expected words of the prompt {example.prompt!r}, got {example.predicate!r}"
        raise DataError(f"{wanted}; copy them from it, or leave the key out.")


def file_faults(example: RelationExample, *, as_written: RelationExample) -> Iterator[FileFault]:
    """Files with other bytes than the row says, or another size; pictures are not decoded."""
    names, sizes = example_files(as_written), _sizes(example)
    for slot, file in example_files(example).items():
        wanted = example.sha256.get(names[slot].as_posix())
        if wanted is not None and (found := file_sha256(file)) != wanted:
            told = f"{file}: expected the bytes of SHA-256 {wanted[:12]}, got {found[:12]}"
            yield FileFault("changed_file", f"{told}; restore the file, or make the set again.")
        elif (size := _size_of(file)) != sizes[slot]:
            told = f"{file}: expected {sizes[slot][0]} x {sizes[slot][1]} px as the row says, got {size[0]} x {size[1]}"
            yield FileFault("wrong_size", f"{told}; correct the row, or restore the file.")


def _sizes(example: RelationExample) -> dict[str, tuple[int, int]]:
    """Slot -> (width, height) in px by the row."""
    sizes = {"target": example.size}
    for index, subject in enumerate(example.subjects):
        sizes |= {f"target_mask_{index}": example.size}
        sizes |= dict.fromkeys((f"reference_{index}", f"reference_mask_{index}"), subject.reference.size)
    return sizes


def _size_of(path: Path) -> tuple[int, int]:
    """Width and height in px by the header. Raises: DataError for what is no picture."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: expected a picture, got a damaged one ({error}); restore it.") from error
