"""The records that rooms hand to each other, and the reader of case files.

A *subject* is somebody or something with pictures; a *case* is a prompt with 0 to 4 subjects and a seed; a *sample* is
one generated picture of a case. Records are frozen and refuse unknown keys.
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Self  # Any: parsed JSON is open until a record has checked it

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_serializer, model_validator

from likeness.core.errors import DataError
from likeness.core.files import numbered_lines, read_json, read_text, write_jsonl
from likeness.core.rows import Frozen, LeftOut, existing_file, json_object, list_of_one, sift_rows

MAX_SUBJECTS = 4

_BESIDE = ("action", "scene")
"""Labels that stand beside the others in a row."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


class Subject(Frozen):
    """Somebody or something whose likeness is to be kept.

    `reference_image` conditions the generation, and `mask` says where it shows the subject; `photos` are what fidelity
    is measured against (the reference image when empty); `attributes` are exact labels where the world provides them.
    Raises: DataError for a mask that is the reference image itself.
    """

    id: str = Field(min_length=1)
    class_name: str
    reference_image: Path
    photos: Annotated[tuple[Path, ...], BeforeValidator(list_of_one)] = ()
    attributes: dict[str, str] | None = None
    mask: Path | None = None

    @model_validator(mode="after")
    def _is_not_its_mask(self) -> Self:
        if self.mask == self.reference_image:
            wanted = f"subject {self.id}: expected as mask another picture than the reference image"
            raise DataError(f"{wanted}, got {self.mask} for both; name the mask or leave it out.")
        return self

    @model_serializer(mode="wrap")
    def _as_before_masks(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The mask only where there is one: hashes of cases stay."""
        return {key: value for key, value in handler(self).items() if key != "mask" or value is not None}

    @property
    def measured_photos(self) -> tuple[Path, ...]:
        """The photos fidelity is measured against: `photos`, or the reference image alone."""
        return self.photos or (self.reference_image,)


class Labels(Frozen):
    """What a picture of the case must show; None or empty where nothing is known.

    `action` and `scene` are names of the world; `triplets` are (subject, predicate, object), `predicate` the relation
    that is asked for; `objects` must be there; `detectables` are the words of the prompt that a detector can find;
    `questions` about the picture are to be answered with yes.
    """

    action: str | None = None
    scene: str | None = None
    triplets: tuple[tuple[str, str, str], ...] = ()
    objects: tuple[str, ...] = ()
    predicate: str | None = None
    detectables: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


# DataError is no ValueError, so it leaves pydantic unchanged and callers catch one family of errors
def _in_the_picture(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = value
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        wanted = "left < right and top < bottom, in shares of the sides from 0 to 1"
        raise DataError(f"box: expected {wanted}, got {list(value)}; divide px by the picture's width and height.")
    return value


Box = Annotated[tuple[float, float, float, float], AfterValidator(_in_the_picture)]
"""Left, top, right and bottom in shares of the sides."""


class Layout(Frozen):
    """Where things are to be, a phrase for each box. Raises: DataError unless there are as many phrases as boxes."""

    boxes: tuple[Box, ...] = Field(min_length=1)
    phrases: tuple[str, ...]

    @model_validator(mode="after")
    def _is_paired(self) -> Self:
        if len(self.boxes) != len(self.phrases) or not all(phrase.strip() for phrase in self.phrases):
            got = f"{len(self.boxes)} boxes and {list(self.phrases)}"
            raise DataError(f"layout: expected a phrase for every box, got {got}; write one for each.")
        return self


class Case(Frozen):
    """One prompt with its subjects and seed, what must be seen of it and where.

    A row may hold action and scene beside `labels`, where they were before there were labels, and is written that way.
    Raises: DataError for an id that is no safe file name, a blank prompt, more than MAX_SUBJECTS subjects, or a label
    given in both places.
    """

    id: str
    prompt: str
    subjects: tuple[Subject, ...] = ()
    seed: int = Field(default=0, ge=0, lt=2**63, strict=True)
    labels: Labels = Labels()
    layout: Layout | None = None

    @property
    def action(self) -> str | None:
        """The action's name."""
        return self.labels.action

    @property
    def scene(self) -> str | None:
        """The scene's name."""
        return self.labels.scene

    @model_validator(mode="before")
    @classmethod
    def _gathers_labels(cls, row: Any) -> Any:
        """The row with action and scene among its labels."""
        if not isinstance(row, dict) or not isinstance(labels := row.get("labels", {}), dict):
            return row
        beside = {key: row[key] for key in _BESIDE if key in row}
        if twice := [key for key in beside if key in labels]:
            raise DataError(f"labels: expected each label once, got {twice[0]} inside and beside; drop one.")
        return {key: value for key, value in row.items() if key not in beside} | {"labels": labels | beside}

    @model_serializer(mode="wrap")
    def _as_before_labels(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Action and scene beside the labels, others and a layout only where there are any: hashes of cases stay."""
        row: dict[str, Any] = handler(self)
        labels, layout = row.pop("labels", {}), row.pop("layout", None)
        beside = {key: labels.pop(key) for key in _BESIDE if key in labels}
        more = {"labels": {key: value for key, value in labels.items() if value}, "layout": layout}
        return row | beside | {key: value for key, value in more.items() if value}

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


class CasesFile(Frozen):
    """What a case file held: usable cases in file order, and every row that was left out."""

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...]


class _ShortRow(Frozen):
    prompt: str
    references: Annotated[tuple[str, ...], BeforeValidator(list_of_one)] = ()
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

    def make(number: int, row: Any) -> Case:
        row = json_object(row) if isinstance(row, str) else row
        if not isinstance(row, dict):
            raise DataError(f"expected a JSON object, got {type(row).__name__}.")
        case = Case.of_row(_full_row(row, number=number))
        return with_paths(case, lambda file: existing_file(file, folder=path.parent, what="reference image"))

    cases, left_out = sift_rows(_rows(path), make, path=path, what="case")
    return CasesFile(cases=cases, left_out=left_out)


def _rows(path: Path) -> Iterable[tuple[int, Any]]:
    """Numbered rows: entries of a JSON list, or lines of JSONL as text."""
    text = read_text(path)
    return enumerate(read_json(path), start=1) if text.lstrip().startswith("[") else numbered_lines(text)


def _full_row(row: dict[str, Any], *, number: int) -> dict[str, Any]:
    default_id = f"case-{number:05d}"
    if "image_paths" in row:  # UNO rows carry further keys of their own, which mean nothing here
        row = {"prompt": row.get("prompt"), "references": row["image_paths"]}
    elif "references" not in row:
        return {"id": default_id, **row}
    short = _ShortRow.of_row(row)
    subjects = [{"id": name, "class_name": "subject", "reference_image": name} for name in short.references]
    return {"id": short.id or default_id, "prompt": short.prompt, "subjects": subjects, "seed": short.seed}


def case_file(run: Path) -> Path:
    """The cases that the pictures of a folder answer: those of its evaluation where they came from elsewhere."""
    evaluated = run / "evaluation" / "cases.jsonl"
    return evaluated if evaluated.is_file() else run / "cases.jsonl"


def with_paths(case: Case, change: Callable[[Path], Path]) -> Case:
    """The case with every path of its subjects replaced by what `change` makes of it."""

    def placed(subject: Subject) -> Subject:
        photos = tuple(change(photo) for photo in subject.photos)
        mask = None if subject.mask is None else change(subject.mask)
        moved = {"reference_image": change(subject.reference_image), "photos": photos, "mask": mask}
        return subject.model_copy(update=moved)

    return case.model_copy(update={"subjects": tuple(placed(subject) for subject in case.subjects)})


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    """A case file whose paths are relative to its folder, so that both can move together. Raises: OutputError."""

    def relative(found: Path) -> Path:
        return Path(os.path.relpath(found.resolve(), path.parent.resolve()))

    write_jsonl(path, [with_paths(case, relative).model_dump(mode="json") for case in cases])
