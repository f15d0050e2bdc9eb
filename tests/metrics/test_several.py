"""The metrics of several subjects on hand-made evidence: every failure by hand, every number against plain numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.feature import match_template
from slots_seen import A, B, C, evidence, photo, seen, unit

from likeness.core.records import Layout
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, Measured, NotApplicableError
from likeness.metrics.copy_index import SIZES, Template, copy_index, correlation, template_of
from likeness.metrics.copy_paste import copy_angle
from likeness.metrics.leakage_matrix import leaked, read, taken_over

PHOTOS = [[A], [B]]
RIGHT = seen((0.25, A), (0.75, B))


def measured(key: str, given: Evidence) -> Measured:
    return METRICS[key].measure(given)


def per_subject(key: str, given: Evidence) -> list[float]:
    return [value.value for value in measured(key, given).per_subject]


def test_a_right_picture_is_right_in_everything() -> None:
    given = evidence(RIGHT, PHOTOS, truth=RIGHT)
    assert per_subject("subject_fidelity", given) == pytest.approx([1, 1])
    assert measured("subject_count", given).value.value == 1
    assert per_subject("id_confusion", given) == pytest.approx([1, 1])
    assert per_subject("roles", given) == [1, 1]
    found = measured("leakage_matrix", given).value
    assert found.value == 0
    assert {name: found.parts[name] for name in ("drift", "swap", "dominance", "blend")} == dict.fromkeys(
        ("drift", "swap", "dominance", "blend"), 0.0
    )


def test_a_complete_exchange_shows_in_roles_and_matrix_alone() -> None:
    given = evidence(seen((0.25, B), (0.75, A)), PHOTOS, truth=RIGHT)
    assert per_subject("roles", given) == [0, 0]
    assert [value.note for value in measured("roles", given).per_subject] == [
        "in its place: s1",
        "in its place: s0",
    ]
    parts = measured("leakage_matrix", given).value.parts
    assert parts["swap"] == pytest.approx(1)
    assert parts["drift"] == parts["dominance"] == parts["blend"] == 0
    assert parts["matrix"] == [pytest.approx([-1, 1]), pytest.approx([1, -1])]
    assert per_subject("subject_fidelity", given) == pytest.approx([1, 1])
    assert measured("subject_count", given).value.value == 1


def test_a_layout_fixes_the_places_without_a_truth() -> None:
    boxes = ((0.6, 0.2, 0.9, 0.8), (0.1, 0.2, 0.4, 0.8))  # s0 to the right
    for phrases in (("s0", "s1"), ("a fluffy Cat", "one dog")):
        layout = Layout(boxes=boxes, phrases=phrases)
        assert per_subject("roles", evidence(RIGHT, PHOTOS, action=None, layout=layout)) == [0, 0]
        turned = seen((0.25, B), (0.75, A))
        assert per_subject("roles", evidence(turned, PHOTOS, action=None, layout=layout)) == [1, 1]
    other = Layout(boxes=boxes, phrases=("a catalogue", "a dog"))  # no box for the cat
    with pytest.raises(NotApplicableError, match="fixes"):
        measured("roles", evidence(RIGHT, PHOTOS, action=None, layout=other))


def test_roles_say_why_there_are_none() -> None:
    with pytest.raises(NotApplicableError, match="fixes"):
        measured("roles", evidence(RIGHT, PHOTOS, truth=RIGHT, action=None))
    assert measured("roles", evidence(RIGHT, PHOTOS)).value.status == "not_applicable"
    unseen = evidence(RIGHT, PHOTOS, truth=seen((0.25, A)))
    assert measured("roles", unseen).value.status == "nothing_found"
    with pytest.raises(NotApplicableError, match="two subjects"):
        measured("roles", evidence(RIGHT, [[A]], truth=RIGHT))


def test_a_dropped_subject() -> None:
    given = evidence(seen((0.25, A)), PHOTOS, truth=RIGHT)
    count = measured("subject_count", given).value
    assert (count.value, count.note) == (0, "1 missing")
    assert count.parts == {"expected": 2, "found": 1, "missing": 1, "extra": 0, "duplicated": 0}
    assert per_subject("id_confusion", given) == pytest.approx([1, 0])  # counted as a failure
    assert per_subject("roles", given) == [1, 0]
    lost = measured("subject_fidelity", given)
    assert [value.status for value in lost.per_subject] == ["measured", "nothing_found"]
    assert lost.value.status == "nothing_found"
    assert measured("leakage_matrix", given).value.status == "nothing_found"


def test_duplicates_and_strangers() -> None:
    twice = measured("subject_count", evidence(seen((0.2, A), (0.5, B), (0.8, A)), PHOTOS)).value
    assert (twice.value, twice.note) == (0, "1 duplicated")
    stranger = measured("subject_count", evidence(seen((0.2, A), (0.5, B), (0.8, C)), PHOTOS)).value
    assert (stranger.value, stranger.note) == (0, "1 extra")
    assert per_subject("id_confusion", evidence(seen((0.2, A), (0.5, B), (0.8, A)), PHOTOS)) == pytest.approx([0, 1])


def test_one_identity_in_both_places_is_dominance() -> None:
    given = evidence(seen((0.25, A), (0.75, A)), PHOTOS, truth=RIGHT)
    parts = measured("leakage_matrix", given).value.parts
    assert parts["dominance"] == pytest.approx(1)
    assert parts["swap"] == parts["blend"] == parts["drift"] == 0
    assert measured("subject_count", given).value.note == "1 missing, 1 duplicated"


def test_a_blend_is_between_two() -> None:
    mixed = unit(1, 1, 0, 0)
    parts = measured("leakage_matrix", evidence(seen((0.25, mixed), (0.75, mixed)), PHOTOS, truth=RIGHT)).value.parts
    assert parts["blend"] == pytest.approx(1 - abs(2 * (1 - 1 / math.sqrt(2)) - 1), abs=1e-6)
    assert parts["swap"] == parts["dominance"] == 0


def test_drift_goes_towards_nobody() -> None:
    given = evidence(seen((0.25, unit(1, 0, 1, 0)), (0.75, B)), PHOTOS, truth=RIGHT)
    found = measured("leakage_matrix", given).value
    assert found.parts["drift"] == pytest.approx(1 - 1 / math.sqrt(2), abs=1e-6)
    assert found.value == 0
    assert found.parts["swap"] == found.parts["dominance"] == found.parts["blend"] == 0


def test_without_truth_the_references_stand_in() -> None:
    rng = np.random.default_rng(3)
    photos = [[unit(*(base + rng.normal(0, 0.2, 4))) for _ in range(3)] for base in (A, B)]
    picture = [unit(*(base + rng.normal(0, 0.2, 4))) for base in (A, B)]
    found = measured("leakage_matrix", evidence(seen((0.3, picture[0]), (0.7, picture[1])), photos)).value
    cosines = [[np.mean([a.astype(float) @ b for b in some]) for some in photos] for a in picture]
    base = [
        [np.mean([a.astype(float) @ b for a in photos[i] for b in photos[j] if a is not b]) for j in range(2)]
        for i in range(2)
    ]
    np.testing.assert_allclose(found.parts["matrix"], np.array(cosines) - np.array(base), atol=1e-6)
    assert (found.parts["minus"], found.parts["slots"]) == ("references", "looks")


@pytest.mark.parametrize("size", [2, 3, 4])
def test_shares_leaks_and_readings_equal_plain_loops(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        base, matrix = rng.uniform(-0.2, 1, (2, size, size))
        np.fill_diagonal(base, rng.uniform(0.8, 1, size))
        shares = np.zeros((size, size))
        rises: list[float] = []
        for i in range(size):
            for j in range(size):
                if i == j:
                    continue
                rises.append(max(matrix[i, j] - base[i, j], 0))
                cost, gain = base[i, i] - base[j, i], base[j, j] - base[i, j]
                if cost >= 0.05 and gain >= 0.05:
                    lost, won = (base[i, i] - matrix[i, i]) / cost, (matrix[i, j] - base[i, j]) / gain
                    shares[i, j] = min(max(min(lost, won), 0), 1)
        np.testing.assert_allclose(taken_over(matrix, base), shares, atol=1e-12)
        assert leaked(matrix, base) == pytest.approx(np.mean(rises))
        pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
        got = read(matrix, base)
        crossed = {pair: max(2 * shares[pair] - 1, 0) for pair in pairs}
        assert got.swap == pytest.approx(max(min(crossed[i, j], crossed[j, i]) for i, j in pairs))
        assert got.dominance == pytest.approx(max(crossed[i, j] * (1 - shares[j, i]) for i, j in pairs))
        assert got.blend == pytest.approx(max(1 - abs(2 * shares[pair] - 1) for pair in pairs))
        losses = [
            base[i, i] - matrix[i, i] - max(0, *(matrix[i, j] - base[i, j] for j in range(size) if j != i))
            for i in range(size)
        ]
        assert got.drift == pytest.approx(min(max(0, *losses), 1))


def test_look_alikes_that_cannot_be_told_apart_are_not_read() -> None:
    base = np.array([[0.9, 0.88], [0.88, 0.9]])
    assert read(base[::-1], base).swap == 0


def test_confusion_equals_the_published_formula_where_all_are_found() -> None:
    rng = np.random.default_rng(1)
    photos = [[unit(1, 0.2, 0.1, 0)], [unit(0.2, 1, 0, 0.1)]]
    found = [unit(*(photos[i % 2][0] + rng.normal(0, 0.2, 4))) for i in range(3)]
    given = evidence(seen(*((0.2 + 0.3 * i, each) for i, each in enumerate(found))), photos)
    for value, some in zip(per_subject("id_confusion", given), photos, strict=True):
        likeness = sorted((float(each.astype(float) @ some[0]) for each in found), reverse=True)
        assert value == pytest.approx((likeness[0] - max(likeness[1], 0)) / likeness[0], abs=1e-6)


def test_the_copy_angle_equals_numpys() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        made, true, reference = (unit(*rng.normal(size=6)) for _ in range(3))
        angles = [
            np.arccos(
                np.clip(a.astype(float) @ b / np.linalg.norm(a.astype(float)) / np.linalg.norm(b.astype(float)), -1, 1)
            )
            for a, b in ((made, true), (made, reference), (true, reference))
        ]
        assert copy_angle(made, true=true, reference=reference).value == pytest.approx(
            (angles[0] - angles[1]) / angles[2], abs=1e-6
        )
    assert copy_angle(A, true=A, reference=A).status == "not_applicable"


def test_a_copy_is_at_one_and_a_new_picture_of_the_truth_at_minus_one() -> None:
    true = seen((0.25, unit(1, 0, 0.5, 0)), (0.75, unit(0, 1, 0.5, 0)))
    assert per_subject("copy_paste", evidence(RIGHT, PHOTOS, truth=true)) == pytest.approx([1, 1])
    assert per_subject("copy_paste", evidence(true, PHOTOS, truth=true)) == pytest.approx([-1, -1])
    assert measured("copy_paste", evidence(RIGHT, PHOTOS)).value.status == "not_applicable"
    assert measured("copy_paste", evidence(RIGHT, PHOTOS, truth=seen((0.2, A)))).value.status == "nothing_found"
    lost = measured("copy_paste", evidence(seen((0.2, A)), PHOTOS, truth=true)).per_subject
    assert [value.status for value in lost] == ["measured", "nothing_found"]


def slow_correlation(picture: np.ndarray, template: Template) -> np.ndarray:
    """Place by place: Pearson's correlation of the pixels that count, each colour less its mean."""
    (h, w), (H, W) = template.mask.shape, picture.shape[:2]
    pattern = template.pixels[template.mask] - template.pixels[template.mask].mean(0)
    found = np.zeros((H - h + 1, W - w + 1))
    for y, x in np.ndindex(found.shape):
        window = picture[y : y + h, x : x + w][template.mask]
        window = window - window.mean(0)
        length = np.sqrt((window**2).sum() * (pattern**2).sum())
        found[y, x] = (window * pattern).sum() / length if length > 1e-6 else 0
    return found


@pytest.mark.parametrize("shape", [(9, 9), (20, 13), (40, 51)])
def test_correlation_is_that_of_the_pixels_that_count(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    picture = rng.uniform(size=(40, 51, 3))
    template = Template(rng.uniform(size=(*shape, 3)), rng.uniform(size=shape) > 0.4)
    np.testing.assert_allclose(correlation(picture, template), slow_correlation(picture, template), atol=1e-9)
    picture[:25, :20] = 0.5  # flat: no correlation there
    np.testing.assert_allclose(correlation(picture, template), slow_correlation(picture, template), atol=1e-6)


def test_correlation_of_a_grey_box_equals_scikit_images() -> None:
    rng = np.random.default_rng(4)
    picture, pixels = (np.repeat(rng.uniform(size=(*shape, 1)), 3, axis=2) for shape in ((40, 60), (20, 13)))
    found = correlation(picture, Template(pixels, np.ones((20, 13), dtype=bool)))
    np.testing.assert_allclose(found, match_template(picture[..., 0], pixels[..., 0]), atol=1e-9)


@pytest.mark.parametrize("size", [SIZES[3], SIZES[12], SIZES[-1]])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_pasted_reference_is_found_wherever_it_lies(size: float, is_mirrored: bool) -> None:
    rng = np.random.default_rng(6)
    waves = np.add.outer(np.sin(np.arange(48) / 3.7), np.cos(np.arange(48) / 5.1 + 1)) + rng.uniform(0, 0.3, (48, 48))
    colours = np.stack([waves, waves.T, waves[::-1]], axis=-1)
    colours = (colours - colours.min()) / np.ptp(colours)
    round_one = np.hypot(*np.meshgrid(np.arange(48) - 23.5, np.arange(48) - 23.5)) < 22
    subject, side = Template(colours, round_one), round(48 * size)
    shrunk = [Image.fromarray(each.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
              for each in (*colours.transpose(2, 0, 1), round_one)]  # fmt: skip
    small, inside = np.stack([np.asarray(each) for each in shrunk[:3]], axis=-1), np.asarray(shrunk[3]) > 0.7
    picture = rng.uniform(size=(96, 96, 3))
    assert copy_index(picture, subject).value < 0.6
    made, where = (small[:, ::-1], inside[:, ::-1]) if is_mirrored else (small, inside)
    picture[30 : 30 + side, 11 : 11 + side][where] = np.array([0.2, 0.1, 0.3]) + 0.5 * made[where]
    assert copy_index(picture, subject).value == pytest.approx(1, abs=1e-4)


def test_on_a_plain_backdrop_the_subject_is_what_differs_from_it() -> None:
    rng = np.random.default_rng(1)
    photo = np.full((96, 96, 3), 200, dtype=np.uint8)
    photo[20:60, 30:50] = rng.integers(0, 150, (40, 20, 3))
    photo[30:40, 35:45] = 200  # a hole in the subject belongs to it
    found = template_of(seen((0.1, A), small=photo))  # the box lies elsewhere
    assert found is not None
    assert found.mask.shape == (40, 20)
    assert found.mask.all()
    np.testing.assert_array_equal(found.pixels, photo[20:60, 30:50] / 255)


def test_on_a_full_backdrop_the_subject_is_the_middle_of_its_box() -> None:
    photo = np.random.default_rng(1).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    found = template_of(seen((0.5, A), small=photo))  # a box from (0.4, 0.3) to (0.6, 0.7)
    assert found is not None
    assert found.mask.all()
    np.testing.assert_array_equal(found.pixels, photo[33:67, 44:52] / 255)


def test_a_reference_of_one_brightness_or_without_a_subject_is_not_looked_for() -> None:
    given = evidence(RIGHT, PHOTOS)
    flat = measured("copy_index", given)
    assert [value.status for value in flat.per_subject] == ["not_applicable"] * 2
    nobody = replace(given.subjects[0], conditioning=photo(None))
    found = measured("copy_index", replace(given, subjects=(nobody, given.subjects[1])))
    assert found.per_subject[0].status == "nothing_found"


@pytest.mark.parametrize("key", ["subject_fidelity", "subject_count", "id_confusion", "leakage_matrix", "roles"])
def test_photos_without_a_subject_are_named(key: str) -> None:
    with pytest.raises(NotApplicableError, match="photos of s1"):
        measured(key, evidence(RIGHT, [[A], [None]], truth=RIGHT))
    given = evidence(RIGHT, [[None, A], [B]], truth=RIGHT)  # one photo is enough
    assert measured(key, given).value.measured
