"""Pictures in Stellar's layout of one method: the JSON beside each says whose picture it is, and its name does not."""

from collections.abc import Sequence
from pathlib import Path

from likeness.core.errors import DataError
from likeness.core.files import is_inside
from likeness.core.records import Case
from likeness.data.formats.stellar_files import MethodRow, filled, picture_name, read_record
from likeness.evaluate.layouts.told import OUTSIDE, Told

_Key = tuple[str, int, str]  # person's folder, number of the photo, prompt


def told_by_json(folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]) -> Told | None:
    """Which picture answers which case; None where no picture has a JSON in Stellar's manner beside it.

    The last two parts of `image_path` and the prompt decide, by cases whose ids end in NNN-I-PP. Pictures of a prompt
    that a person has more than once go to its cases in the order of their names.
    """
    named = {path: picture_name(path.stem) for path in pictures}
    if not any(name and path.with_suffix(".json").is_file() for path, name in named.items()):
        return None
    waiting: dict[_Key, list[Case]] = {}
    for case in reversed(cases):
        if key := _key(case):
            waiting.setdefault(key, []).append(case)
    if not waiting:
        return None
    told = Told()
    for path in pictures:
        told.claim(path, lambda path=path: (_case_of(path, folder, waiting), 0))
    return told


def _key(case: Case) -> _Key | None:
    name = picture_name(case.id)
    return (name.person, name.photo, filled(case.prompt)) if name else None


def _case_of(path: Path, folder: Path, waiting: dict[_Key, list[Case]]) -> Case:
    """Raises: DataError saying why the picture belongs to no case."""
    name, beside = picture_name(path.stem), path.with_suffix(".json")
    if name is None:
        raise DataError("expected the name NNN-I-PP of Stellar's layout, got another; rename or remove it.")
    if not (is_inside(path, folder) and is_inside(beside, folder)):
        raise DataError(OUTSIDE)
    if not beside.is_file():
        raise DataError(f"expected {beside.name} beside it, found none; copy it too.")
    row = read_record(beside, MethodRow)
    try:
        person, stem = row.photo
    except DataError as error:
        raise DataError(f"{beside}: {error}") from None
    photo = int(stem)
    if (person, photo) != (name.person, name.photo):
        wanted = f"photo {name.person}/{name.photo} as the name says"
        raise DataError(f"{beside}: expected {wanted}, got {person}/{photo} in image_path; correct one of them.")
    left = waiting.get((person, photo, filled(row.prompt)))
    if not left:
        raise DataError(
            f"{beside}: expected a prompt of {person}/{photo} without a picture yet, got {row.prompt[:80]!r}."
        )
    return left.pop()
