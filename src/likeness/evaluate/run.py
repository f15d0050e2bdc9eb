"""Evaluates a folder of pictures: values per sample, bounds per case, and the table between them.

Writes `evaluation/scores.jsonl` (one row per sample), `evaluation/scores.parquet` (the same), `evaluation/bounds.jsonl`
(floor and ceiling of each case) and `evaluation/summary.json`. First everything that metrics need is seen and kept in
the store of features (`eyes.py`, `features.py`), shared by all runs; then values, bounds and the table follow from it
in moments. A killed evaluation goes on with what was not seen yet and ends with the same bytes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

from likeness.core.devices import one_thread
from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes, read_jsonl, remove_stale_temporaries, write_json, write_jsonl
from likeness.core.hashing import json_sha256
from likeness.core.jobs import Engine, Progress, unseen
from likeness.core.records import Case, CasesFile, read_cases
from likeness.core.rows import LeftOut
from likeness.core.runs import package_versions
from likeness.core.stats.intervals import INTERVAL
from likeness.encoders import EncoderSet
from likeness.evaluate.aggregate import group_of, summary_rows, tallies
from likeness.evaluate.bounds import BoundEvidence, Pool, gather_bounds, make_pool, measure_ceiling, measure_floor
from likeness.evaluate.cards import under_cards
from likeness.evaluate.exports.table import parquet_bytes
from likeness.evaluate.eyes import Encoders, Eyes, Observer, Wishes, file_digests, see
from likeness.evaluate.failures import failures_of
from likeness.evaluate.features import FeatureStore, user_features
from likeness.evaluate.measure import Panel, derived, has_world_labels, to_row
from likeness.evaluate.samples import Found, Sample, find_samples, without_samples
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, Measured

PROTOCOL: dict[str, str] = {
    **{key: text for metric in METRICS.values() for key, text in metric.facts.protocol.items()},
    "several_subjects": "mean over subjects",
    "floor": "another subject's reference image; labels from another case's true picture",
    "ceiling": "the case's true picture, else the subject's other photos",
    "mean": "over subjects (or combinations of subjects) of the mean over their samples",
    "interval": INTERVAL,
    "arithmetic": "float32, batches of one shape, one thread",
}
PACKAGES = ("torch", "transformers", "numpy", "scipy", "pillow")

LEFT_OUT = "left_out.jsonl"
"""Beside the case file that `evaluate` writes of a benchmark: what the data set lacks, {"where", "reason"}."""

_PATHS = {"subjects": {"__all__": {"reference_image", "photos", "mask"}}}  # where files lie changes no number


class _Plan:
    """Everything an evaluation reads, fixed before the first picture is measured."""

    def __init__(
        self,
        found: Found,
        pool: Pool,
        *,
        benchmark: str,
        encoders: Encoders,
        bounds: bool,
        only: Collection[str] | None = None,
        metrics: Collection[str] | None = None,
    ) -> None:
        self.asked = metrics
        self.found, self.pool, self.benchmark, self.bounds, self.only = found, pool, benchmark, bounds, only
        self.cases = list(pool.cases.values())
        self.labelled = any(map(has_world_labels, self.cases))
        self.wishes = Wishes(encoders)
        self.metrics = self._panel(self.wishes).metrics
        self.encoders = {name: encoder.id for name, encoder in sorted(encoders.items())}
        self.digests = file_digests(_pictures(found.samples, pool=pool))

    @property
    def identity(self) -> str:
        """The hash of everything that the numbers follow from."""
        own = {
            "benchmark": self.benchmark,
            "metrics": [metric.facts.key for metric in self.metrics],
            "encoders": self.encoders,
            "versions": package_versions(*PACKAGES),
            "protocol": PROTOCOL,
        }
        return self.identity_under(own)

    def identity_under(self, facts: Mapping[str, Any]) -> str:
        """The identity of the cases and files here, where `facts` says how they were measured."""
        facts = {
            **{name: facts[name] for name in ("benchmark", "metrics", "encoders", "versions", "protocol")},
            "cases": [case.model_dump(mode="json", exclude=_PATHS) for case in self.cases],
            "samples": [sample.id for sample in self.found.samples],
            "files": [self.digests[path] for path in _pictures(self.found.samples, pool=self.pool)],
        }
        return json_sha256(facts if self.bounds else facts | {"bounds": False})

    def _panel(self, eyes: Observer) -> Panel:
        return Panel(eyes, labelled=self.labelled, only=self.asked)

    def gathered(self, eyes: Observer) -> Iterator["_CaseEvidence"]:
        """What is seen for each case, in order; the wishes of `Wishes`, the evidence of `Eyes`.

        Where `only` names samples, of these and their cases alone.
        """
        panel = self._panel(eyes)
        panel.declare(self.cases, name=self.benchmark)
        samples: dict[str, list[Sample]] = {case.id: [] for case in self.cases}
        for sample in self.found.samples:
            if self.only is None or sample.id in self.only:
                samples[sample.case.id].append(sample)
        for case in (case for case in self.cases if self.only is None or samples[case.id]):
            truth = self.pool.truth.get(case.id)
            shown = [(each.id, panel.evidence(case, picture=each.image, truth=truth)) for each in samples[case.id]]
            bounds = gather_bounds(case, pool=self.pool, panel=panel) if self.bounds else None
            yield _CaseEvidence(case, shown, bounds, panel)

    def without(self, damaged: Mapping[str, str]) -> "_Plan":
        """The plan without samples whose picture has one of the `damaged` hashes."""
        lost = {
            each.id: damaged[self.digests[each.image]]
            for each in self.found.samples
            if self.digests[each.image] in damaged
        }
        encoders = self.wishes.encoders
        found = without_samples(self.found, lost)
        return _Plan(
            found,
            self.pool,
            benchmark=self.benchmark,
            encoders=encoders,
            bounds=self.bounds,
            only=self.only,
            metrics=self.asked,
        )


class _CaseEvidence(NamedTuple):
    """A case with the evidence of its samples by id and of its bounds, and the panel that gathered it."""

    case: Case
    samples: list[tuple[str, Evidence]]
    bounds: BoundEvidence | None
    panel: Panel


def load_encoders(specs: Mapping[str, str], *, device: str = "cpu") -> EncoderSet:
    """The encoders of {name: weights}, names of ENCODERS, any of which may be left out.

    Raises: ConfigError for another name, WeightsError for weights that cannot be had.
    """
    encoders = EncoderSet(specs, device=device)
    for name in encoders:
        _ = encoders[name]
    return encoders


def evaluate_run(
    run_folder: Path,
    *,
    benchmark: str,
    encoders: Encoders,
    cases: Path | None = None,
    truth: Path | None = None,
    allow_missing: bool = False,
    bounds: bool = True,
    metrics: Collection[str] | None = None,
    workers: int | None = None,
    engine: Engine | None = None,
    features: Path | None = None,
    progress: Progress = unseen,
) -> dict[str, Any]:
    """The summary of a run folder or of any folder of pictures with a case file, as written to evaluation/summary.json.

    `cases` is the case file (the run's own when None), `truth` the folder of true pictures (`truth` beside the case
    file or in the run folder when None). Several runs of the same cases need `bounds` only once. `metrics` are the keys
    of those to measure (None: all that apply). `workers` processes
    look at pictures (None: as many as pay), started by `engine` as `run_jobs` says, and what they see is kept in the
    folder `features` (None: the user's own, `user_features`); no value depends on any of the three.
    "cards" of the summary has the same values under each protocol card that applies (`evaluate/cards.py`).
    "left_out" is [{"where", "reason"}] of everything that no number is of: unusable rows of the case
    file, rows and pictures that `generate` rejected, missing and damaged pictures, pictures that belong to no case.
    Raises: DataError for missing or unreadable pictures and cases; with `allow_missing` these are only listed;
    ConfigError for a key that no metric has.
    """
    path = cases or run_folder / "cases.jsonl"
    listed = read_cases(path)
    found = find_samples(run_folder, cases=listed.cases)
    _require_complete(listed, found, allow_missing=allow_missing, folder=run_folder)
    pool = _pool(listed.cases, places=[truth] if truth else [path.parent / "truth", run_folder / "truth"])
    plan = _Plan(found, pool, benchmark=benchmark, encoders=encoders, bounds=bounds, metrics=metrics)
    store = _store(encoders, folder=features or user_features())
    try:
        damaged = _see(plan, store=store, workers=workers, engine=engine, progress=progress)
        plan = _usable(plan, damaged, allow_missing=allow_missing)
        _require_complete(listed, plan.found, allow_missing=allow_missing, folder=run_folder)
        kinds = _by_kind(_all_rows(plan, store=store))
    finally:
        store.close()
    left_out = _left_out(listed, plan.found, path=path, folder=run_folder)
    return _write(run_folder / "evaluation", plan, kinds=kinds, left_out=left_out)


class Remeasured(NamedTuple):
    """A run looked at anew, in part: what it consists of, and the rows by kind of the samples that were asked for.

    `files` are hashes of picture files by sample id, `damaged` why a picture cannot be read by its id; `inputs_sha256`
    is that of the cases and files here under the recorded way of measuring.
    """

    cases: list[Case]
    files: dict[str, str]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    damaged: dict[str, str]
    inputs_sha256: str
    kinds: dict[str, list[dict[str, Any]]]


def remeasure(
    run_folder: Path,
    *,
    cases: Path,
    recorded: Mapping[str, Any],
    encoders: Encoders,
    only: Collection[str],
    bounds: bool,
    features: Path,
    progress: Progress = unseen,
) -> Remeasured:
    """The samples `only` of an evaluated run, measured as `evaluate_run` does, with the files hashed but none written.

    `recorded` is its summary; `features` is the folder for what encoders see, which should be a new one. Rules over a
    whole run see these samples alone. Raises: DataError for unreadable cases and photos, KeyError for a summary
    without the facts of the identity.
    """
    listed = read_cases(cases)
    found = find_samples(run_folder, cases=listed.cases)
    pool = _pool(listed.cases, places=[cases.parent / "truth", run_folder / "truth"])
    plan = _Plan(
        found,
        pool,
        benchmark=recorded["benchmark"],
        encoders=encoders,
        bounds=bounds,
        only=only,
        metrics=METRICS.keys() & recorded["metrics"].keys(),
    )
    store = _store(encoders, folder=features)
    try:
        damaged = _see(plan, store=store, workers=1, engine=None, progress=progress)
        whole = _usable(plan, damaged, allow_missing=True)
        kinds = _by_kind(_all_rows(whole, store=store))
    finally:
        store.close()
    files = {sample.id: plan.digests[sample.image] for sample in found.samples}
    unread = {name: damaged[digest] for name, digest in files.items() if digest in damaged}
    identity = plan.identity_under({**recorded, "metrics": list(recorded["metrics"])})
    return Remeasured(plan.cases, files, found.missing, found.extra, unread, identity, kinds)


def _pool(cases: Sequence[Case], *, places: Sequence[Path]) -> Pool:
    """The pool of the cases, with the true pictures of the first place that is a folder."""
    return make_pool(cases, truth_folder=next((place for place in places if place.is_dir()), None))


def _store(encoders: Encoders, *, folder: Path) -> FeatureStore:
    return FeatureStore(folder, device=encoders.device if isinstance(encoders, EncoderSet) else "cpu")


def _see(
    plan: _Plan, *, store: FeatureStore, workers: int | None, engine: Engine | None, progress: Progress
) -> dict[str, str]:
    """Everything the plan needs is in the store; returned is why not, by hash, for files that cannot be read."""
    for _ in plan.gathered(plan.wishes):
        pass
    return see(plan.wishes, store=store, digests=plan.digests, workers=workers, engine=engine, progress=progress)


def _usable(plan: _Plan, damaged: Mapping[str, str], *, allow_missing: bool) -> _Plan:
    """The plan without damaged samples. Raises: DataError for one that may not be missing, and for a damaged photo."""
    samples = {sample.image for sample in plan.found.samples}
    for path, digest in plan.digests.items():
        if digest in damaged and not (allow_missing and path in samples):
            raise DataError(damaged[digest])
    return plan.without(damaged) if damaged else plan


def _write(
    output: Path, plan: _Plan, *, kinds: Mapping[str, list[dict[str, Any]]], left_out: Sequence[LeftOut]
) -> dict[str, Any]:
    """The files of the folder `output`; returns the summary."""
    summary = _summary(plan, kinds=kinds, left_out=left_out)
    if output.is_dir():
        remove_stale_temporaries(output)
    (output / "summary.json").unlink(missing_ok=True)  # so that no old summary stands beside new scores
    images = _foreign_images(plan.found, folder=output.parent)
    scores = [{key: value for key, value in row.items() if key != "row"} for row in kinds["generated"]]
    files = {sample.id: {"sha256": plan.digests[sample.image]} for sample in plan.found.samples}
    scores = [row | images.get(row["id"], {}) | files[row["id"]] for row in scores]
    write_jsonl(output / "scores.jsonl", scores)
    (output / "bounds.jsonl").unlink(missing_ok=True)
    if plan.bounds:
        floors, ceilings = kinds["floor"], kinds["ceiling"]
        write_jsonl(output / "bounds.jsonl", [row for both in zip(floors, ceilings, strict=True) for row in both])
    atomic_write_bytes(output / "scores.parquet", parquet_bytes(summary, scores))
    write_json(output / "summary.json", summary)
    return summary


def _foreign_images(found: Found, *, folder: Path) -> dict[str, dict[str, str]]:
    """By sample, where its picture lies, for pictures whose names do not say it and that no manifest.jsonl lists."""
    if found.layout == "names" or (folder / "manifest.jsonl").is_file():
        return {}
    return {each.id: {"image": each.image.relative_to(folder).as_posix()} for each in found.samples}


def _require_complete(listed: CasesFile, found: Found, *, allow_missing: bool, folder: Path) -> None:
    if not found.samples:
        refused = [*found.reasons.values(), *(row.reason for row in found.rows)]
        first = f"; first picture left out: {refused[0]}" if refused else ""
        got = f"none of {len(listed.cases)} cases (first: {listed.cases[0].id}){first}"
        wanted = "pictures named <case_id>.png or <case_id>-<k>.png"
        raise DataError(f"{folder}: expected {wanted}, found {got}; check the names.")
    if found.missing and not allow_missing:
        got = f"{len(found.missing)} are missing (first: {found.missing[0]})"
        wanted = "a picture for every case"
        raise DataError(f"{folder}: expected {wanted}, {got}; generate them, or allow missing pictures.")
    if listed.left_out and not allow_missing:
        got = f"{len(listed.left_out)} are not (first: {listed.left_out[0].reason})"
        raise DataError(f"Cases: expected every row to be usable, {got}; correct them, or allow missing pictures.")


def _pictures(samples: Sequence[Sample], *, pool: Pool) -> list[Path]:
    """All pictures that are looked at, in a fixed order."""
    subjects = [subject for case in pool.cases.values() for subject in case.subjects]
    photos = [path for s in subjects for path in (s.reference_image, *s.measured_photos)]
    return [*(sample.image for sample in samples), *photos, *pool.truth.values()]


def _all_rows(plan: _Plan, *, store: FeatureStore) -> list[dict[str, Any]]:
    """The rows of all cases in order: those of its samples, then its floor and its ceiling."""
    rows: list[dict[str, Any]] = []
    with one_thread():
        for case, samples, bounds, panel in plan.gathered(Eyes(plan.wishes.encoders, store, plan.digests)):
            for name, evidence in samples:
                rows.append(_row(name, case, kind="generated", measured=panel.measure_all(evidence)))
            if bounds is not None:
                floor, ceiling = (measure(case, bounds, panel=panel) for measure in (measure_floor, measure_ceiling))
                rows.append(_row(f"{case.id}-floor", case, kind="floor", measured=floor))
                rows.append(_row(f"{case.id}-ceiling", case, kind="ceiling", measured=ceiling))
    return rows


def _by_kind(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of pictures, floors and ceilings apart, after every metric's rule over the run."""
    kinds = {kind: [row for row in rows if row["row"] == kind] for kind in ("generated", "floor", "ceiling")}
    kinds = {kind: found for kind, found in kinds.items() if found}
    for found in kinds.values():
        for key in found[0]["values"]:
            derived(found, METRICS[key])
    return kinds


def _row(row_id: str, case: Case, *, kind: str, measured: Mapping[str, Measured]) -> dict[str, Any]:
    subjects = [subject.id for subject in case.subjects]
    group = group_of(subjects, case_id=case.id)
    names = {"row": kind, "id": row_id, "case_id": case.id, "subjects": subjects, "group": group, "prompt": case.prompt}
    return names | to_row(measured, case)


def _left_out(listed: CasesFile, found: Found, *, path: Path, folder: Path) -> list[LeftOut]:
    """Everything that no number is of, with places relative to the case file at `path` and to the run `folder`."""
    is_own = path.resolve() == (folder / "cases.jsonl").resolve()
    rejected = _rejected(folder / "rejected.jsonl") if is_own else _rejected(path.with_name(LEFT_OUT))
    rows = [*listed.left_out, *rejected, *found.left_out()]
    return [LeftOut(where=_within(row.where, path, folder), reason=_within(row.reason, path, folder)) for row in rows]


def _rejected(path: Path) -> list[LeftOut]:
    """What `generate` left out of the run. Raises: DataError for a row that does not say where and why."""
    try:
        return [LeftOut.of_row(row) for row in read_jsonl(path)] if path.is_file() else []
    except DataError as error:
        wanted = f"{path}: expected rows of where and reason, got others ({error})"
        raise DataError(f"{wanted}; repeat `likeness generate`.") from None


def _within(text: str, path: Path, folder: Path) -> str:
    """The text without the places where somebody keeps the case file and the run."""
    for place in sorted({f"{path.parent}/", f"{folder}/"} - {"./", "/"}, key=len, reverse=True):
        text = text.replace(place, "")
    return text


def _summary(
    plan: _Plan, *, kinds: Mapping[str, Sequence[dict[str, Any]]], left_out: Sequence[LeftOut]
) -> dict[str, Any]:
    return {
        "benchmark": plan.benchmark,
        "inputs_sha256": plan.identity,
        "num_cases": len(plan.cases),
        "num_samples": len(plan.found.samples),
        "missing_images": list(plan.found.missing),
        "extra_images": list(plan.found.extra),
        "layout": plan.found.layout,
        "left_out": [row.model_dump() for row in left_out],
        "protocol": PROTOCOL,
        "encoders": plan.encoders,
        "metrics": {metric.facts.key: metric.facts.shown() for metric in plan.metrics},
        "rows": summary_rows(kinds, num_missing=len(plan.found.missing)),
        **under_cards(kinds, cases=plan.cases, benchmark=plan.benchmark, encoders=plan.encoders),
        "versions": package_versions(*PACKAGES),
        **tallies(kinds["generated"]),
        **failures_of(kinds["generated"], cases=plan.cases),
    }
