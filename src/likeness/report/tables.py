"""The numbers of a run, read from its files and put in the order in which the page shows them.

Nothing is computed here that an evaluation file already states: means, intervals and counts are copied from
summary.json, so that each number on the page can be traced to one row of that file. Its "metrics" also say how each
metric is called and shown, and in which order. The only new numbers are per-case means over the samples of a case, used
to rank pictures.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from likeness.core.errors import DataError
from likeness.core.images import pictures_in
from likeness.core.records import Case, case_file, read_cases
from likeness.report import check
from likeness.report.check import read_object, read_rows

GOOD, POOR = 0.85, 0.4  # share of the way from floor to ceiling at which a chip turns green or red
NOT_ASKED = "not_applicable"  # the status of a value that the case has no use for
Json = dict[str, Any]  # what json.load gives: the report shows unknown keys as they are, so it cannot type them


@dataclass(frozen=True)
class ScoredSample:
    """One generated picture with the values measured on it (None where not) and the generator's notes.

    `reasons` say why a value that the case should have is None; `failed` are those of which measuring failed.
    """

    image: Path
    id: str = ""
    values: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Point:
    """A mean with the ends of its interval (equal to the mean where no interval was given)."""

    mean: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """True when the interval is wider than the dot."""
        return self.high > self.low


class ScoreLine:
    """One metric as the score table shows it: generated pictures between floor and ceiling, all from summary.json.

    `metric` is its key in a sample's values, `rows` are those of the metric by kind, `limits` the range of its values.
    """

    def __init__(
        self, metric: str, *, label: str, rows: Mapping[str, Json], limits: Sequence[float | None] = ()
    ) -> None:
        first = rows.get("generated") or next(iter(rows.values()))
        self.metric, self.label = metric, label
        self.name = str(first.get("metric") or metric)
        self.column = str(first.get("column") or "").replace("_", " ")
        self.limits = tuple(limits) if len(limits) == 2 else (None, None)
        self.unit = str(first.get("unit") or "")
        self.higher_is_better = bool(first.get("higher_is_better", True))
        self.generated, self.floor, self.ceiling = (
            _point(rows.get(kind)) for kind in ("generated", "floor", "ceiling")
        )
        self.n, self.n_subjects, self.missing = (int(first.get(name) or 0) for name in ("n", "n_subjects", "missing"))
        self.reason = str(first.get("reason") or "")

    def tone(self, value: float) -> str:
        """Where a value lies between floor and ceiling; plain when one is unknown or they stand the wrong way round."""
        if self.floor is None or self.ceiling is None:
            return "plain"
        span = self.ceiling.mean - self.floor.mean
        if span == 0 or (span > 0) != self.higher_is_better:
            return "plain"
        share = (value - self.floor.mean) / span
        return "good" if share >= GOOD else "poor" if share <= POOR else "plain"

    def is_below_floor(self, value: float) -> bool:
        """Whether a value is worse than the floor; never where the floor is unknown, or better than the ceiling."""
        if self.floor is None:
            return False
        sign = 1 if self.higher_is_better else -1
        if self.ceiling is not None and sign * (self.ceiling.mean - self.floor.mean) <= 0:
            return False
        return sign * value < sign * self.floor.mean

    @property
    def points(self) -> dict[str, Point]:
        """The measured points of the line by name."""
        named = {"generated": self.generated, "floor": self.floor, "ceiling": self.ceiling}
        return {name: point for name, point in named.items() if point is not None}


@dataclass(frozen=True)
class Run:
    """Everything the page says about one run folder."""

    folder: Path
    identity: Json
    cases: tuple[Case, ...]
    samples: Mapping[str, tuple[ScoredSample, ...]]
    summary: Json
    lines: tuple[ScoreLine, ...]
    rejected: tuple[tuple[str, str], ...]
    model: Json
    versions: Json
    commands: Json

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name or self.folder.resolve().name

    @property
    def benchmark(self) -> str:
        """The benchmark that was drawn or evaluated, empty where there is none."""
        return str(self.summary.get("benchmark") or self.identity.get("benchmark") or "")

    @property
    def is_evaluated(self) -> bool:
        """Whether any picture was measured."""
        return any(line.generated for line in self.lines)

    @property
    def subjects_alone(self) -> dict[str, ScoreLine]:
        """By the name of a metric, its line that measures against the reference picture alone."""
        return {line.name: line for line in self.lines if line.column == "conditioning photo" and line.generated}

    @property
    def metrics(self) -> Json:
        """Key of a sample's values -> what summary.json says of the metric; empty where it says nothing."""
        return self.summary.get("metrics") or {}

    @property
    def failures(self) -> list[Json]:
        """What summary.json says of the failures where subjects touch; empty where it says nothing."""
        return self.summary.get("failures") or []

    @property
    def headlines(self) -> list[ScoreLine]:
        """The metrics measured on generated pictures that have a place in the order "headline"."""
        lines = {line.metric: line for line in self.lines if line.generated}
        return [lines[name] for name in in_order(self.metrics, "headline") if name in lines]

    @cached_property
    def lines_by_metric(self) -> dict[str, ScoreLine]:
        """The score lines by the keys of a sample's values."""
        return {line.metric: line for line in self.lines}

    @property
    def sortable(self) -> list[str]:
        """The metrics that summary.json knows and any sample has, those with a place in "headline" first."""
        measured = measured_on(sample for samples in self.samples.values() for sample in samples)
        named = dict.fromkeys([*in_order(self.metrics, "headline"), *self.metrics])
        return [metric for metric in named if metric in measured]

    @property
    def cards(self) -> Json:
        """Protocol card -> what summary.json says of the run under it; empty where no card applies."""
        return self.summary.get("cards") or {}

    @property
    def attributes(self) -> list[tuple[str, float, int]]:
        """Attribute, share of subjects in which it reads right, number of subjects; empty where nothing is labelled."""
        rows = self.summary.get("attributes") or {}
        return [(name.replace("_", " "), row["share_right"], row["n"]) for name, row in rows.items()]

    @cached_property
    def ranking_metric(self) -> str | None:
        """The metric that orders best and worst cases: the first in the order "ranks" measured on any sample."""
        measured = measured_on(sample for samples in self.samples.values() for sample in samples)
        return next((metric for metric in in_order(self.metrics, "ranks") if metric in measured), None)

    @property
    def ranked_cases(self) -> list[Case]:
        """Measured cases from best to worst by the ranking metric.

        Ties go to less of the first metric on cards of which less is better, such as leakage, then to case order.
        """
        metric = self.ranking_metric
        if metric is None:
            return []
        sign = 1 if self.metrics[metric]["higher_is_better"] else -1
        less = next((key for key, facts in self.metrics.items() if facts["card"] and not facts["higher_is_better"]), "")
        scored = [(case, case_mean(self.samples.get(case.id, ()), metric)) for case in self.cases]
        measured = [(case, value) for case, value in scored if value is not None]
        measured.sort(key=lambda item: (-sign * item[1], case_mean(self.samples[item[0].id], less) or 0.0))
        return [case for case, _ in measured]

    @property
    def num_samples(self) -> int:
        """Pictures listed in the manifest."""
        return sum(len(samples) for samples in self.samples.values())


def read_run(folder: Path, *, cases: Path | None = None) -> Run:
    """The run in `folder`, or an evaluated folder of pictures made elsewhere; evaluation is empty where there is none.

    Raises: DataError when the folder is neither, has no case file, or a file in it is malformed.
    """
    evaluation = folder / "evaluation"
    if not (folder / "manifest.jsonl").is_file() and not (evaluation / "scores.jsonl").is_file():
        what = f"{folder}: expected a run, got no manifest.jsonl"
        raise DataError(f"{what}; name the --out folder of `likeness generate`.")
    manifest = read_rows(folder / "manifest.jsonl", check.MANIFEST_ROW)
    scores = read_rows(evaluation / "scores.jsonl", check.SCORES_ROW)
    cases_file = read_cases(cases or case_file(folder))
    summary = read_object(evaluation / "summary.json", check.SUMMARY)
    first = manifest[0] if manifest else {}
    rows = read_rows(folder / "rejected.jsonl", check.REJECTED_ROW)
    rejected = [(row["where"], row["reason"]) for row in rows]
    return Run(
        folder=folder,
        identity=read_object(folder / "run.json", check.IDENTITY),
        cases=cases_file.cases,
        samples=_samples(folder, manifest or _manifest_of(folder, scores=scores), scores=scores),
        summary=summary,
        lines=score_lines(summary.get("rows", []), metrics=summary.get("metrics") or {}),
        rejected=(
            *rejected,
            *((item.where, item.reason) for item in cases_file.left_out),
            *_not_shown(summary, manifest=manifest, ids={case.id for case in cases_file.cases}),
        ),
        model=first.get("model") or {},
        versions=first.get("versions") or {},
        commands=read_object(folder / "commands.json", check.COMMANDS),
    )


def _not_shown(summary: Json, *, manifest: Sequence[Json], ids: set[str]) -> list[tuple[str, str]]:
    """Pictures that were not measured, or that answer no case of the file."""
    missing = [(name, "not measured: there was no such picture") for name in summary.get("missing_images") or ()]
    extra = [(name, "not measured: no case asks for this picture") for name in summary.get("extra_images") or ()]
    strangers = [
        (row["image"], f"not shown: no case {row['case_id']}") for row in manifest if row["case_id"] not in ids
    ]
    return [*missing, *extra, *strangers]


def labels_of(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its last one, with as many of those before as tell all apart."""
    full = [folder.resolve().parts[1:] for folder in folders]
    length = max(map(len, full), default=1)
    for size in range(1, length + 1):
        names = ["/".join(parts[-size:]) for parts in full]
        if len(set(names)) == len(names):
            return names
    return [f"{'/'.join(parts[-1:])} ({number})" for number, parts in enumerate(full, start=1)]


def counted(number: int, noun: str) -> str:
    """A count with its noun: 1 case, 2 cases."""
    return f"{number} {noun if number == 1 else noun + 's'}"


def score_lines(rows: Iterable[Json], *, metrics: Json) -> tuple[ScoreLine, ...]:
    """Summary rows grouped per metric and column, in the order in which the summary first names them."""
    keys = {(facts["name"], facts["column"]): key for key, facts in metrics.items()}
    grouped: dict[tuple[str, str], dict[str, Json]] = defaultdict(dict)
    for row in rows:
        grouped[row["metric"], row.get("column") or ""][row["row"]] = row
    named = [(keys.get(at, at[0]), kinds) for at, kinds in grouped.items()]
    limits = {key: facts.get("range") or () for key, facts in metrics.items()}
    return tuple(
        ScoreLine(key, label=metric_label(metrics, key), rows=kinds, limits=limits.get(key, ())) for key, kinds in named
    )


def metric_label(metrics: Json, key: str, *, form: str = "label") -> str:
    """The "label" or "short" name of a metric; one without facts keeps its own name with spaces."""
    return str(metrics[key][form]) if key in metrics else key.replace("_", " ").capitalize()


def in_order(metrics: Json, by: str) -> list[str]:
    """The metrics that have a place in the order "headline", "ranks" or "compared", first to last."""
    return sorted((key for key, facts in metrics.items() if facts[by] is not None), key=lambda key: metrics[key][by])


def shown(value: float, facts: Json) -> str:
    """A value of a metric as text: a percentage, yes or no (a number in between), or a number."""
    if facts["shown_as"] == "yes_no" and value in {0.0, 1.0}:
        return "yes" if value else "no"
    return f"{value:.0%}" if facts["shown_as"] == "percent" else number(value)


def number(value: float) -> str:
    """Three decimals: enough for scores in [0, 1], with the full value kept in the table cell's title."""
    return f"{value:.3f}"


def case_mean(samples: Sequence[ScoredSample], metric: str) -> float | None:
    """Mean of `metric` over the samples of one case that have it, or None when none has."""
    values = [value for sample in samples if (value := sample.values.get(metric)) is not None]
    return sum(values) / len(values) if values else None


def measured_on(samples: Iterable[ScoredSample]) -> set[str]:
    """The metrics that have a value on any of the samples."""
    return {name for sample in samples for name, value in sample.values.items() if value is not None}


def flatten(value: Any, *, prefix: str = "") -> list[tuple[str, str]]:  # any JSON value
    """A JSON value as (dotted key, text) pairs in the order of the file."""
    if isinstance(value, dict) and value:
        named = [(f"{prefix}.{key}" if prefix else str(key), item) for key, item in value.items()]
        return [pair for name, item in named for pair in flatten(item, prefix=name)]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(item) for item in value) or "none")]
    return [(prefix, "none" if value is None or value == {} else str(value))]


def _manifest_of(folder: Path, *, scores: Sequence[Json]) -> list[Json]:
    """Manifest rows for pictures made elsewhere: where the row says, else by the names that `evaluate` accepts."""
    files = {path.stem: path.relative_to(folder) for path in pictures_in(folder)}
    absent = Path("images/absent")
    named = [row.get("image") or files.get(row["id"]) or files.get(row["case_id"], absent) for row in scores]
    return [{**row, "image": image} for row, image in zip(scores, named, strict=True)]


def _samples(folder: Path, manifest: Sequence[Json], *, scores: Sequence[Json]) -> dict[str, tuple[ScoredSample, ...]]:
    measured = {row["id"]: row.get("values", {}) for row in scores}
    by_case: dict[str, list[ScoredSample]] = defaultdict(list)
    for row in manifest:
        items = measured.get(row["id"], {})
        values = {name: _finite(item.get("value")) for name, item in items.items()}
        absent = {name: item for name, item in items.items() if values[name] is None}
        by_case[row["case_id"]].append(
            ScoredSample(
                folder / row["image"],
                id=row["id"],
                values=values,
                notes=tuple(row.get("notes") or ()),
                reasons={n: item.get("note") or "" for n, item in absent.items() if item.get("status") != NOT_ASKED},
                failed=frozenset(name for name, item in absent.items() if item.get("status") == "failed"),
            )
        )
    return {case_id: tuple(samples) for case_id, samples in by_case.items()}


def _point(row: Json | None) -> Point | None:
    mean = _finite((row or {}).get("mean"))
    if row is None or mean is None:
        return None
    low, high = _finite(row.get("ci_low")), _finite(row.get("ci_high"))
    return Point(mean=mean, low=mean if low is None else low, high=mean if high is None else high)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
