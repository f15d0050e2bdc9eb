"""What goes wrong where two subjects touch: they do not, one has grown a limb, or they mix there.

Source: the three failure cases in DreamRelation's supplement (arXiv:2410.23280), which shows pictures of them and no
measure: a subject without limbs that is asked to shake hands grows arms; hands that do not meet; looks that mix where
subjects touch. The measures are ours.
Shapes: a body has 17 joints, (x, y) in shares of the picture's sides.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float

from likeness.core.records import Case
from likeness.core.skeletons import LIMBS, NAMES, Skeleton
from likeness.encoders.joints_seen import Body, JointsSeen
from likeness.encoders.subjects_seen import SubjectsSeen
from likeness.metrics.base import Evidence, Facts, Measured, Metric, NotApplicableError, Seen, Value, not_measured
from likeness.metrics.slots import ENCODER, several, slots_of
from likeness.world.relations import relation_of

JOINTS = "joints"
LEAST_SCORE = 0.3
"""Of a joint that counts (design note dreamrelation.md, 7.2)."""
LEAST_TOUCHING = 0.1
"""Of a joint that is to touch: the other subject often hides it, so that no model is sure of it. With LEAST_SCORE the
next joint, which is far away, takes its place: on 27 validation pairs the AUC of pictures with contact against those
without was 0.53, with this one 0.73."""
LEAST_LIMB = 0.45
"""Of root, joint and end of a limb that counts: a pose model that was taught with limbs alone sees some where there are
none, but unsurely. Of 72 drawn photos each, 71 with limbs have two and more at this score, 62 without at most one."""
AROUND = 2
"""A patch reaches so many px of the small picture in each direction."""
LEAST_APART = 16.0
"""Two subjects whose colours at the joint are nearer, in grey levels, cannot be told apart there."""


def hands(skeleton: Skeleton) -> tuple[int, ...]:
    """Ends of the front limbs."""
    return tuple(end for _, _, end in LIMBS[skeleton][:2])


def trunk(skeleton: Skeleton) -> tuple[int, ...]:
    """Where the limbs begin."""
    return tuple(root for root, _, _ in LIMBS[skeleton])


def nose(skeleton: Skeleton) -> tuple[int, ...]:
    """The nose alone."""
    return (NAMES[skeleton].index("nose"),)


Choice = Callable[[Skeleton], tuple[int, ...]]


NO_CONTACT = {"hands": 0.28, "hand and trunk": 0.29, "noses": 0.78, "trunks": 0.49}
"""From these distances on, in bodies, a picture is noted as one without contact, by the joints that are to touch. Drawn
noses are half a body apart in a kiss, since heads are large. Chosen on validation pairs (figures/contact.py); joints
of which the best limit there tells less than 0.75 right, such as held hands, have none."""
MIXED = {"hand and trunk": 0.42, "trunks": 0.4}
"""From these shares on a picture is noted as mixed, likewise; around hands and noses colours tell next to nothing."""


class Touch(NamedTuple):
    """The joints of one subject that touch joints of the other, either of whom may be the `one`, by a prompt's words.

    `kind` is a key of NO_CONTACT and MIXED, where there is a limit.
    """

    pattern: str
    one: Choice
    other: Choice
    kind: str


CONTACTS = (
    Touch(r"\bsh[ao]k\w* hands\b|\bhandshake\b", hands, hands, "hands"),
    Touch(r"\bh[oe]ld\w* hands\b", hands, hands, "held hands"),
    Touch(r"\bhigh[ -]five", hands, hands, "hands"),
    Touch(r"\bhug(s|ged|ging)?\b", hands, trunk, "hand and trunk"),
    Touch(r"\bkiss(es|ed|ing)?\b", nose, nose, "noses"),
    Touch(r"\bback[ -]to[ -]back\b", trunk, trunk, "trunks"),
)


@dataclass(frozen=True)
class Contact:
    """The two joints, one of each subject, that are nearest to each other; their distance in bodies."""

    joints: tuple[int, int]
    distance: float


def touching(case: Case) -> Touch:
    """What is to touch. Raises: NotApplicableError for relations without contact or of more subjects."""
    if len(case.subjects) != 2:
        raise NotApplicableError("not two subjects: nobody to touch")
    known = relation_of(case.action) if case.action else None
    words = known.predicate if known is not None else case.labels.predicate or case.prompt
    for touch in CONTACTS:
        if re.search(touch.pattern, words, re.IGNORECASE):
            return touch
    raise NotApplicableError("the relation names no joints that touch")


def counts(body: Body) -> Bool[np.ndarray, " 17"]:
    """Which joints are seen well enough."""
    return body.scores >= LEAST_SCORE


def may_touch(body: Body) -> Bool[np.ndarray, " 17"]:
    """Which joints are seen well enough to touch something, by which they may be hidden."""
    return body.scores >= LEAST_TOUCHING


def num_limbs(body: Body) -> int:
    """Limbs of which root, joint and end are seen surely."""
    seen = body.scores >= LEAST_LIMB
    return sum(bool(seen[list(limb)].all()) for limb in LIMBS[_skeleton(body)])


def size(body: Body) -> float:
    """The diagonal of the box around the joints that count."""
    points = body.points[counts(body)].astype(np.float64)
    return float(np.linalg.norm(points.max(axis=0) - points.min(axis=0))) if len(points) else 0.0


def nearest(bodies: tuple[Body, Body], one: Choice, other: Choice) -> Contact | Value:
    """The nearest two of the joints that are to touch; or why there is none. A body's size is the mean of both."""
    sizes = (size(bodies[0]), size(bodies[1]))
    if not min(sizes) > 0:
        return not_measured("a body was not seen well enough to have a size", status="nothing_found")
    body = sum(sizes) / 2
    found: list[Contact] = []
    for first, second in ((one, other), (other, one)):
        for a in first(_skeleton(bodies[0])):
            for b in second(_skeleton(bodies[1])):
                if may_touch(bodies[0])[a] and may_touch(bodies[1])[b]:
                    gap = np.linalg.norm(bodies[0].points[a].astype(np.float64) - bodies[1].points[b])
                    found.append(Contact((a, b), float(gap) / body))
    if not found:
        return not_measured("the joints that are to touch were not seen", status="nothing_found")
    return min(found, key=lambda contact: contact.distance)


def _skeleton(body: Body) -> Skeleton:
    return cast(Skeleton, body.skeleton)


def body_at(seen: Seen, box: tuple[float, ...]) -> Body | None:
    """The body in the box of a find of `subjects`."""
    joints: JointsSeen = seen[JOINTS]
    return next((body for body in joints.bodies if np.allclose(body.box, box, atol=1e-6)), None)


def _players(evidence: Evidence) -> list[Body | None]:
    """The body of whoever plays each subject."""
    slots = slots_of(evidence)
    finds = [slots.of(number) for number in range(len(evidence.subjects))]
    return [None if find is None else body_at(evidence.picture, find.box) for find in finds]


def _pair(evidence: Evidence) -> tuple[Body, Body] | Value:
    several(evidence)
    first, second = _players(evidence)
    if first is None or second is None:
        return not_measured("a subject was not found", status="nothing_found")
    return first, second


def _distance(evidence: Evidence) -> Measured:
    touch = touching(evidence.case)
    pair = _pair(evidence)
    found = pair if isinstance(pair, Value) else nearest(pair, touch.one, touch.other)
    if isinstance(found, Value) or isinstance(pair, Value):
        return Measured(cast(Value, found))
    names = [NAMES[_skeleton(body)][joint] for body, joint in zip(pair, found.joints, strict=True)]
    note = "no contact" if found.distance >= NO_CONTACT.get(touch.kind, math.inf) else ""
    return Measured(Value(found.distance, note, parts={"joints": names}))


def _reference_limbs(photos: tuple[Seen, ...]) -> float | None:
    """Mean over the photos in which somebody was found."""
    found = [_own(photo) for photo in photos]
    limbs = [num_limbs(body) for body in found if body is not None]
    return sum(limbs) / len(limbs) if limbs else None


def _own(photo: Seen) -> Body | None:
    seen: SubjectsSeen = photo[ENCODER]
    return None if seen.surest is None else body_at(photo, seen.surest.box)


def _grown(evidence: Evidence) -> Measured:
    """The mean over subjects of limbs beyond those of the references; the parts count both."""
    each: list[Value] = []
    for body, subject in zip(_players(evidence), evidence.subjects, strict=True):
        usual = _reference_limbs(subject.photos)
        if body is None or usual is None:
            where = "picture" if body is None else "photos"
            each.append(not_measured(f"the subject was not found in the {where}", status="nothing_found"))
            continue
        here = num_limbs(body)
        each.append(Value(max(0.0, here - usual), parts={"picture": here, "reference": usual}))
    missing = [value for value in each if not value.measured]
    if missing:
        return Measured(missing[0], tuple(each))
    mean = math.fsum(value.value for value in each) / len(each)
    return Measured(Value(mean, "limbs grew" if mean else ""), tuple(each))


def _leaked(evidence: Evidence) -> Measured:
    """Of each subject, the colour around its touching joint: 0 its own reference's there, 1 the other's."""
    touch = touching(evidence.case)
    pair = _pair(evidence)
    if isinstance(pair, Value):
        return Measured(pair, (pair,) * len(evidence.subjects))
    found = nearest(pair, touch.one, touch.other)
    if isinstance(found, Value):
        return Measured(found, (found,) * len(evidence.subjects))
    owns = [_own(subject.conditioning) for subject in evidence.subjects]
    seen: list[Value] = []
    for number, joint in enumerate(found.joints):
        own, theirs = (_colour(evidence.subjects[i].conditioning, owns[i], joint) for i in (number, 1 - number))
        here = _colour(evidence.picture, pair[number], joint)
        seen.append(_share(here, own, theirs))
    missing = [value for value in seen if not value.measured]
    if missing:
        return Measured(missing[0], tuple(seen))
    mean = (seen[0].value + seen[1].value) / 2
    return Measured(Value(mean, "mixed" if mean >= MIXED.get(touch.kind, math.inf) else ""), tuple(seen))


def _share(here: np.ndarray | None, own: np.ndarray | None, theirs: np.ndarray | None) -> Value:
    if here is None or own is None or theirs is None:
        return not_measured("the joint was not seen in a reference", status="nothing_found")
    if float(np.linalg.norm(own - theirs)) < LEAST_APART:
        return not_measured("both subjects have one colour at the joint", status="not_applicable")
    to_own, to_theirs = float(np.linalg.norm(here - own)), float(np.linalg.norm(here - theirs))
    return Value(to_own / (to_own + to_theirs))


def _colour(seen: Seen, body: Body | None, joint: int) -> Float[np.ndarray, "3"] | None:
    """The mean RGB around a joint, 0 to 255; None where it is not seen."""
    if body is None or not may_touch(body)[joint]:
        return None
    small = cast(SubjectsSeen, seen[ENCODER]).small
    height, width = small.shape[:2]
    x, y = body.points[joint]
    column, row = int(min(max(x * width, 0), width - 1)), int(min(max(y * height, 0), height - 1))
    patch = small[max(row - AROUND, 0) : row + AROUND + 1, max(column - AROUND, 0) : column + AROUND + 1]
    return patch.reshape(-1, 3).mean(axis=0, dtype=np.float64)


CONTACT_METRICS = (
    Metric(
        Facts(
            "contact_distance",
            "Distance of what should touch",
            "Contact",
            "How far apart are the joints that the relation has touch?",
            (ENCODER, JOINTS),
            "prompt",
            unit="bodies",
            range=(0.0, math.inf),
            higher_is_better=False,
            protocol={"contact_distance": "nearest two named joints, over the mean size of both bodies"},
        ),
        _distance,
    ),
    Metric(
        Facts(
            "limb_growth",
            "Limbs that the reference lacks",
            "Limbs",
            "How many limbs has a subject beyond those of its photos?",
            (ENCODER, JOINTS),
            "prompt",
            unit="limbs",
            range=(0.0, 4.0),
            higher_is_better=False,
            protocol={"limb_growth": "limbs seen whole in the picture minus those of the photos, at least 0"},
            per_subject=True,
        ),
        _grown,
    ),
    Metric(
        Facts(
            "contact_leakage",
            "Mixed where they touch",
            "Mixed",
            "Has a subject the other's colour where they touch?",
            (ENCODER, JOINTS),
            "prompt",
            higher_is_better=False,
            protocol={"contact_leakage": "distance to the own colour at the joint over that to both: 0 own, 1 other's"},
            per_subject=True,
        ),
        _leaked,
    ),
)
