"""Two runs of the same cases side by side, before and after tuning: pictures, scores, and paired differences.

Differences are taken sample by sample and resampled by subject, as `likeness.core.stats.paired_difference` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from likeness.core.errors import DataError
from likeness.core.records import Case
from likeness.core.stats import Interval, paired_difference
from likeness.report.figures import REFERENCE_SIDE, RESULT_SIDE, Picture, inline_picture
from likeness.report.tables import Run, case_mean, metric_label

METRICS = {
    "attribute_accuracy": True,
    "leakage": False,
    "action_recognised": True,
    "dino": True,
    "clip_i": True,
    "clip_t": True,
}
"""Compared metrics, in order, and whether higher is better."""
CHANGED_BY = "attribute_accuracy"
NUM_CHANGED, NUM_FIRST = 4, 2  # cards per benchmark: most changed either way, then in case order
ALL = "all"


class Pair(NamedTuple):
    """The same cases drawn before and after."""

    before: Run
    after: Run


@dataclass(frozen=True)
class DifferenceRow:
    """One metric of one benchmark (or of all): both means over the samples that both have, and after - before."""

    metric: str
    label: str
    benchmark: str
    before: float
    after: float
    difference: Interval
    higher_is_better: bool

    @property
    def tone(self) -> str:
        """good or poor where the interval excludes 0, else plain."""
        low, high = self.difference.ci_low, self.difference.ci_high
        if math.isnan(low) or low <= 0 <= high:
            return "plain"
        return "good" if (low > 0) == self.higher_is_better else "poor"


@dataclass(frozen=True)
class BeforeAfterCard:
    """One case: references, the picture before, after, and the true one; `change` is empty where not measured."""

    prompt: str
    references: tuple[tuple[Picture, str], ...]
    before: Picture
    after: Picture
    truth: Picture | None
    change: str
    tone: str


@dataclass(frozen=True)
class Comparison:
    """All benchmarks compared: the table, and cards by benchmark with the rule they were chosen by."""

    rows: tuple[DifferenceRow, ...]
    cards: tuple[tuple[str, tuple[BeforeAfterCard, ...]], ...]
    rule: str
    note: str


def compare(pairs: Sequence[Pair], *, note: str) -> Comparison:
    """The comparison of `pairs`; `note` says what was done in between.

    Raises: DataError when two runs of a pair have other cases.
    """
    for pair in pairs:
        _require_same_cases(pair)
    shown = tuple((pair.before.name, tuple(_cards(pair))) for pair in pairs)
    rule = (
        f"per benchmark the {NUM_CHANGED} cases whose {metric_label(CHANGED_BY).lower()} changed most, for better or "
    )
    rule += f"worse, and the first {NUM_FIRST} others"
    return Comparison(rows=tuple(_rows(pairs)), cards=shown, rule=rule, note=note)


def _require_same_cases(pair: Pair) -> None:
    before, after = ([(case.id, case.prompt) for case in run.cases] for run in pair)
    if before != after:
        what = f"{pair.after.folder}: expected the cases of {pair.before.folder}, got others"
        raise DataError(f"{what}; draw the same cases with both models.")


def _rows(pairs: Sequence[Pair]) -> list[DifferenceRow]:
    """Every metric over all benchmarks together, then benchmark by benchmark."""
    groups = [(ALL, list(pairs)), *((pair.before.name, [pair]) for pair in pairs)] if len(pairs) > 1 else []
    groups = groups or [(pair.before.name, [pair]) for pair in pairs]
    rows = [_row(metric, name=name, pairs=some) for metric in METRICS for name, some in groups]
    return [row for row in rows if row is not None]


def _row(metric: str, *, name: str, pairs: Sequence[Pair]) -> DifferenceRow | None:
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    units: dict[str, str] = {}
    for number, pair in enumerate(pairs):
        before |= _values(pair.before, metric, prefix=str(number))
        after |= _values(pair.after, metric, prefix=str(number))
        units |= _groups(pair.before, prefix=str(number))
    both = [key for key in before if key in after and not math.isnan(before[key] + after[key])]
    if not both:
        return None
    return DifferenceRow(
        metric=metric,
        label=metric_label(metric),
        benchmark=name,
        before=sum(before[key] for key in both) / len(both),
        after=sum(after[key] for key in both) / len(both),
        difference=paired_difference(after, before, units),
        higher_is_better=METRICS[metric],
    )


def _values(run: Run, metric: str, *, prefix: str) -> dict[str, float]:
    samples = [sample for some in run.samples.values() for sample in some if metric in sample.values]
    found = {f"{prefix}/{sample.id}": sample.values[metric] for sample in samples}
    return {key: math.nan if value is None else value for key, value in found.items()}


def _groups(run: Run, *, prefix: str) -> dict[str, str]:
    """What is resampled as one: the subject or combination of subjects, a case without subjects alone."""
    subjects: Mapping[str, Case] = {case.id: case for case in run.cases}
    return {
        f"{prefix}/{sample.id}": "+".join(sorted(s.id for s in subjects[sample.case_id].subjects)) or sample.case_id
        for some in run.samples.values()
        for sample in some
        if sample.case_id in subjects
    }


def _cards(pair: Pair) -> list[BeforeAfterCard]:
    changes = {case.id: _change(pair, case) for case in pair.before.cases}
    moved = [case for case in pair.before.cases if changes[case.id]]
    moved = sorted(moved, key=lambda case: -abs(changes[case.id] or 0.0))[:NUM_CHANGED]
    others = [case for case in pair.before.cases if case not in moved][: NUM_FIRST + NUM_CHANGED - len(moved)]
    return [_card(pair, case, change=changes[case.id]) for case in [*moved, *others]]


def _change(pair: Pair, case: Case) -> float | None:
    before, after = (case_mean(run.samples.get(case.id, ()), CHANGED_BY) for run in pair)
    return None if before is None or after is None else after - before


def _card(pair: Pair, case: Case, *, change: float | None) -> BeforeAfterCard:
    truth = pair.before.folder / "truth" / f"{case.id}.png"
    text, tone = "", "plain"
    if change is not None:
        before, after = (case_mean(run.samples.get(case.id, ()), CHANGED_BY) or 0.0 for run in pair)
        text = f"{metric_label(CHANGED_BY)}: {before:.0%} before, {after:.0%} after"
        tone = "good" if change > 0 else "poor" if change < 0 else "plain"
    return BeforeAfterCard(
        prompt=case.prompt,
        references=tuple(
            (inline_picture(subject.reference_image, long_side=REFERENCE_SIDE), subject.class_name)
            for subject in case.subjects
        ),
        before=_first_picture(pair.before, case),
        after=_first_picture(pair.after, case),
        truth=inline_picture(truth, long_side=RESULT_SIDE) if truth.is_file() else None,
        change=text,
        tone=tone,
    )


def _first_picture(run: Run, case: Case) -> Picture:
    samples = run.samples.get(case.id, ())
    if not samples:
        return Picture(uri="", width=0, height=0, problem="not generated yet")
    return inline_picture(samples[0].image, long_side=RESULT_SIDE)
