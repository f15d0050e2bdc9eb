"""An evaluated run checked against what it recorded: a random sample measured from nothing, the rest followed up.

Everything is computed by the functions that `evaluate` itself uses, with a store of features that is empty at first.
Checked are the hash of every picture, cases and files as a whole, encoders and cards by their hashes, all values of
the sample with floor and ceiling of its cases, and every mean of summary.json from the recorded rows. Other versions
of libraries are noted and are no fault: values decide.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows of scores.jsonl and summary.json are JSON

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_jsonl
from likeness.core.hashing import json_sha256, pixels_sha256
from likeness.core.images import load_image
from likeness.core.jobs import Progress, unseen
from likeness.core.masks import load_mask
from likeness.core.records import case_file
from likeness.core.rng import seed_for
from likeness.core.runs import package_versions, recorded_run
from likeness.evaluate.aggregate import summary_rows, tallies
from likeness.evaluate.cards import under_cards
from likeness.evaluate.differences import MISSING, Check, Fault
from likeness.evaluate.recorded import FoundAgain, find_encoders
from likeness.evaluate.run import PROTOCOL, Remeasured, remeasure
from likeness.evaluate.scored import AGAIN, Scored, read_scored
from likeness.metrics import METRICS

Row = dict[str, Any]
NAMES = ("case_id", "subjects", "group", "prompt")
TOLERANCE = 1e-5
SAMPLE = 32
OLD = f"its hash was not recorded; {AGAIN.removesuffix('.')}"


@dataclass
class Verified:
    """What was checked of a run, with every fault; `sample` are the ids that were measured anew."""

    run: Path
    sample: list[str]
    num_rows: int
    seed: int
    tolerance: float
    checks: list[Check] = field(default_factory=list[Check])
    notes: list[str] = field(default_factory=list[str])

    @property
    def faults(self) -> list[Fault]:
        """Everything recorded that is not so, in the order of the table."""
        return [fault for check in self.checks for fault in check.faults]

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the sample was left unchecked."""
        return not any(check.unchecked for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """For machines: `equal` says that nothing differs, `complete` that everything could be checked."""
        return {
            "run": str(self.run),
            "equal": not self.faults,
            "complete": self.is_complete,
            "sample": {"ids": self.sample, "of": self.num_rows, "seed": self.seed},
            "tolerance": self.tolerance,
            "checks": [check.to_json() for check in self.checks],
            "faults": [fault._asdict() for fault in self.faults],
            "notes": self.notes,
        }


class _Record(NamedTuple):
    """What an evaluated run says of itself: its rows by kind, and those by id."""

    scored: Scored
    kinds: dict[str, list[Row]]
    by_id: dict[str, Row]


def verify_run(
    run: Path,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    encoders: Mapping[str, str] | None = None,
    device: str = "cpu",
    progress: Progress = unseen,
) -> Verified:
    """`sample` pictures of an evaluated run measured anew, and all that follows from its rows, beside what it recorded.

    `encoders` names the weights of encoders that lay in a folder of their own. Equal seeds choose equal pictures.
    Raises: ConfigError for a sample below 1 or a tolerance below 0; DataError for a run that was not evaluated, and
    for cases or photos that cannot be read.
    """
    if sample < 1:
        raise ConfigError(f"--sample: expected at least 1 picture, got {sample}; raise it.")
    if not tolerance >= 0:
        raise ConfigError(f"--tolerance: expected 0 or more, got {tolerance}; correct it.")
    record = _read(run)
    chosen = choose(list(record.by_id), count=sample, seed=seed)
    found = Verified(run, chosen, len(record.kinds["generated"]), seed, tolerance)
    again = find_encoders(record.scored.summary["encoders"], named=encoders or {}, device=device)
    with tempfile.TemporaryDirectory(prefix="likeness-verify-") as folder:
        anew = remeasure(
            run,
            cases=case_file(run),
            recorded=record.scored.summary,
            encoders=again.same,
            only=frozenset(chosen),
            bounds="floor" in record.kinds,
            features=Path(folder),
            progress=progress,
        )
    found.checks += [*_files(record, anew, chosen=chosen), _encoders(record, again)]
    found.checks += _values(record, anew, again=again, chosen=chosen, tolerance=tolerance)
    found.checks += _aggregate(record, anew, tolerance=tolerance)
    found.notes += _versions(record)
    return found


def choose(ids: Sequence[str], *, count: int, seed: int) -> list[str]:
    """`count` of the ids at random, or all, in their order; equal seeds choose equal ids."""
    picked = set(random.Random(seed_for("verify", seed)).sample(range(len(ids)), min(count, len(ids))))
    return [name for place, name in enumerate(ids) if place in picked]


def _read(run: Path) -> _Record:
    """Raises: DataError for a run that was not evaluated, or whose evaluation lacks what verification needs."""
    scored = read_scored(run)
    for key in ("benchmark", "encoders", "versions", "protocol", "rows", "cards", "cards_refused"):
        if key not in scored.summary:
            raise DataError(f"{run / 'evaluation' / 'summary.json'}: expected {key}, got none; {AGAIN}")
    path = run / "evaluation" / "bounds.jsonl"
    bounds = read_jsonl(path) if path.is_file() else []
    kinds: dict[str, list[Row]] = {"generated": list(scored.rows)}
    for row in bounds:
        if not isinstance(row, dict) or not {"row", "id", "values"} <= row.keys():
            raise DataError(f"{path}: expected rows of floors and ceilings, got {ascii(row)[:60]}; {AGAIN}")
        kinds.setdefault(row["row"], []).append(row)
    return _Record(scored, kinds, {row["id"]: row for row in scored.rows})


# -- files -------------------------------------------------------------------------------------------------------------
def _files(record: _Record, anew: Remeasured, *, chosen: Collection[str]) -> list[Check]:
    return [_pictures(record, anew), _inputs(record, anew), _cases(record, anew), _photos(record, chosen=chosen)]


def _pictures(record: _Record, anew: Remeasured) -> Check:
    """Every picture by its hash: not the sample alone, since hashes cost little."""
    check = Check("picture")
    for name, count in Counter(row["id"] for row in record.kinds["generated"]).items():
        if count > 1:
            check.faults.append(Fault(name, "rows", f"{count} rows", "one row for each picture"))
    for name, row in record.by_id.items():
        if name not in anew.files:
            check.faults.append(Fault(name, "picture", row.get("sha256", "a row"), "no such picture"))
        elif name in anew.damaged:
            check.faults.append(Fault(name, "picture", row.get("sha256", "a row"), anew.damaged[name]))
        elif "sha256" not in row:
            check.skip(OLD)
        else:
            check.compare(name, row["sha256"], anew.files[name], column="sha256")
    for name in anew.files:
        if name not in record.by_id:
            check.faults.append(Fault(name, "rows", "no row", "a picture"))
    return check


def _inputs(record: _Record, anew: Remeasured) -> Check:
    """Cases, photos and pictures as one: a changed photo shows here, where no hash of its own was recorded."""
    check = Check("inputs")
    where = "cases, pictures, photos and true pictures together"
    check.compare(where, record.scored.summary["inputs_sha256"], anew.inputs_sha256, column="inputs_sha256")
    return check


def _cases(record: _Record, anew: Remeasured) -> Check:
    run, summary = record.scored.folder, record.scored.summary
    check = Check("cases")
    check.compare("summary.json", summary.get("num_cases"), len(anew.cases), column="num_cases")
    check.compare("summary.json", summary.get("num_samples"), len(record.by_id), column="num_samples")
    for name in ("missing_images", "extra_images"):
        found = anew.missing if name == "missing_images" else anew.extra
        check.compare("summary.json", sorted(summary.get(name, [])), sorted(found), column=name)
    recorded = recorded_run(run).get("cases_sha256")
    if recorded is not None:
        check.compare("run.json", recorded, json_sha256(read_jsonl(run / "cases.jsonl")), column="cases_sha256")
    return check


def _photos(record: _Record, *, chosen: Collection[str]) -> Check:
    """The conditioning photos of the sample and their masks, by the hashes of pixels that `generate` records."""
    check = Check("photo")
    path = record.scored.folder / "manifest.jsonl"
    rows = read_jsonl(path) if path.is_file() and recorded_run(record.scored.folder).get("kind") == "generate" else []
    references = [each for row in rows if row.get("id") in chosen for each in row.get("references", [])]
    shown = {each["file"]: (each["sha256"], load_image) for each in references}
    shown |= {each["mask"]: (each["mask_sha256"], load_mask) for each in references if "mask" in each}
    for file, (sha256, read) in sorted(shown.items()):
        try:
            check.compare(file, sha256, pixels_sha256(read(record.scored.folder / file)), column="sha256")
        except DataError as error:
            check.faults.append(Fault(file, "sha256", sha256, str(error)))
    return check


def _encoders(record: _Record, again: FoundAgain) -> Check:
    check = Check("encoder")
    for name, made in record.scored.summary["encoders"].items():
        if name in again.absent:
            check.skip(again.absent[name])
        else:
            check.compare(f"encoder {name}", made, again.other.get(name, made), column="id")
    return check


# -- values ------------------------------------------------------------------------------------------------------------
def _values(
    record: _Record, anew: Remeasured, *, again: FoundAgain, chosen: Sequence[str], tolerance: float
) -> list[Check]:
    """Who each row of the sample is of, and every value of it and of the bounds of its cases, a line for each metric.

    Rows join by id.
    """
    recorded = {name: record.by_id[name] for name in chosen if name not in anew.damaged and name in anew.files}
    cases = {row.get("case_id") for row in recorded.values()}
    for kind in record.kinds.keys() - {"generated"}:
        recorded |= {row["id"]: row for row in record.kinds[kind] if row.get("case_id") in cases}
    found = {row["id"]: row for rows in anew.kinds.values() for row in rows}
    names = Check("row")
    for name in recorded.keys() | found.keys():
        old, new = (_names(rows.get(name)) for rows in (recorded, found))
        names.compare(name, old, new)
    both = [name for name in recorded if name in found]
    keys = dict.fromkeys([*record.scored.metrics, *(key for row in recorded.values() for key in row["values"])])
    return [names, *(_column(key, [(n, recorded[n], found[n]) for n in both], again, tolerance) for key in keys)]


def _names(row: Row | None) -> Any:
    return MISSING if row is None else {name: row.get(name) for name in NAMES}


def _column(key: str, rows: Sequence[tuple[str, Row, Row]], again: FoundAgain, tolerance: float) -> Check:
    check = Check(key)
    if reason := _unmeasurable(key, again, num_rows=len(rows)):
        check.skip(reason, count=max(1, len(rows)))
        return check
    for name, old, new in rows:
        check.compare(name, _cell(old, key), _cell(new, key), tolerance=tolerance)
    return check


def _unmeasurable(key: str, again: FoundAgain, *, num_rows: int) -> str:
    """Why a metric's values cannot be compared; "" where they can."""
    if key not in METRICS:
        return f"this version of likeness has no metric {key}"
    if num_rows == 0:
        return "none of its pictures is there"
    for name in METRICS[key].facts.needs:
        if name in again.absent:
            return again.absent[name]
        if name in again.other:
            return f"the encoder {name} is another than the recorded one"
    return "its rule needs all pictures of the run" if METRICS[key].derive is not None else ""


def _cell(row: Row, key: str) -> Any:
    """A metric's value in a row, with those per subject that there are."""
    own = row["values"].get(key, MISSING)
    subjects = {
        each["subject"]: each["values"][key] for each in row.get("per_subject", []) if key in each.get("values", {})
    }
    return {**own, "per_subject": subjects} if isinstance(own, Mapping) else own


# -- what follows from the rows ----------------------------------------------------------------------------------------
def _aggregate(record: _Record, anew: Remeasured, *, tolerance: float) -> list[Check]:
    """Means, counts and intervals of summary.json from the recorded rows, the cards' and the tallies too."""
    summary = record.scored.summary
    means, cards, counts = Check("mean"), Check("card"), Check("tally")
    if unknown := {key for rows in record.kinds.values() for row in rows for key in row["values"]} - METRICS.keys():
        means.skip(f"this version of likeness has no metric {', '.join(sorted(unknown))}")
    made = summary_rows(record.kinds, num_missing=len(summary.get("missing_images", [])))
    _join(means, _by_place(summary["rows"]), _by_place(made), tolerance=tolerance)
    under = under_cards(record.kinds, cases=anew.cases, benchmark=summary["benchmark"], encoders=summary["encoders"])
    _join(cards, summary["cards_refused"], under["cards_refused"], tolerance=tolerance)
    old, new = (
        {name: {**card, "rows": {row["column"]: row for row in card["rows"]}} for name, card in found["cards"].items()}
        for found in (summary, under)
    )
    _join(cards, old, new, tolerance=tolerance)
    parts = tallies(record.kinds["generated"])
    _join(counts, {name: summary.get(name, MISSING) for name in parts}, parts, tolerance=tolerance)
    return [means, cards, counts]


def _by_place(rows: Sequence[Row]) -> dict[str, Row]:
    return {" ".join(filter(None, (row["row"], row["metric"], row["column"]))): row for row in rows}


def _join(check: Check, recorded: Mapping[str, Any], made: Mapping[str, Any], *, tolerance: float) -> None:
    for name in dict.fromkeys([*recorded, *made]):
        old, new = recorded.get(name, MISSING), made.get(name, MISSING)
        check.compare(f"summary.json, {name}", old, new, tolerance=tolerance, column="")


def _versions(record: _Record) -> list[str]:
    """A line for each version, and for each sentence of the protocol, that is another here than was recorded."""
    evaluated = record.scored.summary["versions"]
    drawn = recorded_run(record.scored.folder).get("versions") or {}
    notes: list[str] = []
    for step, versions in (("evaluated", evaluated), ("drawn", drawn)):
        here = package_versions(*(name for name in versions if name not in ("likeness", "python")))
        notes += [
            f"{name} {old} when it was {step}, {here[name]} here" for name, old in versions.items() if old != here[name]
        ]
    told = record.scored.summary["protocol"]
    changed = [name for name in dict.fromkeys([*told, *PROTOCOL]) if told.get(name) != PROTOCOL.get(name)]
    return notes + [f"protocol, {name}: {told.get(name)} then, {PROTOCOL.get(name)} here" for name in changed]
