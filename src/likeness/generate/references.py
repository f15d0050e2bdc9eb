"""Reference images and photos, copied into the run folder under the hash of their pixels."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from likeness.core.errors import DataError
from likeness.core.hashing import pixels_sha256, short
from likeness.core.images import load_image, save_png
from likeness.core.records import Case, with_paths
from likeness.core.rows import LeftOut

__all__ = ["References", "copy_references", "read_references"]


class References(NamedTuple):
    """Cases whose pictures were all readable, with paths relative to the run folder, and the others with reasons.

    `sources` maps each relative path to a file that shows those pixels, `digests` to the full hash of the pixels.
    """

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...]
    sources: dict[Path, Path]
    digests: dict[Path, str]


def read_references(cases: Iterable[Case]) -> References:
    """Every reference image and photo is decoded once; cases with an unreadable one are left out with the reason."""
    kept: list[Case] = []
    left_out: list[LeftOut] = []
    digests: dict[Path, str] = {}

    def named(source: Path) -> Path:
        if source not in digests:
            digests[source] = pixels_sha256(load_image(source))
        return _file(digests[source])

    for case in cases:
        try:
            kept.append(with_paths(case, named))
        except DataError as error:
            left_out.append(LeftOut(where=case.id, reason=str(error)))
    sources = {_file(digest): source for source, digest in digests.items()}
    by_file = {file: digests[source] for file, source in sources.items()}
    return References(tuple(kept), tuple(left_out), sources, by_file)


def _file(digest: str) -> Path:
    return Path("references") / f"{short(digest)}.png"


def copy_references(references: References, *, folder: Path) -> None:
    """Every picture the kept cases name lies in the run folder; whole copies from before are left as they are.

    Raises: DataError when a source changed since it was hashed, OutputError when the folder cannot be written.
    """
    subjects = [subject for case in references.cases for subject in case.subjects]
    for file in sorted({path for subject in subjects for path in (subject.reference_image, *subject.photos)}):
        digest, source = references.digests[file], references.sources[file]
        if _shows(folder / file, digest=digest):
            continue
        image = load_image(source)
        if pixels_sha256(image) != digest:
            raise DataError(f"{source}: expected the picture read a moment ago, got another; leave inputs alone.")
        save_png(image, folder / file)


def _shows(path: Path, *, digest: str) -> bool:
    try:
        return pixels_sha256(load_image(path)) == digest
    except DataError:
        return False
