"""What a metric is: its facts, the evidence it sees, the value it answers, and the arithmetic that several share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from likeness.core.errors import MeasurementError
from likeness.core.records import Case, Subject
from likeness.metrics.declared import DeclaredSet

Status = Literal["measured", "not_applicable", "nothing_found", "missing", "excluded", "failed"]
"""measured: there is a number. not_applicable: the question does not arise for this case. nothing_found: it was looked
for in the picture and is not there. missing: an encoder, a photo or a true picture is absent. excluded: a rule took it
out; the number is NaN, or 0 where the rule says so. failed: measuring ended with an error."""

Seen = Mapping[str, Any]
"""What encoders saw of one picture or text, by the encoder's name; of what type is the encoder's own."""


@dataclass(frozen=True)
class Value:
    """A measured number, or NaN with a note that says why there is none; `parts` (JSON) tells what it is made of."""

    value: float
    note: str = ""
    status: Status = "measured"
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def measured(self) -> bool:
        """False for NaN."""
        return not math.isnan(self.value)

    def to_json(self) -> dict[str, Any]:
        """{"value": number or null, "note", "status"} and, where there are any, "parts"."""
        row = {"value": self.value if self.measured else None, "note": self.note, "status": self.status}
        return row | ({"parts": dict(self.parts)} if self.parts else {})

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Value":
        """The value that `to_json` wrote."""
        value = math.nan if row["value"] is None else row["value"]
        return cls(value, row["note"], row["status"], row.get("parts", {}))


@dataclass(frozen=True)
class SubjectEvidence:
    """What was seen of one subject: of the photos that fidelity is measured against, and of the conditioning photo."""

    subject: Subject
    photos: tuple[Seen, ...]
    conditioning: Seen


@dataclass(frozen=True)
class Evidence:
    """Everything a metric may look at: a picture with what encoders saw of it, of the prompt and of the subjects.

    By encoder and text: `texts` holds what was read of the texts that metrics named, the prompt among them, `answers`
    what was answered to texts about the picture. `truth` is what encoders saw of the case's true picture, where the
    benchmark has one. `declared` is the set of all cases with their photos, for metrics that declare one.
    """

    case: Case
    picture: Seen
    prompt: Seen
    subjects: tuple[SubjectEvidence, ...]
    texts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    truth: Seen | None = None
    declared: DeclaredSet | None = None


@dataclass(frozen=True)
class Measured:
    """The value of a picture and, for metrics that have them, one value per subject in the case's order."""

    value: Value
    per_subject: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What a reader of a number must know, and how tables and pages show it.

    `kind` decides the bounds. "subject" and "prompt": the floor is measured on another subject's photo, for "subject"
    per subject; the ceiling on the true picture, for "subject" else on the subject's other photos. "labels": measured
    only where cases carry labels; the floor is another case's true picture. "quality": likewise, but of the picture by
    itself, so that it has no floor. `column` tells readings of one `name` apart. `headline` and `ranks` are places in
    an order (None: not in it): of the numbers set large, which also stand in the table before and after tuning, and of
    the metrics that may order cases from best to worst.
    """

    name: str
    label: str
    short: str
    question: str
    needs: tuple[str, ...]
    kind: Literal["prompt", "subject", "labels", "quality"]
    unit: str = "share"
    range: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True
    column: str = ""
    protocol: Mapping[str, str] = field(default_factory=dict[str, str])
    shown_as: Literal["number", "percent", "yes_no"] = "number"
    card: bool = False
    headline: int | None = None
    ranks: int | None = None
    per_subject: bool = False

    @property
    def of_labels(self) -> bool:
        """Whether it is measured only where cases carry labels: the probe knows the drawn world alone."""
        return self.kind in ("labels", "quality")

    @property
    def key(self) -> str:
        """Its name in rows of scores."""
        return self.name if self.column in ("", "all_photos") else f"{self.name}_{self.column}"

    def shown(self) -> dict[str, Any]:
        """What a report needs, as JSON for summary.json; an end of the range that there is none of is null."""
        kept = asdict(self)
        for name in ("question", "needs", "protocol", "per_subject"):
            del kept[name]
        ends = [end if math.isfinite(end) else None for end in self.range]
        return kept | {"range": ends, "compared": self.headline}


COSINE = ("cosine", (-1.0, 1.0))  # unit and range
UNBOUNDED = (-math.inf, math.inf)


Texts = Callable[[Case], Sequence[str]]
"""The texts of a case that an encoder is to read, or to answer about its pictures."""


def the_prompt(case: Case) -> Sequence[str]:
    """The case's prompt and nothing else."""
    return [case.prompt]


class NotApplicableError(MeasurementError):
    """The question does not arise for this case."""


@dataclass(frozen=True)
class Metric:
    """One line of METRICS.

    `measure` is a pure function of the evidence for one picture. Raises: NotApplicableError, which becomes a value
    with status "not_applicable"; any other MeasurementError, which becomes one with status "failed".
    `derive` is a rule over a run: all values of one kind of rows, in case order, to as many new ones.
    `tallied` names the table of summary.json that counts the true parts of the values per subject.
    `texts` are read, in addition to the prompt, by the encoders it needs that read, and `questions` put to those that
    answer about pictures; without `questions` that is the prompt. One that `compares_truth` has the evidence's `truth`,
    one that `declares` a CLIP encoder the `declared` set of it.
    """

    facts: Facts
    measure: Callable[[Evidence], Measured]
    derive: Callable[[Sequence[Value]], Sequence[Value]] | None = None
    tallied: str | None = None
    texts: Texts | None = None
    questions: Texts = the_prompt
    compares_truth: bool = False
    declares: str | None = None


def not_measured(reason: str, *, status: Status = "missing") -> Value:
    """NaN with the reason."""
    return Value(math.nan, reason, status)


def cosine(a: Float[np.ndarray, " D"], b: Float[np.ndarray, " D"]) -> float:
    """The cosine of two features, in float64; symmetric, 1 for equal directions, unchanged by their lengths."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    # plain sums, not BLAS: a dot product there may change with the number of threads
    return float((a * b).sum() / math.sqrt(float((a * a).sum()) * float((b * b).sum())))


def mean_cosine(feature: Float[np.ndarray, " D"], photos: Sequence[Float[np.ndarray, " D"]]) -> Value:
    """The mean cosine of one picture to each photo; not measured without photos."""
    if len(photos) == 0:
        return not_measured("no photo to compare with")
    return Value(math.fsum(cosine(feature, photo) for photo in photos) / len(photos))


def mean_over_subjects(values: Sequence[Value]) -> Value:
    """The mean of one value per subject; not measured when any is missing, since the rest is another population."""
    if not values:
        return not_measured("the case has no subject", status="not_applicable")
    missing = [value for value in values if not value.measured]
    if missing:
        return not_measured(missing[0].note, status=missing[0].status)
    notes = "; ".join(dict.fromkeys(value.note for value in values if value.note))
    return Value(math.fsum(value.value for value in values) / len(values), notes)


def of_subjects(values: Sequence[Value]) -> Measured:
    """One value per subject, and their mean."""
    return Measured(mean_over_subjects(values), tuple(values))


def prompt_cosine(evidence: Evidence, *, encoder: str) -> Measured:
    """The raw cosine of the picture and the exact prompt; noted when the encoder did not read the prompt's end."""
    prompt = evidence.prompt[encoder]
    note = "prompt cut to the encoder's length" if prompt.truncated else ""
    return Measured(Value(cosine(evidence.picture[encoder], prompt.vector), note))


def photo_metrics(
    name: str,
    short: str,
    question: str,
    *,
    encoder: str,
    protocol: str,
    headline: int | None = None,
    ranks: int | None = None,
) -> tuple[Metric, Metric]:
    """Mean cosine of what `encoder` saw of the picture and of a subject's photos: of all, and of the conditioning one.

    The second has no place in an order.
    """
    label = f"Subject fidelity ({short})"
    facts = Facts(name, label, short, question, (encoder,), "subject", *COSINE, per_subject=True)

    def mean_to(photos: Callable[[SubjectEvidence], Sequence[Seen]]) -> Callable[[Evidence], Measured]:
        return lambda evidence: of_subjects(
            [mean_cosine(evidence.picture[encoder], [photo[encoder] for photo in photos(s)]) for s in evidence.subjects]
        )

    whole = replace(facts, column="all_photos", protocol={name: protocol}, headline=headline, ranks=ranks)
    alone = replace(facts, column="conditioning_photo")
    return Metric(whole, mean_to(lambda seen: seen.photos)), Metric(alone, mean_to(lambda seen: (seen.conditioning,)))
