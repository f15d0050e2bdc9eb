"""IPS, SIS, APS, face counts and the exclusion rule: by hand, in numpy, and on the published rows of Stellar's mock."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.core.errors import MeasurementError
from likeness.core.records import Case, Subject
from likeness.encoders.clip import TextFeature
from likeness.encoders.face_attributes_seen import FaceAttributes
from likeness.encoders.faces_seen import COSINE, DISTANCE, Face, FacesSeen, face_similarity, largest_first
from likeness.evaluate.aggregate import tallies
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, SubjectEvidence, Value
from likeness.metrics.exclusion import declared_set, excluding, is_excluded, mean_and_deviation

RNG = np.random.default_rng(0)
SOMEBODY = RNG.normal(size=(6, 8)).astype(np.float32)


def face(embedding: Any, *, size: float = 10.0, score: float = 1.0) -> Face:
    return Face((0.0, 0.0, size, size), score, np.zeros((5, 2), np.float32), np.asarray(embedding, np.float32))


def seen(*faces: Face, measure: str = COSINE) -> FacesSeen:
    return FacesSeen("tiny (none)", (64, 64), measure, 0.5, largest_first(faces))


def evidence(picture: FacesSeen, *people: tuple[FacesSeen, ...], **more: Any) -> Evidence:
    """A picture, and of each person the photos, of which the first conditions."""
    subjects: list[SubjectEvidence] = []
    for number, photos in enumerate(people):
        subject = Subject(id=f"p{number}", class_name="person", reference_image=Path("a.png"))
        sights = tuple({"faces": photo} for photo in photos)
        subjects.append(SubjectEvidence(subject, sights, sights[0]))
    case = Case(id="a", prompt="a person", subjects=tuple(each.subject for each in subjects))
    return Evidence(case, {"faces": picture}, {}, tuple(subjects), **more)


def value(key: str, found: Evidence) -> Value:
    return METRICS[key].measure(found).value


def cosine64(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.usefixtures("unchecked")
def test_similarity_is_the_cosine_or_one_minus_the_distance() -> None:
    a, b = SOMEBODY[:2]
    assert face_similarity(a, b, measure=COSINE) == pytest.approx(cosine64(a, b), abs=1e-12)
    distance = float(np.linalg.norm(a.astype(np.float64) - b))
    assert face_similarity(a, b, measure=DISTANCE) == pytest.approx(max(-1.0, 1 - distance), abs=1e-12)
    assert face_similarity(a / 4, b / 4, measure=DISTANCE) == pytest.approx(max(-1.0, 1 - distance / 4), abs=1e-6)
    for measure in (COSINE, DISTANCE):
        assert face_similarity(a, a, measure=measure) == pytest.approx(1)
        assert face_similarity(a, b, measure=measure) == face_similarity(b, a, measure=measure)
    with pytest.raises(MeasurementError, match="embeddings of one embedder, got 8 and 4 numbers"):
        face_similarity(a, b[:4], measure=COSINE)
    with pytest.raises(MeasurementError, match="got 'dot'"):
        face_similarity(a, b, measure="dot")


def test_ips_is_the_best_face_of_the_picture_against_the_largest_of_the_photo() -> None:
    photo = seen(face(SOMEBODY[0], size=5), face(SOMEBODY[1], size=20))
    picture = seen(face(SOMEBODY[2]), face(SOMEBODY[3], size=3), face(SOMEBODY[0], size=4))
    wanted = max(cosine64(SOMEBODY[1], SOMEBODY[k]) for k in (2, 3, 0))
    for column in ("fixed", "paper"):
        found = value(f"ips_{column}", evidence(picture, (photo,)))
        assert found.value == pytest.approx(wanted, abs=1e-12)
    assert found.value < cosine64(SOMEBODY[0], SOMEBODY[0])  # the photo's small face, which the public code would take
    parts = METRICS["ips_fixed"].measure(evidence(picture, (photo,))).per_subject[0].parts
    assert parts["by"] == "tiny (none)"
    assert parts["faces"] == 3


def test_a_face_that_is_not_there_is_not_a_number_but_in_the_paper() -> None:
    person, nobody = seen(face(SOMEBODY[0])), seen()
    assert value("ips_fixed", evidence(nobody, (person,))).status == "nothing_found"
    assert value("ips_paper", evidence(nobody, (person,))).value == 0
    assert "0 in the paper" in value("ips_paper", evidence(nobody, (person,))).note
    for column in ("fixed", "paper"):
        assert value(f"ips_{column}", evidence(person, (nobody,))).status == "missing"
        assert value(f"ips_{column}", evidence(nobody, (nobody,))).status == "missing"
        two = METRICS[f"ips_{column}"].measure(evidence(person, (person,), (nobody,)))
        assert two.value.status == "missing"
        assert two.per_subject[0].value == pytest.approx(1)


def test_sis_is_the_smallest_over_the_other_photos() -> None:
    picture, photos = seen(face(SOMEBODY[0])), tuple(seen(face(SOMEBODY[k])) for k in (1, 2, 3))
    near = [cosine64(SOMEBODY[0], SOMEBODY[k]) for k in (1, 2, 3)]
    assert value("sis_fixed", evidence(picture, photos)).value == pytest.approx(min(near[1:]), abs=1e-12)
    assert value("sis_paper", evidence(picture, photos)).value == pytest.approx(min(near), abs=1e-12)
    for order in ((0, 2, 1), (1, 0, 2), (2, 1, 0)):  # also where the conditioning photo is the nearest or the farthest
        turned = tuple(photos[k] for k in order)
        found = value("sis_paper", evidence(picture, turned)).value
        assert found == pytest.approx(min(near))
        assert found <= value("ips_paper", evidence(picture, turned)).value


def test_sis_without_another_photo_or_face() -> None:
    person, other, nobody = seen(face(SOMEBODY[0])), seen(face(SOMEBODY[1])), seen()
    for column in ("fixed", "paper"):
        assert value(f"sis_{column}", evidence(other, (person,))).status == "not_applicable"
        assert value(f"sis_{column}", evidence(other, (person, person))).status == "not_applicable"
        assert value(f"sis_{column}", evidence(other, (person, nobody))).status == "missing"
    assert value("sis_fixed", evidence(nobody, (person, other))).status == "nothing_found"
    assert value("sis_paper", evidence(nobody, (person, other))).value == 0


def test_faces_are_counted_against_people() -> None:
    person, nobody = seen(face(SOMEBODY[0])), seen()
    both = seen(face(SOMEBODY[0]), face(SOMEBODY[1], size=4))
    assert value("face_count", evidence(both, (person,), (person,))).value == 1
    found = value("face_count", evidence(both, (person,)))
    assert (found.value, found.parts["missing"], found.parts["extra"]) == (0, 0, 1)
    found = value("face_count", evidence(nobody, (person,), (person,)))
    assert (found.value, found.parts["missing"], found.parts["extra"]) == (0, 2, 0)
    assert value("face_count", evidence(both, (nobody,))).status == "not_applicable"  # a teapot
    assert value("face_found", evidence(both, (person,))).value == 1
    assert value("face_found", evidence(nobody, (person,))).value == 0
    assert value("face_found", evidence(nobody, (nobody,))).status == "not_applicable"


# -- the published rows of Stellar's mock data: name, clip_t, clip_n, IPS, SIS --------------------------------------
MOCK = (
    ("000-0-00", 0.4448, 0.161, 0.27474576, -0.07494425),
    ("000-0-01", 0.3977, 0.1748, 0.2839434, -0.033868216),
    ("000-0-02", 0.355, 0.1324, 0.26643416, 0.041172158),
    ("000-1-00", 0.4692, 0.1989, 0.16220775, -0.11466165),
    ("000-1-01", 0.4258, 0.25, 0.507179, 0.023592211),
    ("000-1-02", 0.415, 0.2139, 0.402828, -0.108297154),
    ("199-0-00", 0.37, 0.193, 0.34476843, 0.26199844),
    ("199-0-01", 0.497, 0.1665, 0.036013335, 0.036013335),
    ("199-0-02", 0.4966, 0.1826, 0.40291443, 0.36389324),
    ("199-1-00", 0.3896, 0.231, 0.33746916, -0.07953284),
    ("199-1-01", 0.3777, 0.2283, 0.3981355, -0.09788981),
    ("199-1-02", 0.4622, 0.2119, 0.48401207, 0.10149577),
)
MARGINS = (0.216, 0.155, 0.155, 0.203, 0.108, 0.134, 0.109, 0.263, 0.246, 0.091, 0.082, 0.183)
GOA = (
    *(0.08240151, 0.077937685, 0.33038706, 0.024516337, 0.093181714, 0.27228987),
    *(0.50563025, 0.3869951, 0.13718532, 0.42721745, 0.06681232, 0.2498131),
)
CLIP_I = (0.4988, 0.3567, 0.5103, 0.2913, 0.4573, 0.4104, 0.3384, 0.2163, 0.3215, 0.522, 0.4597, 0.4028)
SUMMARY = {  # mean and deviation as the public table has them
    "clip_t": (0.42505, 0.0488983),
    "clip_n": (0.195358, 0.0337628),
    "clip_i": (0.398792, 0.0958932),
    "ips": (0.325054, 0.132854),
    "sis": (0.0265809, 0.151951),
    "goa": (0.221197, 0.162911),
}


def columns() -> dict[str, tuple[float, ...]]:
    _, clip_t, clip_n, ips, sis = zip(*MOCK, strict=True)
    return {"clip_t": clip_t, "clip_n": clip_n, "clip_i": CLIP_I, "ips": ips, "sis": sis, "goa": GOA}


@pytest.mark.parametrize("name", SUMMARY)
def test_aggregation_reproduces_the_published_table(name: str) -> None:
    assert mean_and_deviation(columns()[name]) == pytest.approx(SUMMARY[name], rel=2e-5)


def test_the_rule_keeps_all_rows_of_the_mock_with_the_published_margins() -> None:
    declared = declared_set("the mock's photos and prompts", columns()["clip_n"], clip="ViT-bigG-14")
    assert declared.sigma == pytest.approx(0.0337628, abs=5e-8)
    assert "0.0337628" in declared.protocol
    for (_, clip_t, clip_n, *_), margin in zip(MOCK, MARGINS, strict=True):
        assert not is_excluded(clip_t=clip_t, clip_n=clip_n, sigma=declared.sigma)
        assert clip_t - (clip_n + 2 * declared.sigma) == pytest.approx(margin, abs=6e-4)
    assert all(sis <= ips for *_, ips, sis in MOCK)
    assert [name for name, *_, ips, sis in MOCK if ips == sis] == ["199-0-01"]


def test_a_declared_set_needs_two_finite_cosines() -> None:
    for few in ([], [0.2], [0.2, math.nan]):
        with pytest.raises(MeasurementError, match="two finite cosines or more"):
            declared_set("mine", few, clip="x")


def with_clip(angle_of_picture: float) -> Evidence:
    """Prompt at 0 degrees, the conditioning photo at 60 (clip_n = 0.5), the picture where it is put."""

    def at(angle: float) -> np.ndarray:
        return np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])

    found = evidence(seen(face(SOMEBODY[0])), (seen(face(SOMEBODY[0])),))
    (subject,) = found.subjects
    conditioned = replace(subject, conditioning={**subject.conditioning, "clip": at(60)})
    prompt = {"clip": TextFeature(at(0), truncated=False)}
    return replace(
        found, picture={**found.picture, "clip": at(angle_of_picture)}, prompt=prompt, subjects=(conditioned,)
    )


def test_excluded_is_a_picture_that_shows_the_prompt_no_better_than_the_photo() -> None:
    declared = declared_set("two", [0.4, 0.5], clip="tiny")
    sigma = np.std([0.4, 0.5], ddof=1)
    assert declared.sigma == pytest.approx(sigma)
    metric = excluding(METRICS["ips_paper"], declared, column="paper_excluding")
    assert metric.facts.needs == ("faces", "clip")
    assert metric.facts.key == "ips_paper_excluding"
    edge = math.degrees(math.acos(0.5 + 2 * sigma))
    kept, out = metric.measure(with_clip(edge - 0.1)).value, metric.measure(with_clip(edge + 0.1))
    assert kept.value == pytest.approx(1)
    assert out.value.value == 0
    assert "excluded" in out.value.note
    assert out.per_subject[0].parts["clip_n"] == pytest.approx(0.5)
    lost = replace(with_clip(edge + 0.1), picture={**with_clip(edge + 0.1).picture, "faces": seen()})
    assert excluding(METRICS["ips_fixed"], declared, column="x").measure(lost).value.status == "nothing_found"


# -- APS ------------------------------------------------------------------------------------------------------------
NAMES: tuple[str, ...] = (
    "Young",
    "Male",
    "High_Cheekbones",
    "Pointy_Nose",
    "Narrow_Eyes",
    "Double_Chin",
    "Big_Lips",
    "Big_Nose",
)
TARGETS = {"000-0": "+-+-+-++", "000-1": "++----++", "199-0": "+-+-+---", "199-1": "++--+--+"}
MEASURED = ("Male", "High_Cheekbones", "Narrow_Eyes", "Big_Lips", "Big_Nose")
READ = dict(
    zip(
        (row[0] for row in MOCK),
        ["-++-+", "-++-+", "-++++", "+-+-+", "+-+++", "+-+++", "+-+-+", "+-+-+", "-++-+", "+-+-+", "+-+-+", "+-+-+"],
        strict=True,
    )
)
SHARES = (0.8, 0.8, 1, 0.6, 0.8, 0.8, 0.4, 0.4, 0.8, 1, 1, 1)
BALANCED = {"Male": 5 / 6, "High_Cheekbones": 5 / 6, "Narrow_Eyes": 0.5, "Big_Lips": 0.75, "Big_Nose": 0.5}
ACCURACY = {"Male": 5 / 6, "High_Cheekbones": 5 / 6, "Narrow_Eyes": 0.75, "Big_Lips": 0.75, "Big_Nose": 0.75}


def aps_evidence(name: str, *, has_face: bool = True) -> Evidence:
    wanted: dict[str, str] = dict(zip(NAMES, TARGETS[name[:5]], strict=True))
    read = {attribute: {"-": 0.4, "+": 0.4} | {sign: 0.6} for attribute, sign in zip(MEASURED, READ[name], strict=True)}
    labels = {attribute: ("-", "+") for attribute in MEASURED}
    sight = FaceAttributes("probes (none)", read if has_face else None, labels)
    subject = Subject(id=name[:5], class_name="person", reference_image=Path("a.png"), attributes=wanted)
    case = Case(id=name, prompt="a person", subjects=(subject,))
    return Evidence(case, {"face_attributes": sight}, {}, (SubjectEvidence(subject, (), {}),))


def test_aps_of_the_mock_per_picture_and_balanced_per_attribute() -> None:
    found = [METRICS["aps_fixed"].measure(aps_evidence(name)) for name, *_ in MOCK]
    assert [each.value.value for each in found] == pytest.approx(SHARES)
    assert np.mean([each.value.value for each in found]) == pytest.approx(0.7833, abs=5e-5)
    rows = [
        {
            "values": {"aps_fixed": each.value.to_json()},
            "per_subject": [{"subject": "s", "values": {"aps_fixed": each.per_subject[0].to_json()}}],
        }
        for each in found
    ]
    tally = tallies(rows)["face_attributes"]
    assert {name: row["balanced_accuracy"] for name, row in tally.items()} == pytest.approx(BALANCED)
    assert np.mean(list(BALANCED.values())) == pytest.approx(0.683333, abs=5e-7)  # the published APS
    assert {name: row["share_right"] for name, row in tally.items()} == pytest.approx(ACCURACY)
    assert {row["n"] for row in tally.values()} == {12}
    one = tallies(rows[:1])["face_attributes"]
    assert {row["balanced_accuracy"] for row in one.values()} == {None}  # one value was ever expected


def test_aps_without_a_face_a_label_or_a_known_value() -> None:
    lost = aps_evidence("000-0-00", has_face=False)
    assert value("aps_fixed", lost).status == "nothing_found"
    assert value("aps_paper", lost).value == 0
    (subject,) = lost.subjects
    bare = replace(lost, subjects=(replace(subject, subject=subject.subject.model_copy(update={"attributes": None})),))
    for column in ("fixed", "paper"):
        assert value(f"aps_{column}", bare).status == "not_applicable"
    odd = subject.subject.model_copy(update={"attributes": {"Male": "?"}})
    with pytest.raises(MeasurementError, match=r"Attribute Male: expected - or \+, got \?"):
        value("aps_fixed", replace(lost, subjects=(replace(subject, subject=odd),)))


# -- Fig. 8 ---------------------------------------------------------------------------------------------------------
FIGURE = (
    "Aesth",
    "CLIP_I",
    "DreamSim",
    "CLIP_T",
    "HPSv1",
    "HPSv2",
    "ImgRew",
    "PickS",
    "GOA",
    "RFS",
    "APS",
    "IPS",
    "SIS",
)
UPPER = """
.14 -.12 .11 .36 .21 .25 .23 .15 .04 .15 .20 .19
-.93 -.64 -.33 -.25 -.30 -.48 -.38 .02 .21 .29 .29
.65 .37 .29 .32 .50 .44 -.02 -.20 -.28 -.27
.66 .60 .73 .82 .60 .06 .17 .13 .13
.53 .64 .70 .55 .02 .24 .22 .21
.56 .71 .42 .11 .29 .27 .27
.71 .55 .06 .26 .26 .26
.56 .06 .21 .19 .19
.11 .13 .13 .13
.02 .02 .02
.92 .91
.98
"""


def block_mean(rows: tuple[str, ...], others: tuple[str, ...]) -> float:
    """The mean over a block of the figure's matrix, which is symmetric."""
    matrix = np.eye(len(FIGURE))
    for row, line in enumerate(UPPER.split("\n")[1:-1]):
        matrix[row, row + 1 :] = [float(number) for number in line.split()]
    whole = matrix + np.triu(matrix, 1).T
    return float(whole[np.ix_([FIGURE.index(r) for r in rows], [FIGURE.index(o) for o in others])].mean())


def test_block_means_of_figure_8_follow_from_its_matrix() -> None:
    texts, images = ("CLIP_T", "HPSv1", "HPSv2", "ImgRew", "PickS"), ("Aesth", "CLIP_I", "DreamSim")
    personal = ("GOA", "RFS", "APS", "IPS", "SIS")
    # the figure can be read to 0.01, so its means to about 0.005; the second number is the one that the paper states
    for rows, others, read, stated in (
        (texts, personal, 0.253, 0.25),
        (images, personal, 0.053, 0.06),
        (images, ("APS", "IPS", "SIS"), 0.063, 0.06),
        (("CLIP_T",), ("HPSv2",), 0.60, 0.6),
        (texts, ("GOA",), 0.54, 0.54),
        (texts, ("RFS",), 0.06, 0.06),
    ):
        assert block_mean(rows, others) == pytest.approx(read, abs=0.005)
        assert block_mean(rows, others) == pytest.approx(stated, abs=0.005)
