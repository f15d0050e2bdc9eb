"""What encoders saw, kept for all runs of a user: content-addressed, append-only, one SQLite file per encoder.

A key is the hash of a picture's bytes, of a text, or of both. A file's name is the hash of the encoder's id and of the
libraries and the processor that computed with it, so that equal keys mean equal bits. A kill loses at most what is
being written; any number of processes may write at once. Every value carries a checksum.
"""

import os
import platform
import sqlite3
import zlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path

from likeness.core.cache import user_cache
from likeness.core.devices import processor
from likeness.core.errors import DataError, OutputError
from likeness.core.hashing import json_sha256, short
from likeness.core.runs import package_versions

_PACKAGES = ("torch", "transformers", "numpy", "pillow", "onnxruntime")
_LAYOUT = "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB, crc INTEGER) WITHOUT ROWID"
_ABOUT = "CREATE TABLE IF NOT EXISTS about (encoder TEXT PRIMARY KEY)"
_SECONDS_TO_WAIT = 60.0
_ASKED_AT_ONCE = 500  # SQLite takes at most 999 variables where it is old


def user_features() -> Path:
    """The folder that all runs of a user share: $LIKENESS_FEATURES, else the user's cache folder."""
    named = os.environ.get("LIKENESS_FEATURES")
    return Path(named) if named else user_cache() / "features"


def feature_key(ability: str, *, picture: str | None = None, text: str | None = None) -> bytes:
    """The key of what an ability ("look", "read" or "ask") gave for a picture's hash, a text, or both."""
    parts = (ability, picture or "", text or "")
    return sha256("\0".join(part.encode("utf-8", "surrogatepass").hex() for part in parts).encode()).digest()


@cache
def _computed_by(device: str) -> str:
    """Libraries and processors: another of either may round otherwise. The CPU has a part in whatever runs on a GPU."""
    import torch

    versions = package_versions(*_PACKAGES)
    del versions["likeness"], versions["python"]
    cpu = [versions, platform.machine(), torch.backends.cpu.get_cpu_capability()]
    return json_sha256(cpu if device == "cpu" else [*cpu, processor(device)])


class FeatureStore:
    """The features below one folder, which is made when first written to; `device` is where encoders compute."""

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        self.folder, self._device = folder, device
        self._open: dict[str, sqlite3.Connection] = {}

    def path(self, encoder_id: str) -> Path:
        """The file of an encoder."""
        return self.folder / f"{short(json_sha256([encoder_id, _computed_by(self._device)]))}.sqlite"

    def get(self, encoder_id: str, key: bytes) -> bytes:
        """The value of a key that is there. Raises: DataError for a damaged store, KeyError for no value."""
        with self._reading(encoder_id) as database:
            row = database.execute("SELECT value, crc FROM features WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        value, crc = row
        if not isinstance(value, bytes) or zlib.crc32(value) != crc:
            raise self._damaged(encoder_id, "a value with another checksum")
        return value

    def known(self, encoder_id: str, keys: Iterable[bytes]) -> set[bytes]:
        """Those of the keys that have a value. Raises: DataError for a damaged store."""
        if encoder_id not in self._open and not self.path(encoder_id).is_file():
            return set()
        wanted, found = list(keys), set[bytes]()
        with self._reading(encoder_id) as database:
            for first in range(0, len(wanted), _ASKED_AT_ONCE):
                some = wanted[first : first + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(
                    key for (key,) in database.execute(f"SELECT key FROM features WHERE key IN ({marks})", some)
                )
        return found.intersection(wanted)

    def put(self, encoder_id: str, values: Mapping[bytes, bytes]) -> None:
        """Keeps the values; a key that has one keeps it. Raises: OutputError where nothing can be written."""
        rows = [(key, value, zlib.crc32(value)) for key, value in values.items()]
        with self._reading(encoder_id) as database, database:
            database.executemany("INSERT OR IGNORE INTO features VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Lets go of the files."""
        for database in self._open.values():
            database.close()
        self._open.clear()

    @contextmanager
    def _reading(self, encoder_id: str) -> Generator[sqlite3.Connection, None, None]:
        try:
            yield self._connection(encoder_id)
        except sqlite3.OperationalError as error:
            wanted = f"{self.path(encoder_id)}: expected to read and write features"
            raise OutputError(f"{wanted}, got {error}; name another folder with --features.") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(encoder_id, str(error)) from error

    def _connection(self, encoder_id: str) -> sqlite3.Connection:
        if encoder_id not in self._open:
            path = self.path(encoder_id)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                wanted = f"{path.parent}: expected a folder for features, got {error.strerror or error}"
                raise OutputError(f"{wanted}; name another one with --features.") from error
            self._open[encoder_id] = database = sqlite3.connect(path, timeout=_SECONDS_TO_WAIT)
            with database:
                database.execute(_LAYOUT)
                database.execute(_ABOUT)
                database.execute("INSERT OR IGNORE INTO about VALUES (?)", (encoder_id,))
        return self._open[encoder_id]

    def _damaged(self, encoder_id: str, got: str) -> DataError:
        path = self.path(encoder_id)
        return DataError(f"{path}: expected whole features, got {got}; delete the file, it is made again.")
