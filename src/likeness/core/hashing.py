"""Content hashes: SHA-256 of whole files, decoded pixels, JSON values and folders, as lower-case hex."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any  # JSON values are open by nature

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import canonical_json

CARD = "calibration.json"


def file_sha256(path: Path | str) -> str:
    """The hash of every byte of a file. Raises: DataError when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got {error.strerror or error}; check the path.") from error


def pixels_sha256(image: Image.Image) -> str:
    """The hash of what a picture shows: mode, width, height and pixels, whatever file format carried them."""
    header = f"{image.mode} {image.width} {image.height}\0".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()


def json_sha256(value: Any) -> str:
    """The hash of a JSON value, the same for every order of keys.

    Raises: DataError for NaN, and for half surrogate pairs, which stand for names that are not UTF-8.
    """
    text = canonical_json(value)
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 30) : error.end + 30]
        raise DataError(f"JSON: expected Unicode text, got {around!r}; rename or re-save it as UTF-8.") from None


def beginnings_sha256(rows: Sequence[Any]) -> Iterator[str]:
    """`json_sha256` of the first 1, 2 ... of the rows, but not of all, in one pass over them."""
    running = hashlib.sha256(b"[")
    for row in rows[:-1]:
        running.update(canonical_json(row).encode())
        closed = running.copy()
        closed.update(b"]")
        yield closed.hexdigest()
        running.update(b",")


def folder_sha256(path: Path | str, *, hash_file: Callable[[Path], str] | None = None) -> str:
    """The hash of the names and contents of all files below a folder, in sorted order.

    Names starting with a dot and `__pycache__` are skipped: downloads and file managers add those. So is
    calibration.json: what a checkpoint was found to be worth is no part of it. `hash_file` may know the hash of a file
    without reading it (default: `file_sha256`).
    Raises: DataError when `path` is no folder or holds no file.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder, got nothing there or a file; check the path.")
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    kept = [name for name in names if not _is_skipped(name)]
    if not kept:
        raise DataError(f"{folder}: expected a folder with files, got an empty one; check the path.")
    return json_sha256([[name, (hash_file or file_sha256)(folder / name)] for name in kept])


def _is_skipped(name: str) -> bool:
    parts = name.split("/")
    return parts[-1] == CARD or any(part.startswith(".") or part == "__pycache__" for part in parts)


def short(digest: str) -> str:
    """The first 12 hex digits of a hash, for file names and people."""
    return digest[:12]
