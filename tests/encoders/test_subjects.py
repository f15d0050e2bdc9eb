"""The composition of detector and embedders against numpy, its squares by hand, and the world's heads."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from likeness.core.plain import pack, unpack
from likeness.encoders import load_encoder
from likeness.encoders.subjects import Detection, SubjectEncoder, small, square
from likeness.encoders.subjects_seen import SubjectsSeen
from likeness.world.render import render, render_reference
from likeness.world.scenario import sample_scenario


class Corners:
    """Finds as many subjects as the picture's first pixel says, in fixed boxes."""

    id = "corners"
    boxes = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.25, 0.5, 0.75, 1.0))

    def find(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        counts = [int(np.asarray(image)[0, 0, 0]) % 4 for image in images]
        return [
            [
                Detection(box, 0.9 - 0.1 * i, f"c{i}", np.array([1, 0], np.float32))
                for i, box in enumerate(self.boxes[:n])
            ]
            for n in counts
        ]


class MeanColour:
    id = "mean colour"

    def look(self, images: Sequence[Image.Image]) -> list[np.ndarray]:
        means = [np.asarray(image, dtype=np.float64).mean((0, 1)) + 1 for image in images]
        return [mean / np.linalg.norm(mean) for mean in means]


def picture(count: int, *, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    pixels[0, 0, 0] = 4 * (pixels[0, 0, 0] // 8) + count
    return Image.fromarray(pixels)


def test_an_identity_is_traits_beside_the_mean_over_scales() -> None:
    encoder = SubjectEncoder(Corners(), [MeanColour()], scales=(1.0, 0.5), alike=0.3)
    image = picture(2)
    (seen,) = encoder.look([image])
    pixels = np.asarray(image, dtype=np.float64)
    for found, (large, little) in zip(
        seen.subjects,
        ((pixels[:20, :20], pixels[5:15, 5:15]), (pixels[:20, 20:], pixels[5:15, 25:35])),
        strict=True,
    ):
        units = [m / np.linalg.norm(m) for m in (part.mean((0, 1)) + 1 for part in (large, little))]
        mean = (units[0] + units[1]) / np.linalg.norm(units[0] + units[1])
        expected = np.concatenate([[1, 0], mean]) / np.sqrt(2)
        np.testing.assert_allclose(found.identity, expected, atol=1e-6)
    assert [found.class_name for found in seen.subjects] == ["c0", "c1"]
    assert seen.alike == 0.3
    assert seen.surest is seen.subjects[0]


def test_pictures_with_nobody_stand_among_others() -> None:
    encoder = SubjectEncoder(Corners(), [MeanColour()], scales=(1.0,), alike=0.3)
    seen = encoder.look([picture(0), picture(3, seed=1), picture(0, seed=2), picture(1, seed=3)])
    assert [len(each.subjects) for each in seen] == [0, 3, 0, 1]
    assert seen[0].surest is None
    alone = encoder.look([picture(1, seed=3)])[0]
    np.testing.assert_array_equal(alone.subjects[0].identity, seen[3].subjects[0].identity)


def test_a_square_reaches_beyond_the_picture_in_black() -> None:
    image = Image.new("RGB", (40, 20), "white")
    cut = np.asarray(square(image, (0.0, 0.0, 0.5, 1.0), scale=2.0))  # a 20 x 20 px box, so 40 x 40 px from (-10, -10)
    assert cut.shape == (40, 40, 3)
    assert cut[10:30, 10:40].min() == 255
    assert cut[:10].max() == cut[30:].max() == cut[:, :10].max() == 0


def test_a_small_picture_keeps_its_shape() -> None:
    assert small(Image.new("RGB", (400, 200), "white")).shape == (48, 96, 3)
    assert small(Image.new("RGB", (1, 3000))).shape == (96, 1, 3)
    means = small(Image.fromarray(np.arange(192 * 192, dtype=np.float32).reshape(192, 192) % 251).convert("RGB"))
    block = (np.arange(192 * 192).reshape(192, 192) % 251)[:2, :2].mean()
    assert means[0, 0] == pytest.approx([block] * 3, abs=1)


def test_what_was_seen_is_plain_data() -> None:
    (seen,) = SubjectEncoder(Corners(), [MeanColour()], scales=(1.0,), alike=0.3).look([picture(3)])
    again = unpack(pack(seen), SubjectsSeen)
    assert pack(again) == pack(seen)
    np.testing.assert_array_equal(again.subjects[2].identity, seen.subjects[2].identity)


@pytest.mark.parametrize("num_subjects", [1, 2, 3, 4])
def test_drawn_subjects_are_found_and_known_from_their_photos(num_subjects: int) -> None:
    encoder = load_encoder("subjects", "subjects")
    for seed in (1, 2, 3):
        scenario = sample_scenario(seed, split="test", num_subjects=num_subjects, dressed=False)
        drawn = render(scenario)
        photos = [Image.fromarray(render_reference(who, seed=seed, size=128)) for who in scenario.identities]
        seen, *references = encoder.look([Image.fromarray(drawn.image), *photos])
        assert len(seen.subjects) == num_subjects
        for label, photo in zip(drawn.labels.subjects, references, strict=True):
            likeness = [float(each.identity @ photo.subjects[0].identity) for each in seen.subjects]
            best = seen.subjects[int(np.argmax(likeness))]
            left, top, right, bottom = best.box
            assert left <= label.head[0] <= right
            assert top <= label.head[1] <= bottom
