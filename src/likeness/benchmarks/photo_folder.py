"""Folders of photographed subjects in other projects' layouts: what lists state is looked up inside the folder only.

A case whose photo or prompts are missing is left out with the reason; a folder without a single usable case is one
error that says what it must hold and where that is published. Nothing is downloaded, copied or decoded.
"""

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple  # Any: JSON until a record has checked it

from pydantic import ConfigDict

from likeness.core.errors import DataError
from likeness.core.files import is_inside, read_json, read_text
from likeness.core.images import SUFFIXES
from likeness.core.kinds import Split
from likeness.core.records import Case, CasesFile
from likeness.core.rows import Frozen, LeftOut
from likeness.core.sampling import balanced_sample

__all__ = ["ForeignRow", "Gathered", "PhotoFolder"]


class ForeignRow(Frozen):
    """A row of somebody else's list: types are strict, further keys mean nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class PhotoFolder(NamedTuple):
    """A data set on disk: `holds` says what must lie in `root`, `published` where it comes from and its licence."""

    root: Path
    holds: str
    published: str

    @classmethod
    def of_test_split(cls, name: str, *, data: Path | None, split: Split, holds: str, published: str) -> "PhotoFolder":
        """The folder of a benchmark that has one split. Raises: DataError without data, or for another split."""
        if data is None or split != "test":
            raise DataError(f"{name}: expected a folder of photos and the test split, got {data} and {split}.")
        return cls(data, holds, published)

    def wrong(self, got: str) -> DataError:
        """The error of a folder that is not the data set, or not a usable part of it."""
        return DataError(f"{self.root}: expected {self.holds}, got {got}; {self.published}.")

    def place(self, stated: str) -> Path:
        """The place in the folder that a list states. Raises: DataError for a path that leads out of it."""
        path = PurePosixPath(stated.replace("\\", "/"))
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in stated or ":" in path.parts[0]:
            raise DataError(f"expected a path inside the folder, got {stated[:80]!r}; correct the list.")
        return self.root / path

    def file(self, stated: str, *, what: str) -> Path:
        """The file that a list states. Raises: DataError where it is absent or a link leads out of the folder."""
        path = self.place(stated)
        try:
            is_there = path.is_file()
        except OSError:  # a name longer than any file has
            is_there = False
        if not is_there:
            raise DataError(f"expected {what} {_shown(stated)}, found no such file; copy the whole data set.")
        if not is_inside(path, self.root):
            raise DataError(
                f"expected {what} inside the folder, got a link that leaves it ({_shown(stated)}); copy it."
            )
        return path

    def pictures(self, stated: str) -> tuple[Path, ...]:
        """The pictures of a folder that a list states, sorted by name; links out of the data set are no pictures.

        Raises: DataError where there is no picture.
        """
        folder = self.place(stated)
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        kept = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
        kept = [path for path in kept if is_inside(path, self.root)]
        if not kept:
            raise DataError(f"expected photos in {_shown(stated)}, found none; copy the whole data set.")
        return tuple(kept)

    def lines(self, stated: str, *, what: str) -> list[str]:
        """The lines of a text file that hold something, without white space around them.

        Raises: DataError where the file is absent, is no text or holds nothing.
        """
        found = [line.strip() for line in read_text(self.file(stated, what=what)).splitlines() if line.strip()]
        if not found:
            raise DataError(f"expected {what} {_shown(stated)} with text, got an empty file; copy it again.")
        return found

    def rows(self, stated: str) -> list[Any]:
        """The rows of a JSON list. Raises: DataError where the file is absent, damaged or no list."""
        found = read_json(self.file(stated, what="the list"))
        if not isinstance(found, list) or not found:
            raise DataError(f"{self.root / stated}: expected a list, got {type(found).__name__}; copy it again.")
        return found


def _shown(stated: str) -> str:
    return stated if len(stated) <= 80 else f"{stated[:80]} ..."


class Gathered:
    """Cases in the order of their lists, and what was left out with the reason."""

    def __init__(self, folder: PhotoFolder) -> None:
        self._folder = folder
        self._cases: dict[str, Case] = {}
        self._left_out: list[LeftOut] = []

    def add(self, where: str, make: Callable[[], Iterable[Case]]) -> None:
        """All cases that `make` gives, or none where it raises a DataError, which is kept as the reason."""
        try:
            made = list(make())
            if again := next((case.id for case in made if case.id in self._cases), None):
                raise DataError(f"expected each case once, got {again} again; drop a row.")
        except DataError as error:
            self.leave_out(where, error)
        else:
            self._cases |= {case.id: case for case in made}

    def rows(self, stated: str) -> list[Any]:
        """The rows of a JSON list of the folder; a list that cannot be read is left out and has none."""
        try:
            return self._folder.rows(stated)
        except DataError as error:
            self.leave_out(stated, error)
            return []

    def leave_out(self, where: str, reason: object) -> None:
        """Notes something that has no case."""
        self._left_out.append(LeftOut.at(where, reason))

    def cases_file(self, limit: int | None) -> CasesFile:
        """All cases or `limit` of them, balanced. Raises: DataError where there is none."""
        if not self._cases:
            first = f" ({self._left_out[0].reason.rstrip('.')})" if self._left_out else ""
            raise self._folder.wrong(f"no usable case{first}")
        return CasesFile(cases=balanced_sample(list(self._cases.values()), limit), left_out=tuple(self._left_out))
