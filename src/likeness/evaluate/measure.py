"""Every value of one picture for one case, independent of all other pictures of the run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # what an encoder sees is its own type; JSON

from likeness.core.errors import MeasurementError
from likeness.core.hashing import pixels_sha256
from likeness.core.images import load_image
from likeness.core.records import Case, Subject
from likeness.encoders import ENCODERS
from likeness.metrics import METRICS
from likeness.metrics.base import (
    Evidence,
    Measured,
    Metric,
    NotApplicableError,
    Seen,
    SubjectEvidence,
    Value,
    not_measured,
    of_subjects,
)

Encoders = Mapping[str, Any]
"""The encoders at hand, by their names in ENCODERS; metrics of an absent one are not measured."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """What a picture file shows: the hash of its pixels, and what each encoder saw of it."""

    pixels: str
    seen: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class Eyes:
    """The encoders with what they have seen, by file: photos come up again for each sample of their subject."""

    encoders: Encoders
    _looks: dict[Path, Look] = field(default_factory=dict[Path, Look])
    _texts: dict[str, Seen] = field(default_factory=dict[str, Seen])

    def look(self, path: Path, *, names: Iterable[str] = ()) -> Look:
        """What the encoders `names` saw of a file. Raises: DataError for a file that is no whole picture."""
        known = self._looks.get(path)
        new = [name for name in names if known is None or name not in known.seen]
        if known is None or new:
            image = load_image(path)
            known = self._looks.setdefault(path, known or Look(pixels_sha256(image)))
            known.seen.update({name: self.encoders[name].look([image])[0] for name in new})
        return known

    def read(self, text: str) -> Seen:
        """What every encoder that reads texts read of a prompt."""
        if text not in self._texts:
            self._texts[text] = {name: reader.read([text])[0] for name, reader in self._able_to("read").items()}
        return self._texts[text]

    def score(self, path: Path, text: str) -> Mapping[str, float]:
        """The scores of every pair scorer for a picture and a text."""
        scorers = self._able_to("score")
        images = [load_image(path)] if scorers else []
        return {name: scorer.score(images, [text])[0] for name, scorer in scorers.items()}

    def _able_to(self, ability: str) -> Encoders:
        return {name: encoder for name, encoder in self.encoders.items() if hasattr(encoder, ability)}


class Panel:
    """The metrics that take part in an evaluation, and what must be looked at for them.

    A metric takes part when the cases carry the labels it needs, and each of its encoders is at hand or among the
    defaults; without its encoder its values are missing.
    """

    def __init__(self, eyes: Eyes, *, labelled: bool) -> None:
        self.eyes = eyes
        usual = {name for name, facts in ENCODERS.items() if facts.photo or facts.world} | set(eyes.encoders)
        metrics = [metric for metric in METRICS.values() if labelled or not metric.facts.of_labels]
        self.metrics = [metric for metric in metrics if usual.issuperset(metric.facts.needs)]
        self.is_labelled = labelled
        self._of_pictures = self._lookers(self.metrics)
        self._of_photos = self._lookers(metric for metric in self.metrics if not metric.facts.of_labels)

    def _lookers(self, metrics: Iterable[Metric]) -> list[str]:
        needed = dict.fromkeys(name for metric in metrics for name in metric.facts.needs)
        encoders = self.eyes.encoders
        return [name for name in needed if name in encoders and hasattr(encoders[name], "look")]

    def photo(self, path: Path) -> Look:
        """What is seen of a photo of a subject."""
        return self.eyes.look(path, names=self._of_photos)

    def evidence(self, case: Case, *, picture: Path, is_photo: bool = False) -> Evidence:
        """Everything seen for a picture of the case; a photo that stands in for it is not read for labels."""
        shown = self.photo(picture) if is_photo else self.eyes.look(picture, names=self._of_pictures)
        subjects = tuple(self._subject(subject) for subject in case.subjects)
        prompt, scores = self.eyes.read(case.prompt), self.eyes.score(picture, case.prompt)
        return Evidence(case, shown.seen, prompt, subjects, scores)

    def _subject(self, subject: Subject) -> SubjectEvidence:
        photos = tuple(self.photo(path).seen for path in subject.measured_photos)
        return SubjectEvidence(subject, photos, self.photo(subject.reference_image).seen)

    def measure(self, metric: Metric, evidence: Evidence) -> Measured:
        """The metric's values, or why there are none."""
        absent = [name for name in metric.facts.needs if name not in self.eyes.encoders]
        if metric.facts.kind == "subject" and not evidence.case.subjects:
            return of_subjects([])
        if absent:
            return unmeasured(metric, evidence.case, not_measured(f"no {ENCODERS[absent[0]].noun} was given"))
        try:
            return metric.measure(evidence)
        except MeasurementError as error:
            status = "not_applicable" if isinstance(error, NotApplicableError) else "failed"
            return unmeasured(metric, evidence.case, not_measured(str(error), status=status))

    def measure_picture(self, path: Path, case: Case) -> dict[str, Measured]:
        """Every metric of one picture, by key."""
        evidence = self.evidence(case, picture=path)
        return {metric.facts.key: self.measure(metric, evidence) for metric in self.metrics}


def unmeasured(metric: Metric, case: Case, why: Value) -> Measured:
    """`why` as the metric's value and, where it has them, as its value for every subject."""
    return Measured(why, (why,) * len(case.subjects) if metric.facts.per_subject else ())


def to_row(measured: Mapping[str, Measured], case: Case) -> Row:
    """The measured part of a row of scores.jsonl."""
    per_subject = {key: found.per_subject for key, found in measured.items() if found.per_subject}
    subjects = [
        {"subject": subject.id, "values": {key: values[i].to_json() for key, values in per_subject.items()}}
        for i, subject in enumerate(case.subjects)
    ]
    return {"values": {key: found.value.to_json() for key, found in measured.items()}, "per_subject": subjects}


def derived(rows: Sequence[Row], metric: Metric) -> None:
    """The metric's rule over the run is applied to its values in `rows`, which are of one kind and in case order."""
    key = metric.facts.key
    if metric.derive is not None:
        found = metric.derive([Value.from_json(row["values"][key]) for row in rows])
        for row, value in zip(rows, found, strict=True):
            row["values"][key] = value.to_json()
