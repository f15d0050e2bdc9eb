"""Copy index: does the picture hold the pixels of the reference? No truth is needed, and no identity.

The reference's subject, cut out of a small version of its photo, is looked for in the picture, likewise small, at many
sizes and both ways round: the best normalised cross-correlation (Lewis, "Fast normalized cross-correlation", 1995) over
the subject's own pixels and all colours. 1 where the place was copied, up to a gain and a shift of each colour.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex, Float
from PIL import Image

from likeness.encoders.subjects_seen import SubjectsSeen
from likeness.metrics.base import COSINE, Evidence, Facts, Measured, Metric, Value, not_measured, of_subjects
from likeness.metrics.slots import ENCODER

PROTOCOL = (
    "best normalised cross-correlation of the reference's subject over the picture, RGB, 96 px, 27 sizes and 6 near "
    "the best, mirrored; the subject is what differs from a plain backdrop, else the middle of its box"
)
SIZES = tuple(round(0.27 * 1.05**step, 4) for step in range(27))
"""0.27 to 0.96 of the size that the subject has in the reference, when both pictures are equally large."""
FINER = (0.97, 0.98, 0.99, 1.01, 1.02, 1.03)
"""Of the best size: what is tried after it."""
FRAME, PLAIN_SHARE, ALIKE, DIFFERENT = 0.04, 0.9, 0.06, 0.04
"""A backdrop is plain where PLAIN_SHARE of the frame, FRAME of the sides wide, is within ALIKE of its median colour;
the subject is then what differs from that colour by more than DIFFERENT of the full range. Drawn references:
intersection over union with their masks 0.95 in the middle, 0.86 to 0.97 for nine of ten."""
WIDTH, TOP = 0.45, 0.1
"""Elsewhere: of the subject's box the middle 45% of the width, without the upper 10%: the rest holds much backdrop."""
LEAST_SIDE, LEAST_PIXELS = 5, 20
"""Below them a template fits by chance."""
INSIDE = 0.75
"""How much of a shrunken pixel must be subject to count."""
_FLAT = 1e-6
NO_PHOTO = not_measured("no subject was found in the conditioning photo", status="nothing_found")
FLAT = not_measured("the reference's subject is of one colour, so nothing can be looked for", status="not_applicable")

Pixels = Float[np.ndarray, "_ _ 3"]
Mask = Bool[np.ndarray, "_ _"]


class Template(NamedTuple):
    """What is looked for: pixels in [0, 1], and which of them count."""

    pixels: Pixels
    mask: Mask


class _Searched:
    """A picture ready for many templates: spectra of its colours and of their squares' sum."""

    def __init__(self, picture: Pixels) -> None:
        self.shape = picture.shape[:2]
        colours = (picture - picture.mean((0, 1))).transpose(2, 0, 1)
        self.colours, self.squares = _spectrum(colours, self.shape), _spectrum((colours**2).sum(0), self.shape)

    def spectrum(self, values: Float[np.ndarray, "*C h w"]) -> Complex[np.ndarray, "*C H F"]:
        """Of values that lie in the picture's first corner, with zeros beyond them, conjugate."""
        return _spectrum(values, self.shape).conj()

    def inside(self, product: Complex[np.ndarray, "*C H F"], sides: tuple[int, int]) -> Float[np.ndarray, "*C y x"]:
        """The windows of these sides that lie inside the picture, from the product of two spectra."""
        from scipy.fft import irfft2

        rows, columns = (side - part + 1 for side, part in zip(self.shape, sides, strict=True))
        return np.asarray(irfft2(product, s=self.shape))[..., :rows, :columns]


def _spectrum(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    from scipy.fft import rfft2

    return np.asarray(rfft2(values, s=shape))


def correlation(picture: Pixels, template: Template) -> Float[np.ndarray, "_ _"]:
    """The normalised cross-correlation at every place where the template lies inside the picture; 0 on flat places."""
    return _correlation(_Searched(picture), template)


def _correlation(picture: _Searched, template: Template) -> Float[np.ndarray, "_ _"]:
    mask, count, sides = template.mask.astype(np.float64), int(template.mask.sum()), template.mask.shape
    pattern = (template.pixels - template.pixels[template.mask].mean(0)).transpose(2, 0, 1) * mask
    everywhere = picture.spectrum(mask)
    product = picture.inside((picture.colours * picture.spectrum(pattern)).sum(0), sides)
    totals = picture.inside(picture.colours * everywhere, sides)
    spread = picture.inside(picture.squares * everywhere, sides) - (totals**2).sum(0) / count
    length = np.sqrt(np.maximum(spread, 0) * float((pattern**2).sum()))
    return np.where(length > _FLAT * count, product / np.maximum(length, _FLAT * count), 0.0)


def copy_index(picture: Pixels, subject: Template) -> Value:
    """The best correlation over all sizes and places, in [-1, 1]."""
    searched = _Searched(picture)
    found = [each for size in SIZES for each in _tried(searched, subject, size)]
    if not found:
        return FLAT
    _, size, _ = max(found)
    found += [each for finer in FINER for each in _tried(searched, subject, size * finer)]
    return Value(min(max(max(found)[0], -1.0), 1.0))


def _tried(picture: _Searched, subject: Template, size: float) -> list[tuple[float, float, bool]]:
    """(correlation, size, mirrored) of the template at a size, as it is and mirrored; none where it cannot be asked."""
    shrunk = _resized(subject, size)
    sides = shrunk.mask.shape
    if min(sides) < LEAST_SIDE or any(t > p for t, p in zip(sides, picture.shape, strict=True)):
        return []
    if shrunk.mask.sum() < LEAST_PIXELS or np.ptp(shrunk.pixels[shrunk.mask], axis=0).max() <= _FLAT:
        return []
    mirrored = Template(shrunk.pixels[:, ::-1], shrunk.mask[:, ::-1])
    both = ((shrunk, False), (mirrored, True))
    return [(float(_correlation(picture, each).max()), size, way) for each, way in both]


def _resized(template: Template, size: float) -> Template:
    height, width = (max(1, round(side * size)) for side in template.mask.shape)

    def shrunk(values: np.ndarray) -> np.ndarray:
        small = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(small, dtype=np.float64)

    colours = np.stack([shrunk(template.pixels[..., channel]) for channel in range(3)], axis=-1)
    return Template(colours, shrunk(template.mask) > INSIDE)


def template_of(seen: SubjectsSeen) -> Template | None:
    """The subject of a photo; None where none was found."""
    if seen.surest is None:
        return None
    pixels = seen.small.astype(np.float64) / 255
    mask = standing_out(pixels)
    rows, columns = _inner(seen.surest.box, pixels.shape) if mask is None else _extent(mask)
    part = pixels[rows, columns]
    return Template(part, np.ones(part.shape[:2], dtype=bool) if mask is None else mask[rows, columns])


def standing_out(pixels: Pixels) -> Mask | None:
    """What differs from a plain backdrop, its holes filled; None where the backdrop is not plain or nothing differs."""
    from scipy.ndimage import binary_fill_holes

    edge = max(1, round(FRAME * max(pixels.shape[:2])))
    frame = np.ones(pixels.shape[:2], dtype=bool)
    frame[edge:-edge, edge:-edge] = False
    apart = np.abs(pixels - np.median(pixels[frame], axis=0)).max(-1)
    mask = np.asarray(binary_fill_holes(apart > DIFFERENT))
    return mask if (apart[frame] <= ALIKE).mean() >= PLAIN_SHARE and mask.any() else None


def _extent(mask: Mask) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _inner(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> tuple[slice, slice]:
    left, top, right, bottom = box
    margin = (right - left) * (1 - WIDTH) / 2
    return _span(top + TOP * (bottom - top), bottom, shape[0]), _span(left + margin, right - margin, shape[1])


def _span(first: float, last: float, side: int) -> slice:
    return slice(round(first * side), max(round(last * side), round(first * side) + 1))


def _measure(evidence: Evidence) -> Measured:
    picture = evidence.picture[ENCODER].small.astype(np.float64) / 255
    subjects = [template_of(each.conditioning[ENCODER]) for each in evidence.subjects]
    return of_subjects([NO_PHOTO if each is None else copy_index(picture, each) for each in subjects])


COPY_INDEX = Metric(
    Facts(
        "copy_index",
        "Copied from the reference (pixels)",
        "Copy index",
        "How well do the reference's own pixels fit somewhere into the picture?",
        (ENCODER,),
        "subject",
        "correlation",
        COSINE[1],
        higher_is_better=False,
        protocol={"copy_index": PROTOCOL},
        per_subject=True,
    ),
    _measure,
)
