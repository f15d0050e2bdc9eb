"""One evaluation under every protocol card that applies: the same values, cut, scaled and averaged as each card says.

Nothing is looked at again. A column whose encoder has other weights or preprocessing than the card's is not measured,
with the reason, and so is one that the card itself cannot measure.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple  # Any: rows of scores.jsonl and summary.json are JSON

import numpy as np

from likeness.benchmarks.cards import Card, CardMetric, cards, cases_sha256, versions
from likeness.core.hashing import short
from likeness.core.records import Case
from likeness.core.stats.intervals import Interval, mean_interval
from likeness.encoders import ENCODERS
from likeness.evaluate.aggregate import reasons_of, shown_in, to_json
from likeness.metrics import METRICS

Row = dict[str, Any]
Kinds = Mapping[str, Sequence[Row]]

Standing = Literal["same", "part", "declared"]
"""How a run's cases stand to a card's. same: ids and prompts hash to the card's number. part: fewer cases of the named
benchmark, by their ids. declared: the card has no hash; the run says that it is of the card's benchmark."""


class Applied(NamedTuple):
    """A card that applies to a run, with the cases it selects."""

    card: Card
    standing: Standing
    cases: list[Case]


def under_cards(
    kinds: Kinds,
    *,
    cases: Sequence[Case],
    benchmark: str,
    encoders: Mapping[str, str],
    known: Mapping[str, Card] | None = None,
) -> dict[str, Any]:
    """The parts "cards" and "cards_refused" of a summary.

    "cards" maps each card that applies (of `known`, or of the package) to its rows; "cards_refused" maps those of the
    same benchmark that do not apply to the reason. `kinds` are rows of scores by kind, `encoders` the ids by name.
    Of several versions of a card one applies: the newest whose pinned weights the run was measured with, else the
    newest.
    """
    found: dict[str, Row] = {}
    refused: dict[str, str] = {}
    known = cards() if known is None else known
    chosen = {name: version_for(some, encoders).id for name, some in versions(known.values()).items()}
    for name, card in known.items():
        applied = applies(card, cases=cases, benchmark=benchmark)
        if isinstance(applied, Applied) and card.id != chosen[card.name]:
            refused[name] = f"another version of the card stands for this run, {chosen[card.name]}"
        elif isinstance(applied, Applied):
            found[name] = _scored(applied, kinds=kinds, encoders=encoders)
        elif applied:
            refused[name] = applied
    return {"cards": found, "cards_refused": refused}


def version_for(some: Sequence[Card], encoders: Mapping[str, str]) -> Card:
    """Of the versions of one card, the newest first, the one that a run with these encoders is scored under."""

    def fits(card: Card) -> bool:
        given = card.weights_sha256.keys() & encoders.keys()
        return bool(given) and not any(pin_fault(card, name, encoders) for name in given)

    return next((card for card in some if fits(card)), some[0])


def applies(card: Card, *, cases: Sequence[Case], benchmark: str) -> Applied | str:
    """The card with its cases of the run, or why it does not apply; "" where the run is of another benchmark."""
    chosen = card.cases.of(cases)
    if len(chosen) == card.cases.count and cases_sha256(chosen) == card.cases.sha256:
        return Applied(card, "same", chosen)
    if benchmark != card.cases.benchmark:
        return ""
    if not chosen:
        return f"expected cases {card.cases.select.replace('_', ' ')}, got none of {len(cases)}"
    if odd := next((case.id for case in chosen if not re.fullmatch(card.cases.ids, case.id)), None):
        return f"expected ids that match {card.cases.ids}, got {odd}"
    if card.cases.count is not None and len(chosen) > card.cases.count:
        return f"expected at most {card.cases.count} cases, got {len(chosen)}"
    if not card.cases.sha256:
        return Applied(card, "declared", chosen)
    if len(chosen) == card.cases.count:
        return f"expected the card's {len(chosen)} ids and prompts, got others (their hash differs)"
    return Applied(card, "part", chosen)


def _scored(applied: Applied, *, kinds: Kinds, encoders: Mapping[str, str]) -> Row:
    card, names = applied.card, {case.id for case in applied.cases}
    cut = {kind: [row for row in rows if row["case_id"] in names] for kind, rows in kinds.items()}
    cut["generated"] = first_of_each(cut.get("generated", []), count=card.pictures_per_case)
    return {
        "title": card.title,
        "sha256": card.sha256,
        "cases": applied.standing,
        "num_cases": len(applied.cases),
        "num_pictures": len(cut["generated"]),
        "num_pictures_of_card": card.num_pictures,
        "coverage": _coverage(len(cut["generated"]), card),
        "reference_set": card.reference_set,
        "rows": [_column(metric, card=card, kinds=cut, encoders=encoders) for metric in card.metrics],
        "published": [row.model_dump() for row in card.published],
        "notes": list(card.notes),
    }


def first_of_each(rows: Sequence[Row], *, count: int) -> list[Row]:
    """The first `count` rows of each case, in order: a card that has fewer pictures per case sees no more."""
    seen: Counter[str] = Counter()
    kept: list[Row] = []
    for row in rows:
        seen[row["case_id"]] += 1
        if seen[row["case_id"]] <= count:
            kept.append(row)
    return kept


def _coverage(n: int, card: Card) -> float | None:
    return None if card.num_pictures is None else n / card.num_pictures


def _column(metric: CardMetric, *, card: Card, kinds: Kinds, encoders: Mapping[str, str]) -> Row:
    """One column: its mean with the interval, floor, ceiling, n and coverage, or the reason why there is none."""
    needed = METRICS[metric.metric].facts.needs if metric.metric else ()
    fault = metric.not_measured or encoder_fault(metric, encoders, card=card) or _unasked(metric, kinds["generated"])
    means = {kind: _mean(rows, metric) for kind, rows in kinds.items() if not fault}
    own = means.get("generated") or Interval(math.nan, math.nan, math.nan, 0, 0, reason=fault)
    floor, ceiling = (means[kind].mean if kind in means else math.nan for kind in ("floor", "ceiling"))
    return {
        "column": metric.column,
        "metric": metric.metric,
        **to_json(own),
        "floor": floor if floor == floor else None,
        "ceiling": ceiling if ceiling == ceiling else None,
        "coverage": _coverage(own.n, card),
        "scale": metric.scale,
        "higher_is_better": metric.higher_is_better,
        "encoders": {name: encoders[name] for name in needed if name in encoders and not fault},
    }


def encoder_fault(metric: CardMetric, encoders: Mapping[str, str], *, card: Card) -> str:
    """Why the run's encoders are not the card's; "" where they are, or where the card names none.

    An encoder whose weights the card pins by hash is told by these alone, whatever its weights are called.
    """
    pinned = [name for name in METRICS[metric.metric].facts.needs if name in card.weights_sha256]
    faults = [pin_fault(card, name, encoders) for name in pinned]
    return next(filter(None, faults), "") or ("" if metric.encoder in pinned else _name_fault(metric, encoders))


def pin_fault(card: Card, name: str, encoders: Mapping[str, str]) -> str:
    """Why the run's weights of an encoder are not those whose hash is on the card; "" where they are."""
    if name not in encoders:
        return f"no {ENCODERS[name].noun} was given"
    given = encoders[name].partition("; ")[0].rpartition("@")[2]
    wanted = short(card.weights_sha256[name])
    return "" if given == wanted else f"measured with {name} weights {given}, where the card has {wanted}"


def _name_fault(metric: CardMetric, encoders: Mapping[str, str]) -> str:
    """The same by the name of the weights and the preprocessing."""
    name = metric.encoder
    if not name:
        return ""
    if name not in encoders:
        return f"no {ENCODERS[name].noun} was given"
    made, _, _ = encoders[name].partition("; ")
    spec = made.partition(" ")[2].rpartition("@")[0]
    is_named = spec == metric.weights or ("@" not in metric.weights and spec.partition("@")[0] == metric.weights)
    if metric.weights and not is_named:
        return f"measured with {name} {spec or made}, where the card has {metric.weights}"
    if metric.preprocessing not in encoders[name]:
        return f"measured with {name} {encoders[name]}, where the card has {metric.preprocessing}"
    return ""


def _unasked(metric: CardMetric, rows: Sequence[Row]) -> str:
    """Why no picture has a value of the metric at all; "" where one has a value or its own reason for none."""
    if not rows:
        return "there is no picture of the card's cases"
    is_asked = any(metric.metric in row["values"] for row in rows)
    return "" if is_asked else f"this evaluation did not ask for it; add --metric {metric.metric}"


def _mean(rows: Sequence[Row], metric: CardMetric) -> Interval:
    """The mean of one kind of rows, scaled and averaged as the card says."""
    found = [row["values"][metric.metric]["value"] for row in rows]
    values = metric.factor * np.array(found, dtype=np.float64)  # null becomes NaN
    if metric.floor_at_zero:
        values = np.maximum(values, 0.0)  # keeps NaN
    groups = [shown_in(row) for row in rows]
    interval = mean_interval(values, groups, prompts=[row["prompt"] for row in rows])
    low, high = (metric.factor * end for end in METRICS[metric.metric].facts.range)
    interval = interval.within(max(low, 0.0) if metric.floor_at_zero else low, high)
    why = "; ".join(reasons_of(rows, key=metric.metric, num_missing=0))
    interval = interval._replace(reason=why or interval.reason)
    return interval if metric.aggregation == "subjects" else _flat(interval, values=values, groups=groups)


def _flat(interval: Interval, *, values: "np.ndarray[Any, np.dtype[np.float64]]", groups: Sequence[Any]) -> Interval:
    """The mean over pictures, which is that over subjects where each has as many; else it has no interval."""
    measured = ~np.isnan(values)
    counts = Counter(group for group, is_there in zip(groups, measured, strict=True) if is_there)
    if len(set(counts.values())) <= 1:
        return interval
    why = "the card's mean is flat, and there is no interval for one where subjects have different numbers of pictures"
    return interval._replace(mean=float(values[measured].mean()), ci_low=math.nan, ci_high=math.nan, reason=why)


def card_table(cards_of_summary: Mapping[str, Any]) -> list[Row]:
    """One row per card and column of a summary's "cards", each with its card's name and standing."""
    return [
        {"card": name, "cases": card["cases"], **row} for name, card in cards_of_summary.items() for row in card["rows"]
    ]
