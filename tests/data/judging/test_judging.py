"""Questions, the probe judge, the gate, disruptions and the paste, each on its own."""

import random
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from likeness.core.errors import MeasurementError
from likeness.core.kinds import CATEGORIES
from likeness.core.pairs import PictureScore
from likeness.data.judging.gate import Thresholds, refuse_preferred, refuse_rejected
from likeness.data.judging.judges import LoadProbeJudge, ProbeJudge, SubjectView
from likeness.data.judging.questions import QUESTIONS, expected_score
from likeness.data.pairs.disruption import KINDS, Kind, Target, disrupt, is_drawable, is_still_there
from likeness.data.pairs.paste import dilate, paste
from likeness.world.identity import ATTRIBUTES, Identity, draw_identity, sample_identity, split_of_identity
from likeness.world.render import render
from likeness.world.scenario import Scenario

CAT = Identity("cat", "red", "blue", "stripes", "top hat", "green")
BARE = Identity("teapot", "white", "pink", "dots", "none")
ANN = Identity("person", "red", "blue", "star", "none", skin="tan", hair_style="bun", hair_color="red",
               beard="shaved", age="adult")  # fmt: skip


def score(who: Identity, shown: Identity, **hidden: str) -> int:
    return expected_score(who.category, wanted={**who.attributes(), **hidden}, shown=shown.attributes())  # type: ignore[arg-type]


# -- questions -------------------------------------------------------------------------------------------------
def test_ten_questions_per_category_in_positive_polarity() -> None:
    for category in CATEGORIES:
        questions = QUESTIONS[category]
        assert len({question.text for question in questions}) == 10
        for question in questions:
            assert question.text.split(" ")[0] in ("Does", "Do", "Is", "Are", "Taken")
            assert not {"different", "differ", "difference", "change", "changed", "wrong"} & set(question.text.split())
            assert set(question.evidence) <= set(ATTRIBUTES)
    asked = {name for question in QUESTIONS["human"] for name in question.evidence}
    assert asked == set(ATTRIBUTES)


@pytest.mark.parametrize(
    ("who", "changes", "expected"),
    [
        (CAT, {}, 10),
        (CAT, {"species": "dog"}, 6),  # species, face, build, whole
        (CAT, {"body_color": "black"}, 8),  # coat, whole
        (CAT, {"second_color": "black"}, 9),
        (CAT, {"accessory_color": "pink"}, 9),
        (CAT, {"accessory": "cap"}, 8),  # things, their colours
        (CAT, {"accessory": "none", "accessory_color": "none"}, 8),
        (CAT, {"body_color": "black", "accessory": "cap"}, 6),
        (BARE, {"accessory": "cap", "accessory_color": "red"}, 8),
        (BARE, {"pattern": "star"}, 8),
        (ANN, {"hair_style": "long"}, 9),
        (ANN, {"beard": "bearded", "age": "adult"}, 9),
        (ANN, {"species": "robot", "skin": "none", "hair_style": "none", "hair_color": "none", "beard": "none",
               "age": "none"}, 6),
    ],
)  # fmt: skip
def test_scores_of_a_faultless_judge(who: Identity, changes: dict[str, str], expected: int) -> None:
    assert score(who, replace(who, **changes)) == expected


def test_what_is_hidden_counts_as_the_same() -> None:
    assert score(CAT, replace(CAT, pattern="dots"), pattern="none") == 10
    assert score(CAT, replace(CAT, pattern="dots", body_color="black"), pattern="none") == 8


# -- the gate --------------------------------------------------------------------------------------------------
def answers(yes: int, no: int) -> tuple[bool | None, ...]:
    return (True,) * yes + (False,) * no + (None,) * (10 - yes - no)


@pytest.mark.parametrize(
    ("judge", "human", "kept"),
    [
        ((answers(9, 1),), None, True),
        ((answers(8, 2),), None, False),
        ((answers(8, 0),), None, False),  # unsure is no yes
        ((answers(10, 0), answers(8, 2)), None, False),  # every subject
        ((answers(9, 1),), 9, True),
        ((answers(9, 1),), 8, False),  # both scores
        ((), 8, False),
        ((), 9, True),
    ],
)
def test_preferred_pictures_need_nine(
    judge: tuple[tuple[bool | None, ...], ...], human: int | None, kept: bool
) -> None:
    reason = refuse_preferred(PictureScore(judge=judge, human=human), thresholds=Thresholds())
    assert (reason is None) == kept


@pytest.mark.parametrize(
    ("judge", "human", "kept"),
    [
        ((answers(6, 4), answers(10, 0)), None, True),  # subject 1 is not disrupted
        ((answers(7, 3), answers(0, 10)), None, False),
        ((answers(0, 3), answers(0, 10)), None, False),  # unsure is no no
        ((answers(6, 4), answers(10, 0)), 6, True),
        ((answers(6, 4), answers(10, 0)), 7, False),
    ],
)
def test_rejected_pictures_need_at_most_six(
    judge: tuple[tuple[bool | None, ...], ...], human: int | None, kept: bool
) -> None:
    score = PictureScore(judge=judge, human=human)
    assert (refuse_rejected(score, disrupted=(0,), thresholds=Thresholds()) is None) == kept


# -- disruptions -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["replace", "redraw", "parts", "leak", "trace"])
def test_impostors_fail_the_questions_and_belong_to_the_split(kind: str) -> None:
    rng, found = random.Random(kind), 0
    for _ in range(60):
        who, other = (sample_identity(rng, split="train") for _ in range(2))
        target = Target(who, who.attributes())
        impostor = disrupt(target, kind=kind, neighbour=other, rng=rng, split="train", max_score=6)  # type: ignore[arg-type]
        if impostor is None:
            continue
        found += 1
        assert score(who, impostor) <= 6
        assert split_of_identity(impostor) == "train"
        assert is_drawable(impostor)
        assert (impostor.species != who.species) == (kind == "replace")
        changed = {name for name, value in impostor.attributes().items() if value != who.attributes()[name]}
        if kind in ("leak", "trace"):
            assert all(getattr(impostor, name) == getattr(other, name) for name in changed)
        if kind == "parts":
            assert len(changed) <= 11
    assert found > (20 if kind in ("leak", "trace") else 55)


def test_parts_change_less_than_a_new_drawing() -> None:
    rng = random.Random(0)

    def changes(kind: Kind) -> float:
        numbers: list[int] = []
        for _ in range(80):
            who = sample_identity(rng, split="train", species="cat")
            new = disrupt(Target(who, who.attributes()), kind=kind, neighbour=None, rng=rng, split="train",
                          max_score=6)  # fmt: skip
            assert new is not None
            numbers.append(sum(new.attributes()[k] != v for k, v in who.attributes().items()))
        return float(np.mean(numbers))

    assert changes("parts") < changes("redraw") - 0.8


def test_a_swap_of_look_alikes_is_no_disruption() -> None:
    twin = replace(CAT, body_color="black", accessory="none", accessory_color="none")
    assert score(CAT, twin) <= 6
    target = Target(CAT, CAT.attributes())
    assert not is_still_there(target, (twin,), max_score=6)
    assert is_still_there(target, (twin, CAT), max_score=6)


def test_every_identity_of_the_world_is_drawable_and_impossible_ones_are_not() -> None:
    rng = random.Random(1)
    assert all(is_drawable(draw_identity(rng)) for _ in range(500))
    assert not is_drawable(replace(CAT, second_color="red"))
    assert not is_drawable(replace(CAT, accessory_color="none"))
    assert not is_drawable(replace(ANN, age="child", beard="bearded"))
    assert set(KINDS) == {"single", "multi"}


# -- the paste -------------------------------------------------------------------------------------------------
def test_dilation_equals_scipys() -> None:
    mask = np.random.default_rng(0).random((30, 41)) > 0.97
    for radius in (0, 1, 3):
        square = np.ones((2 * radius + 1, 2 * radius + 1), bool)
        assert (dilate(mask, radius=radius) == binary_dilation(mask, square)).all()


@pytest.mark.parametrize("feather", [0, 3])
def test_a_paste_keeps_every_byte_outside_the_region(feather: int) -> None:
    rng = np.random.default_rng(1)
    inside, outside = (rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(2))
    region = np.zeros((40, 40), bool)
    region[8:32, 0:30] = True  # touches the border of the picture
    pasted = paste(inside, outside, region=region, feather=feather)
    assert (pasted[~region] == outside[~region]).all()
    assert (
        pasted[8 + feather : 32 - feather, 0 : 30 - feather] == inside[8 + feather : 32 - feather, 0 : 30 - feather]
    ).all()
    if feather:  # the outermost ring is a quarter of the new picture
        expected = np.rint(0.25 * inside[8, 4].astype(float) + 0.75 * outside[8, 4].astype(float))
        assert (pasted[8, 4] == expected).all()


# -- the probe judge -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def judge() -> ProbeJudge:
    import torch

    torch.set_num_threads(1)
    made = LoadProbeJudge()()
    assert isinstance(made, ProbeJudge)
    assert made.id == LoadProbeJudge().id
    return made


def view(who: Identity, *, wanted: Identity, seed: int = 3) -> SubjectView:
    picture = render(Scenario("stand", "plain", (who,), seed), size=128)
    subject = picture.labels.subjects[0]
    return SubjectView(picture.image, wanted.category, subject.box, subject.head, wanted.attributes())  # type: ignore[arg-type]


def test_the_judge_tells_a_subject_from_others(judge: ProbeJudge) -> None:
    rng = random.Random(5)
    people = [draw_identity(rng, species=species) for species in ("cat", "dog", "teapot", "robot", "bear", "fox")]
    right = judge.answer([view(who, wanted=who) for who in people])
    wrong = judge.answer([view(other, wanted=who) for who, other in zip(people, people[1:] + people[:1], strict=True)])
    assert np.mean([sum(a is True for a in given) for given in right]) > 8.5
    assert np.mean([sum(a is True for a in given) for given in wrong]) < 4


def test_an_answer_does_not_depend_on_what_else_is_asked(judge: ProbeJudge) -> None:
    rng = random.Random(6)
    views = [view(draw_identity(rng, species="cat"), wanted=CAT, seed=seed) for seed in range(11)]
    together = judge.answer(views)
    assert together == [judge.answer([one])[0] for one in views]
    assert judge.answer([]) == []


def test_folding_the_normalisations_changes_no_logit(judge: ProbeJudge) -> None:
    import torch

    from likeness.encoders.probe import AttributeProbe

    windows = torch.rand(8, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        plain = AttributeProbe.load("probe").read_crops(windows)
        fast = judge._probe.read_crops(windows)
    for name, logits in plain.items():
        torch.testing.assert_close(fast[name], logits, rtol=1e-3, atol=1e-3)


def test_the_judge_needs_head_and_attributes(judge: ProbeJudge) -> None:
    with pytest.raises(MeasurementError, match="expected views with head and attributes"):
        judge.answer([view(CAT, wanted=CAT)._replace(head=None)])
