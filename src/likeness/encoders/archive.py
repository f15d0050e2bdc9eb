"""Files of a published archive, or of the folder that somebody extracted it to."""

import shutil
import zipfile
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from likeness.core.errors import WeightsError
from likeness.core.files import unwritable
from likeness.core.hashing import file_sha256, json_sha256

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises for a cut, changed or encrypted archive."""


def parts_sha256(source: Path, parts: Sequence[str]) -> str:
    """The hash of an archive; of a folder, that of the names and contents of those `parts` that it has."""
    if source.is_file():
        return file_sha256(source)
    return json_sha256({part: file_sha256(source / part) for part in parts if (source / part).is_file()})


@contextmanager
def opened_parts(source: Path, parts: Sequence[str], *, place: Path) -> Generator[Path]:
    """A folder in which those `parts` that the source has are files: the source itself if it is a folder, else `place`.

    Of a zip archive only `parts` are unpacked, to exactly those names below `place`, which is gone afterwards.
    Raises: WeightsError for a damaged file, and for an archive with a name that leads out of it; OutputError when
    `place` cannot be written.
    """
    if source.is_dir():
        yield source
        return
    shutil.rmtree(place, ignore_errors=True)
    try:
        _unpack(source, parts, place=place)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _unpack(source: Path, parts: Sequence[str], *, place: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            _require_inside(names, source=source)
            for part in set(parts).intersection(names):
                _copy(archive, part, place / part)
    except _DAMAGE as error:
        what = f"{source}: expected a whole zip archive, got {type(error).__name__}: {str(error).removesuffix('.')}"
        raise WeightsError(f"{what}; download it again, or give the folder that it was extracted to.") from error


def _require_inside(names: Sequence[str], *, source: Path) -> None:
    """Raises: WeightsError for a name that, extracted by whatever tool, would be written elsewhere."""
    for name in names:
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if posix.is_absolute() or windows.anchor or ".." in windows.parts:
            what = f"{source}: expected names inside the archive, got {name!r}, which leads out of it"
            raise WeightsError(f"{what}; get the file from its publisher.")


def _copy(archive: zipfile.ZipFile, name: str, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as inside, place.open("wb") as file:
            shutil.copyfileobj(inside, file, 1 << 20)
    except OSError as error:
        raise unwritable(place, error) from error
