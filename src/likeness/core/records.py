"""The records that rooms hand to each other, and the reader of case files.

A *subject* is somebody or something with pictures; a *case* is a prompt with 0 to 4 subjects and a seed; a *sample* is
one generated picture of a case. Records are frozen and refuse unknown keys.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # parsed JSON is open until a record has checked it

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_text
from likeness.core.rows import LeftOut, existing_file, json_object, readable_mistakes, sift_rows

__all__ = ["MAX_SUBJECTS", "Case", "CasesFile", "LeftOut", "Subject", "read_cases", "resolve_paths"]

MAX_SUBJECTS = 4

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(_Record):
    """Somebody or something whose likeness is to be kept.

    `reference_image` conditions the generation; `photos` are what fidelity is measured against (the reference image
    when empty); `attributes` are exact labels where the world provides them.
    """

    id: str = Field(min_length=1)
    class_name: str
    reference_image: Path
    photos: tuple[Path, ...] = ()
    attributes: dict[str, str] | None = None

    @property
    def measured_photos(self) -> tuple[Path, ...]:
        """The photos fidelity is measured against: `photos`, or the reference image alone."""
        return self.photos or (self.reference_image,)


class Case(_Record):
    """One prompt with its subjects and seed.

    Raises: DataError for an id that is no safe file name, a blank prompt or more than MAX_SUBJECTS subjects.
    """

    id: str
    prompt: str
    subjects: tuple[Subject, ...] = ()
    seed: int = Field(default=0, ge=0, lt=2**63, strict=True)
    action: str | None = None
    scene: str | None = None

    # DataError is no ValueError, so it leaves pydantic unchanged and callers catch one family of errors
    @field_validator("id")
    @classmethod
    def _is_file_name(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            wanted = "1 to 120 letters, digits, dots, dashes or underscores, the first a letter or digit"
            raise DataError(f"case id: expected {wanted}, got {value[:140]!r}; rename the case.")
        return value

    @field_validator("prompt")
    @classmethod
    def _is_written(cls, value: str) -> str:
        if not value.strip():
            raise DataError("prompt: expected at least one word, got an empty text; write what the picture shows.")
        if re.search("[\ud800-\udfff]", value):
            raise DataError("prompt: expected Unicode text, got half a surrogate pair; re-save the file as UTF-8.")
        return value

    @field_validator("subjects")
    @classmethod
    def _are_few(cls, value: tuple[Subject, ...]) -> tuple[Subject, ...]:
        if len(value) > MAX_SUBJECTS:
            raise DataError(f"subjects: expected at most {MAX_SUBJECTS}, got {len(value)}; split the case.")
        return value


class CasesFile(_Record):
    """What a case file held: usable cases in file order, and every row that was left out."""

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...]


class _ShortRow(_Record):
    prompt: str
    references: tuple[str, ...] = ()
    id: str | None = None
    seed: int = 0


def read_cases(path: Path | str) -> CasesFile:
    """All usable cases of a file, and every unusable row with its place and reason.

    Reads JSONL of `Case` rows or of short rows {"prompt", "references": [paths], "id"?, "seed"?}, and UNO's JSON list
    [{"prompt", "image_paths"}]. Relative paths are resolved against the file's folder. Rows without id are called
    case-00001 ... by their place in the file; a short row's subjects are called after the path as written.
    Raises: DataError when the file cannot be read, is empty, or no row is usable.
    """
    path = Path(path)
    cases, left_out = sift_rows(
        _rows(path), lambda number, row: _case(row, number=number, folder=path.parent), path=path, what="case"
    )
    return CasesFile(cases=cases, left_out=left_out)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Numbered rows: entries of a JSON list, or lines of JSONL as text."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        yield from enumerate(read_json(path), start=1)
        return
    yield from ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _case(row: Any, *, number: int, folder: Path) -> Case:
    row = json_object(row) if isinstance(row, str) else row
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, got {type(row).__name__}.")
    try:
        case = Case.model_validate(_full_row(row, number=number))
    except ValidationError as error:
        raise DataError(readable_mistakes(error)) from None
    return resolve_paths(case, folder=folder)


def _full_row(row: dict[str, Any], *, number: int) -> dict[str, Any]:
    default_id = f"case-{number:05d}"
    if "image_paths" in row:  # UNO rows carry further keys of their own, which mean nothing here
        row = {"prompt": row.get("prompt"), "references": row["image_paths"]}
    elif "references" not in row:
        return {"id": default_id, **row}
    short = _ShortRow.model_validate(row)
    subjects = [{"id": name, "class_name": "subject", "reference_image": name} for name in short.references]
    return {"id": short.id or default_id, "prompt": short.prompt, "subjects": subjects, "seed": short.seed}


def resolve_paths(case: Case, *, folder: Path) -> Case:
    """The case with all paths resolved against `folder`. Raises: DataError naming the first missing file."""
    subjects = tuple(
        subject.model_copy(
            update={
                "reference_image": existing_file(subject.reference_image, folder=folder, what="reference image"),
                "photos": tuple(
                    existing_file(photo, folder=folder, what="reference image") for photo in subject.photos
                ),
            }
        )
        for subject in case.subjects
    )
    return case.model_copy(update={"subjects": subjects})
