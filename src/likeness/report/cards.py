"""The cards of a run: a case with its references, results and true picture, and what was measured there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from likeness.core.records import Case
from likeness.report.figures import Captioned, PagePicture
from likeness.report.pictures import LEFT_OUT, Album
from likeness.report.tables import Run, case_mean, counted, in_order, measured_on, metric_label, shown

MAX_SAMPLES = 8  # pictures per case; the page says how many more there are
MARKS = {
    "absent": "no picture",
    "failed": "failed",
    "unmeasured": "not measured",
    "below": "below floor",
}
"""What an index can filter by, as a page calls it."""


class Chip(NamedTuple):
    """A short fact under a card; tone is "good", "poor" or "plain"."""

    text: str
    tone: str
    title: str


class CasePictures(NamedTuple):
    """Where the pictures of a case are; `truth` is empty where the benchmark has none."""

    references: Sequence[Path]
    results: Sequence[Path]
    truth: Sequence[Path]

    @property
    def all(self) -> list[Path]:
        """In the order of the card."""
        return [*self.references, *self.results, *self.truth]


def pictures_of(run: Run, case: Case) -> CasePictures:
    """The pictures of a case that a page shows."""
    truth = run.folder / "truth" / f"{case.id}.png"
    results = [sample.image for sample in run.samples.get(case.id, ())[:MAX_SAMPLES]]
    references = [subject.reference_image for subject in case.subjects]
    return CasePictures(references, results, [truth] if truth.is_file() else [])


class Card:
    """One case: what was asked, what came out, what is true, how it scored.

    `chips` are the facts to read, `values` the means of the `sortable` metrics as text, empty where not measured;
    `marks` are keys of MARKS, and `remarks` say in words what they mean here.
    """

    def __init__(self, run: Run, case: Case, *, anchor: str, album: Album, sortable: Sequence[str] = ()) -> None:
        samples, found = run.samples.get(case.id, ()), pictures_of(run, case)
        self.anchor, self.prompt, self.case_id = anchor, case.prompt, case.id
        self.subjects = " ".join(subject.id for subject in case.subjects)
        named = zip(found.references, case.subjects, strict=True)
        self.references = [Captioned(album[path], subject.class_name) for path, subject in named]
        self.results: list[Captioned] = []
        for k, path in enumerate(found.results, start=1):
            place = f", {k} of {len(samples)}" if len(samples) > 1 else ""
            self.results.append(Captioned(album[path], f"generated{place}"))
        self.num_hidden = max(0, len(samples) - MAX_SAMPLES)
        self.truth: PagePicture | None = next((album[path] for path in found.truth), None)
        self.chips = chips_of(run, case)
        means = [case_mean(samples, metric) for metric in sortable]
        self.values = [None if mean is None else f"{mean:.6g}" for mean in means]
        self.marks = _marks(run, case, has_picture=any(_is_there(result.picture) for result in self.results))
        self.remarks = list(_remarks(run, case)) if self.marks else []


def _is_there(picture: PagePicture) -> bool:
    return bool(picture.uri) or picture is LEFT_OUT


def chips_of(run: Run, case: Case) -> list[Chip]:
    """What was measured on the pictures of a case, and what was noted while they were made."""
    samples, metrics, first = run.samples.get(case.id, ()), run.metrics, run.ranking_metric
    measured, lines = measured_on(samples), run.lines_by_metric
    cards = [name for name, facts in metrics.items() if facts["card"] and name in measured]
    names = cards or [name for name in in_order(metrics, "headline") if name in measured]
    chips: list[Chip] = []
    for name in sorted(names, key=lambda name: name != first):
        value = case_mean(samples, name) or 0.0  # measured on at least one sample, or there would be no chip
        text = f"{metric_label(metrics, name, form='short')} {shown(value, metrics[name])}"
        tone = lines[name].tone(value) if name in lines else "plain"
        chips.append(Chip(text, tone, f"{name} = {value!r}, mean of {counted(len(samples), 'picture')}"))
    remarks = dict.fromkeys(note for sample in samples for note in sample.notes)
    return chips + [Chip(remark, "plain", "noted while generating") for remark in remarks]


def _marks(run: Run, case: Case, *, has_picture: bool) -> list[str]:
    samples = run.samples.get(case.id, ())
    found = {
        "absent": not has_picture,
        "failed": any(sample.failed for sample in samples),
        "unmeasured": any(sample.reasons for sample in samples),
        "below": any(_below_floor(run, case)),
    }
    return [mark for mark in MARKS if found[mark]]


def _below_floor(run: Run, case: Case) -> Iterator[str]:
    """The metrics of which the mean of a case is worse than the floor."""
    for name, line in run.lines_by_metric.items():
        mean = case_mean(run.samples.get(case.id, ()), name)
        if mean is not None and line.is_below_floor(mean):
            yield name


def _remarks(run: Run, case: Case) -> Iterator[str]:
    samples = run.samples.get(case.id, ())
    for name in _below_floor(run, case):
        yield f"below the floor in {metric_label(run.metrics, name, form='short')}"
    reasons = {name: reason for sample in samples for name, reason in sample.reasons.items()}
    failed = frozenset[str]().union(*(sample.failed for sample in samples))
    for name, reason in reasons.items():
        what = "failed" if name in failed else "not measured"
        yield f"{metric_label(run.metrics, name, form='short')} {what}" + (f" ({reason})" if reason else "")
