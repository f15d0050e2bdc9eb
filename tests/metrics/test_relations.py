"""RFS-C, CLIP-R, RFS-G and the VLM judge against plain recomputations."""

import math

import numpy as np
import pytest

from likeness.core.records import Case, Labels
from likeness.encoders.answers import RelationAnswer, YesNo
from likeness.encoders.clip import TextFeature
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, Measured, NotApplicableError
from likeness.metrics.relations import RELATIONS, distractors, question, rivals
from likeness.metrics.triplets import Triplet, phrase

HOLDING, NEAR = Triplet("person", "holding", "coffee"), Triplet("person", "near", "shark")
CASE = Case(id="a", prompt="p", labels=Labels(triplets=(HOLDING, NEAR)))


def by_clip(case: Case, picture: np.ndarray, rng: np.random.Generator) -> tuple[Evidence, dict[str, np.ndarray]]:
    texts = {text for key in ("rfs_c", "clip_r") for text in (METRICS[key].texts or (lambda _: []))(case)}
    vectors = {text: rng.normal(size=8) for text in sorted(texts)}
    read = {text: TextFeature(vector, False) for text, vector in vectors.items()}
    return Evidence(case, {"relation_clip": picture}, {}, (), texts={"relation_clip": read}), vectors


def cos(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_distractors_are_eight_of_another_meaning() -> None:
    for group in RELATIONS:
        for relation in group:
            others = distractors(relation)
            assert len(set(others)) == 8
            assert not set(others) & set(group)
    assert distractors("skiing on") == distractors("Skiing On")


def test_rfs_c_is_a_softmax_over_nine_relations() -> None:
    rng = np.random.default_rng(0)
    picture = rng.normal(size=8)
    evidence, vectors = by_clip(CASE, picture, rng)
    shares = []
    for triplet in (HOLDING, NEAR):
        cosines = np.array([cos(picture, vectors[phrase(rival)]) for rival in rivals(triplet)])
        shares.append(np.exp(100 * cosines[0]) / np.exp(100 * cosines).sum())
        part = METRICS["rfs_c"].measure(evidence).value.parts[phrase(triplet)]
        assert part["share"] == pytest.approx(shares[-1], abs=1e-5)
        assert part["margin"] == pytest.approx(cosines[0] - cosines[1:].mean(), abs=1e-5)
    assert METRICS["rfs_c"].measure(evidence).value.value == pytest.approx(np.mean(shares), abs=1e-5)


def test_equal_relations_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    same = rng.normal(size=8)
    evidence, vectors = by_clip(CASE, same, rng)
    for vector in vectors.values():
        vector[:] = same
    assert METRICS["rfs_c"].measure(evidence).value.value == pytest.approx(1 / 9)


def test_clip_r_reads_the_relation_alone() -> None:
    rng = np.random.default_rng(1)
    picture = rng.normal(size=8)
    evidence, vectors = by_clip(CASE, picture, rng)
    wanted = (cos(picture, vectors["holding"]) + cos(picture, vectors["near"])) / 2
    assert METRICS["clip_r"].measure(evidence).value.value == pytest.approx(wanted, abs=1e-9)
    named = CASE.model_copy(update={"labels": Labels(predicate="shaking hands with", triplets=(HOLDING,))})
    evidence, vectors = by_clip(named, picture, rng)
    found = METRICS["clip_r"].measure(evidence).value.value
    assert found == pytest.approx(cos(picture, vectors["shaking hands with"]), abs=1e-9)


def grounded(holding: RelationAnswer, near: RelationAnswer, *, key: str = "rfs_g") -> Measured:
    answers = {question(HOLDING): holding, question(NEAR): near}
    return METRICS[key].measure(Evidence(CASE, {}, {}, (), answers={"relations": answers}))


def test_rfs_g_is_the_share_of_the_stated_relation() -> None:
    odds = (2.0, 1.0, 0.0, -1.0, -1.0, -2.0, -2.0, -3.0, 0.5)
    sure, flat = RelationAnswer(0.9, 0.4, odds), RelationAnswer(0.5, 0.2, (0.3,) * 9)
    share = math.exp(2) / sum(math.exp(each) for each in odds)
    found = grounded(sure, flat).value
    assert found.value == pytest.approx((share + 1 / 9) / 2, abs=1e-9)
    assert found.parts[phrase(HOLDING)]["yes"] == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-9)
    strict = grounded(sure, flat, key="rfs_g_strict").value.value
    assert strict == pytest.approx((share * math.sqrt(0.36) + math.sqrt(0.1) / 9) / 2, abs=1e-9)


def test_a_relation_to_something_absent_does_not_hold() -> None:
    found = grounded(RelationAnswer(0.9, 0.0, ()), RelationAnswer(0.5, 0.5, (50.0,) + (-50.0,) * 8)).value
    assert found.value == pytest.approx(0.5)
    assert found.note == "not found: coffee"


@pytest.mark.parametrize("key", ["rfs_c", "clip_r", "rfs_g", "rfs_g_strict"])
def test_a_case_without_relations_is_not_measured(key: str) -> None:
    with pytest.raises(NotApplicableError, match="no relation"):
        METRICS[key].measure(Evidence(Case(id="a", prompt="a cat"), {}, {}, ()))


def test_the_judge_says_yes_on_average() -> None:
    metric = METRICS["vlm_judge"]
    case = Case(id="a", prompt="a cat", labels=Labels(questions=("Is it a cat?", "Is it night?")))
    asked = metric.questions(case)
    assert asked == ["Is it a cat? Answer Yes or No.", "Is it night? Answer Yes or No."]
    answers = dict(zip(asked, (YesNo(1.0, 0.9), YesNo(-3.0, 0.9)), strict=True))
    found = metric.measure(Evidence(case, {}, {}, (), answers={"vlm": answers})).value
    assert found.value == pytest.approx((1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(3))) / 2, abs=1e-9)
    assert found.note == ""
    bare = Case(id="b", prompt="a cat")
    (default,) = metric.questions(bare)
    assert default == 'Does the picture show "a cat"? Answer Yes or No.'
    unsure = metric.measure(Evidence(bare, {}, {}, (), answers={"vlm": {default: YesNo(0.0, 0.01)}})).value
    assert unsure.value == 0.5
    assert "less than 0.1" in unsure.note
