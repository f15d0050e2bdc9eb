"""The pictures of a page: reduced to WebP once each, inside the page where that is small, else in a folder beside it.

The folder of PAGE.html is PAGE_files. A file there goes by the hash of the picture it was made of, so that equal
pictures are kept once and an unchanged one is not made again. Nothing else in that folder is ever touched.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import unwritable, update_bytes
from likeness.core.images import load_image
from likeness.core.jobs import Progress, always, run_jobs, unseen
from likeness.report.figures import PagePicture, webp_uri

SMALL, LARGE = 256, 512
"""Long sides in px of what an index shows and of what opens from it; smaller pictures are kept as they are."""
QUALITY, METHOD = 82, 2  # method 4 takes twice the time for 2% fewer bytes
INSIDE_BYTES = 3_000_000
"""Pictures that take more than this inside the page, as the text that HTML needs, lie in the folder beside it."""
SINGLE_FILE_PICTURES = 160
"""How many pictures `--single-file` takes into the page at most."""
_WAY = f"webp {QUALITY} {METHOD} {SMALL} {LARGE}".encode()
"""Part of the hash: other settings give other names."""
_MADE = re.compile(rf"[0-9a-f]{{24}}\.({SMALL}|{LARGE})\.webp|\.[0-9a-f]{{32}}\.tmp")
"""The names of files that are ours: pictures, and what a kill left of an atomic write."""

LEFT_OUT = PagePicture(problem="left out of this single file")


@dataclass(frozen=True)
class Album:
    """What a page shows for each path; `names` are the files in the folder of the page, none where all is inside."""

    page: Path
    shown: Mapping[Path, PagePicture]
    names: frozenset[str] = frozenset()

    def __getitem__(self, path: Path) -> PagePicture:
        return self.shown.get(path, LEFT_OUT)

    @property
    def folder(self) -> Path | None:
        """The folder beside the page, None where all pictures are inside."""
        return files_of(self.page) if self.names else None

    def clean(self) -> None:
        """The folder holds no picture of an earlier page; it is gone when it is empty.

        Raises: OutputError when a file cannot be removed.
        """
        folder = files_of(self.page)
        try:
            for path in folder.iterdir() if folder.is_dir() else ():
                if _MADE.fullmatch(path.name) and path.name not in self.names:
                    path.unlink()
        except OSError as error:
            raise unwritable(folder, error) from error
        if not self.names:
            with suppress(OSError):  # not there, or somebody else keeps files in it
                folder.rmdir()


def files_of(page: Path) -> Path:
    """The folder that a page keeps its pictures in: PAGE_files of PAGE.html."""
    return page.with_name(f"{page.stem}_files")


def album_of(
    uses: Sequence[Path],
    *,
    page: Path,
    single_file: bool = False,
    workers: int = 1,
    progress: Progress = unseen,
) -> Album:
    """The pictures of a page, each path as often as the page shows it; pictures beside the page are written here.

    With `single_file` all of `uses` are inside, however large. What cannot be read is a stated problem, never left out.
    Raises: OutputError when the folder cannot be written.
    """
    counts = Counter(uses)
    inside = _all_inside(counts, most=None if single_file else INSIDE_BYTES)
    if inside is not None:
        return Album(page, inside)
    folder, shown, names = files_of(page), dict[Path, PagePicture](), set[str]()
    jobs = (_Job(path, folder) for path in counts)
    progress(0, len(counts))
    done = run_jobs(jobs, load=always(_reduce), workers=workers, ahead=4)
    for number, (job, found) in enumerate(done, start=1):
        shown[job.path] = found.beside(folder)
        names.update(found.names)
        progress(number, len(counts))
    return Album(page, shown, frozenset(names))


def _all_inside(counts: Mapping[Path, int], *, most: int | None) -> dict[Path, PagePicture] | None:
    """All pictures as text, None as soon as they take more than `most` bytes of the page."""
    shown, taken = dict[Path, PagePicture](), 0
    for path, times in counts.items():
        found = _reduce(_Job(path, None))
        shown[path] = found.inside()
        taken += times * len(shown[path].uri)
        if most is not None and taken > most:
            return None
    return shown


class _Job(NamedTuple):
    path: Path
    folder: Path | None


class _Reduced(NamedTuple):
    """A picture with its small copy and, where it is larger than that, a large one; the bytes are those for inside."""

    key: str = ""
    width: int = 0
    height: int = 0
    has_large: bool = False
    data: bytes = b""
    problem: str = ""

    @property
    def names(self) -> Iterator[str]:
        if self.key:
            yield _name(self.key, SMALL)
        if self.has_large:
            yield _name(self.key, LARGE)

    def inside(self) -> PagePicture:
        if self.problem:
            return PagePicture(problem=self.problem)
        return PagePicture(uri=webp_uri(self.data), width=self.width, height=self.height)

    def beside(self, folder: Path) -> PagePicture:
        if self.problem:
            return PagePicture(problem=self.problem)
        small, *large = (f"{quote(folder.name)}/{name}" for name in self.names)
        shown = PagePicture(uri=small, width=self.width, height=self.height)
        return replace(shown, large=large[0]) if large else shown


def _name(key: str, side: int) -> str:
    return f"{key}.{side}.webp"


def _reduce(job: _Job) -> _Reduced:
    """The picture as the page needs it: its bytes for inside, or its files written where they are not there yet."""
    try:
        if job.folder is None:
            image = _fitted(load_image(job.path), LARGE)
            return _Reduced(width=image.width, height=image.height, data=_webp(image))
        key = hashlib.sha256(_WAY + _bytes_of(job.path)).hexdigest()[:24]
        return _kept(job.folder, key) or _written(load_image(job.path), folder=job.folder, key=key)
    except DataError as error:
        return _Reduced(problem=str(error))


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a picture, got {error.strerror or error}; check the path.") from error


def _fitted(image: Image.Image, side: int) -> Image.Image:
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _written(image: Image.Image, *, folder: Path, key: str) -> _Reduced:
    has_large = max(image.size) > SMALL
    if has_large:  # before the small one, which stands for both
        update_bytes(folder / _name(key, LARGE), _webp(_fitted(image, LARGE)), sync=False)
    small = _fitted(image, SMALL)
    update_bytes(folder / _name(key, SMALL), _webp(small), sync=False)
    return _Reduced(key, small.width, small.height, has_large)


def _kept(folder: Path, key: str) -> _Reduced | None:
    """What an earlier page wrote of the same picture; None where anything of it is missing or cut short."""
    small, large = (folder / _name(key, side) for side in (SMALL, LARGE))
    if not _is_whole(small):
        return None
    with Image.open(small) as image:
        width, height = image.size
    if max(width, height) == SMALL and not _is_whole(large):
        return None  # or it was of just that size: made again, and found equal
    return _Reduced(key, width, height, has_large=max(width, height) == SMALL)


def _is_whole(path: Path) -> bool:
    """Whether a WebP file is there and as long as its header says."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
        size = path.stat().st_size
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"WEBP" and struct.unpack("<I", head[4:8])[0] + 8 == size


def _webp(image: Image.Image) -> bytes:
    """With losses that the eye does not see, or a small drawing as it is where that takes less."""
    lossy = _saved(image, quality=QUALITY)
    if max(image.size) >= SMALL:
        return lossy
    return min(_saved(image, lossless=True), lossy, key=len)


def _saved(image: Image.Image, **options: float | bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", method=METHOD, **options)
    return buffer.getvalue()
