"""Pictures of a run drawn again from its record, beside those that lie there.

Weights, settings, seeds and references are the recorded ones, and the functions those that drew the run. On the same
kind of machine with the same versions, bytes are equal; elsewhere the largest difference of a pixel says how close.
"""

import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: run.json

import numpy as np

from likeness.backbones.memory import Memory
from likeness.core.devices import pick_device, processor
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.files import read_jsonl
from likeness.core.hashing import short
from likeness.core.images import load_image
from likeness.core.records import Case, read_cases, with_paths
from likeness.core.rng import seed_for
from likeness.core.runs import package_versions, recorded_run
from likeness.core.weights import resolve_adapter, resolve_weights, weights_facts
from likeness.generate.makers import BACKBONE, MakerSpec, read_options
from likeness.generate.placing import placing_of
from likeness.generate.references import copy_references, read_references
from likeness.generate.samples import PictureJob, jobs_of
from likeness.generate.workers import Plan, make_pictures

__all__ = ["Redrawing", "Redrawn", "redraw"]

_PLACE = {"device", "dtype", "maker", "quantise", "merge_lora", "layout"}
"""Settings that say where and by what a picture was drawn; the others are the maker's own options."""


class Redrawn(NamedTuple):
    """A picture beside the same one drawn again.

    `largest` is the largest difference of a channel in grey levels of 255, None where the two cannot be compared.
    `reason` says what is different, "" for the same bytes.
    """

    id: str
    same_bytes: bool
    largest: int | None
    reason: str = ""


class Redrawing(NamedTuple):
    """The pictures drawn again; `elsewhere` is what is another here than where the run was drawn, a line each.

    Only where it is empty must bytes be equal.
    """

    pictures: tuple[Redrawn, ...]
    elsewhere: tuple[str, ...]

    @property
    def differing(self) -> tuple[Redrawn, ...]:
        """Pictures that are not what their record says; where all else is not equal, those that cannot be compared."""
        return tuple(each for each in self.pictures if each.reason and (not self.elsewhere or each.largest is None))


def redraw(
    run: Path, *, count: int, seed: int = 0, model: str | None = None, loras: Sequence[str] = (), device: str = "auto"
) -> Redrawing:
    """`count` pictures of the run, or all, chosen by the seed, drawn again in a temporary folder.

    `model` and `loras` say where weights lie that the record names by their last part only; `device` is the recorded
    one for "auto", or what there is. A picture whose file is gone or another is a finding and no error.
    Raises: ConfigError for a count below 1; DataError for a run that `generate` did not make; WeightsError for weights
    that cannot be had or are others than the recorded ones.
    """
    if count < 1:
        raise ConfigError(f"--redraw: expected at least 1 picture, got {count}; raise it.")
    record = _record(run)
    settings = record["settings"]
    maker = settings["maker"]
    here = _device(device, recorded=settings["device"])
    weights, adapters = _weights(record["model"], model=model, loras=loras)
    load = maker if ":" in maker else BACKBONE
    options = read_options(load, {name: settings[name] for name in settings.keys() - _PLACE}, folder=weights)
    jobs = _jobs(run, record, count=count, seed=seed)
    with tempfile.TemporaryDirectory(prefix="likeness-redraw-") as folder:
        kept = Memory(quantise=settings.get("quantise", "none"), merge_lora=settings.get("merge_lora", False))
        plan = Plan(Path(folder), MakerSpec(load, weights, here, settings["dtype"], adapters, kept), options)
        copy_references(read_references(_placed([job.case for job in jobs], run)), folder=plan.folder)
        outcomes = make_pictures(jobs, plan=plan, workers=1)
        pictures = tuple(_beside(run, plan.folder, job, refusal=outcome.refusal) for job, outcome in outcomes)
    return Redrawing(pictures, tuple(_elsewhere(record, device=here)))


def _record(run: Path) -> dict[str, Any]:
    """Raises: DataError for anything but a run of `generate`."""
    record = recorded_run(run)
    if record.get("kind") != "generate" or not {"model", "settings", "versions", "num_images"} <= record.keys():
        what = f"{run / 'run.json'}: expected the record of `likeness generate`, got another or none"
        raise DataError(f"{what}; only pictures that it drew can be drawn again.")
    return record


def _device(wanted: str, *, recorded: str) -> str:
    """The wanted device, else the recorded one, else what there is."""
    if wanted != "auto":
        return pick_device(wanted)
    try:
        return pick_device(recorded)
    except ConfigError:
        return pick_device()


def _weights(facts: Mapping[str, Any], *, model: str | None, loras: Sequence[str]) -> tuple[Path, tuple[Path, ...]]:
    """Where the recorded model and adapters lie. Raises: ConfigError, WeightsError."""
    known = facts.get("loras", [])
    if loras and len(loras) != len(known):
        raise ConfigError(f"--lora: expected as many as the run has ({len(known)}), got {len(loras)}; name each.")
    weights = _same(resolve_weights(model or facts["id"]), facts, flag="--model")
    named = [*loras] or [each["id"] for each in known]
    return weights, tuple(
        _same(resolve_adapter(spec), each, flag="--lora") for spec, each in zip(named, known, strict=True)
    )


def _same(place: Path, facts: Mapping[str, Any], *, flag: str) -> Path:
    """The place, whose weights have the recorded hash. Raises: WeightsError."""
    found = weights_facts(facts["id"], place)["sha256"]
    if found != facts["sha256"]:
        what = f"{facts['id']}: expected weights with SHA-256 {short(facts['sha256'])}..., got {short(found)}..."
        raise WeightsError(f"{what}; name the folder of the recorded ones with {flag}.")
    return place


def _jobs(run: Path, record: Mapping[str, Any], *, count: int, seed: int) -> list[PictureJob]:
    """The chosen pictures, with the proofs that the run gave them."""
    cases = read_cases(run / "cases.jsonl").cases
    relative = [with_paths(case, lambda path: Path(os.path.relpath(path, run))) for case in cases]
    rows = read_jsonl(run / "manifest.jsonl")
    shown = [each for row in rows for each in row["references"]]
    digests = {Path(each["file"]): each["sha256"] for each in shown}
    digests |= {Path(each["mask"]): each["mask_sha256"] for each in shown if "mask" in each}
    model = record["model"]
    hashes = [weights["sha256"] for weights in (model, *model.get("loras", []))]
    drawn = {row["id"] for row in rows}
    jobs = [
        job
        for job in jobs_of(
            relative,
            num_images=record["num_images"],
            digests=digests,
            provenance={"model": "+".join(hashes), "settings": record["settings"]},
            placing=placing_of(record),
        )
        if job.id in drawn
    ]
    picked = random.Random(seed_for("redraw", seed)).sample(range(len(jobs)), min(count, len(jobs)))
    return [jobs[place] for place in sorted(picked)]


def _placed(cases: Sequence[Case], run: Path) -> list[Case]:
    """The cases with paths from here instead of from the run."""
    return [with_paths(case, lambda path: run / path) for case in cases]


def _beside(run: Path, folder: Path, job: PictureJob, *, refusal: str) -> Redrawn:
    if refusal:
        return Redrawn(job.id, False, None, f"it cannot be drawn: {refusal}")
    old, new = run / job.file, folder / job.file
    try:
        if old.read_bytes() == new.read_bytes():
            return Redrawn(job.id, True, 0)
        shown = np.asarray(load_image(old), dtype=np.int16)
    except (DataError, OSError) as error:
        return Redrawn(job.id, False, None, f"the file cannot be read: {error}")
    drawn = np.asarray(load_image(new), dtype=np.int16)
    if shown.shape != drawn.shape:
        sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in (shown, drawn))
        return Redrawn(job.id, False, None, f"other sizes: {sizes} px")
    gap = np.abs(shown - drawn)
    largest = int(gap.max())
    where = f"{int((gap.max(axis=2) > 0).sum())} px differ, by at most {largest} of 255"
    return Redrawn(job.id, False, largest, where if largest else "equal pixels in a file with other bytes")


def _elsewhere(record: Mapping[str, Any], *, device: str) -> list[str]:
    """Why bytes may differ though nothing is wrong."""
    then = {"device": record["settings"]["device"], "processor": record.get("processor"), **record["versions"]}
    names = [name for name in record["versions"] if name not in ("likeness", "python")]
    here = {"device": device.partition(":")[0], "processor": processor(device), **package_versions(*names)}
    return [
        f"{name} {then[name] or 'not recorded'} when it was drawn, {here[name]} here"
        for name in then
        if then[name] != here[name]
    ]
