"""CLIP-T, CLIP-I and DINO: numpy cosines by hand, gaps with reasons, and matched beats shuffled."""

import math

import numpy as np
import pytest

from likeness.metrics import METRICS
from likeness.metrics.base import Value, cosine, mean_over_subjects, not_measured
from likeness.metrics.clip_i import clip_i
from likeness.metrics.clip_t import clip_t
from likeness.metrics.dino import dino


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_cosine_equals_numpys(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 40)).astype(np.float32)
    expected = np.dot(a.astype(float), b) / np.linalg.norm(a.astype(float)) / np.linalg.norm(b.astype(float))
    assert cosine(a, b) == pytest.approx(expected, abs=1e-12)
    assert cosine(a, b) == cosine(b, a)
    assert cosine(a, 7 * a) == pytest.approx(1, abs=1e-6)
    assert cosine(a, -a) == pytest.approx(-1)


def test_clip_t_is_raw_and_notes_a_cut_prompt() -> None:
    image, prompt = np.array([1.0, 0.0]), np.array([-3.0, 4.0])
    assert clip_t(image_feature=image, prompt_feature=prompt) == Value(-0.6)  # neither floored at 0 nor times 2.5
    assert "cut" in clip_t(image_feature=image, prompt_feature=prompt, truncated=True).note


@pytest.mark.parametrize("metric", [clip_i, dino])
def test_image_metrics_are_the_mean_over_photos(metric, rng: np.random.Generator) -> None:
    image, photos = np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 4.0]])
    assert metric(image_feature=image, photo_features=photos).value == pytest.approx((1 + 0 - 0.6) / 3)
    assert (
        metric(image_feature=image, photo_features=photos[[2, 0, 1]]).value
        == metric(image_feature=image, photo_features=photos).value
    )
    nothing = metric(image_feature=image, photo_features=np.empty((0, 2)))
    assert not nothing.measured
    assert "photo" in nothing.note


@pytest.mark.parametrize("metric", [clip_i, dino])
def test_own_photos_score_above_shuffled_ones_and_noise_lowers_the_value(metric, rng: np.random.Generator) -> None:
    subjects = rng.normal(size=(20, 64))
    photos = subjects[:, None] + 0.3 * rng.normal(size=(20, 4, 64))
    matched = [metric(image_feature=subjects[i], photo_features=photos[i]).value for i in range(20)]
    shuffled = [metric(image_feature=subjects[i], photo_features=photos[(i + 7) % 20]).value for i in range(20)]
    assert min(matched) > max(shuffled)
    noise = rng.normal(size=64)
    values = [metric(image_feature=subjects[0] + s * noise, photo_features=photos[0]).value for s in (0, 0.5, 1, 2)]
    assert values == sorted(values, reverse=True)


def test_a_mean_over_subjects_is_missing_when_one_subject_is() -> None:
    assert mean_over_subjects([Value(1.0), Value(0.5)]) == Value(0.75)
    assert mean_over_subjects([Value(1.0), Value(0.0, "not found")]) == Value(0.5, "not found")
    gap = mean_over_subjects([Value(1.0, "remark"), not_measured("why")])
    assert math.isnan(gap.value)
    assert gap.note == "why"
    assert gap.to_json() == {"value": None, "note": "why"}
    assert not mean_over_subjects([]).measured


def test_every_metric_has_facts_under_its_name() -> None:
    assert all(facts.name == name and facts.needs and facts.unit for name, facts in METRICS.items())
    assert [name for name, facts in METRICS.items() if not facts.higher_is_better] == ["leakage"]
