"""CLIP-T, CLIP-I and DINO: numpy cosines by hand, gaps with reasons, and matched beats shuffled."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.core.records import Case, Subject
from likeness.encoders.clip import TextFeature
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, SubjectEvidence, Value, cosine, mean_over_subjects, not_measured


def evidence(name: str, *, picture: Any, photos: Any = (), prompt: TextFeature | None = None) -> Evidence:
    """What encoder `name` saw of a picture, of one subject's photos (the first conditions), and of the prompt."""
    subject = Subject(id="cat", class_name="cat", reference_image=Path("cat.png"))
    seen = tuple({name: photo} for photo in photos)
    subjects = (SubjectEvidence(subject, seen, seen[0] if seen else {name: np.ones(2)}),)
    return Evidence(Case(id="a", prompt="a cat", subjects=(subject,)), {name: picture}, {name: prompt}, subjects)


def measured(key: str, **seen: Any) -> Value:
    """The value of the metric; its encoder is the only one it needs."""
    metric = METRICS[key]
    return metric.measure(evidence(metric.facts.needs[0], **seen)).value


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
    whole = measured("clip_t", picture=image, prompt=TextFeature(prompt, truncated=False))
    assert whole == Value(-0.6)  # neither floored at 0 nor times 2.5
    assert "cut" in measured("clip_t", picture=image, prompt=TextFeature(prompt, truncated=True)).note


@pytest.mark.parametrize("metric", ["clip_i", "dino"])
def test_image_metrics_are_the_mean_over_photos(metric: str, rng: np.random.Generator) -> None:
    image, photos = np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 4.0]])
    assert measured(metric, picture=image, photos=photos).value == pytest.approx((1 + 0 - 0.6) / 3)
    turned = measured(metric, picture=image, photos=photos[[2, 0, 1]])
    assert turned.value == measured(metric, picture=image, photos=photos).value
    one = measured(f"{metric}_conditioning_photo", picture=image, photos=photos[[2, 0, 1]])
    assert one.value == pytest.approx(-0.6)
    nothing = measured(metric, picture=image)
    assert not nothing.measured
    assert "photo" in nothing.note


@pytest.mark.parametrize("metric", ["clip_i", "dino"])
def test_own_photos_score_above_shuffled_ones_and_noise_lowers_the_value(metric: str, rng: np.random.Generator) -> None:
    subjects = rng.normal(size=(20, 64))
    photos = subjects[:, None] + 0.3 * rng.normal(size=(20, 4, 64))
    matched = [measured(metric, picture=subjects[i], photos=photos[i]).value for i in range(20)]
    shuffled = [measured(metric, picture=subjects[i], photos=photos[(i + 7) % 20]).value for i in range(20)]
    assert min(matched) > max(shuffled)
    noise = rng.normal(size=64)
    values = [measured(metric, picture=subjects[0] + s * noise, photos=photos[0]).value for s in (0, 0.5, 1, 2)]
    assert values == sorted(values, reverse=True)


def test_a_mean_over_subjects_is_missing_when_one_subject_is() -> None:
    assert mean_over_subjects([Value(1.0), Value(0.5)]) == Value(0.75)
    assert mean_over_subjects([Value(1.0), Value(0.0, "not found")]) == Value(0.5, "not found")
    gap = mean_over_subjects([Value(1.0, "remark"), not_measured("why")])
    assert math.isnan(gap.value)
    assert gap.note == "why"
    assert gap.to_json() == {"value": None, "note": "why", "status": "missing"}
    assert Value.from_json(gap.to_json()).status == "missing"
    assert not mean_over_subjects([]).measured


def test_every_metric_has_facts_under_its_name() -> None:
    facts = {key: metric.facts for key, metric in METRICS.items()}
    assert all(each.key == key and each.needs and each.unit for key, each in facts.items())
    lower = {key for key, each in facts.items() if not each.higher_is_better}
    assert lower >= {"leakage", "leakage_found_only", "leakage_matrix", "dreamsim", "dreamsim_conditioning_photo"}
    assert not lower & {"clip_t", "clip_i", "dino", "attribute_accuracy", "subject_fidelity", "ips_fixed", "goa"}
    for order in ("headline", "ranks"):  # places in an order: 0, 1, 2 ...
        places = sorted(place for each in facts.values() if (place := getattr(each, order)) is not None)
        assert places == list(range(len(places)))
