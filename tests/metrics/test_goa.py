"""GOA on boxes whose scores are known."""

import math

import numpy as np
import pytest

from likeness.core.records import Case, Labels
from likeness.encoders.detections import best_boxes
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, NotApplicableError

LOGITS = {"skis": [2.0, -1.0, 0.5], "snow": [3.0, -2.0, -0.5], "Clown": [-9.0, -9.0, -9.0]}
"""Of three boxes, for each word."""


def evidence(*words: str) -> Evidence:
    """What a detector with LOGITS answers to both metrics' questions."""
    case = Case(id="a", prompt="a clown skiing", labels=Labels(detectables=words))
    asked = {text for key in ("goa", "goa_paper") for text in METRICS[key].questions(case)}
    answers = {}
    for text in asked:
        scores = 1 / (1 + np.exp(-np.array([LOGITS[word] for word in text.split("\n")]).T))
        answers[text] = best_boxes(text, size=(9, 9), boxes=np.zeros((3, 4)), scores=scores)
    return Evidence(case, picture={}, prompt={}, subjects=(), answers={"owl": answers})


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_each_word_gets_its_own_best_box() -> None:
    value = METRICS["goa"].measure(evidence("skis", "snow", "Clown")).value
    assert value.value == pytest.approx((sigmoid(2) + sigmoid(3)) / 2, abs=1e-6)
    assert value.parts == pytest.approx({"skis": sigmoid(2), "snow": sigmoid(3)}, abs=1e-6)


def test_in_the_public_code_a_box_counts_once() -> None:
    value = METRICS["goa_paper"].measure(evidence("skis", "snow", "clown")).value
    assert value.value == pytest.approx((sigmoid(0.5) + sigmoid(3)) / 2, abs=1e-6)


def test_a_word_does_not_depend_on_the_others_but_in_the_public_code() -> None:
    alone, together = evidence("skis"), evidence("skis", "snow")
    for key, same in (("goa", True), ("goa_paper", False)):
        skis = [METRICS[key].measure(each).value.parts["skis"] for each in (alone, together)]
        assert (skis[0] == skis[1]) == same


@pytest.mark.parametrize("key", ["goa", "goa_paper"])
@pytest.mark.parametrize("words", [(), ("clown",), (" ",)])
def test_without_words_it_is_not_0(key: str, words: tuple[str, ...]) -> None:
    with pytest.raises(NotApplicableError, match="names nothing"):
        METRICS[key].measure(evidence(*words))
