"""The built-in disruptor: nothing changes outside the mask, what changes inside is seen, and a seed fixes it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import deltaE_cie76, rgb2lab

from likeness.data.lint.subjects import MaskedPicture
from likeness.data.pairs.disruptor import KINDS, SEEN, Kind, colour_difference, disrupt, feather_of

SIDE = 64


def disk(side: int = SIDE, radius: float = 20) -> NDArray[np.bool_]:
    rows, columns = np.indices((side, side)) - side / 2
    return np.hypot(rows, columns) < radius


def photo(seed: int = 0) -> NDArray[np.uint8]:
    """A picture with coarse texture everywhere."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(30, 220, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


BLUE = MaskedPicture(np.full((40, 40, 3), (20, 30, 230), np.uint8), disk(40, 12))


def changed(kind: Kind, *, seed: int = 0, strength: float = 1.0, of: NDArray[np.uint8] | None = None):
    picture = photo() if of is None else of
    return disrupt(picture, disk(), kind=kind, strength=strength, rng=np.random.default_rng(seed), donor=BLUE)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_inside_changes_and_it_is_seen(kind: Kind) -> None:
    rejected = changed(kind)
    assert (rejected != photo()).any(-1)[~disk()].sum() == 0
    apart = np.abs(rejected.astype(int) - photo())[disk()].max(-1)
    assert (apart > 10).mean() > 0.3
    assert feather_of(disk()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_the_change(kind: Kind) -> None:
    textured = MaskedPicture(photo(9), disk())
    one, same, other = (
        disrupt(photo(), disk(), kind=kind, strength=0.75, rng=np.random.default_rng(seed), donor=textured)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_raises_the_change(kind: Kind) -> None:
    means = [colour_difference(photo(), changed(kind, strength=s), disk()).mean for s in (0.1, 1.0)]
    assert means[0] < means[1]


@pytest.mark.parametrize("grey", [0, 128, 200])
def test_hue_shows_on_grey_subjects(grey: int) -> None:
    flat = np.full((SIDE, SIDE, 3), grey, np.uint8)
    assert np.ptp(changed("hue", of=flat)[32, 32].astype(int)) > 25


def test_borrowed_pixels_are_the_donors() -> None:
    rejected = changed("borrow")
    assert np.array_equal(rejected[disk(radius=17)], np.full((disk(radius=17).sum(), 3), (20, 30, 230)))


def test_half_strength_mixes_by_three_quarters() -> None:
    flat = np.full((SIDE, SIDE, 3), 100, np.uint8)
    assert changed("borrow", strength=0.5, of=flat)[32, 32].tolist() == [40, 48, 198]  # 0.75 blue + 0.25 grey, rounded


def test_the_edge_fades_in() -> None:
    flat = np.zeros((256, 256, 3), np.uint8)
    white = MaskedPicture(np.full((9, 9, 3), 255, np.uint8), np.ones((9, 9), bool))
    mask = np.zeros((256, 256), bool)
    mask[100:150, 100:150] = True
    rejected = disrupt(flat, mask, kind="borrow", strength=1.0, rng=np.random.default_rng(0), donor=white)
    assert feather_of(mask) == 2
    assert rejected[125, 98:104, 0].tolist() == [0, 0, 85, 170, 255, 255]  # depth 1 and 2 of 3


def test_warping_moves_pixels_and_makes_none() -> None:
    stripes = np.zeros((SIDE, SIDE, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = (200, 0, 0)
    rejected = changed("warp", of=stripes)
    assert (rejected[..., 1:] == 0).all()
    assert rejected.max() <= 200
    flat = np.full((SIDE, SIDE, 3), 77, np.uint8)
    assert np.array_equal(changed("warp", of=flat), flat)  # nothing to see: the recipe refuses it


def test_colour_difference_is_that_of_scikit_image() -> None:
    one, other = photo(1), photo(2)
    apart = deltaE_cie76(rgb2lab(one / 255), rgb2lab(other / 255))[disk()]
    found = colour_difference(one, other, disk())
    assert found.mean == pytest.approx(float(apart.mean()), rel=1e-3)
    assert found.share == pytest.approx(float((apart > SEEN).mean()), abs=1e-3)
    assert colour_difference(one, one, disk()) == (0.0, 0.0)
