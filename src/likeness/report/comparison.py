"""Two runs of the same cases side by side, before and after tuning: the differences of a comparison file, and pictures.

`likeness.evaluate.compare` writes the file; here its rows are drawn, and the cases that changed most are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from likeness.core.records import Case
from likeness.report import check
from likeness.report.check import read_object
from likeness.report.figures import InlinePicture, inline_picture, reference_pictures, true_picture
from likeness.report.tables import Json, Run, case_mean, metric_label, shown

NUM_ALONE = 3  # cards of one benchmark on the first screen
NUM_CHANGED, NUM_FIRST = 4, 2  # cards per benchmark: most changed either way, then in case order


class Pair(NamedTuple):
    """The same cases drawn before and after."""

    before: Run
    after: Run


class Words(NamedTuple):
    """What a page calls the two sides and the part that compares them."""

    before: str = "before"
    after: str = "after"
    heading: str = "Before and after tuning"
    subject: str = "tuning"


class BeforeAfterCard:
    """One case: references, the picture before, after, and the true one; `change` is empty where not measured.

    `means` are those of the metric before and after.
    """

    def __init__(
        self,
        pair: Pair,
        case: Case,
        *,
        metric: str | None,
        means: tuple[float, float] | None,
        words: Words,
        anchor: str,
    ) -> None:
        self.prompt, self.references = case.prompt, reference_pictures(case)
        self.case_id, self.anchor = case.id, f"{anchor}-{case.id}"
        self.before, self.after = (_first_picture(run, case) for run in pair)
        self.truth = true_picture(pair.before, case)
        self.change, self.tone = "", "plain"
        if metric is not None and means is not None:
            facts, (before, after) = pair.before.metrics[metric], means
            self.change = (
                f"{facts['label']}: {shown(before, facts)} {words.before}, {shown(after, facts)} {words.after}"
            )
            if before != after:
                self.tone = "good" if (after > before) == facts["higher_is_better"] else "poor"


@dataclass(frozen=True)
class Comparison:
    """All benchmarks compared: the rows of the file, each with its "tone"; cards by benchmark and their rule."""

    rows: tuple[Json, ...]
    cards: tuple[tuple[str, tuple[BeforeAfterCard, ...]], ...]
    rule: str
    note: str
    words: Words
    training: str = ""

    @property
    def overview(self) -> tuple[Json, ...]:
        """The rows over everything that was compared, one per metric."""
        return tuple(row for row in self.rows if row["benchmark"] == self.rows[0]["benchmark"])

    @property
    def first(self) -> list[BeforeAfterCard]:
        """The cards of the first screen: of each benchmark the first, of a single one the first three."""
        return [card for _, cards in self.cards for card in cards[: NUM_ALONE if len(self.cards) == 1 else 1]]

    @property
    def first_rule(self) -> str:
        """How they were picked."""
        return f"The first cards of this rule: {self.rule}."

    @property
    def others(self) -> list[tuple[str, list[BeforeAfterCard]]]:
        """The other cards by benchmark."""
        first = self.first
        return [(name, [card for card in cards if card not in first]) for name, cards in self.cards]


def read_comparison(
    path: Path, *, pairs: Sequence[Pair], note: str, words: Words | None = None, training: str = ""
) -> Comparison:
    """The comparison file of `pairs` with their pictures; `note` says what was done in between."""
    words = words or Words()
    facts = pairs[0].before.metrics
    ranking = [metric for pair in pairs if (metric := pair.before.ranking_metric) is not None]
    metric = min(ranking, key=lambda key: facts[key]["ranks"], default=None)
    rule = f"per benchmark the first {NUM_CHANGED + NUM_FIRST} cases"
    if metric is not None:
        changed = f"{NUM_CHANGED} cases whose {metric_label(facts, metric).lower()} changed most, for better or worse"
        rule = f"per benchmark the {changed}, and the first {NUM_FIRST} others"
    cards = tuple(
        (pair.before.benchmark or pair.before.name, tuple(_cards(pair, metric, words=words, anchor=f"pair{number}")))
        for number, pair in enumerate(pairs, start=1)
    )
    rows = tuple({**row, "tone": _tone(row)} for row in read_object(path, check.COMPARISON)["rows"])
    return Comparison(rows=rows, cards=cards, rule=rule, note=note, words=words, training=training)


def _tone(row: Json) -> str:
    """good or poor where the interval excludes 0, else plain."""
    low, high = row["difference"]["ci_low"], row["difference"]["ci_high"]
    if low is None or high is None or low <= 0 <= high:
        return "plain"
    return "good" if (low > 0) == row["higher_is_better"] else "poor"


def _cards(pair: Pair, metric: str | None, *, words: Words, anchor: str) -> list[BeforeAfterCard]:
    cases = pair.before.cases
    means = {case.id: found for case in cases if (found := _means(pair, case, metric))}
    change = {name: after - before for name, (before, after) in means.items()}
    moved = [case for case in cases if change.get(case.id)]
    moved = sorted(moved, key=lambda case: -abs(change[case.id]))[:NUM_CHANGED]
    others = [case for case in cases if case not in moved][: NUM_FIRST + NUM_CHANGED - len(moved)]
    return [
        BeforeAfterCard(pair, case, metric=metric, means=means.get(case.id), words=words, anchor=anchor)
        for case in [*moved, *others]
    ]


def _means(pair: Pair, case: Case, metric: str | None) -> tuple[float, float] | None:
    """The metric before and after, over the pictures of a case; None unless both were measured."""
    before, after = (case_mean(run.samples.get(case.id, ()), metric or "") for run in pair)
    return None if before is None or after is None else (before, after)


def _first_picture(run: Run, case: Case) -> InlinePicture:
    samples = run.samples.get(case.id)
    return inline_picture(samples[0].image) if samples else InlinePicture(problem="not generated yet")
