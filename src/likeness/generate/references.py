"""Reference images, their masks and photos, copied into the run folder under the hash of their pixels."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.hashing import pixels_sha256, short
from likeness.core.images import load_image, save_png
from likeness.core.masks import load_mask
from likeness.core.records import Case, Subject, with_paths
from likeness.core.rows import LeftOut

__all__ = ["References", "copy_references", "read_references"]


class References(NamedTuple):
    """Cases whose pictures were all readable, with paths relative to the run folder, and the others with reasons.

    `sources` maps each relative path to a file that shows those pixels, `digests` to the full hash of the pixels.
    `masks` are the relative paths whose sources are read as masks.
    """

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...]
    sources: dict[Path, Path]
    digests: dict[Path, str]
    masks: frozenset[Path]


def read_references(cases: Iterable[Case]) -> References:
    """Every picture and mask is decoded once; cases with an unusable one are left out with the reason."""
    kept: list[Case] = []
    left_out: list[LeftOut] = []
    digests: dict[Path, str] = {}

    masks: set[Path] = set()

    def named(source: Path) -> Path:
        if source not in digests:
            digests[source] = pixels_sha256(load_image(source))
        return _file(digests[source])

    def check_mask(subject: Subject) -> None:
        if subject.mask is not None and subject.mask not in digests:
            size = load_image(subject.reference_image).size
            digests[subject.mask] = pixels_sha256(load_mask(subject.mask, size=size, what="reference mask"))
            masks.add(_file(digests[subject.mask]))

    for case in cases:
        try:
            for subject in case.subjects:
                check_mask(subject)
            kept.append(with_paths(case, named))
        except DataError as error:
            left_out.append(LeftOut(where=case.id, reason=str(error)))
    sources = {_file(digest): source for source, digest in digests.items()}
    by_file = {file: digests[source] for file, source in sources.items()}
    return References(tuple(kept), tuple(left_out), sources, by_file, frozenset(masks))


def _file(digest: str) -> Path:
    return Path("references") / f"{short(digest)}.png"


def copy_references(references: References, *, folder: Path) -> None:
    """Every picture the kept cases name lies in the run folder; whole copies from before are left as they are.

    Raises: DataError when a source changed since it was hashed, OutputError when the folder cannot be written.
    """
    subjects = [subject for case in references.cases for subject in case.subjects]
    for file in sorted({path for subject in subjects for path in _files_of(subject)}):
        digest, source = references.digests[file], references.sources[file]
        read = load_mask if file in references.masks else load_image
        if _shows(folder / file, digest=digest, read=read):
            continue
        image = read(source)
        if pixels_sha256(image) != digest:
            raise DataError(f"{source}: expected the picture read a moment ago, got another; leave inputs alone.")
        save_png(image, folder / file)


def _files_of(subject: Subject) -> tuple[Path, ...]:
    return (subject.reference_image, *subject.photos, *([] if subject.mask is None else [subject.mask]))


def _shows(path: Path, *, digest: str, read: Callable[[Path], Image.Image]) -> bool:
    try:
        return pixels_sha256(read(path)) == digest
    except DataError:
        return False
