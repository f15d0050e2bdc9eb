"""Content hashes of weights, where reading them takes long: FLUX.1-dev has 34 GB, about a minute at every start.

The hash of a large file is kept in the user's cache folder and holds while its path, size and time of change stay. A
cache that is damaged or cannot be written costs only that minute.
"""

import re
from contextlib import suppress
from pathlib import Path

from likeness.core.cache import user_cache
from likeness.core.errors import DataError, LikenessError
from likeness.core.files import read_json, write_json
from likeness.core.hashing import file_sha256, folder_sha256

LARGE_BYTES = 64_000_000  # smaller files are read in a moment


def remembered_sha256(place: Path) -> str:
    """`folder_sha256` of a folder, `file_sha256` of a file; a large file is read only when it is new or changed.

    Raises: DataError as they do.
    """
    return folder_sha256(place, hash_file=_file_sha256) if place.is_dir() else _file_sha256(place)


def _file_sha256(path: Path) -> str:
    if not path.is_file() or path.stat().st_size <= LARGE_BYTES:
        return file_sha256(path)
    state = path.stat()
    cache = user_cache() / "hashes.json"
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    known = _read(cache)
    if key not in known:
        known[key] = file_sha256(path)
        with suppress(LikenessError):
            write_json(cache, known)
    return known[key]


def _read(cache: Path) -> dict[str, str]:
    try:
        entries = read_json(cache)
    except DataError:
        return {}
    items = entries.items() if isinstance(entries, dict) else ()
    return {key: value for key, value in items if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)}
