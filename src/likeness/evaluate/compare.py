"""Runs of the same cases compared in pairs: two before and after tuning, or several methods with one of them as base.

Differences are taken picture by picture, with intervals by subject and prompt (`core/stats/intervals.py`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # JSON

from likeness.core.errors import ConfigError
from likeness.core.files import write_json
from likeness.core.runs import told_path
from likeness.core.stats.intervals import INTERVAL, Interval
from likeness.core.stats.paired import Difference, Pairs, holm
from likeness.core.stats.trainings import FEW, Trainings, quantile
from likeness.evaluate.aggregate import to_json
from likeness.evaluate.beside import agreements, correlations, leakage_matrices, most_apart
from likeness.evaluate.scored import (
    Method,
    Scored,
    different_cards,
    other_encoder,
    read_scored,
    read_summary,
    require_comparable,
    same_cases,
    values_of,
)

ALL = "all"
Row = dict[str, Any]
_Pair = tuple[Scored, Scored]


def compare_runs(before: Sequence[Path], after: Sequence[Path], *, out: Path) -> dict[str, Any]:
    """The comparison of each run of `before` with the run of `after` in the same place, as written to the file `out`.

    "runs" names the benchmark of each pair and the `inputs_sha256` of both evaluations. "rows" holds each metric that
    summary.json gives a place in the order "compared", over all benchmarks together where there are several, then by
    benchmark: its label and direction, both means over the samples that both have, and the difference after - before as
    an `Interval` (ends null where its `reason` says why).
    "cards" of a run are the protocol cards that both sides were scored under.
    Raises: DataError when a run was not evaluated, or before summary.json told of its metrics, or has other cases, or
    was measured by other encoders or under other cards.
    """
    pairs = [(read_scored(old), read_scored(new)) for old, new in zip(before, after, strict=True)]
    for pair in pairs:
        require_comparable(*pair)
    named = [(old.benchmark, [(old, new)]) for old, new in pairs]
    groups = [(ALL, pairs), *named] if len(pairs) > 1 else named
    metrics = {key: facts for old, _ in pairs for key, facts in old.metrics.items()}
    compared = [key for key, facts in metrics.items() if facts["compared"] is not None]
    compared.sort(key=lambda key: metrics[key]["compared"])
    rows = [_row(key, facts=metrics[key], benchmark=name, pairs=some) for key in compared for name, some in groups]
    runs = [
        {"benchmark": name, "before": old.summary["inputs_sha256"], "after": new.summary["inputs_sha256"]}
        | ({"cards": list(old.summary["cards"])} if old.summary.get("cards") else {})
        for name, [(old, new)] in named
    ]
    comparison = {"runs": runs, "rows": [row for row in rows if row is not None]}
    write_json(out, comparison)
    return comparison


def why_not_compared(before: Path, after: Path) -> str:
    """Why two runs cannot be compared in pairs, as a sentence; empty where they can.

    Raises: DataError when a file of theirs is malformed.
    """
    summaries = [read_summary(folder) for folder in (before, after)]
    for folder, summary in zip((before, after), summaries, strict=True):
        if "metrics" not in summary:
            return f"Nothing is compared, because {folder.name} has not been evaluated."
    first, second = (str(summary.get("benchmark")) for summary in summaries)
    if first != second:
        return f"Nothing is compared, because these are runs of different benchmarks: {first} and {second}."
    if not same_cases(before, after):
        return "Nothing is compared, because these runs have different cases."
    if name := other_encoder(*summaries):
        return f"Nothing is compared, because these runs were measured with different weights of {name}."
    if cards := different_cards(*summaries):
        return f"Nothing is compared, because these runs were scored under different cards: {cards[0]} and {cards[1]}."
    return ""


def _row(key: str, *, facts: Mapping[str, Any], benchmark: str, pairs: Sequence[_Pair]) -> Row | None:
    """One metric of some pairs; None where no sample was measured on both sides."""
    before, after = (values_of([pair[side] for pair in pairs], key) for side in (0, 1))
    both = [
        (before.by_picture[name], value)
        for name, value in after.by_picture.items()
        if not math.isnan(before.by_picture.get(name, math.nan) + value)
    ]
    if not both:
        return None
    return {
        "metric": key,
        "label": facts["label"],
        "benchmark": benchmark,
        "before": sum(old for old, _ in both) / len(both),
        "after": sum(new for _, new in both) / len(both),
        "difference": to_json(after.minus(before).interval),
        "higher_is_better": facts["higher_is_better"],
    }


# -- several methods -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Wanted:
    """What a comparison of methods is to hold: which is the base (default: the first), which metrics (default: each
    that was measured, in its first reading), up to which difference two methods tie by metric, and a file of votes."""

    base: str = ""
    metrics: Sequence[str] = ()
    margins: Mapping[str, float] = field(default_factory=dict[str, float])
    votes: Path | None = None


def compare_methods(runs: Mapping[str, Sequence[Path]], *, wanted: Wanted | None = None) -> dict[str, Any]:
    """Methods by name, each a run or one per training seed, of the same cases: docs/architecture.md has the keys.

    Every method is compared with the base. "p_holm" is corrected over all the differences of the result. The best of a
    metric has the best mean; "tied_with_best" says whether the paired interval of the best minus this one holds 0.
    Raises: ConfigError for fewer than two methods, or a base or metric that there is not; DataError for runs that were
    not evaluated or have other cases or encoders, and for votes on what was not compared.
    """
    wanted = wanted or Wanted()
    if len(runs) < 2:
        raise ConfigError(f"compare: expected two runs or more, got {len(runs)}; name those to compare.")
    methods = [Method(name, [read_scored(folder) for folder in folders]) for name, folders in runs.items()]
    first = methods[0].runs[0]
    for run in (run for method in methods for run in method.runs):
        if run.benchmark != first.benchmark:
            what = f"{run.folder}: expected a run of {first.benchmark}, got one of {run.benchmark}"
            raise ConfigError(f"{what}; compare runs of one benchmark.")
        require_comparable(first, run)
    base = _named(methods, wanted.base or methods[0].name)
    facts = _shown(methods, wanted=wanted)
    metrics = [_metric(key, facts[key], methods, base=base, margin=wanted.margins.get(key)) for key in facts]
    _correct([row for metric in metrics for row in metric["differences"]])
    return {
        "benchmark": first.benchmark,
        "num_cases": len({row.get("case_id", row["id"]) for row in first.rows}),
        "base": base.name,
        "intervals": INTERVAL,
        "notes": training_notes(methods),
        "methods": [_told(method) for method in methods],
        "metrics": metrics,
        "cases": most_apart(methods, base=base, facts=facts),
        "correlations": correlations(methods, facts=facts),
        "votes": agreements(wanted.votes, methods, facts=facts) if wanted.votes else [],
        "leakage": leakage_matrices(methods),
    }


def _named(methods: Sequence[Method], name: str) -> Method:
    known = {method.name: method for method in methods}
    if name not in known:
        raise ConfigError(f"--base: expected one of {', '.join(known)}, got {name}; name one of the runs.")
    return known[name]


def _told(method: Method) -> Row:
    return {
        "name": method.name,
        "folders": [told_path(str(run.folder)) for run in method.runs],
        "inputs_sha256": [run.summary["inputs_sha256"] for run in method.runs],
        "encoders": method.runs[0].summary.get("encoders") or {},
    }


def _shown(methods: Sequence[Method], *, wanted: Wanted) -> dict[str, Mapping[str, Any]]:
    """Key -> facts of the metrics to show: those compared after tuning in their order, then the others."""
    known = {key: facts for method in methods for run in method.runs for key, facts in run.metrics.items()}
    measured = {key: facts for key, facts in known.items() if any(method.values(key).is_measured for method in methods)}
    if absent := [key for key in (*wanted.metrics, *wanted.margins) if key not in measured]:
        what = f"expected metrics among {', '.join(measured) or 'none'}, got {absent[0]}"
        raise ConfigError(f"compare: {what}; evaluate the runs with `--metric {absent[0]}`.")
    placed = {facts["name"] for facts in measured.values() if facts["compared"] is not None}
    keys = wanted.metrics or [
        key for key, facts in measured.items() if facts["compared"] is not None or facts["name"] not in placed
    ]
    keys = [*keys, *(key for key in wanted.margins if key not in keys)]
    order = [*measured]
    keys = sorted(keys, key=lambda key: (_place(measured[key]), order.index(key)))
    return {key: measured[key] for key in dict.fromkeys(keys)}


def _place(facts: Mapping[str, Any]) -> float:
    return math.inf if facts["compared"] is None else facts["compared"]


def _metric(
    key: str, facts: Mapping[str, Any], methods: Sequence[Method], *, base: Method, margin: float | None
) -> Row:
    return {
        "metric": key,
        **{name: facts.get(name) for name in ("label", "short", "column", "unit", "shown_as", "higher_is_better")},
        **_bounds(facts, methods),
        "means": _means(key, facts, methods),
        "differences": [
            _difference(method.minus(base, key), method=method.name, margin=margin)
            for method in methods
            if method is not base
        ],
    }


def _bounds(facts: Mapping[str, Any], methods: Sequence[Method]) -> Row:
    """Floor and ceiling, from the first run that has them: they depend on the cases and encoders, not on the method."""
    found: Row = {"floor": None, "ceiling": None}
    rows = [row for method in methods for run in method.runs for row in run.summary.get("rows") or ()]
    for row in rows:
        is_it = (row["metric"], row.get("column") or "") == (facts["name"], facts["column"])
        if is_it and found.get(row["row"], 0.0) is None:
            found[row["row"]] = row["mean"]
    return found


def _means(key: str, facts: Mapping[str, Any], methods: Sequence[Method]) -> list[Row]:
    """The mean of each method, which one is best, and which cannot be told from it."""
    low, high = (facts.get("range") or (None, None))[:2]
    ends = (-math.inf if low is None else low, math.inf if high is None else high)
    values = {method.name: method.values(key) for method in methods}
    levels = {name: each.interval.within(*ends) for name, each in values.items()}
    sign = 1 if facts["higher_is_better"] else -1
    measured = [method for method in methods if not math.isnan(levels[method.name].mean)]
    best = max(measured, key=lambda method: sign * levels[method.name].mean, default=None)
    return [
        _mean(method, levels[method.name], best=best, key=key)
        | (_trainings(values[method.name].pooled) if values[method.name].trainings > 1 else {})
        for method in methods
    ]


def _mean(method: Method, level: Interval, *, best: Method | None, key: str) -> Row:
    missing = level.missing + method.num_missing
    row = {"method": method.name, **to_json(level._replace(missing=missing)), "is_best": method is best}
    if best is None or math.isnan(level.mean):
        return {**row, "tied_with_best": None}
    if method is best:
        return {**row, "tied_with_best": True}
    ahead = best.minus(method, key).interval
    return {**row, "tied_with_best": None if math.isnan(ahead.ci_low) else ahead.ci_low <= 0 <= ahead.ci_high}


def _difference(pairs: Pairs | Trainings, *, method: str, margin: float | None) -> Row:
    found: Difference = pairs.compared()
    row = {
        "method": method,
        **to_json(found.interval),
        **{name: None if math.isnan(number) else number for name, number in _numbers(found)},
        "p_holm": None,
        "subjects_needed": found.needed,
        **_trainings(pairs),
    }
    if margin is None:
        return row
    return {**row, "margin": margin, "ties": pairs.ties(margin)}


def _trainings(of: Pairs | Trainings) -> Row:
    """What several trainings have apart, where there are several."""
    if isinstance(of, Pairs):
        return {}
    means, deviation = of.between
    told = [None if math.isnan(each) else each for each in (*means, deviation)]
    return {"trainings": {"means": told[:-1], "deviation": told[-1]}}


def training_notes(methods: Sequence[Method]) -> list[str]:
    """What to know of intervals over several trainings; empty where every method is one run."""
    several = [method for method in methods if len(method.runs) > 1]
    notes = [_note(method.name, len(method.runs)) for method in several]
    single = [method.name for method in methods if len(method.runs) == 1] if several else []
    return notes + [
        f"{name}: one run; if it was trained, no interval says what another training gives." for name in single
    ]


def _note(name: str, count: int) -> str:
    reach = f"intervals reach {quantile(count):.1f} standard errors between trainings to each side"
    weak = (
        f" So few trainings say little about their spread: {reach}, where many would need 2.0." if count <= FEW else ""
    )
    return f"{name}: {count} trainings, averaged case by case; its intervals hold for another training, too.{weak}"


def _numbers(found: Difference) -> Iterator[tuple[str, float]]:
    yield from {"p": found.p, "effect": found.effect, "detectable": found.detectable}.items()


def _correct(rows: Sequence[Row]) -> None:
    """Fills in "p_holm"."""
    corrected = holm([math.nan if row["p"] is None else row["p"] for row in rows])
    for row, p in zip(rows, corrected, strict=True):
        row["p_holm"] = None if math.isnan(p) else p
