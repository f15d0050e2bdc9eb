"""Who is in a portrait benchmark: filters of photos, then of people, then a balanced draw. Pure and seeded.

Source: Stellar (arXiv:2312.06116v1), selection of Stellar-Images: faces of at least 20% of the picture found with a
confidence of at least 0.99; one value of Male for all photos of a person; two photos or more; 200 people balanced over
Male and Young; two random photos of each.
Differs: the paper does not say how Young is told of a person: here by most of their remaining photos, a draw counting
as young; nor the exact balance: here a quarter for each of the four combinations.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from likeness.core.errors import DataError
from likeness.core.rng import seed_for
from likeness.core.rows import LeftOut
from likeness.data.portraits.celeba import Photo

__all__ = ["LEAST_AREA", "LEAST_SCORE", "NUM_PHOTOS", "Chosen", "SeenFace", "Selection", "face_fault", "select"]

LEAST_AREA, LEAST_SCORE = 0.2, 0.99
NUM_PHOTOS = 2
BALANCED = ("Male", "Young")
CELLS = 4


class SeenFace(NamedTuple):
    """The largest face of a photo: its share of the picture and the detector's score, on the detector's own scale."""

    area: float
    score: float


class Chosen(NamedTuple):
    """A person of the benchmark with the photos, in the order of their folder."""

    identity: int
    photos: tuple[Photo, ...]


class Selection(NamedTuple):
    """People by rising identity, all that was refused, and how many people passed, in all and of each kind."""

    people: tuple[Chosen, ...]
    refused: tuple[LeftOut, ...]
    num_passed: int
    cells: dict[str, int]


def face_fault(face: SeenFace | None, *, least_area: float, least_score: float) -> str:
    """Why a photo is refused by its largest face; empty for one that passes."""
    if face is None:
        return "expected a face, found none"
    if face.score < least_score:
        return f"expected a face found with a score of at least {least_score:g}, got {face.score:.3f}"
    if face.area < least_area:
        return f"expected a face of at least {least_area:.0%} of the picture, got {face.area:.1%}"
    return ""


def select(photos: Iterable[Photo], *, faults: Mapping[int, str], people: int, split: str, seed: int) -> Selection:
    """`people` of the split, a quarter for each value of Male and Young, with two photos each.

    `faults` says why a photo is refused, by its number. Equal seeds give equal people, whatever the order of photos.
    Raises: DataError for a number that four does not divide, and where a quarter has too few people, naming how many.
    """
    if people < CELLS or people % CELLS:
        raise DataError(f"--people: expected a multiple of {CELLS}, got {people}; Male and Young are balanced.")
    refused: list[LeftOut] = []
    kept: defaultdict[int, list[Photo]] = defaultdict(list)
    for photo in sorted((each for each in photos if each.split == split), key=lambda each: each.number):
        if fault := faults.get(photo.number, ""):
            refused.append(LeftOut.at(photo.file, f"{fault}."))
        else:
            kept[photo.identity].append(photo)
    cells: dict[tuple[int, int], list[int]] = {(male, young): [] for male in (-1, 1) for young in (-1, 1)}
    for identity in sorted(kept):
        if fault := _person_fault(kept[identity]):
            refused.append(LeftOut.at(f"identity {identity}", fault))
        else:
            cells[_cell(kept[identity])].append(identity)
    told = {_told(cell): len(found) for cell, found in cells.items()}
    wanted = people // CELLS
    if min(told.values()) < wanted:
        counts = ", ".join(f"{name}: {count}" for name, count in told.items())
        what = f"{split}: expected {wanted} people of each kind, got {counts}"
        raise DataError(f"{what}; ask for at most {min(told.values()) * CELLS} people with --people.")
    drawn = [who for cell, some in cells.items() for who in _draw(some, wanted, seed, split, _told(cell))]
    chosen = tuple(Chosen(who, _two(kept[who], seed=seed)) for who in sorted(drawn))
    return Selection(chosen, tuple(refused), sum(told.values()), told)


def _person_fault(photos: Sequence[Photo]) -> str:
    if len({photo.attributes["Male"] for photo in photos}) > 1:
        return "expected one value of Male in all photos, got both."
    if len(photos) < NUM_PHOTOS:
        return f"expected {NUM_PHOTOS} photos or more that pass, got {len(photos)}."
    return ""


def _cell(photos: Sequence[Photo]) -> tuple[int, int]:
    young = sum(photo.attributes["Young"] for photo in photos)
    return photos[0].attributes["Male"], 1 if young >= 0 else -1


def _told(cell: tuple[int, int]) -> str:
    return ", ".join(f"{name} {'yes' if value > 0 else 'no'}" for name, value in zip(BALANCED, cell, strict=True))


def _draw(people: Sequence[int], count: int, seed: int, *names: str) -> list[int]:
    return random.Random(seed_for("stellar images", seed, *names)).sample(list(people), count)


def _two(photos: Sequence[Photo], *, seed: int) -> tuple[Photo, ...]:
    rng = random.Random(seed_for("stellar images", seed, "photos", photos[0].identity))
    return tuple(sorted(rng.sample(list(photos), NUM_PHOTOS), key=lambda photo: photo.number))
