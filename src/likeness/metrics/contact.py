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
from typing import cast

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
NO_CONTACT = 0.25
"""From this distance, in bodies, a picture is noted as one without contact."""
MIXED = 0.5
"""From this share, nearer to the other's colour than to its own, a picture is noted as mixed."""
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
CONTACTS: tuple[tuple[str, Choice, Choice], ...] = (
    (r"\bsh[ao]k\w* hands\b|\bhandshake\b", hands, hands),
    (r"\bh[oe]ld\w* hands\b", hands, hands),
    (r"\bhigh[ -]five", hands, hands),
    (r"\bhug(s|ged|ging)?\b", hands, trunk),
    (r"\bkiss(es|ed|ing)?\b", nose, nose),
    (r"\bback[ -]to[ -]back\b", trunk, trunk),
)
"""The joints of one subject that touch joints of the other, by the words of the relation; either may be the one."""


@dataclass(frozen=True)
class Contact:
    """The two joints, one of each subject, that are nearest to each other; their distance in bodies."""

    joints: tuple[int, int]
    distance: float


def touching(case: Case) -> tuple[Choice, Choice]:
    """The joints that are to touch. Raises: NotApplicableError for relations without contact or of more subjects."""
    if len(case.subjects) != 2:
        raise NotApplicableError("not two subjects: nobody to touch")
    known = relation_of(case.action) if case.action else None
    words = known.predicate if known is not None else case.labels.predicate or case.prompt
    for pattern, one, other in CONTACTS:
        if re.search(pattern, words, re.IGNORECASE):
            return one, other
    raise NotApplicableError("the relation names no joints that touch")


def counts(body: Body) -> Bool[np.ndarray, " 17"]:
    """Which joints are seen well enough."""
    return body.scores >= LEAST_SCORE


def num_limbs(body: Body) -> int:
    """Limbs of which root, joint and end are seen."""
    seen = counts(body)
    return sum(bool(seen[list(limb)].all()) for limb in LIMBS[_skeleton(body)])


def size(body: Body) -> float:
    """The diagonal of the box around the joints that count."""
    points = body.points[counts(body)].astype(np.float64)
    return float(np.linalg.norm(points.max(axis=0) - points.min(axis=0))) if len(points) else 0.0


def nearest(bodies: tuple[Body, Body], one: Choice, other: Choice) -> Contact | Value:
    """The nearest two of the joints that are to touch; or that none is seen. A body's size is the mean of both."""
    body = (size(bodies[0]) + size(bodies[1])) / 2
    found: list[Contact] = []
    for first, second in ((one, other), (other, one)):
        for a in first(_skeleton(bodies[0])):
            for b in second(_skeleton(bodies[1])):
                if body > 0 and counts(bodies[0])[a] and counts(bodies[1])[b]:
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
    one, other = touching(evidence.case)
    pair = _pair(evidence)
    found = pair if isinstance(pair, Value) else nearest(pair, one, other)
    if isinstance(found, Value) or isinstance(pair, Value):
        return Measured(cast(Value, found))
    names = [NAMES[_skeleton(body)][joint] for body, joint in zip(pair, found.joints, strict=True)]
    note = "no contact" if found.distance >= NO_CONTACT else ""
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
    one, other = touching(evidence.case)
    pair = _pair(evidence)
    if isinstance(pair, Value):
        return Measured(pair, (pair,) * len(evidence.subjects))
    found = nearest(pair, one, other)
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
    return Measured(Value(mean, "mixed" if mean >= MIXED else ""), tuple(seen))


def _share(here: np.ndarray | None, own: np.ndarray | None, theirs: np.ndarray | None) -> Value:
    if here is None or own is None or theirs is None:
        return not_measured("the joint was not seen in a reference", status="nothing_found")
    if float(np.linalg.norm(own - theirs)) < LEAST_APART:
        return not_measured("both subjects have one colour at the joint", status="not_applicable")
    to_own, to_theirs = float(np.linalg.norm(here - own)), float(np.linalg.norm(here - theirs))
    return Value(to_own / (to_own + to_theirs))


def _colour(seen: Seen, body: Body | None, joint: int) -> Float[np.ndarray, "3"] | None:
    """The mean RGB around a joint, 0 to 255; None where it is not seen."""
    if body is None or not counts(body)[joint]:
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
