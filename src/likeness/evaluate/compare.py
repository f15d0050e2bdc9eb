"""Runs of the same cases compared in pairs, before and after tuning: both means, and paired differences.

Differences are taken sample by sample, with intervals by subject and prompt (`core/stats/intervals.py`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl, write_json
from likeness.core.hashing import json_sha256
from likeness.core.records import case_file, read_cases
from likeness.core.stats.intervals import paired_difference
from likeness.evaluate.aggregate import shown_in, to_json

ALL = "all"


class _Scored(NamedTuple):
    folder: Path
    summary: Mapping[str, Any]
    rows: Sequence[dict[str, Any]]


_Pair = tuple[_Scored, _Scored]


def compare_runs(before: Sequence[Path], after: Sequence[Path], *, out: Path) -> dict[str, Any]:
    """The comparison of each run of `before` with the run of `after` in the same place, as written to the file `out`.

    "runs" names the benchmark of each pair and the `inputs_sha256` of both evaluations. "rows" holds each metric that
    summary.json gives a place in the order "compared", over all benchmarks together where there are several, then by
    benchmark: its label and direction, both means over the samples that both have, and the difference after - before as
    an `Interval` (ends null where its `reason` says why).
    "cards" of a run are the protocol cards that both sides were scored under.
    Raises: DataError when a run was not evaluated, or before summary.json told of its metrics, or has other cases, or
    was scored under other cards or with other encoders under the same card.
    """
    pairs = [(_scored(old), _scored(new)) for old, new in zip(before, after, strict=True)]
    for pair in pairs:
        _require_same_cases(pair)
        _require_same_cards(pair)
    named = [(str(old.summary["benchmark"]), [(old, new)]) for old, new in pairs]
    groups = [(ALL, pairs), *named] if len(pairs) > 1 else named
    metrics = {key: facts for old, _ in pairs for key, facts in old.summary["metrics"].items()}
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
    summaries = [_summary(folder) for folder in (before, after)]
    for folder, summary in zip((before, after), summaries, strict=True):
        if "metrics" not in summary:
            return f"Nothing is compared, because {folder.name} has not been evaluated."
    first, second = (str(summary.get("benchmark")) for summary in summaries)
    if first != second:
        return f"Nothing is compared, because these are runs of different benchmarks: {first} and {second}."
    if _cases_of(before) != _cases_of(after):
        return "Nothing is compared, because these runs have different cases."
    if other := different_cards(*summaries):
        return f"Nothing is compared, because these runs were scored under different cards: {other[0]} and {other[1]}."
    return ""


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


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "evaluation" / "summary.json"
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        wanted = f"expected a JSON object, got {type(found).__name__}"
        raise DataError(f"{path}: {wanted}; call `likeness evaluate` on the run.")
    return found


def _scored(folder: Path) -> _Scored:
    path = folder / "evaluation" / "summary.json"
    summary = _summary(folder)
    for key, what in {"metrics": "the facts of its metrics", "inputs_sha256": "the hash of its inputs"}.items():
        if key not in summary:
            raise DataError(f"{path}: expected {what}, got none; call `likeness evaluate` on the run.")
    scores = path.with_name("scores.jsonl")
    rows = read_jsonl(scores)
    for number, row in enumerate(rows, start=1):
        if not _is_scored(row):
            what = f"{scores}: expected id, prompt, group, subjects and values in row {number}, got {ascii(row)[:60]}"
            raise DataError(f"{what}; call `likeness evaluate` on the run.")
    return _Scored(folder, summary, rows)


def _is_scored(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("id", "group", "prompt")):
        return False
    if not isinstance(row.get("subjects"), list) or not all(isinstance(each, str) for each in row["subjects"]):
        return False
    values = row.get("values")
    return isinstance(values, dict) and all(isinstance(item, dict) and "value" in item for item in values.values())


def _cases_of(folder: Path) -> list[tuple[str, str]]:
    return [(case.id, case.prompt) for case in read_cases(case_file(folder)).cases]


def _require_same_cases(pair: _Pair) -> None:
    before, after = (_cases_of(run.folder) for run in pair)
    if before != after:
        what = f"{pair[1].folder}: expected the cases of {pair[0].folder}, got others"
        raise DataError(f"{what}; draw the same cases with both models.")


def _require_same_cards(pair: _Pair) -> None:
    before, after = pair
    if other := different_cards(before.summary, after.summary):
        what = f"{after.folder}: expected numbers under the cards of {before.folder} ({other[0]}), got {other[1]}"
        raise DataError(f"{what}; evaluate both with the same encoders and package.")


def _row(key: str, *, facts: Mapping[str, Any], benchmark: str, pairs: Sequence[_Pair]) -> dict[str, Any] | None:
    """One metric of some pairs; None where no sample was measured on both sides."""
    before, after = dict[str, float](), dict[str, float]()
    groups, prompts = dict[str, frozenset[str]](), dict[str, str]()
    for number, (old, new) in enumerate(pairs):
        before |= _values(old, key, prefix=str(number))
        after |= _values(new, key, prefix=str(number))
        groups |= {f"{number}/{row['id']}": shown_in(row) for row in old.rows}
        prompts |= {f"{number}/{row['id']}": row["prompt"] for row in old.rows}
    both = [name for name in before if name in after and not math.isnan(before[name] + after[name])]
    if not both:
        return None
    return {
        "metric": key,
        "label": facts["label"],
        "benchmark": benchmark,
        "before": sum(before[name] for name in both) / len(both),
        "after": sum(after[name] for name in both) / len(both),
        "difference": to_json(paired_difference(after, before, groups, prompts=prompts)),
        "higher_is_better": facts["higher_is_better"],
    }


def _values(run: _Scored, key: str, *, prefix: str) -> dict[str, float]:
    found = {f"{prefix}/{row['id']}": row["values"][key]["value"] for row in run.rows if key in row["values"]}
    return {name: math.nan if value is None else float(value) for name, value in found.items()}
