"""What the experiment says: means, paired differences, and a verdict on every claim of the family in the plan.

Intervals and p values are those of core/stats, by subject and by relation: each relation has a LoRA of its own, so
what is told holds for other relations and trainings, as far as 16 of them can say. Holm's correction is over all.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple  # TOML and JSON

from cases import CaseFacts
from scores import Scores

from likeness.core.stats.intervals import Interval, mean_interval
from likeness.core.stats.paired import Pairs, holm, joined
from likeness.metrics import METRICS

SURE = 0.05
STRENGTH = 1.0

Row = dict[str, Any]


class Claim(NamedTuple):
    """`later` is better than `earlier` in a metric; `overlap`: on the cases whose boxes overlap."""

    later: str
    earlier: str
    metric: str
    overlap: bool


def claims(plan: Mapping[str, Any]) -> list[Claim]:
    """The family."""
    return [
        Claim(each["later"], each["earlier"], metric, overlap)
        for each in plan["claims"]
        for overlap, key in ((False, "metrics"), (True, "overlap"))
        for metric in each.get(key, ())
    ]


class Measured(NamedTuple):
    """A row of the plan with the scores of its pictures, and what is known of the cases."""

    scores: Scores
    facts: Mapping[str, CaseFacts]

    def values(self, metric: str, *, overlap: bool = False) -> dict[str, float]:
        """Case id -> the value, NaN where it was not measured; with `overlap` only where boxes do."""
        found = self.scores.values(metric, strength=STRENGTH)
        return {case: value for case, value in found.items() if self.facts[case].overlaps or not overlap}

    def interval(self, metric: str, *, overlap: bool = False) -> Interval:
        """The mean over subjects and relations."""
        values = self.values(metric, overlap=overlap)
        groups, relations = [self.facts[c].subjects for c in values], [self.facts[c].relation for c in values]
        return mean_interval(list(values.values()), groups, prompts=relations)

    def minus(self, other: "Measured", metric: str, *, overlap: bool = False) -> Pairs:
        """The paired differences."""
        mine, theirs = (each.values(metric, overlap=overlap) for each in (self, other))
        groups, relations = ({c: getattr(f, n) for c, f in self.facts.items()} for n in ("subjects", "relation"))
        return joined(mine, theirs, groups, prompts=relations)


def verdict(row: Mapping[str, Any]) -> str:
    """What a row of the family says: better, worse or undecided."""
    if row["p_holm"] is None or row["p_holm"] >= SURE:
        return "undecided"
    is_higher = METRICS[row["metric"]].facts.higher_is_better
    return "better" if (row["mean"] > 0) == is_higher else "worse"


def claim_rows(rows: Mapping[str, Measured], plan: Mapping[str, Any]) -> list[Row]:
    """A row for each claim whose rows were drawn."""
    found: list[Row] = []
    for claim in claims(plan):
        if claim.later in rows and claim.earlier in rows:
            pairs = rows[claim.later].minus(rows[claim.earlier], claim.metric, overlap=claim.overlap)
            told = pairs.compared()
            facts = {"p": _null(told.p), "p_holm": None, "detectable": _null(told.detectable)}
            found.append({**claim._asdict(), **_numbers(told.interval), **facts})
    for row, p in zip(found, holm([math.nan if row["p"] is None else row["p"] for row in found]), strict=True):
        row["p_holm"] = _null(p)
        row["verdict"] = verdict(row)
    return found


def mean_rows(rows: Mapping[str, Measured], *, metrics: Sequence[str]) -> Iterator[Row]:
    """The mean of every row in every metric, of leakage also where boxes overlap."""
    for name, one in rows.items():
        for metric in metrics:
            yield {"row": name, "metric": metric, "overlap": False, **_numbers(one.interval(metric))}
        if "leakage" in metrics:
            yield {"row": name, "metric": "leakage", "overlap": True, **_numbers(one.interval("leakage", overlap=True))}


def relation_rows(rows: Mapping[str, Measured], *, metric: str) -> Iterator[Row]:
    """The plain mean of every row by relation: for reading, not for claims."""
    for name, one in rows.items():
        by_relation: dict[str, list[float]] = {}
        for case, value in one.values(metric).items():
            by_relation.setdefault(one.facts[case].relation, []).append(value)
        for relation, values in by_relation.items():
            known = [value for value in values if not math.isnan(value)]
            mean = math.fsum(known) / len(known) if known else None
            yield {"row": name, "metric": metric, "relation": relation, "mean": mean, "n": len(known)}


def results(rows: Mapping[str, Measured], plan: Mapping[str, Any]) -> dict[str, list[Row]]:
    """The content of results.json."""
    return {
        "means": list(mean_rows(rows, metrics=plan["metrics"])),
        "claims": claim_rows(rows, plan),
        "relations": list(relation_rows(rows, metric=plan["search"]["metric"])),
    }


def _numbers(found: Interval) -> Row:
    ends = {name: _null(round(getattr(found, name), 5)) for name in ("mean", "ci_low", "ci_high")}
    return {**ends, "n": found.n, "missing": found.missing}


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
