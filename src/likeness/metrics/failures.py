"""The three failures where subjects touch, each a yes or no: who can fail so, what is read, and from which limit on.

Source: DreamRelation's supplement (arXiv:2410.23280) shows them as pictures: a subject without limbs that is to shake
hands grows arms; hands that do not meet; looks that mix at the contact. Categories and limits are ours, the limits
chosen on the drawn world (figures/contact.py, docs/metrics/several-subjects.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from likeness.core.records import Case
from likeness.metrics.base import Measured, NotApplicableError, Value, not_measured
from likeness.metrics.contact import MIXED, NO_CONTACT, hands, touching

LIMBLESS = 1.0
"""At most so many limbs, a mean over its photos, has a subject without limbs: where none is, one may be seen."""
GROWN = 2.0
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


def _limit(limits: Mapping[str, float], case: Case) -> float:
    kind = touching(case).kind
    if kind not in limits:
        raise NotApplicableError(f"no limit tells it for {kind}")
    return limits[kind]


def _over(measured: Measured, limit: float) -> Value:
    """The value as a multiple of the limit."""
    return Value(measured.value.value / limit) if measured.value.measured else measured.value


def _hands(case: Case) -> None:
    if hands not in (touching(case).one, touching(case).other):
        raise NotApplicableError("the relation needs no hands")


def _of_limbless(measured: Measured, case: Case) -> Value:
    """The most limbs that a subject without limbs has grown; not measured where a subject was not seen.

    That also holds where another has grown limbs: else pictures of which one is not seen would count if they fail.
    """
    if not measured.per_subject:
        return measured.value
    grown = [v.value for v in measured.per_subject if v.measured and v.parts["reference"] <= LIMBLESS]
    unseen = [value for value in measured.per_subject if not value.measured]
    if unseen:
        return unseen[0]
    if not grown:
        return not_measured("no subject is without limbs in its photos", status="not_applicable")
    return Value(max(grown))


def _told(limits: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {limit:g}" for kind, limit in limits.items())


FAILURES = (
    Failure(
        "limb_growth",
        "Limbs grew",
        "limb_growth",
        GROWN,
        "limbs",
        f"A subject with at most {LIMBLESS:g} limb in its photos is asked for a relation of hands, and has more in the "
        "picture",
        _hands,
        _of_limbless,
    ),
    Failure(
        "no_contact",
        "No contact",
        "contact_distance",
        1.0,
        "x limit",
        "The nearest two joints that the relation has touch are apart; limits in mean sizes of both bodies: "
        f"{_told(NO_CONTACT)}",
        partial(_limit, NO_CONTACT),
        lambda measured, case: _over(measured, _limit(NO_CONTACT, case)),
    ),
    Failure(
        "confusion",
        "Mixed where they touch",
        "contact_leakage",
        1.0,
        "x limit",
        "Where they touch, the mean colour is near to the other subject's (0 its own, 1 the other's); limits: "
        f"{_told(MIXED)}",
        partial(_limit, MIXED),
        lambda measured, case: _over(measured, _limit(MIXED, case)),
    ),
)
"""In the order of the paper's supplement."""
