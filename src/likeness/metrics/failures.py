"""The three failures where subjects touch, each a yes or no: who can fail so, what is read, and from which limit on.

Source: DreamRelation's supplement (arXiv:2410.23280) shows them as pictures: a subject without limbs that is to shake
hands grows arms; hands that do not meet; looks that mix at the contact. Categories and limits are ours, the limits
chosen on the drawn world (figures/contact.py, docs/metrics/several-subjects.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

from likeness.core.records import Case
from likeness.metrics.base import Measured, NotApplicableError, Value, not_measured
from likeness.metrics.contact import MIXED, NO_CONTACT, hands, touching

LIMBLESS = 0.5
"""At most so many whole limbs, a mean over its photos, has a subject without limbs."""
GROWN = 1.0
"""From so many limbs more than in its photos on, a subject without limbs has grown some."""


@dataclass(frozen=True)
class Failure:
    """One category: a picture has it where `reading`, of the `metric` (METRICS' key), is at least `limit` in `unit`.

    `require` says which cases can fail so. Raises: NotApplicableError for the others.
    """

    name: str
    label: str
    metric: str
    limit: float
    unit: str
    definition: str
    require: Callable[[Case], object]
    reading: Callable[[Measured, Case], Value]


def _whole(measured: Measured, case: Case) -> Value:
    return measured.value


def _in_limits(measured: Measured, case: Case) -> Value:
    """The distance over the limit of the case's relation."""
    found = measured.value
    return Value(found.value / touching(case).limit) if found.measured else found


def _hands(case: Case) -> None:
    if hands not in (touching(case).one, touching(case).other):
        raise NotApplicableError("the relation needs no hands")


def _of_limbless(measured: Measured, case: Case) -> Value:
    """The most limbs that a subject without limbs has grown; not measured while one that was not seen may be such."""
    if not measured.per_subject:
        return measured.value
    grown = [v.value for v in measured.per_subject if v.measured and v.parts["reference"] <= LIMBLESS]
    unseen = [value for value in measured.per_subject if not value.measured]
    if unseen and max(grown, default=0.0) < GROWN:
        return unseen[0]
    if not grown:
        return not_measured("no subject is without limbs in its photos", status="not_applicable")
    return Value(max(grown))


_LIMITS = ", ".join(f"{kind} {limit:g}" for kind, limit in NO_CONTACT.items())
FAILURES = (
    Failure(
        "limb_growth",
        "Limbs grew",
        "limb_growth",
        GROWN,
        "limbs",
        f"A subject that has at most {LIMBLESS:g} whole limbs in its photos is asked for a relation of hands, and has "
        "this many more in the picture",
        _hands,
        _of_limbless,
    ),
    Failure(
        "no_contact",
        "No contact",
        "contact_distance",
        1.0,
        "times its limit",
        "The nearest two joints that the relation has touch are as far apart as its limit, in mean sizes of both "
        f"bodies: {_LIMITS}",
        touching,
        _in_limits,
    ),
    Failure(
        "confusion",
        "Mixed where they touch",
        "contact_leakage",
        MIXED,
        "of the way to the other",
        "Where they touch, the mean colour is this near to the other subject's (0 its own, 1 the other's)",
        touching,
        _whole,
    ),
)
"""In the order of the paper's supplement."""
