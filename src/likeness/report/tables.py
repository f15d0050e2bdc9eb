"""The numbers of a run, read from its files and put in the order in which the page shows them.

Nothing is computed here that an evaluation file already states: means, intervals and counts are copied from
summary.json, so that each number on the page can be traced to one row of that file. The only new numbers are per-case
means over the samples of a case, used to rank pictures.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl
from likeness.core.records import Case, read_cases

Json = dict[str, Any]  # what json.load gives: the report shows unknown keys as they are, so it cannot type them

LABELS = {
    "attribute_accuracy": "Attributes right",
    "leakage": "Leaked from another subject",
    "action_recognised": "Action recognised",
    "scene_recognised": "Scene recognised",
    "clip_t": "Prompt fidelity (CLIP-T)",
    "clip_i": "Subject fidelity (CLIP-I)",
    "dino": "Subject fidelity (DINO)",
}
SHORT_LABELS = {
    "attribute_accuracy": "Attributes",
    "leakage": "Leakage",
    "action_recognised": "Action",
    "scene_recognised": "Scene",
    "clip_t": "CLIP-T",
    "clip_i": "CLIP-I",
    "dino": "DINO",
}
COLUMNS = {"all_photos": "all photos", "conditioning_photo": "conditioning photo", "": ""}
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
RANKED_BY = ("attribute_accuracy", "dino", "clip_i", "clip_t")  # the first one that was measured orders best and worst


@dataclass(frozen=True)
class Sample:
    """One generated picture with the values measured on it (None and a reason where not) and the generator's notes."""

    id: str
    case_id: str
    image: Path
    values: Mapping[str, float | None] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class ScoreLine:
    """One metric as the score table shows it: generated pictures between floor and ceiling, all from summary.json."""

    metric: str
    label: str
    column: str
    unit: str
    higher_is_better: bool
    generated: Point | None
    floor: Point | None
    ceiling: Point | None
    n: int
    n_subjects: int
    missing: int
    reason: str

    @property
    def points(self) -> list[Point]:
        """The measured points of the line."""
        return [point for point in (self.generated, self.floor, self.ceiling) if point is not None]


@dataclass(frozen=True)
class Run:
    """Everything the page says about one run folder."""

    folder: Path
    identity: Json
    cases: tuple[Case, ...]
    samples: Mapping[str, tuple[Sample, ...]]
    summary: Json | None
    lines: tuple[ScoreLine, ...]
    rejected: tuple[tuple[str, str], ...]
    model: Json
    versions: Json
    commands: Json = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The benchmark's name where one was evaluated, else the folder's."""
        return str((self.summary or {}).get("benchmark") or self.folder.name)

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
        raise DataError(
            f"{folder}: expected a run, got no manifest.jsonl; name the --out folder of `likeness generate`."
        )
    manifest, scores = _read_rows(folder / "manifest.jsonl"), _read_rows(evaluation / "scores.jsonl")
    cases_file = read_cases(cases or _case_file(folder))
    summary = _read_object(evaluation / "summary.json")
    first = manifest[0] if manifest else {}
    unreadable = [(item.where, item.reason) for item in cases_file.left_out]
    return Run(
        folder=folder,
        identity=_read_object(folder / "run.json") or {},
        cases=cases_file.cases,
        samples=_samples(folder, manifest or _manifest_of(folder, scores=scores), scores=scores),
        summary=summary,
        lines=score_lines((summary or {}).get("rows", [])),
        rejected=tuple(
            [(str(row["where"]), str(row["reason"])) for row in _read_rows(folder / "rejected.jsonl")] + unreadable
        ),
        model=first.get("model") or {},
        versions=first.get("versions") or {},
        commands=_read_object(folder / "commands.json") or {},
    )


def _case_file(folder: Path) -> Path:
    """The cases of the evaluation where they came from elsewhere, else the run's own."""
    evaluated = folder / "evaluation" / "cases.jsonl"
    return evaluated if evaluated.is_file() else folder / "cases.jsonl"


def score_lines(rows: Iterable[Json]) -> tuple[ScoreLine, ...]:
    """Summary rows grouped per metric and column, in the order in which the summary first names them."""
    grouped: dict[tuple[str, str], dict[str, Json]] = defaultdict(dict)
    for row in rows:
        grouped[row["metric"], row.get("column") or ""][row["row"]] = row
    return tuple(_score_line(kinds) for kinds in grouped.values())


def metric_label(metric: str) -> str:
    """The metric's name in words; an unknown metric keeps its own name with spaces."""
    return LABELS.get(metric, metric.replace("_", " ").capitalize())


def case_mean(samples: Sequence[Sample], metric: str) -> float | None:
    """Mean of `metric` over the samples of one case that have it, or None when none has."""
    values = [value for sample in samples if (value := sample.values.get(metric)) is not None]
    return sum(values) / len(values) if values else None


def ranking_metric(run: Run) -> str | None:
    """The metric that orders best and worst cases: the first of RANKED_BY that was measured on any sample."""
    measured = {
        name for samples in run.samples.values() for s in samples for name, v in s.values.items() if v is not None
    }
    return next((metric for metric in RANKED_BY if metric in measured), None)


def ranked_cases(run: Run) -> list[Case]:
    """Measured cases from best to worst by the ranking metric; ties go to less leakage, then to case order."""
    metric = ranking_metric(run)
    if metric is None:
        return []
    scored = [(case, case_mean(run.samples.get(case.id, ()), metric)) for case in run.cases]
    measured = [(case, value) for case, value in scored if value is not None]
    measured.sort(key=lambda item: (-item[1], case_mean(run.samples[item[0].id], "leakage") or 0.0))
    return [case for case, _ in measured]


def flatten(value: Any, *, prefix: str = "") -> list[tuple[str, str]]:  # any JSON value
    """A JSON value as (dotted key, text) pairs in the order of the file."""
    if isinstance(value, dict) and value:
        return [
            pair
            for key, item in value.items()
            for pair in flatten(item, prefix=f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(item) for item in value) or "none")]
    return [(prefix, "none" if value is None or value == {} else str(value))]


def _read_rows(path: Path) -> list[Json]:
    return read_jsonl(path) if path.is_file() else []


def _read_object(path: Path) -> Json | None:
    """The JSON object of a file, None where there is none. Raises: DataError for JSON of another kind."""
    found = read_json(path) if path.is_file() else None
    if found is not None and not isinstance(found, dict):
        wanted = f"expected a JSON object, got {type(found).__name__}"
        raise DataError(f"{path}: {wanted}; correct the file, or remove it and repeat the command that writes it.")
    return found


def _manifest_of(folder: Path, *, scores: Sequence[Json]) -> list[Json]:
    """Manifest rows for pictures made elsewhere, found by the names that `likeness evaluate` accepts."""
    inside = folder / "images" if (folder / "images").is_dir() else folder
    files = {
        path.stem: path.relative_to(folder) for path in sorted(inside.iterdir()) if path.suffix.lower() in SUFFIXES
    }
    absent = Path("images/absent")
    return [{**row, "image": files.get(row["id"]) or files.get(row["case_id"], absent)} for row in scores]


def _samples(folder: Path, manifest: Sequence[Json], *, scores: Sequence[Json]) -> dict[str, tuple[Sample, ...]]:
    measured = {row["id"]: row.get("values", {}) for row in scores}
    by_case: dict[str, list[Sample]] = defaultdict(list)
    for row in manifest:
        by_case[row["case_id"]].append(_sample(row, folder=folder, values=measured.get(row["id"], {})))
    return {case_id: tuple(samples) for case_id, samples in by_case.items()}


def _sample(row: Json, *, folder: Path, values: Mapping[str, Json]) -> Sample:
    return Sample(
        id=row["id"],
        case_id=row["case_id"],
        image=folder / row["image"],
        values={name: _finite(item.get("value")) for name, item in values.items()},
        reasons={name: item.get("note") or "" for name, item in values.items()},
        notes=tuple(row.get("notes") or ()),
    )


def _score_line(kinds: Mapping[str, Json]) -> ScoreLine:
    shown = kinds.get("generated") or next(iter(kinds.values()))
    return ScoreLine(
        metric=shown["metric"],
        label=metric_label(shown["metric"]),
        column=COLUMNS.get(shown.get("column") or "", shown.get("column") or ""),
        unit=shown.get("unit") or "",
        higher_is_better=bool(shown.get("higher_is_better", True)),
        generated=_point(kinds.get("generated")),
        floor=_point(kinds.get("floor")),
        ceiling=_point(kinds.get("ceiling")),
        n=int(shown.get("n") or 0),
        n_subjects=int(shown.get("n_subjects") or 0),
        missing=int(shown.get("missing") or 0),
        reason=shown.get("reason") or "",
    )


def _point(row: Json | None) -> Point | None:
    mean = _finite((row or {}).get("mean"))
    if row is None or mean is None:
        return None
    low, high = _finite(row.get("ci_low")), _finite(row.get("ci_high"))
    return Point(mean=mean, low=mean if low is None else low, high=mean if high is None else high)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
