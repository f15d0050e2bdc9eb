"""Runs of the embedded models drawn in batches, for experiments: twice as fast on a CPU, far more on a GPU.

`likeness generate` draws one picture at a time, so that no picture depends on its neighbours; small models then wait
for Python. Here pictures that agree in the number and size of their references share a batch, and what encoders
say of prompts and references is kept for the next adapter. Pictures equal those of `generate` up to rounding; for a
model that reads boxes, those of cases with a layout.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any  # a backbone, and its options

from likeness.backbones.cropping import seen_reference
from likeness.core.files import write_json
from likeness.core.images import load_image
from likeness.core.records import Case, read_cases

AT_ONCE = 96


def draw_batched(
    run: Path,
    *,
    cases: Path,
    base: str,
    options: Mapping[str, Any],
    loras: Sequence[Path],
    chosen: Collection[str] | None = None,
) -> None:
    """The folder `run` holds images/CASE.png of every case, and in run.json the base, settings and versions.

    `chosen`: the ids of those that are drawn, None for all.
    """
    from likeness.backbones.open import kind_of, open_backbone, options_of
    from likeness.backbones.sdxl.local_encoder import injection_beside
    from likeness.core.devices import pick_device, pick_dtype_name
    from likeness.core.runs import package_versions
    from likeness.core.weights import resolve_weights, weights_facts

    folder, device = resolve_weights(base), pick_device()
    asked: Any = options_of(kind_of(folder))(**options)
    backbone: Any = open_backbone(folder, loras=loras)
    told = [case for case in read_cases(cases).cases if chosen is None or case.id in chosen]
    if any(injection_beside(lora) for lora in loras):  # by which the adapter has a part in what the model is told
        rows = prepared(backbone, told, options=asked)
    else:
        known = encoded(cases, base=base, options=tuple(options.items()))
        rows = {case.id: known[case.id] for case in told}
    (run / "images").mkdir(parents=True, exist_ok=True)
    for batch in _batches(list(rows), rows):
        images = backbone.paint_batch([rows[c] for c in batch], seeds=[seeds(cases)[c] for c in batch], options=asked)
        for case, image in zip(batch, images, strict=True):
            image.save(run / "images" / f"{case}.png", compress_level=1)
    place = {"device": device, "dtype": pick_dtype_name(device), "maker": kind_of(folder), "batch": AT_ONCE}
    versions = package_versions("torch", "diffusers", "transformers", "peft", "safetensors", "numpy", "pillow")
    facts = {"model": weights_facts(base, folder), "settings": {**asked.settings(), **place}, "versions": versions}
    write_json(run / "run.json", facts)


@cache
def seeds(cases: Path) -> dict[str, int]:
    """Case id -> its seed."""
    return {case.id: case.seed for case in read_cases(cases).cases}


@cache
def encoded(cases: Path, *, base: str, options: tuple[tuple[str, Any], ...]) -> dict[str, dict[str, Any]]:
    """Case id -> what the base is told of it; no adapter has a part in it. Kept for this process."""
    from likeness.backbones.open import kind_of, open_backbone, options_of
    from likeness.core.weights import resolve_weights

    asked: Any = options_of(kind_of(resolve_weights(base)))(**dict(options))
    return prepared(open_backbone(base), read_cases(cases).cases, options=asked)


def prepared(backbone: Any, cases: Sequence[Case], *, options: Any) -> dict[str, dict[str, Any]]:
    """Case id -> what this backbone is told of it."""
    # the size of references hangs on options of the one, local tokens on those of the other
    more = {"options": options} if backbone.facts.kind in ("flux_uno", "sdxl_ms_diffusion") else {}
    found: dict[str, dict[str, Any]] = {}
    for case in cases:
        place = {"layout": case.layout} if backbone.facts.reads_layout else {}
        shown = _shown(case, backbone=backbone, options=options)
        found[case.id] = backbone.prepare(case.prompt, shown, **place, **more)
    return found


def _shown(case: Case, *, backbone: Any, options: Any) -> list[Any]:
    shown = [(load_image(subject.reference_image), subject.mask) for subject in case.subjects]
    return [seen_reference(backbone, image, mask=mask, options=options) for image, mask in shown]


def _batches(cases: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    alike: dict[tuple[Any, ...], list[str]] = {}
    for case in cases:
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in sorted(rows[case].items()))
        alike.setdefault(shapes, []).append(case)
    for group in alike.values():
        rest = iter(group)
        while batch := list(islice(rest, AT_ONCE)):
            yield batch
