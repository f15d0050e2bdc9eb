"""Every value of one picture for one case, independent of all other pictures of the run."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any  # what an encoder sees is its own type; JSON

from likeness.core.errors import ConfigError, MeasurementError
from likeness.core.records import Case, Subject
from likeness.encoders import ENCODERS
from likeness.evaluate.eyes import PIXELS, Observer
from likeness.metrics import METRICS
from likeness.metrics.base import (
    Evidence,
    Measured,
    Metric,
    NotApplicableError,
    Seen,
    SubjectEvidence,
    Value,
    cosine,
    not_measured,
    of_subjects,
)
from likeness.metrics.declared import DeclaredSet, declared_set
from likeness.world.identity import ATTRIBUTES

Row = dict[str, Any]


def has_world_labels(case: Case) -> bool:
    """Whether the case says what of the drawn world is to be seen: action, scene or an attribute that the world has."""
    return bool(case.action or case.scene or any(ATTRIBUTES.keys() & (s.attributes or {}) for s in case.subjects))


class Panel:
    """The metrics that take part in an evaluation, and what must be looked at for them.

    A metric takes part when the cases carry the labels it needs, and each of its encoders is at hand or among the
    defaults; without its encoder its values are missing. `only` are the keys of those that may (None: all).
    """

    def __init__(self, eyes: Observer, *, labelled: bool, only: Collection[str] | None = None) -> None:
        if unknown := sorted(set(only or ()) - METRICS.keys()):
            raise ConfigError(f"metrics: expected keys of metrics, got {unknown[0]!r}; see `likeness metrics`.")
        self.eyes = eyes
        usual = {name for name, facts in ENCODERS.items() if facts.photo or facts.world} | set(eyes.encoders)
        wanted = METRICS.values() if only is None else [METRICS[key] for key in METRICS if key in only]
        metrics = [metric for metric in wanted if labelled or not metric.facts.of_labels]
        self.metrics = [metric for metric in metrics if usual.issuperset(metric.facts.needs)]
        self.is_labelled = labelled
        self.declared: DeclaredSet | None = None
        of_photos = [metric for metric in self.metrics if not metric.facts.of_labels]
        self._pictures, self._photos = self._able_to("look", self.metrics), self._able_to("look", of_photos)
        self._truths = self._able_to("look", [metric for metric in self.metrics if metric.compares_truth])
        self._readers = self._able_to("read", self.metrics)

    def _able_to(self, ability: str, metrics: Iterable[Metric]) -> list[str]:
        """Encoders at hand that the metrics need and that have the ability."""
        needed = dict.fromkeys(name for metric in metrics for name in metric.facts.needs)
        encoders = self.eyes.encoders
        return [name for name in needed if name in encoders and hasattr(encoders[name], ability)]

    def declare(self, cases: Iterable[Case], *, name: str) -> None:
        """What a metric may need of all cases with their photos is seen, and is part of all evidence from now on."""
        wanted = (metric.declares for metric in self.metrics if metric.declares)
        clip = next(wanted, None)
        if clip is None or clip not in self.eyes.encoders:
            return
        pairs = [
            (self.eyes.look(subject.reference_image, clip), self.eyes.read(case.prompt, clip))
            for case in cases
            for subject in case.subjects
        ]
        if len(pairs) > 1 and pairs[0][1] is not None:  # None: wishes are only noted
            clip_n = [cosine(photo, prompt.vector) for photo, prompt in pairs]
            self.declared = declared_set(name, clip_n, clip=self.eyes.encoders[clip].id)

    def photo(self, path: Path) -> Seen:
        """What is seen of a photo of a subject."""
        return self._seen(path, self._photos)

    def pixels(self, path: Path) -> str | None:
        """The hash of what a photo shows, whatever the file is called; None while wishes are noted."""
        return self.eyes.look(path, PIXELS)

    def _seen(self, path: Path, names: Iterable[str]) -> Seen:
        return {name: self.eyes.look(path, name) for name in names}

    def evidence(self, case: Case, *, picture: Path, truth: Path | None = None, is_photo: bool = False) -> Evidence:
        """Everything seen for a picture of the case; a photo that stands in for it is not read for labels."""
        names = self._photos if is_photo else self._pictures
        metrics = [metric for metric in self.metrics if not (is_photo and metric.facts.of_labels)]
        return Evidence(
            case,
            picture=self._seen(picture, names),
            prompt={name: self.eyes.read(case.prompt, name) for name in self._readers},
            subjects=tuple(self._subject(subject) for subject in case.subjects),
            texts=self._texts(case, metrics),
            answers=self._answers(case, metrics, picture=picture),
            truth=self._seen(truth, self._truths) if truth and self._truths else None,
            declared=self.declared,
        )

    def _subject(self, subject: Subject) -> SubjectEvidence:
        photos = tuple(self.photo(path) for path in subject.measured_photos)
        return SubjectEvidence(subject, photos, self.photo(subject.reference_image))

    def _texts(self, case: Case, metrics: Iterable[Metric]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for metric in metrics:
            if metric.texts is not None:
                for name in self._able_to("read", [metric]):
                    found.setdefault(name, {}).update({t: self.eyes.read(t, name) for t in metric.texts(case)})
        return found

    def _answers(self, case: Case, metrics: Iterable[Metric], *, picture: Path) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for metric in metrics:
            for name in self._able_to("ask", [metric]):
                texts = metric.questions(case)
                found.setdefault(name, {}).update({text: self.eyes.ask(picture, text, name) for text in texts})
        return found

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

    def measure_all(self, evidence: Evidence) -> dict[str, Measured]:
        """Every metric of one picture, by key."""
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
