"""Evaluated runs read for comparisons: what was measured of each picture, and by what they are alike."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

import numpy as np

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl
from likeness.core.hashing import json_sha256
from likeness.core.records import case_file, read_cases
from likeness.core.stats.intervals import Interval, mean_interval
from likeness.core.stats.paired import Pairs, joined
from likeness.core.stats.trainings import Trainings
from likeness.evaluate.aggregate import shown_in

AGAIN = "call `likeness evaluate` on the run."


class Scored(NamedTuple):
    """A run with its summary.json and the rows of its scores.jsonl."""

    folder: Path
    summary: Mapping[str, Any]
    rows: Sequence[dict[str, Any]]

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """Key of a row's values -> what summary.json says of the metric."""
        return self.summary["metrics"]

    @property
    def benchmark(self) -> str:
        """What was measured."""
        return str(self.summary.get("benchmark"))


def read_scored(folder: Path) -> Scored:
    """Raises: DataError when the run was not evaluated, or before summary.json told of its metrics."""
    path = folder / "evaluation" / "summary.json"
    summary = read_summary(folder)
    for key, what in {"metrics": "the facts of its metrics", "inputs_sha256": "the hash of its inputs"}.items():
        if key not in summary:
            raise DataError(f"{path}: expected {what}, got none; {AGAIN}")
    scores = path.with_name("scores.jsonl")
    rows = read_jsonl(scores)
    for number, row in enumerate(rows, start=1):
        if not _is_scored(row):
            what = f"{scores}: expected id, prompt, group, subjects and values in row {number}, got {ascii(row)[:60]}"
            raise DataError(f"{what}; {AGAIN}")
    return Scored(folder, summary, rows)


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a run, empty where there is none."""
    path = folder / "evaluation" / "summary.json"
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(found).__name__}; {AGAIN}")
    return found


def _is_scored(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("id", "group", "prompt")):
        return False
    if not isinstance(row.get("subjects"), list) or not all(isinstance(each, str) for each in row["subjects"]):
        return False
    values = row.get("values")
    return isinstance(values, dict) and all(isinstance(item, dict) and "value" in item for item in values.values())


def same_cases(first: Path, second: Path) -> bool:
    """Whether two runs answer the same cases with the same prompts."""
    return _cases_of(first) == _cases_of(second)


def _cases_of(folder: Path) -> list[tuple[str, str]]:
    return [(case.id, case.prompt) for case in read_cases(case_file(folder)).cases]


def other_encoder(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The encoder that two summaries name with other weights, empty where there is none."""
    here, there = first.get("encoders") or {}, second.get("encoders") or {}
    return next((name for name in here if name in there and here[name] != there[name]), "")


def different_cards(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, str] | None:
    """What two summaries were scored under, where one table must not hold both; None where it may.

    Cards differ by name with version, by the hash of what stands on them, and by the encoders of their numbers.
    """
    old, new = (_cards_of(summary) for summary in (first, second))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return _told(name, old), _told(name, new)
    return None


def _cards_of(summary: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, str]]]:
    """Card -> the hash of it and, by column, the encoders that its numbers were measured with."""
    found = summary.get("cards") or {}
    return {
        name: (str(card.get("sha256")), {row["column"]: json.dumps(row.get("encoders")) for row in card["rows"]})
        for name, card in found.items()
    }


def _told(name: str, found: Mapping[str, tuple[str, dict[str, str]]]) -> str:
    if name not in found:
        return ", ".join(found) or "no card"
    sha256, encoders = found[name]
    return f"{name} (hash {sha256[:12]}, encoders {json_sha256(encoders)[:12]})"


def require_comparable(first: Scored, other: Scored) -> None:
    """Raises: DataError unless both runs have the same cases, measured by the same encoders under the same cards."""
    if not same_cases(first.folder, other.folder):
        what = f"{other.folder}: expected the cases of {first.folder}, got others"
        raise DataError(f"{what}; draw the same cases with both models.")
    if name := other_encoder(first.summary, other.summary):
        what = f"{other.folder}: expected the encoder {name} with the weights of {first.folder}, got others"
        raise DataError(f"{what}; evaluate both runs with the same.")
    if cards := different_cards(first.summary, other.summary):
        what = f"{other.folder}: expected numbers under the cards of {first.folder} ({cards[0]}), got {cards[1]}"
        raise DataError(f"{what}; evaluate both with the same encoders and package.")


class Values(NamedTuple):
    """One metric by picture: its value, NaN where not measured, the subjects it shows and its prompt.

    Pictures are named <number>/<id>, where the number is the run's among several; with `trainings` above 1 these runs
    are trainings of one method, and the same id is the same picture.
    """

    by_picture: Mapping[str, float]
    subjects: Mapping[str, frozenset[str]]
    prompts: Mapping[str, str]
    trainings: int = 1

    @property
    def interval(self) -> Interval:
        """The mean over subjects."""
        return self.pooled.interval if self.trainings > 1 else self._alone

    @property
    def _alone(self) -> Interval:
        ids = list(self.by_picture)
        groups: list[Hashable] = [self.subjects[name] for name in ids]
        return mean_interval(list(self.by_picture.values()), groups, prompts=[self.prompts[name] for name in ids])

    @property
    def pooled(self) -> Trainings:
        """The values of all trainings, by training and picture."""
        return self._by_training(self.by_picture)

    @property
    def is_measured(self) -> bool:
        """Whether any picture has a value."""
        return not all(map(math.isnan, self.by_picture.values()))

    def minus(self, other: "Values") -> Pairs | Trainings:
        """The paired differences to `other`, picture by picture, of trainings one by one."""
        subjects, prompts = {**other.subjects, **self.subjects}, {**other.prompts, **self.prompts}
        if self.trainings == 1:
            return joined(self.by_picture, other.by_picture, subjects, prompts=prompts)
        both = self.by_picture.keys() & other.by_picture.keys()
        apart = {name: self.by_picture[name] - other.by_picture[name] for name in both}
        found = self._replace(subjects=subjects, prompts=prompts)._by_training(apart)
        alone = len(self.by_picture.keys() ^ other.by_picture.keys())
        return found._replace(differences=True, one_sided=alone)

    def _by_training(self, values: Mapping[str, float]) -> Trainings:
        known = {name.partition("/")[2]: name for name in sorted(values)}  # of a picture, any training's name
        pictures = sorted(known)
        rows = [[values.get(f"{number}/{each}", math.nan) for each in pictures] for number in range(self.trainings)]
        groups: list[Hashable] = [self.subjects[known[each]] for each in pictures]
        return Trainings(np.array(rows), groups, [self.prompts[known[each]] for each in pictures])


def values_of(runs: Sequence[Scored], key: str, *, trained_apart: bool = False) -> Values:
    """A metric over several runs together; `trained_apart` says that these are trainings of one method."""
    values, subjects, prompts = dict[str, float](), dict[str, frozenset[str]](), dict[str, str]()
    for number, run in enumerate(runs):
        for row in (row for row in run.rows if key in row["values"]):
            name, value = f"{number}/{row['id']}", row["values"][key]["value"]
            values[name] = math.nan if value is None else float(value)
            subjects[name] = shown_in(row)
            prompts[name] = row["prompt"]
    return Values(values, subjects, prompts, len(runs) if trained_apart else 1)


class Method:
    """A named method: its run, or a run per training seed."""

    def __init__(self, name: str, runs: Sequence[Scored]) -> None:
        self.name, self.runs = name, runs

    def values(self, key: str, *, trainings: int = 0) -> Values:
        """A metric of all trainings; a method of one training stands for each of `trainings` others."""
        count = trainings or len(self.runs)
        runs = [*self.runs] * count if len(self.runs) == 1 else self.runs
        if len(runs) != count:
            what = f"{self.name}: expected {count} trainings, as another method has, or one, got {len(runs)}"
            raise DataError(f"{what}; name as many runs of each.")
        return values_of(runs, key, trained_apart=count > 1)

    def minus(self, other: "Method", key: str) -> Pairs | Trainings:
        """The paired differences of a metric, training by training."""
        count = max(len(self.runs), len(other.runs))
        return self.values(key, trainings=count).minus(other.values(key, trainings=count))

    @property
    def num_missing(self) -> int:
        """Pictures that were never there."""
        return sum(len(run.summary.get("missing_images") or ()) for run in self.runs)
