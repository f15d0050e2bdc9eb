"""Clarity: arithmetic by hand, statuses, and that damage lowers it on true pictures of the world."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from likeness.core.records import Case, Subject
from likeness.encoders import load_encoder
from likeness.encoders.reading import Reading, SubjectReading
from likeness.metrics.base import Evidence, Measured
from likeness.metrics.clarity import CLARITY
from likeness.world.render import render
from likeness.world.scenario import sample_scenario


def subject(score: float, **best: float) -> SubjectReading:
    return SubjectReading((0.5, 0.5), score, {name: {"yes": p, "no": 1 - p} for name, p in best.items()})


def measured(*subjects: SubjectReading, wanted: int) -> Measured:
    cat = Subject(id="cat", class_name="cat", reference_image=Path("cat.png"))
    people = tuple(cat.model_copy(update={"id": f"cat-{i}"}) for i in range(wanted))
    case = Case(id="a", prompt="cats", subjects=people)
    return CLARITY.measure(Evidence(case, {"probe": Reading({}, {}, subjects, {})}, {}, ()))


def test_by_hand() -> None:
    first, second = subject(0.5, hat=0.9, color=0.3), subject(1.0, hat=0.8, color=0.8)  # the best of color 0.3 is 0.7
    assert measured(first, wanted=1).value.value == pytest.approx(0.5 * 0.8)
    assert measured(first, second, wanted=2).value.value == pytest.approx((0.4 + 0.8) / 2)
    assert measured(second, first, wanted=1).value.value == pytest.approx(0.8)  # the strongest, as the case has one
    assert measured(first, wanted=2).value.parts == {"subjects_found": 1}


def test_nothing_found_is_not_zero() -> None:
    assert measured(wanted=1).value.status == "nothing_found"
    assert measured(subject(1.0, hat=1.0), wanted=0).value.status == "not_applicable"


def test_damage_lowers_it() -> None:
    probe = load_encoder("probe", "probe")

    def of(image: Image.Image, wanted: int) -> float:
        seen = Evidence(CASES[wanted], {"probe": probe.look([image])[0]}, {}, ())
        return CLARITY.measure(seen).value.value

    drops: list[list[float]] = []
    for seed in range(12):
        scenario = sample_scenario(seed, split="test")
        true = Image.fromarray(render(scenario, size=128).image)
        wanted = len(scenario.identities)
        smears = [true.filter(ImageFilter.GaussianBlur(radius)) for radius in (0.0, 1.0, 2.0)]
        drops.append([of(image, wanted) for image in smears])
    clear, smeared, dissolved = np.mean(drops, axis=0)
    assert clear > 0.85
    assert clear > smeared + 0.03 > dissolved + 0.1


CAT = Subject(id="cat", class_name="cat", reference_image=Path("cat.png"))
CASES = [
    Case(id="a", prompt="cats", subjects=tuple(CAT.model_copy(update={"id": f"cat-{i}"}) for i in range(count)))
    for count in range(5)
]
