"""What a reader of a layout tells, and what several readers share."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from likeness.core.errors import DataError
from likeness.core.files import is_inside
from likeness.core.images import OTHER_SUFFIXES, SUFFIXES
from likeness.core.records import Case
from likeness.core.rows import LeftOut

OWN_FOLDERS = ("evaluation", "truth")
"""Folders of a run that hold no pictures to measure."""


@dataclass(frozen=True)
class Sample:
    """The k-th generated picture of a case."""

    case: Case
    k: int
    image: Path

    @property
    def id(self) -> str:
        """Its name in rows of scores."""
        return f"{self.case.id}-{self.k}"


@dataclass(frozen=True)
class Told:
    """Pictures with a place; stated ones that are not there; pictures and rows without a place, each with the reason.

    An empty reason is that of a picture that merely has another name.
    """

    claimed: list[Sample] = field(default_factory=list[Sample])
    absent: list[Sample] = field(default_factory=list[Sample])
    refused: dict[Path, str] = field(default_factory=dict[Path, str])
    rows: list[LeftOut] = field(default_factory=list[LeftOut])
    _at: dict[str, Path] = field(default_factory=dict[str, Path], init=False, repr=False)

    def claim(self, picture: Path, place: Callable[[], tuple[Case, int]]) -> None:
        """The picture has the place; it is refused where `place` raises a DataError or another picture is there."""
        try:
            case, k = place()
            sample = Sample(case, k, picture)
            if taken := self._at.get(sample.id):
                raise DataError(f"expected one picture for {sample.id}, got {taken.name} too; remove one.")
        except DataError as error:
            self.refused[picture] = str(error)
        else:
            self.claimed.append(sample)
            self._at[sample.id] = picture


class Wanted:
    """Cases by prompt, for layouts that name a picture by its prompt."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._by_prompt: dict[str, list[Case]] = {}
        for case in cases:
            self._by_prompt.setdefault(plain(case.prompt), []).append(case)

    def knows(self, prompt: str) -> bool:
        """Whether any case has the prompt."""
        return plain(prompt) in self._by_prompt

    def find(self, prompt: str, *, fits: Callable[[Case], bool] = lambda _: True, whose: str = "") -> Case:
        """The one case of a prompt that fits. Raises: DataError where there is none or several."""
        found = [case for case in self._by_prompt.get(plain(prompt), ()) if fits(case)]
        shown = f"{prompt[:80]!r}" + (f" of {whose[:80]!r}" if whose else "")
        if not found:
            raise DataError(f"expected a prompt of the cases, got {shown}; check the cases.")
        if len(found) > 1:
            many = f"{len(found)} ({found[0].id}, {found[1].id} ...)"
            raise DataError(f"expected one case with the prompt {shown}, got {many}; name them in a manifest.csv.")
        return found[0]


def plain(prompt: str) -> str:
    """The prompt as file names keep it: single spaces, no full stop at the end."""
    return " ".join(prompt.split()).rstrip(". ")


def called(case: Case) -> set[str]:
    """What a folder of the case's subjects may be called: their ids joined by +, - or _.

    Ids that are paths, as those of short rows, go by the folder that the photo lies in.
    """
    names = [Path(subject.id.replace("\\", "/")) for subject in case.subjects]
    plain_names = [path.parent.name if len(path.parts) > 1 else path.name for path in names]
    return {sign.join(plain_names) for sign in "+-_"} - {""}


OUTSIDE = "expected a picture inside the folder, got a link that leaves it; copy the file instead."


def pictures_below(folder: Path, told: Told) -> list[Path]:
    """The pictures of a folder and its subfolders, sorted; links out, linked folders and other kinds are refused."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=False):
        here = Path(place)
        for name in [each for each in folders if (here / each).is_symlink()]:
            told.refused[here / name] = "expected a folder, got a link to one, which is not followed; copy it instead."
        is_top = here == folder
        folders[:] = sorted(n for n in folders if not (n.startswith(".") or (is_top and _is_own(here, n))))
        for path in (here / name for name in sorted(names) if not name.startswith(".")):
            if path.suffix.lower() in SUFFIXES:
                found.append(path)
            elif path.suffix.lower() in OTHER_SUFFIXES:
                told.refused[path] = ""
    return sorted(path for path in found if not _is_refused(path, folder, told))


def _is_own(folder: Path, name: str) -> bool:
    """Whether a subfolder holds no pictures to measure: of a run, or the pictures of a page that lies beside it."""
    page = folder / f"{name.removesuffix('_files')}.html"
    return name in OWN_FOLDERS or (name.endswith("_files") and page.is_file())


def _is_refused(path: Path, folder: Path, told: Told) -> bool:
    if not is_inside(path, folder):
        told.refused[path] = OUTSIDE
    return path in told.refused
