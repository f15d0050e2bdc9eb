"""The generation run: cases in, a folder of pictures with their manifest out, however often it was interrupted."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple  # Any: identities and rows are JSON

from likeness.backbones.memory import Memory
from likeness.backbones.open import kind_of, lora_facts
from likeness.backbones.options import Options
from likeness.core.devices import pick_device, pick_dtype_name, processor
from likeness.core.errors import ConfigError, DataError, LikenessError, NoCaseError
from likeness.core.files import write_jsonl
from likeness.core.hashing import beginnings_sha256, json_sha256
from likeness.core.jobs import Engine, Progress, unseen
from likeness.core.kinds import LayoutMode
from likeness.core.records import Case
from likeness.core.rows import LeftOut
from likeness.core.runs import grow_run, hold_run, open_run, package_versions
from likeness.core.weights import resolve_adapter, resolve_weights, weights_facts
from likeness.generate.makers import BACKBONE, LoadMaker, MakerSpec, maker_for, maker_name, read_options
from likeness.generate.placing import layout_mode, placing_of
from likeness.generate.references import References, copy_references, read_references
from likeness.generate.samples import PictureJob, jobs_of, manifest_row, read_notes
from likeness.generate.workers import Plan, make_pictures

__all__ = ["Notice", "RunSummary", "generate_run"]

_VERSIONED = ("torch", "diffusers", "transformers", "peft", "safetensors", "tokenizers", "numpy", "pillow")


class RunSummary(NamedTuple):
    """What a run folder holds now: `num_images` pictures, `num_made` of them new, and what was left out and why.

    `notes` are the model's remarks on prompts: words that it does not know, or more of them than it reads.
    `loras` is what run.json says of each adapter: `id`, `sha256`, and the number of `layers` it changes.
    """

    folder: Path
    num_images: int
    num_made: int
    left_out: tuple[LeftOut, ...]
    notes: dict[str, tuple[str, ...]]
    loras: tuple[dict[str, Any], ...] = ()


Notice = Callable[[str, Sequence[str]], None]
"""Called with a prompt and the model's notes on it, once per prompt that has any, when its first picture is made."""


def _unnoticed(prompt: str, notes: Sequence[str]) -> None:
    """The notice that nobody reads."""


def generate_run(
    cases: Sequence[Case],
    *,
    out: Path | str,
    model: str,
    loras: Sequence[Path | str] = (),
    num_images: int = 1,
    options: Mapping[str, Any] | None = None,
    workers: int = 1,
    engine: Engine | None = None,
    device: str = "auto",
    dtype: str = "auto",
    memory: Memory | None = None,
    maker: str | LoadMaker = BACKBONE,
    layout: LayoutMode | None = None,
    benchmark: str | None = None,
    left_out: Sequence[LeftOut] = (),
    progress: Progress = unseen,
    notice: Notice = _unnoticed,
) -> RunSummary:
    """The folder `out` holds every picture of the cases that can be made, and the files that say what they are.

    Picture k of a case has the seed case.seed + k. Pictures already there are kept when their PNG is whole and was made
    from the same inputs: a run killed at any moment and started again ends with the same bytes as an uninterrupted one,
    and one of the first cases grows to one of all. No picture depends on `workers`, `engine` or the cases' order.
    `options` are the backbone's own (steps, size ...), checked before any weights are loaded; `loras` are files,
    folders or hub ids of adapters that all act on `model`, which is kept as `memory` says; `layout` says where
    subjects are to be, for a model that reads that (`placing.py`; None: proposed); `benchmark` names the cases in
    run.json. Cases with unreadable pictures are in rejected.jsonl, after the `left_out` rows passed in, and the others
    go on. `progress` counts pictures; `notice` hears of words that the model lacks.
    Raises: ConfigError, DataError (no usable case, an id twice, a blank prompt), WeightsError, OutputError.
    """
    _require_sound(cases, num_images=num_images, workers=workers)
    device, memory = pick_device(device), memory or Memory()
    dtype = pick_dtype_name(device, dtype)
    memory.require_usable(device=device, num_loras=len(loras))
    weights, adapters = resolve_weights(model), tuple(resolve_adapter(lora) for lora in loras)
    load, references = maker_for(maker_name(maker), adapters), read_references(cases)
    if not references.cases:
        raise _no_case(references.left_out[0].reason)
    facts = _model_facts(model, weights, _adapter_facts(loras, adapters, base=weights, load=load))
    asked = read_options(load, options or {}, folder=weights)
    settings, told = _settings(asked, weights=weights, device=device)
    kind = kind_of(weights) if load == BACKBONE else load
    mode = layout_mode(layout, kind=kind)
    place = {"device": device.partition(":")[0], "dtype": dtype, "maker": kind, **({"layout": mode} if mode else {})}
    what = {"model": facts, "settings": {**settings, **place, **memory.settings()}}
    versions = package_versions(*_VERSIONED, *memory.packages)
    identity = _identity(references.cases, **what, num_images=num_images, benchmark=benchmark, versions=versions)
    plan = Plan(Path(out), MakerSpec(load, weights, device, dtype, adapters, memory), asked)
    is_new, left_out = not (plan.folder / "run.json").exists(), (*left_out, *references.left_out)
    _open(plan.folder, identity=identity, told=told, cases=references.cases)
    with hold_run(out):
        try:
            made = _Making(plan, workers=workers, engine=engine, progress=progress, notice=notice)
            return _run(references, making=made, identity=identity | told, left_out=left_out)
        except LikenessError:
            if is_new:
                _withdraw(plan.folder)
            raise


def _identity(
    cases: Sequence[Case], *, model: Any, settings: Any, num_images: int, benchmark: str | None, versions: Any
) -> dict[str, Any]:  # Any: JSON
    return {
        "kind": "generate",
        "model": model,
        "settings": settings,
        "num_images": num_images,
        "benchmark": benchmark,
        "cases_sha256": json_sha256(_case_rows(cases)),
        "versions": versions,
    }


def _settings(
    asked: Options | Mapping[str, Any], *, weights: Path, device: str
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """What was asked, which decides the pictures, and what is told beside it: the values in force and the processor.

    On another processor the last bits of a picture may differ.
    """
    own, in_force = (asked.settings(), asked.in_force(weights)) if isinstance(asked, Options) else (asked, asked)
    return own, {"settings_in_force": in_force, "processor": processor(device)}


def _open(folder: Path, *, identity: dict[str, Any], told: dict[str, Any], cases: Sequence[Case]) -> None:
    """The folder is that of this run: a new one, the same to be continued, or that of its first cases, which grows."""
    rows = _case_rows(cases)
    grow_run(folder, identity=identity, key="cases_sha256", may_grow=lambda old: old in beginnings_sha256(rows))
    open_run(folder, identity=identity, told=told)


def _no_case(reason: str) -> NoCaseError:
    return NoCaseError(f"cases: expected one usable case, got none; first reason: {reason}", reason=reason)


def _withdraw(folder: Path) -> None:
    """A new run without a single picture is gone, so that the mended command can have its place."""
    if any(folder.glob("images/*.png")):
        return
    for name in ("references", "images"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("cases.jsonl", "run.json"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # not empty after all, or a mount point
        folder.rmdir()


def _require_sound(cases: Sequence[Case], *, num_images: int, workers: int) -> None:
    for name, count in {"num_images": num_images, "workers": workers}.items():
        if count < 1:
            raise ConfigError(f"{name}: expected at least 1, got {count}; raise it.")
    if not cases:
        raise DataError("cases: expected at least one case, got none; see the format in `likeness generate --help`.")
    seen: set[str] = set()
    for case in cases:
        if not case.prompt.strip():
            raise DataError(f"case {case.id}: expected a prompt with at least one word, got an empty one; write one.")
        if case.id.casefold() in seen:
            raise DataError(f"case {case.id}: expected each case id once, got it again; rename one of them.")
        seen.add(case.id.casefold())


def _model_facts(model: str, weights: Path, adapters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # Any: JSON
    return weights_facts(model, weights) | ({"loras": list(adapters)} if adapters else {})


def _adapter_facts(
    loras: Sequence[Path | str], adapters: Sequence[Path], *, base: Path, load: str
) -> list[dict[str, Any]]:  # Any: JSON
    """What is known of each adapter; how many layers it changes, only a backbone can say, not a maker of one's own."""
    named = list(zip(loras, adapters, strict=True))
    if load == BACKBONE:
        return [lora_facts(lora, adapter, base=base) for lora, adapter in named]
    return [dict(weights_facts(lora, adapter)) for lora, adapter in named]


def _case_rows(cases: Iterable[Case]) -> list[dict[str, Any]]:
    return [case.model_dump(mode="json") for case in cases]


class _Making(NamedTuple):
    """How pictures are made, and who hears of it."""

    plan: Plan
    workers: int
    engine: Engine | None
    progress: Progress
    notice: Notice


def _run(
    references: References, *, making: _Making, identity: dict[str, Any], left_out: Sequence[LeftOut]
) -> RunSummary:
    plan = making.plan
    copy_references(references, folder=plan.folder)
    write_jsonl(plan.folder / "cases.jsonl", _case_rows(references.cases))
    hashes = [weights["sha256"] for weights in (identity["model"], *identity["model"].get("loras", []))]
    jobs = jobs_of(
        references.cases,
        num_images=identity["num_images"],
        digests=references.digests,
        provenance={"model": "+".join(hashes), "settings": identity["settings"]},
        placing=placing_of(identity),
    )
    missing = [job for job in jobs if read_notes(job, folder=plan.folder) is None]
    refused = _make_all(missing, making=making, total=len(jobs))
    made = [job for job in jobs if job.id not in refused]
    if not made:
        raise _no_case(next(iter(refused.values())))
    notes = _write_tables(made, references=references, identity=identity, folder=plan.folder)
    left_out = (*left_out, *(LeftOut(where=job.id, reason=refused[job.id]) for job in jobs if job.id in refused))
    rejected = plan.folder / "rejected.jsonl"
    if left_out:
        write_jsonl(rejected, [row.model_dump() for row in left_out])
    else:
        rejected.unlink(missing_ok=True)
    loras = tuple(identity["model"].get("loras", ()))
    return RunSummary(plan.folder, len(made), len(missing) - len(refused), left_out, notes, loras)


def _make_all(missing: Sequence[PictureJob], *, making: _Making, total: int) -> dict[str, str]:
    """Why pictures could not be made, by id."""
    refused: dict[str, str] = {}
    noticed: set[str] = set()
    making.progress(total - len(missing), total)
    outcomes = make_pictures(missing, plan=making.plan, workers=making.workers, engine=making.engine)
    for done, (job, outcome) in enumerate(outcomes, start=total - len(missing) + 1):
        making.progress(done, total)
        if outcome.refusal:
            refused[job.id] = outcome.refusal
        elif outcome.notes and job.case.prompt not in noticed:
            noticed.add(job.case.prompt)
            making.notice(job.case.prompt, outcome.notes)
    return refused


def _write_tables(
    made: Sequence[PictureJob], *, references: References, identity: dict[str, Any], folder: Path
) -> dict[str, tuple[str, ...]]:
    """The manifest is written; returns the notes on prompts that have any."""
    rows: list[dict[str, Any]] = []
    remarks: dict[str, tuple[str, ...]] = {}
    for job in made:
        notes = read_notes(job, folder=folder)
        if notes is None:
            raise DataError(f"{folder / job.file}: expected the picture just made, got none; leave the run alone.")
        rows.append(manifest_row(job, notes=notes, digests=references.digests, identity=identity))
        if notes:
            remarks[job.case.prompt] = tuple(notes)
    write_jsonl(folder / "manifest.jsonl", rows)
    return remarks
