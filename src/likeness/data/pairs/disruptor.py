"""The built-in disruptor: a subject of a photograph made wrong inside its mask, without any model.

Kinds, by how much they change (difficulty 1 is the easiest to tell from the truth, 3 the hardest):
    borrow   another subject's surface in this one's outline           1
    texture  stripes, dots or checks of random colours, shaded alike   1
    hue      colours turned on the colour wheel, grey ones tinted      2
    warp     the subject bent by a smooth random field                 3
Every byte outside the mask is kept; over the outermost pixels inside it, both pictures are blended.
Source: the note on FocusDPO, 7.2 step 5 ("a procedural disruptor"), for pairs without an inpainting model.
Shapes: H x W pixels; masks are (H, W) bool, pictures (H, W, 3) uint8.
"""

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from likeness.data.lint.subjects import MaskedPicture
from likeness.data.pairs.paste import paste

__all__ = ["DIFFICULTY", "KINDS", "STRENGTHS", "Difference", "Kind", "colour_difference", "disrupt", "feather_of"]

Kind = Literal["borrow", "hue", "texture", "warp"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DIFFICULTY: dict[str, int] = {"borrow": 1, "texture": 1, "hue": 2, "warp": 3}
STRENGTHS = (0.5, 0.75, 1.0)
"""Tried in this order until the change is seen."""
FEATHER_PER = 128
"""Px of the longer side for each px over which the change fades in."""
SEEN = 5.0
"""CIE 1976 colour difference from which a pixel counts as changed; 2.3 is just noticeable."""


class Difference(NamedTuple):
    """How far two pictures differ inside a mask: mean colour difference (CIE 1976), share of pixels above SEEN."""

    mean: float
    share: float


def disrupt(
    picture: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    *,
    kind: Kind,
    strength: float,
    rng: np.random.Generator,
    donor: MaskedPicture | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """`picture` with the subject under `mask` disrupted; equal to it everywhere else.

    `strength` in (0, 1] scales the change; `donor`, which only `borrow` needs, is another masked subject.
    """
    match kind:
        case "hue":
            changed = _turned(picture, strength=strength, rng=rng)
        case "texture":
            changed = _textured(picture, strength=strength, rng=rng)
        case "warp":
            changed = _warped(picture, mask, strength=strength, rng=rng)
        case "borrow":
            assert donor is not None, "borrow needs another subject"
            changed = _borrowed(picture, mask, donor=donor, strength=strength, rng=rng)
    return paste(changed, picture, region=mask, feather=feather_of(mask))


def feather_of(mask: Bool[np.ndarray, "H W"]) -> int:
    """Px over which a change fades in from the edge of the mask."""
    return max(1, max(mask.shape) // FEATHER_PER)


def _turned(
    picture: UInt8[np.ndarray, "H W 3"], *, strength: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """Hue turned by 60 to 180 degrees, saturation raised, so that grey subjects change, too."""
    hsv = np.asarray(Image.fromarray(picture).convert("HSV")).astype(np.float32)
    turn = (60 + 120 * strength * rng.uniform(0.5, 1)) * rng.choice((-1, 1)) / 360 * 256
    hue = (hsv[..., 0] + turn) % 256
    saturation = hsv[..., 1] + (255 - hsv[..., 1]) * 0.5 * strength
    value = hsv[..., 2] + (255 - hsv[..., 2]) * 0.25 * strength  # what is black has no hue to turn
    turned = np.stack([hue, saturation, value], axis=-1).astype(np.uint8)
    return np.asarray(Image.frombytes("HSV", picture.shape[1::-1], turned.tobytes()).convert("RGB"))


def _textured(
    picture: UInt8[np.ndarray, "H W 3"], *, strength: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """A pattern of two random colours under the picture's own light and shade."""
    rows, columns = np.indices(picture.shape[:2]) / max(picture.shape[:2])
    angle, period = rng.uniform(0, math.pi), rng.uniform(0.04, 0.12)
    across = np.cos(angle) * columns + np.sin(angle) * rows
    along = np.cos(angle) * rows - np.sin(angle) * columns
    waves = [np.sin(2 * math.pi * way / period) for way in (across, along)]
    pattern = (waves[0], waves[0] * waves[1], waves[0] + waves[1] - 0.6)[rng.integers(3)] > 0
    colours = rng.uniform(20, 235, (2, 3))
    shade = picture.mean(-1, keepdims=True)
    painted = np.where(pattern[..., None], *colours) * (0.5 + 0.5 * shade / max(float(shade.max()), 1.0))
    return _blend(picture, painted, share=0.4 + 0.6 * strength)


def _warped(
    picture: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    *,
    strength: float,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "H W 3"]:
    """Every pixel fetched from a place up to some 3/10 of the subject's size away; neighbours from near places."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    size = math.sqrt(float(mask.sum()))
    field = [gaussian_filter(rng.standard_normal(mask.shape), 0.12 * size, mode="reflect") for _ in range(2)]
    moved = [shift / max(float(np.abs(shift[mask]).max()), 1e-9) * 0.3 * strength * size for shift in field]
    places = [place + shift for place, shift in zip(np.indices(mask.shape), moved, strict=True)]
    channels = [map_coordinates(picture[..., channel], places, order=1, mode="reflect") for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _borrowed(
    picture: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    *,
    donor: MaskedPicture,
    strength: float,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "H W 3"]:
    """A random part of the donor's subject stretched over this one's box; where it leaves gaps, its nearest colour."""
    from scipy.ndimage import distance_transform_edt

    assert donor.mask is not None, "a donor has a mask"
    nearest = np.asarray(distance_transform_edt(~donor.mask, return_distances=False, return_indices=True))
    whole, box = Image.fromarray(donor.mask).getbbox(), Image.fromarray(mask).getbbox()
    assert whole is not None, "the donor's mask covers something"
    assert box is not None, "the mask covers something"
    wide, high = whole[2] - whole[0], whole[3] - whole[1]
    left, top, right, bottom = rng.uniform(0, 0.2, 4)
    part = (whole[0] + left * wide, whole[1] + top * high, whole[2] - right * wide, whole[3] - bottom * high)
    filled = Image.fromarray(donor.pixels[nearest[0], nearest[1]])
    sheet = Image.fromarray(picture)
    sheet.paste(filled.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.LANCZOS, box=part), box[:2])
    return _blend(picture, np.asarray(sheet), share=0.5 + 0.5 * strength)


def _blend(
    picture: UInt8[np.ndarray, "H W 3"], other: UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"], *, share: float
) -> UInt8[np.ndarray, "H W 3"]:
    return np.rint(share * other + (1 - share) * picture).clip(0, 255).astype(np.uint8)


def colour_difference(
    one: UInt8[np.ndarray, "H W 3"], other: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
) -> Difference:
    """How far both differ under `mask`, which covers something.

    Source: CIE 1976 (L*a*b*) colour difference, sRGB (IEC 61966-2-1) under D65.
    """
    apart = np.sqrt(((_lab(one[mask]) - _lab(other[mask])) ** 2).sum(-1))
    return Difference(float(apart.mean()), float((apart > SEEN).mean()))


_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.95047, 1.0, 1.08883])


def _lab(pixels: UInt8[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    srgb = pixels / 255
    linear = np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    xyz = linear @ _XYZ.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)
