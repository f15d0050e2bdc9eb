"""Preference pairs of photographs: which two photographs make pair i, how its rejected picture is tried and kept.

Subjects take turns; within one, every photograph is preferred equally often and meets all others as its reference.
An attempt is refused when the change is hardly seen, or when it brings the subject nearer to its reference. No judge is
asked, and no score is invented.
Shapes: H x W pixels; masks are (H, W) bool, pictures (H, W, 3) uint8.
"""

import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.core.images import load_image
from likeness.core.kinds import Category
from likeness.core.masks import read_mask
from likeness.core.pairs import PairReference, PairSubject, PreferencePair
from likeness.core.rng import seed_for
from likeness.core.rows import Frozen
from likeness.data.lint.colour_evidence import alike, colours_of
from likeness.data.lint.subjects import SWAP_MARGIN, MaskedPicture
from likeness.data.pairs.disruptor import (
    DIFFICULTY,
    KINDS,
    STRENGTHS,
    Kind,
    colour_difference,
    disrupt,
    feather_of,
)
from likeness.data.pairs.paste import paste
from likeness.data.pairs.regeneration import Regenerate, RegenerationJob

__all__ = ["MAX_ATTEMPTS", "MadePhotoPair", "PhotoRecipe", "PreparedPhoto", "Refusal", "Subjects", "make_pair", "png"]

LEAST_MEAN, LEAST_SHARE = 8.0, 0.3
"""A change is seen from this mean colour difference inside the mask and this share of changed pixels on."""
MAX_ATTEMPTS, MAX_DRAWN = len(KINDS) * len(STRENGTHS), 3
"""Attempts at a pair by the disruptor, and by a model."""
DISRUPTOR = "disruptor"


class PreparedPhoto(Frozen):
    """A photograph ready for pairs: picture and mask as files of the set, and what is said of it."""

    id: str
    subject: str
    image: str
    mask: str
    size: tuple[int, int]
    box: tuple[float, float, float, float]
    prompt: str
    class_name: str
    category: Category
    sources: dict[str, str]


Subjects = Mapping[str, Sequence[PreparedPhoto]]
"""Subjects in the order of their names, each with at least two photographs."""


@dataclass(frozen=True)
class PhotoRecipe:
    """What decides a pair beside the photographs; `inpainter` is the id of the model, None without one."""

    seed: int = 0
    losers: tuple[str, ...] = ("disrupted",)
    inpainter: str | None = None


class Refusal(NamedTuple):
    """An attempt that was not kept: `cause` for counting, `reason` for people."""

    where: str
    cause: str
    reason: str


class MadePhotoPair(NamedTuple):
    """What became of a place: the pair or None, the bytes of its own files, and the attempts that were refused."""

    pair: PreferencePair | None
    files: dict[str, bytes]
    refusals: tuple[Refusal, ...]


class _Place(NamedTuple):
    """Which photographs pair i shows, and with which subject's looks it may be disrupted."""

    name: str
    reference: PreparedPhoto
    preferred: PreparedPhoto
    donor: PreparedPhoto | None
    kinds: tuple[Kind, ...]
    loser: str


class _Try(NamedTuple):
    pixels: NDArray[np.uint8]
    kind: str
    strength: float | None
    seed: int


def _place(index: int, *, recipe: PhotoRecipe, subjects: Subjects) -> _Place:
    """What the pair at `index` has to be; it depends on the seed, the index and the photographs only."""
    names = list(subjects)
    turn, number = divmod(index, len(names))
    photos = list(subjects[names[number]])
    random.Random(seed_for("photos", recipe.seed, "order", names[number])).shuffle(photos)
    rounds, place = divmod(turn, len(photos))
    reference = photos[(place + 1 + rounds % (len(photos) - 1)) % len(photos)]
    rng = random.Random(seed_for("photos", recipe.seed, "donor", index))
    others = [name for name in names if name != names[number]]
    donor = rng.choice(list(subjects[rng.choice(others)])) if others else None
    kinds: list[Kind] = [kind for kind in KINDS if donor is not None or kind != "borrow"]
    first = (turn + number) % len(kinds)
    loser = recipe.losers[(turn + number) % len(recipe.losers)]
    name = f"photos-{recipe.seed}-{index:06d}"
    return _Place(name, reference, photos[place], donor, (*kinds[first:], *kinds[:first]), loser)


def make_pair(
    index: int, *, recipe: PhotoRecipe, subjects: Subjects, folder: Path, regenerate: Regenerate | None
) -> MadePhotoPair:
    """The pair at `index` of the set in `folder`, which holds the prepared photographs; None when all attempts fail."""
    place = _place(index, recipe=recipe, subjects=subjects)
    preferred, reference = (_loaded(photo, folder=folder) for photo in (place.preferred, place.reference))
    donor = None if place.donor is None else _loaded(place.donor, folder=folder)
    refusals: list[Refusal] = []
    most = MAX_DRAWN if place.loser == "regenerated" else MAX_ATTEMPTS
    for attempt in range(most):
        seed = seed_for("photos", recipe.seed, "disruption", index, attempt)
        tried = _tried(attempt, seed=seed, place=place, preferred=preferred, donor=donor, regenerate=regenerate)
        evidence, refused = _looked_at(tried.pixels, preferred=preferred, reference=reference)
        if refused is None:
            return _made(tried, place=place, recipe=recipe, evidence=evidence, attempt=attempt, refusals=refusals)
        what = tried.kind if tried.strength is None else f"{tried.kind} at {tried.strength:g}"
        refusals.append(Refusal(f"{place.name} attempt {attempt}", refused[0], f"{what}: {refused[1]}"))
    reason = f"expected one of {most} attempts on {place.preferred.id} to be kept, got none"
    return MadePhotoPair(None, {}, (*refusals, Refusal(place.name, "given_up", reason)))


def _loaded(photo: PreparedPhoto, *, folder: Path) -> MaskedPicture:
    return MaskedPicture(np.asarray(load_image(folder / photo.image)), read_mask(folder / photo.mask))


def _tried(
    attempt: int,
    *,
    seed: int,
    place: _Place,
    preferred: MaskedPicture,
    donor: MaskedPicture | None,
    regenerate: Regenerate | None,
) -> _Try:
    """A rejected picture: kinds follow each other at rising strength, or the model draws the region anew."""
    assert preferred.mask is not None, "prepared photographs have masks"
    if place.loser == "regenerated":
        assert regenerate is not None, "the run loads it whenever losers are regenerated"
        shown = (Image.fromarray(donor.pixels),) if donor is not None else ()
        own = seed % 2**31
        drawn = regenerate(RegenerationJob(preferred.pixels, preferred.mask, place.preferred.prompt, shown, own))
        feather = feather_of(preferred.mask)
        pasted = paste(drawn, preferred.pixels, region=preferred.mask, feather=feather)
        return _Try(pasted, "redraw", None, own)
    kind = place.kinds[attempt % len(place.kinds)]
    strength = STRENGTHS[min(attempt // len(place.kinds), len(STRENGTHS) - 1)]
    rng = np.random.default_rng(seed)
    pixels = disrupt(preferred.pixels, preferred.mask, kind=kind, strength=strength, rng=rng, donor=donor)
    return _Try(pixels, kind, strength, seed)


def _looked_at(
    pixels: NDArray[np.uint8], *, preferred: MaskedPicture, reference: MaskedPicture
) -> tuple[dict[str, float], tuple[str, str] | None]:
    """How far the rejected picture differs, by how much the preferred one is nearer to the reference; why not kept."""
    assert preferred.mask is not None, "prepared photographs have masks"
    assert reference.mask is not None, "prepared photographs have masks"
    apart = colour_difference(preferred.pixels, pixels, preferred.mask)
    wanted = colours_of(reference.pixels, reference.mask)
    won = alike(colours_of(preferred.pixels, preferred.mask), wanted) - alike(
        colours_of(pixels, preferred.mask), wanted
    )
    evidence = {
        "colour_difference": round(apart.mean, 3),
        "changed_share": round(apart.share, 4),
        "likeness_won": round(won, 4),
    }
    if apart.mean < LEAST_MEAN or apart.share < LEAST_SHARE:
        seen = f"{apart.mean:.1f} on average, {apart.share:.0%} of the subject"
        return evidence, ("unseen", f"expected a change of {LEAST_MEAN:g} over {LEAST_SHARE:.0%}, got {seen}")
    if won < SWAP_MARGIN:
        return evidence, ("nearer", f"expected a subject less like its reference, got one more like it by {-won:.3f}")
    return evidence, None


def _made(
    tried: _Try,
    *,
    place: _Place,
    recipe: PhotoRecipe,
    evidence: dict[str, float],
    attempt: int,
    refusals: Sequence[Refusal],
) -> MadePhotoPair:
    preferred, reference, path = place.preferred, place.reference, f"images/{place.name}-rejected.png"
    model = recipe.inpainter if place.loser == "regenerated" else None
    pair = PreferencePair(
        id=place.name,
        subset="single",
        category=preferred.category,
        prompt=preferred.prompt,
        references=(
            PairReference(
                image=Path(reference.image),
                mask=Path(reference.mask),
                phrase=reference.class_name,
                category=reference.category,
                class_name=reference.class_name,
                id=reference.subject,
            ),
        ),
        preferred=Path(preferred.image),
        rejected=Path(path),
        subjects=(_subject(tried, place=place, evidence=evidence, source=model or DISRUPTOR),),
        prior_mask=Path(preferred.mask),
        size=preferred.size,
        seeds={"disruption": tried.seed, "attempt": attempt},
        models={
            "generator": None,
            "judge": None,
            "detector": None,
            "inpainter": model,
            "preferred": "photograph",
            "reference": "another photograph of the same folder",
            "rejected": model or DISRUPTOR,
            **preferred.sources,
        },
    )
    return MadePhotoPair(pair, {path: png(tried.pixels)}, tuple(refusals))


def _subject(tried: _Try, *, place: _Place, evidence: dict[str, float], source: str) -> PairSubject:
    mask, borrowed = Path(place.preferred.mask), tried.kind == "borrow" and place.donor is not None
    disruption: dict[str, Any] = {
        "kind": tried.kind,
        "difficulty": DIFFICULTY.get(tried.kind, 2),
        "strength": tried.strength,
        "source": source,
        "donor": place.donor.id if borrowed and place.donor else None,
        **evidence,
        "reach": 0,
        "apart": 0,
    }
    return PairSubject(
        phrase=place.preferred.class_name,
        reference_index=0,
        mask=mask,
        rejected_mask=mask,
        box=place.preferred.box,
        detection_score=None,
        disrupted=True,
        disruption=disruption,
        id=place.preferred.subject,
    )


def png(picture: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """A PNG packed for speed; masks become grey with 0 and 255."""
    image, buffer = Image.fromarray(picture), io.BytesIO()
    (image.convert("L") if image.mode == "1" else image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
