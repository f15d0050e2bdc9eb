"""The ledger of a staged run: one line per record and stage that came to an end, only ever appended.

A line counts while its key fits: the key is a hash of the stage's settings and of everything that went in. Whoever
changes an input makes the line void, and the stage is done again. A kill leaves whole lines and perhaps the beginning
of one, which is cut off.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal  # Any: facts are JSON

from pydantic import Field

from likeness.core.errors import DataError
from likeness.core.files import json_line, numbered_lines, read_text, unwritable
from likeness.core.rows import Frozen

__all__ = ["LEDGER_NAME", "Entry", "FileFacts", "Ledger", "open_ledger", "read_entries"]

LEDGER_NAME = "ledger.jsonl"


class FileFacts(Frozen):
    """A file that a stage made."""

    sha256: str
    bytes: int


class Entry(Frozen):
    """How a stage ended for a record.

    made: with `facts` and `files` (by name in the folder). rejected: with `cause` and `reason`. failed: an error, in
    `reason`, for the `tries`-th time. `seconds` is how long it took, by the clock.
    """

    record: str
    stage: str
    key: str
    outcome: Literal["made", "rejected", "failed"]
    facts: dict[str, Any] = Field(default_factory=dict[str, Any])
    files: dict[str, FileFacts] = Field(default_factory=dict[str, FileFacts])
    cause: str = ""
    reason: str = ""
    tries: int = 1
    seconds: float

    def is_whole(self, folder: Path) -> bool:
        """Whether all files are there in their sizes; what is in them is checked when they are read."""
        try:
            return all((folder / name).stat().st_size == file.bytes for name, file in self.files.items())
        except OSError:
            return False


class Ledger:
    """The last entry of every record and stage, and the file they are appended to."""

    def __init__(self, entries: dict[tuple[str, str], Entry], file: BinaryIO, *, path: Path) -> None:
        self.entries, self._file, self._path = entries, file, path

    def append(self, entry: Entry) -> None:
        """The entry counts from now on, also after a kill. Raises: OutputError."""
        line = json_line(entry.model_dump(mode="json", exclude_defaults=True))
        try:
            self._file.write(line.encode())
            self._file.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error
        self.entries[entry.record, entry.stage] = entry


@contextmanager
def open_ledger(folder: Path) -> Generator[Ledger]:
    """The ledger of the folder, to be read and continued by this process alone.

    Raises: DataError for a damaged line, OutputError.
    """
    path = folder / LEDGER_NAME
    try:
        with path.open("ab+") as file:
            file.truncate(_whole_lines(file))
            yield Ledger(read_entries(folder), file, path=path)
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def _whole_lines(file: BinaryIO) -> int:
    """Bytes up to the end of the last whole line."""
    file.seek(0)
    return file.read().rfind(b"\n") + 1


def read_entries(folder: Path) -> dict[tuple[str, str], Entry]:
    """The last entry of every (record, stage); empty where there is no ledger. Raises: DataError for a damaged line."""
    path = folder / LEDGER_NAME
    entries: dict[tuple[str, str], Entry] = {}
    for number, line in numbered_lines(read_text(path)) if path.is_file() else []:
        try:
            entry = Entry.of_row(json.loads(line))
        except (ValueError, DataError) as error:
            raise DataError(f"{path}:{number}: expected an entry, got {error}; delete the line.") from None
        entries[entry.record, entry.stage] = entry
    return entries
