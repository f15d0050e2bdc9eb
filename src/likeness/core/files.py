"""Files and folders that are either whole or absent; text, JSON and JSONL.

Writes go to a temporary file in the same folder, which then takes the final name; after a kill at any moment the final
name holds the old bytes or the new ones. A kill may leave a `.*.tmp` file; `remove_stale_temporaries` clears those.
A folder is filled beside the old one and takes its place in two renames; `recover_folder` completes what a kill cut.
"""

import json
import os
import shutil
import socket
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any  # JSON values are open by nature

from likeness.core.errors import DataError, OutputError

TEMPORARY_PATTERN = ".*.tmp"


def atomic_write_bytes(path: Path | str, data: bytes, *, sync: bool = True) -> None:
    """The file at `path` holds exactly `data`; its folder is created when absent.

    Without `sync` the bytes are not forced to the disk: a power failure, other than a kill, may leave a short file.
    Raises: OutputError when the folder is read-only, full or not a folder.
    """
    path = Path(path)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # the folder itself is the problem
            temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def update_bytes(path: Path | str, data: bytes, *, sync: bool = True) -> bool:
    """The file at `path` holds exactly `data`; it is left alone where it does already. Whether it was written.

    Raises: OutputError as `atomic_write_bytes`.
    """
    path = Path(path)
    with suppress(OSError):  # not there, or not readable: writing says what is wrong
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return False
    atomic_write_bytes(path, data, sync=sync)
    return True


def unwritable(path: Path | str, reason: object) -> OutputError:
    """The error for a file or folder that cannot be written, by the reason that the system or a library gave."""
    told = reason.strerror if isinstance(reason, OSError) else None
    message = f"{path}: expected a writable folder with free space, got {told or reason}; "
    return OutputError(message + "free the disk, fix its permissions or choose another folder.")


def atomic_write_text(path: Path | str, text: str) -> None:
    """The file at `path` holds `text` in UTF-8 with newlines as given.

    Raises: OutputError as for bytes, DataError for half surrogate pairs, which UTF-8 does not have.
    """
    atomic_write_bytes(path, _utf8(path, text))


def update_text(path: Path | str, text: str) -> bool:
    """As `atomic_write_text`, but a file that holds `text` already is left alone. Whether it was written."""
    return update_bytes(path, _utf8(path, text))


def _utf8(path: Path | str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: expected Unicode text, got {error.reason} at {error.start}; mend the text.") from None


def remove_stale_temporaries(folder: Path | str) -> int:
    """No temporary file of an interrupted write is left below `folder`; returns how many there were."""
    stale = list(Path(folder).rglob(TEMPORARY_PATTERN))
    for temporary in stale:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return len(stale)


@contextmanager
def replaced_folder(folder: Path) -> Generator[Path, None, None]:
    """A new empty folder to be filled, which then is `folder`; an error in between leaves the old one alone.

    A kill at any moment leaves the old folder or the new one, never a mixture, for whoever calls `recover_folder`.
    Raises: OutputError when the disk refuses a file or a folder.
    """
    recover_folder(folder)
    fresh, old = folder.with_name(f"{folder.name}.next"), _old(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        yield fresh
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # there only after an error
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """The old folder is back when a kill fell between the two renames of `replaced_folder`."""
    if _old(folder).exists() and not folder.exists():
        os.replace(_old(folder), folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


def require_shared(path: Path) -> None:
    """What the driver of a cluster sees at this path, this machine sees as well. Raises: DataError naming both."""
    if not path.exists():
        wanted = f"{path}: expected to find it on {socket.gethostname()} as well"
        raise DataError(f"{wanted}, got nothing there; keep it where every machine with a worker sees it.")


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, no NaN.

    Raises: DataError for NaN, infinities and values JSON does not have (write null and a reason instead).
    """
    return _dump(value, separators=(",", ":"), sort_keys=True)


def _dump(value: Any, **style: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **style)
    except (TypeError, ValueError) as error:
        raise DataError(f"JSON: expected finite plain values, got {error}; write null with a reason.") from error


def write_json(path: Path | str, value: Any) -> None:
    """The file holds `value` as readable JSON in the key order given. Raises: DataError, OutputError."""
    atomic_write_text(path, _dump(value, indent=2) + "\n")


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> None:
    """The file holds one JSON row per line, in the order given. Raises: DataError, OutputError."""
    atomic_write_text(path, "".join(map(json_line, rows)))


def json_line(row: Any) -> str:
    """The row as a line of JSONL, its keys in the order given. Raises: DataError as `canonical_json`."""
    return _dump(row) + "\n"


def is_inside(path: Path, folder: Path) -> bool:
    """Whether the file lies in the folder after all links are followed; False for a name that no file can have."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, a ring of links
        return False


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file, without a byte-order mark. Raises: DataError when missing, a folder or not UTF-8."""
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, got byte {error.start} that is not; re-save as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got {error.strerror or error}; check the path.") from error


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, by their numbers from 1 on."""
    # split on "\n" only: str.splitlines also breaks at U+2028 and others, which JSON strings may hold unescaped
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def read_json(path: Path | str) -> Any:
    """The JSON value of a file. Raises: DataError naming file, line and column of the first mistake."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        at = f"{path}:{error.lineno}:{error.colno}"
        raise DataError(f"{at}: expected JSON, got {error.msg.lower()}; correct the file.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, got {_json_fault(error)}; correct the file.") from None


def read_jsonl(path: Path | str) -> list[Any]:
    """The rows of a JSONL file in order; blank lines are skipped. Raises: DataError naming file and line."""
    rows: list[Any] = []
    for number, line in numbered_lines(read_text(path)):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: expected one JSON value, got {_json_fault(error)}; correct the line."
            ) from None
    return rows


def _json_fault(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg.lower()
    too_long = "a number of thousands of digits"  # Python reads no longer ones
    return "nesting too deep to read" if isinstance(error, RecursionError) else too_long
