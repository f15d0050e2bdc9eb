"""Preference pairs, as every stage of preference tuning hands them on, and the reader of `pairs.jsonl`.

A pair holds reference pictures of its subjects and two pictures of one prompt. In the preferred picture every subject
is itself; in the rejected one some subjects are disrupted inside their masks, and the rest of the picture is the same.
Source: FocusDPO (arXiv:2509.01181v1), section 4 (DIP dataset); the keys restate what the paper lists.
Differs: house names; the keys win, lose, refs, ref_index, det_score and vlm are read as well.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self  # Any: parsed JSON and free-form notes are open until a record has checked them

from pydantic import AliasChoices, Field, PlainSerializer, field_validator, model_validator

from likeness.core.errors import DataError
from likeness.core.files import numbered_lines, read_text
from likeness.core.kinds import Category, Split, Subset
from likeness.core.records import Box, Case
from likeness.core.rows import Frozen, LeftOut, existing_file, json_object, sift_rows
from likeness.core.short_rows import completed

PAIRS_NAME = "pairs.jsonl"
_WORDS = {
    "reference": "reference image",
    "reference_mask": "reference mask",
    "subject_mask": "subject mask",
    "rejected_mask": "rejected mask",
}
NUM_QUESTIONS = 10
"""Questions that the quality gate asks about every subject of a picture."""


File = Annotated[Path, PlainSerializer(Path.as_posix, return_type=str, when_used="json")]


class PairReference(Frozen):
    """One reference picture: `mask` (PNG, 0 or 255, same size) covers the subject; None means the whole picture."""

    image: File
    mask: File | None = None
    phrase: str = Field(min_length=1)
    category: Category
    class_name: str = ""
    id: str = ""


class PairSubject(Frozen):
    """One subject of the preferred picture.

    `mask` (PNG, 0 or 255, size of the picture) covers what is visible of it in the preferred picture, `rejected_mask`
    what the rejected one shows in its place, None where no file holds it; `box` is left, top, right, bottom in shares
    of the sides. `disruption` tells what the rejected picture changes and how much.
    """

    phrase: str = Field(min_length=1)
    reference_index: int = Field(ge=0, validation_alias=AliasChoices("reference_index", "ref_index"))
    mask: File
    rejected_mask: File | None = None
    box: Box
    detection_score: float | None = Field(default=None, validation_alias=AliasChoices("detection_score", "det_score"))
    disrupted: bool = Field(strict=True)
    disruption: dict[str, Any] | None = None
    inpaint_caption: str | None = None
    id: str = ""


class PictureScore(Frozen):
    """How one picture was judged: per subject the ten answers (true is favourable, null unanswered); people's score.

    `judge` has one entry per subject of the pair, in that order, or is empty where no judge was asked.
    """

    judge: tuple[tuple[bool | None, ...], ...] = Field(default=(), validation_alias=AliasChoices("judge", "vlm"))
    human: int | None = Field(default=None, ge=0, le=NUM_QUESTIONS)

    @field_validator("judge", mode="before")
    @classmethod
    def _has_one_list_per_subject(cls, value: Any) -> Any:
        """One flat list of answers, as the note writes it, belongs to one subject."""
        is_flat = isinstance(value, list | tuple) and value and not isinstance(value[0], list | tuple)
        return [value] if is_flat else value or ()

    @field_validator("judge")
    @classmethod
    def _answers_ten_questions(cls, value: tuple[tuple[bool | None, ...], ...]) -> tuple[tuple[bool | None, ...], ...]:
        for answers in value:
            if len(answers) != NUM_QUESTIONS:
                raise DataError(f"judge: expected {NUM_QUESTIONS} answers per subject, got {len(answers)}; ask again.")
        return value


class QualityScores(Frozen):
    """The judgement of both pictures."""

    preferred: PictureScore = Field(default_factory=PictureScore, validation_alias=AliasChoices("preferred", "win"))
    rejected: PictureScore = Field(default_factory=PictureScore, validation_alias=AliasChoices("rejected", "lose"))


class PreferencePair(Frozen):
    """Two pictures of one prompt and size, aligned pixel by pixel outside the disrupted subjects.

    `category` is that of the first disrupted subject; `prior_mask` (PNG, 0 or 255) is the union of the masks of the
    disrupted subjects, None where no file holds it;
    `size` is (width, height) in px. `seeds` and `models` tell where the pictures come from.
    Raises: DataError for an unsafe id, a blank prompt, no references, no disrupted subject, a reference index without
    reference, a subset that contradicts the number of subjects, or judgements for another number of subjects.
    """

    id: str
    subset: Subset
    category: Category
    prompt: str
    references: tuple[PairReference, ...] = Field(validation_alias=AliasChoices("references", "refs"))
    preferred: File = Field(validation_alias=AliasChoices("preferred", "win"))
    rejected: File = Field(validation_alias=AliasChoices("rejected", "lose"))
    subjects: tuple[PairSubject, ...]
    prior_mask: File | None = None
    size: tuple[int, int]
    seeds: dict[str, int] = Field(default_factory=dict[str, int])
    models: dict[str, str | None] = Field(default_factory=dict[str, str | None])
    qa: QualityScores = Field(default_factory=QualityScores)
    split: Split = "train"

    @property
    def disrupted(self) -> tuple[int, ...]:
        """Places of the disrupted subjects in `subjects`."""
        return tuple(index for index, subject in enumerate(self.subjects) if subject.disrupted)

    @model_validator(mode="after")
    def _is_a_pair(self) -> Self:
        Case(id=self.id, prompt=self.prompt)  # the same rules for ids and prompts
        if not self.references:
            raise DataError("references: expected at least one reference picture, got none; a pair compares with them.")
        if not self.disrupted:
            raise DataError("subjects: expected at least one disrupted subject, got none; mark what differs.")
        last = len(self.references) - 1
        for subject in self.subjects:
            if subject.reference_index > last:
                raise DataError(f"reference_index: expected 0 to {last}, got {subject.reference_index}; correct it.")
        if (self.subset == "single") != (len(self.subjects) == 1):
            wanted = "one subject in single pairs and several in multi pairs"
            raise DataError(f"subset: expected {wanted}, got {len(self.subjects)} in a {self.subset} pair; correct it.")
        if min(self.size) < 1:
            raise DataError(f"size: expected width and height of at least 1 px, got {list(self.size)}; correct it.")
        self._check_scores()
        return self

    def _check_scores(self) -> None:
        for score in (self.qa.preferred, self.qa.rejected):
            if score.judge and len(score.judge) != len(self.subjects):
                got = f"{len(score.judge)} for {len(self.subjects)} subjects"
                raise DataError(f"qa: expected one list of answers per subject, got {got}; judge the pair again.")


class PairsFile(Frozen):
    """What a pair set held: usable pairs in file order, every row that was left out, and what rows lacked.

    `filled`: key -> in how many usable pairs it was derived, since the row had none.
    """

    pairs: tuple[PreferencePair, ...]
    left_out: tuple[LeftOut, ...]
    filled: dict[str, int] = Field(default_factory=dict[str, int])


def read_pairs(path: Path | str) -> PairsFile:
    """All usable pairs of a folder's `pairs.jsonl` or of such a file, and every unusable row with its place and reason.

    Relative paths are resolved against the file's folder, and every picture and mask must exist there. What a short
    row lacks is derived by `completed`.
    Raises: DataError when the file cannot be read or no row is usable.
    """
    path = Path(path)
    path = path / PAIRS_NAME if path.is_dir() else path

    def existing(slot: str, file: Path) -> Path:
        return existing_file(file, folder=path.parent, what=_WORDS.get(slot.rstrip("_0123456789"), slot))

    filled: dict[str, frozenset[str]] = {}

    def make(number: int, line: str) -> PreferencePair:
        row, derived = completed(json_object(line), number=number, folder=path.parent)
        pair = with_files(PreferencePair.of_row(row), existing)
        filled.setdefault(pair.id, derived)
        return pair

    pairs, left_out = sift_rows(numbered_lines(read_text(path)), make, path=path, what="pair")
    counts = Counter(key for pair in pairs for key in sorted(filled[pair.id]))
    return PairsFile(pairs=pairs, left_out=left_out, filled=dict(sorted(counts.items())))


def with_files(pair: PreferencePair, change: Callable[[str, Path], Path]) -> PreferencePair:
    """The pair with `change(slot, path)` in place of the path of every picture and mask.

    A slot depends on the role of a file only: reference_0, reference_mask_0 (none without a mask), subject_mask_0,
    rejected_mask_0 (none without), preferred, rejected, prior_mask.
    """

    def reference(index: int, old: PairReference) -> PairReference:
        mask = old.mask and change(f"reference_mask_{index}", old.mask)
        return old.model_copy(update={"image": change(f"reference_{index}", old.image), "mask": mask})

    def subject(index: int, old: PairSubject) -> PairSubject:
        rejected = old.rejected_mask and change(f"rejected_mask_{index}", old.rejected_mask)
        return old.model_copy(update={"mask": change(f"subject_mask_{index}", old.mask), "rejected_mask": rejected})

    update: dict[str, Any] = {
        "references": tuple(reference(*each) for each in enumerate(pair.references)),
        "subjects": tuple(subject(*each) for each in enumerate(pair.subjects)),
    }
    names = ("preferred", "rejected", "prior_mask")
    pictures = {name: change(name, file) for name in names if (file := getattr(pair, name)) is not None}
    return pair.model_copy(update=update | pictures)


def pair_files(pair: PreferencePair) -> dict[str, Path]:
    """Slot -> path of every picture and mask."""
    files: dict[str, Path] = {}
    with_files(pair, files.setdefault)
    return files


def pair_row(pair: PreferencePair, *, folder: Path) -> dict[str, Any]:
    """The JSON row of a pair; paths below `folder` are written relative to it, with forward slashes."""
    inside = with_files(pair, lambda _, path: path.relative_to(folder) if path.is_relative_to(folder) else path)
    return inside.model_dump(mode="json")
