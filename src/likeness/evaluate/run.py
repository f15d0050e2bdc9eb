"""Evaluates a folder of pictures: values per sample, bounds per case, and the table between them.

Writes `evaluation/scores.jsonl` (one row per sample), `evaluation/bounds.jsonl` (floor and ceiling of each case) and
`evaluation/summary.json`. Work is kept in parts of a few cases; a killed evaluation continues with the next part and
ends with the same bytes, since a part's content depends on its own cases and pictures only.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # JSON

from likeness.core.devices import one_thread
from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_jsonl, remove_stale_temporaries, write_json, write_jsonl
from likeness.core.hashing import file_sha256, json_sha256, short
from likeness.core.jobs import Progress, unseen
from likeness.core.records import Case, CasesFile, read_cases
from likeness.core.rows import LeftOut
from likeness.core.runs import package_versions
from likeness.encoders import ENCODERS, load_encoder
from likeness.evaluate.aggregate import group_of, summary_rows, tallies
from likeness.evaluate.bounds import Pool, make_pool, measure_ceiling, measure_floor
from likeness.evaluate.measure import Encoders, Eyes, Panel, derived, to_row
from likeness.evaluate.samples import Found, Sample, find_samples, without_damaged
from likeness.metrics import METRICS
from likeness.metrics.base import Measured

PROTOCOL: dict[str, str] = {
    **{key: text for metric in METRICS.values() for key, text in metric.facts.protocol.items()},
    "several_subjects": "mean over subjects",
    "floor": "another subject's reference image; labels from another case's true picture",
    "ceiling": "the case's true picture, else the subject's other photos",
    "mean": "over subjects (or combinations of subjects) of the mean over their samples",
    "interval": "95% percentile bootstrap over the same groups, 2000 resamples, seed 0",
    "arithmetic": "float32, one picture at a time, one thread",
}
PACKAGES = ("torch", "transformers", "numpy", "scipy", "pillow")

_PATHS = {"subjects": {"__all__": {"reference_image", "photos"}}}  # where files lie changes no number


class _Plan:
    """Everything an evaluation reads, fixed before the first picture is measured."""

    def __init__(self, found: Found, pool: Pool, *, benchmark: str, eyes: Eyes, bounds: bool) -> None:
        self.found, self.pool, self.benchmark, self.bounds = found, pool, benchmark, bounds
        self.cases = list(pool.cases.values())
        labelled = any(case.action or case.scene or any(s.attributes for s in case.subjects) for case in self.cases)
        self.panel = Panel(eyes, labelled=labelled)
        self.encoders = {name: encoder.id for name, encoder in sorted(eyes.encoders.items())}
        facts: dict[str, Any] = {
            "benchmark": benchmark,
            "metrics": [metric.facts.key for metric in self.panel.metrics],  # parts hold a value of each
            "encoders": self.encoders,
            "versions": package_versions(*PACKAGES),
            "protocol": PROTOCOL,
            "cases": [case.model_dump(mode="json", exclude=_PATHS) for case in self.cases],
            "samples": [sample.id for sample in found.samples],
            "files": _file_hashes(found.samples, pool=pool),
        }
        self.identity = json_sha256(facts if bounds else facts | {"bounds": False})


def load_encoders(specs: Mapping[str, str], *, device: str = "cpu") -> Encoders:
    """The encoders of {name: weights}, names of ENCODERS, any of which may be left out.

    Raises: ConfigError for another name, WeightsError for weights that cannot be had.
    """
    if unknown := sorted(set(specs) - set(ENCODERS)):
        raise ConfigError(f"Encoders: expected one of {', '.join(ENCODERS)}, got {unknown[0]}; correct the name.")
    return {name: load_encoder(name, specs[name], device=device) for name in ENCODERS if name in specs}


def evaluate_run(
    run_folder: Path,
    *,
    benchmark: str,
    encoders: Encoders | Eyes,
    cases: Path | None = None,
    truth: Path | None = None,
    batch_size: int = 16,
    allow_missing: bool = False,
    bounds: bool = True,
    progress: Progress = unseen,
) -> dict[str, Any]:
    """The summary of a run folder or of any folder of pictures with a case file, as written to evaluation/summary.json.

    `cases` is the case file (the run's own when None), `truth` the folder of true pictures (`truth` beside the case
    file or in the run folder when None). `batch_size` cases make one part; no value depends on it. Several runs
    of the same cases need `bounds` only once, and an `Eyes` in place of encoders looks at their photos only once.
    "left_out" of the summary is [{"where", "reason"}] of everything that no number is of: unusable rows of the case
    file, rows and pictures that `generate` rejected, missing and damaged pictures, pictures that belong to no case.
    Raises: DataError for missing or unreadable pictures and cases; with `allow_missing` these are only listed.
    """
    if batch_size < 1:
        raise ConfigError(f"Evaluation: expected a batch size of at least 1, got {batch_size}; 16 is usual.")
    eyes = encoders if isinstance(encoders, Eyes) else Eyes(encoders)
    path = cases or run_folder / "cases.jsonl"
    listed = read_cases(path)
    found = find_samples(run_folder, cases=listed.cases)
    found = without_damaged(found) if allow_missing else found
    _require_complete(listed, found, allow_missing=allow_missing, folder=run_folder)
    left_out = _left_out(listed, found, path=path, folder=run_folder)
    candidates = [truth] if truth else [path.parent / "truth", run_folder / "truth"]
    pool = make_pool(listed.cases, truth_folder=next((c for c in candidates if c.is_dir()), None))
    plan = _Plan(found, pool, benchmark=benchmark, eyes=eyes, bounds=bounds)
    output = run_folder / "evaluation"
    if output.is_dir():
        remove_stale_temporaries(output)
    parts = output / "parts" / f"{short(plan.identity)}-{batch_size}"
    kinds = _by_kind(_all_rows(plan, parts=parts, batch_size=batch_size, progress=progress))
    summary = _summary(plan, kinds=kinds, left_out=left_out)
    (output / "summary.json").unlink(missing_ok=True)  # so that no old summary stands beside new scores
    scores = [{key: value for key, value in row.items() if key != "row"} for row in kinds["generated"]]
    write_jsonl(output / "scores.jsonl", scores)
    (output / "bounds.jsonl").unlink(missing_ok=True)
    if bounds:
        floors, ceilings = kinds["floor"], kinds["ceiling"]
        write_jsonl(output / "bounds.jsonl", [row for both in zip(floors, ceilings, strict=True) for row in both])
    write_json(output / "summary.json", summary)
    shutil.rmtree(output / "parts")
    return summary


def _require_complete(listed: CasesFile, found: Found, *, allow_missing: bool, folder: Path) -> None:
    if not found.samples:
        got = f"none of {len(listed.cases)} cases (first: {listed.cases[0].id})"
        wanted = "pictures named <case_id>.png or <case_id>-<k>.png"
        raise DataError(f"{folder}: expected {wanted}, found {got}; check the names.")
    if found.missing and not allow_missing:
        got = f"{len(found.missing)} are missing (first: {found.missing[0]})"
        wanted = "a picture for every case"
        raise DataError(f"{folder}: expected {wanted}, {got}; generate them, or allow missing pictures.")
    if listed.left_out and not allow_missing:
        got = f"{len(listed.left_out)} are not (first: {listed.left_out[0].reason})"
        raise DataError(f"Cases: expected every row to be usable, {got}; correct them, or allow missing pictures.")


def _file_hashes(samples: Sequence[Sample], *, pool: Pool) -> list[str]:
    """Content hashes of all pictures that are looked at, in a fixed order."""
    subjects = [subject for case in pool.cases.values() for subject in case.subjects]
    photos = [path for s in subjects for path in (s.reference_image, *s.measured_photos)]
    paths = [*(sample.image for sample in samples), *photos, *pool.truth.values()]
    known = {path: file_sha256(path) for path in dict.fromkeys(paths)}
    return [known[path] for path in paths]


def _all_rows(plan: _Plan, *, parts: Path, batch_size: int, progress: Progress) -> list[dict[str, Any]]:
    """The rows of all parts in case order; parts that exist are read, the others are measured and written."""
    cases = plan.cases
    samples: dict[str, list[Sample]] = {case.id: [] for case in cases}
    for sample in plan.found.samples:
        samples[sample.case.id].append(sample)
    rows: list[dict[str, Any]] = []
    with one_thread():
        for start in range(0, len(cases), batch_size):
            part = parts / f"{start:06d}.jsonl"
            batch = cases[start : start + batch_size]
            if not part.is_file():
                write_jsonl(part, [row for case in batch for row in _case_rows(case, samples[case.id], plan=plan)])
            rows.extend(read_jsonl(part))
            progress(start + len(batch), len(cases))
    return rows


def _case_rows(case: Case, samples: Sequence[Sample], *, plan: _Plan) -> list[dict[str, Any]]:
    panel, pool = plan.panel, plan.pool
    rows = [_row(each.id, case, kind="generated", measured=panel.measure_picture(each.image, case)) for each in samples]
    if plan.bounds:
        floor, ceiling = measure_floor(case, pool=pool, panel=panel), measure_ceiling(case, pool=pool, panel=panel)
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
    names = {"row": kind, "id": row_id, "case_id": case.id, "subjects": subjects, "group": group}
    return names | to_row(measured, case)


def _left_out(listed: CasesFile, found: Found, *, path: Path, folder: Path) -> list[LeftOut]:
    """Everything that no number is of, with places relative to the case file at `path` and to the run `folder`."""
    is_own = path.resolve() == (folder / "cases.jsonl").resolve()
    rows = [*listed.left_out, *(_rejected(folder / "rejected.jsonl") if is_own else []), *found.left_out()]
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
        "left_out": [row.model_dump() for row in left_out],
        "protocol": PROTOCOL,
        "encoders": plan.encoders,
        "metrics": {metric.facts.key: metric.facts.shown() for metric in plan.panel.metrics},
        "rows": summary_rows(kinds, num_missing=len(plan.found.missing)),
        "versions": package_versions(*PACKAGES),
        **tallies(kinds["generated"]),
    }
