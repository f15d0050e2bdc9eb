"""RUN/samples: pictures of fixed cases while a run goes on, by the adapter of that step, for the report and trackers.

Schema of samples.json (version 1); paths are relative to the run folder, with forward slashes.

    {"version": 1,
     "cases": [{"id": str, "prompt": str, "seed": int, "subjects": [str, ...], "references": [path, ...]}, ...]}

The picture of a case after step N is samples/N/ID.png, N in six digits, 000000 that of the untuned model. Conditions
are encoded once, into samples/conditions.safetensors, so that later no encoder is needed. Every picture is drawn from a
generator of its own by the case's seed: no random state of the training is touched.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: a condition of whichever backbone; trackers have no common type; JSON

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from likeness.backbones.base import Backbone
from likeness.backbones.cropping import seen_reference
from likeness.benchmarks import BENCHMARKS, benchmark_cases, benchmark_names
from likeness.core.errors import ConfigError, DataError
from likeness.core.files import atomic_write_bytes, atomic_write_text, canonical_json, read_json
from likeness.core.hashing import json_sha256, pixels_sha256
from likeness.core.images import load_image, png_text, save_png
from likeness.core.layouts import layout_of
from likeness.core.masks import load_mask
from likeness.core.records import Case, Subject, read_cases
from likeness.train.config import SamplesTable

VERSION = 1
CONDITIONS = "conditions.safetensors"


class Condition(NamedTuple):
    """What is drawn of a case: rows of `Backbone.prepare` for its prompt and for none; `proof` stands in its PNG."""

    id: str
    seed: int
    row: dict[str, Tensor]
    unprompted: dict[str, Tensor]
    proof: str


def check_cases(table: SamplesTable) -> None:
    """Asked before weights are loaded. Raises: ConfigError, DataError for cases that cannot be had."""
    if table.every and table.cases is not None and table.cases not in benchmark_names(needs_data=False):
        if table.cases in BENCHMARKS:
            wanted = (
                f"samples.cases: expected a benchmark that is drawn or a file, got {table.cases}, which is of photos"
            )
            raise ConfigError(f"{wanted}; write some of its cases to a file and name that.")
        if not Path(table.cases).expanduser().is_file():
            known = ", ".join(benchmark_names(needs_data=False))
            wanted = f"samples.cases: expected a file of cases or one of {known}, got {table.cases!r}"
            raise ConfigError(f"{wanted}; correct it.")
        read_cases(Path(table.cases).expanduser())


def _find_cases(table: SamplesTable, *, own: Sequence[Case], folder: Path) -> tuple[Case, ...]:
    """The cases of the table, `own` without any; those of a benchmark are drawn in `folder`."""
    if table.cases is None:
        return tuple(own[: table.limit])
    if table.cases in BENCHMARKS:
        found = benchmark_cases(table.cases, folder=folder, limit=table.limit, split="validation")
    else:
        found = read_cases(Path(table.cases).expanduser())
    return found.cases[: table.limit]


def prepare_samples(table: SamplesTable, *, own: Sequence[Case], run: Path, backbone: Backbone[Any]) -> None:
    """RUN/samples holds the cases with their references, and their conditions; those there already are kept.

    The cases are those of the table, `own` where it names none.
    Raises: DataError naming a case that the model cannot draw, OutputError.
    """
    cases = _find_cases(table, own=own, folder=run / "samples" / "cases")
    rows = [_row(case) for case in cases]
    for case, row in zip(cases, rows, strict=True):
        for subject, name in zip(case.subjects, row["references"], strict=True):
            if not (run / name).is_file():
                save_png(load_image(subject.reference_image), run / name)
    path, key = run / "samples" / CONDITIONS, _key(cases)
    if _key_of(path) != key:
        tensors: dict[str, Tensor] = {}
        for number, case in enumerate(cases):
            layout = layout_of(case) if backbone.facts.reads_layout else None
            told = {"row": case.prompt, "unprompted": ""}
            try:
                shown = [
                    seen_reference(backbone, load_image(subject.reference_image), mask=subject.mask)
                    for subject in case.subjects
                ]
                prepared = {kind: backbone.prepare(text, shown, layout=layout) for kind, text in told.items()}
            except DataError as error:
                raise DataError(f"samples.cases, {case.id}: {error}") from error
            for kind, named in prepared.items():
                tensors |= {f"{number}/{kind}/{name}": _told(tensor, backbone) for name, tensor in named.items()}
        atomic_write_bytes(path, save(tensors, metadata={"key": key}))
    facts = {"version": VERSION, "cases": rows}
    atomic_write_text(run / "samples" / "samples.json", canonical_json(facts) + "\n")


def _told(tensor: Tensor, backbone: Backbone[Any]) -> Tensor:
    """As the network computes: a training encodes references in fp32, and outside of it nothing casts them."""
    return (tensor.to(backbone.dtype) if tensor.is_floating_point() else tensor).cpu().contiguous()


def _row(case: Case) -> dict[str, Any]:
    names = [f"samples/references/{case.id}-{number}.png" for number in range(len(case.subjects))]
    subjects = [subject.class_name for subject in case.subjects]
    return {"id": case.id, "prompt": case.prompt, "seed": case.seed, "subjects": subjects, "references": names}


def _key(cases: Sequence[Case]) -> str:
    """What the conditions depend on beside the model and precision, which a run folder has one of."""
    shown = [[_seen(subject) for subject in case.subjects] for case in cases]
    facts = [[case.id, case.prompt, seen, *_places(case)] for case, seen in zip(cases, shown, strict=True)]
    return json_sha256([VERSION, facts])


def _places(case: Case) -> list[Any]:
    """The layout that a case has, in a list; nothing for one without, whose conditions are as they were."""
    return [] if case.layout is None else [case.layout.model_dump(mode="json")]


def _seen(subject: Subject) -> str | list[str]:
    """Hashes of what decides a subject's condition: of its picture, and of its mask where it has one."""
    picture = pixels_sha256(load_image(subject.reference_image))
    return picture if subject.mask is None else [picture, pixels_sha256(load_mask(subject.mask))]


def _key_of(path: Path) -> str | None:
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("key")
    except (OSError, SafetensorError):
        return None


def read_conditions(run: Path) -> list[Condition]:
    """The conditions that `prepare_samples` wrote."""
    cases = read_json(run / "samples" / "samples.json")["cases"]
    found: list[dict[str, dict[str, Tensor]]] = [{"row": {}, "unprompted": {}} for _ in cases]
    with safe_open(run / "samples" / CONDITIONS, framework="pt") as file:
        key = (file.metadata() or {})["key"]
        for name in file.keys():  # noqa: SIM118 - not a dict
            number, kind, part = name.split("/", 2)
            found[int(number)][kind][part] = file.get_tensor(name)
    return [
        Condition(case["id"], case["seed"], **each, proof=canonical_json({"case": case, "conditions": key}))
        for case, each in zip(cases, found, strict=True)
    ]


def picture_file(run: Path, *, step: int, case: str) -> Path:
    """Where the picture of a case after a step lies."""
    return run / "samples" / f"{step:06d}" / f"{case}.png"


@torch.no_grad()
def take_samples(run: Path, *, step: int, backbone: Backbone[Any], accelerator: Accelerator, together: bool) -> None:
    """RUN/samples/STEP and the trackers have a picture of every case, by the network as it is and its own options.

    Pictures that are there already are kept, unless the processes must make their passes `together`.
    """
    if not (together or accelerator.is_main_process):
        return
    wanted = [each for each in read_conditions(run) if together or not _shows(run, each, step=step)]
    pictures = {c.id: backbone.paint(c.row, seed=c.seed, unprompted=c.unprompted) for c in wanted}
    if accelerator.is_main_process:
        for each in wanted:
            file = picture_file(run, step=step, case=each.id)
            save_png(pictures[each.id], file, text={"likeness": each.proof})
        _log_pictures(accelerator.trackers, pictures, step=step)


def _shows(run: Path, condition: Condition, *, step: int) -> bool:
    try:
        return png_text(picture_file(run, step=step, case=condition.id)).get("likeness") == condition.proof
    except DataError:
        return False


def _log_pictures(trackers: Sequence[Any], pictures: Mapping[str, Image.Image], *, step: int) -> None:
    """Every tracker that takes pictures has them as samples/ID."""
    for tracker in trackers if pictures else ():
        if tracker.name == "trackio":  # accelerate gives it no log_images
            import trackio  # pyright: ignore[reportMissingImports] an extra

            shown = {f"samples/{name}": trackio.Image(picture) for name, picture in pictures.items()}
            tracker.log(shown, step=step)
        elif hasattr(tracker, "log_images"):
            shown = {f"samples/{name}": np.asarray(picture)[None] for name, picture in pictures.items()}
            tracker.log_images(shown, step=step, **({"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}))
