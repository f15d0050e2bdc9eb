"""Runs of the embedded models drawn in batches, for experiments: twice as fast on a CPU, far more on a GPU.

`likeness generate` draws one picture at a time, so that no picture depends on its neighbours; small models then wait
for Python. Here pictures that agree in the number and size of their references share a batch, and what encoders
say of prompts and references is kept for the next adapter. Pictures equal those of `generate` up to rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any  # a backbone, and its options

from likeness.backbones.cropping import seen_reference
from likeness.core.files import write_json
from likeness.core.images import load_image
from likeness.core.records import Case, read_cases

AT_ONCE = 96


def draw_batched(run: Path, *, cases: Path, base: str, options: Mapping[str, Any], loras: Sequence[Path]) -> None:
    """The folder `run` holds images/CASE.png of every case, and in run.json the base, settings and versions."""
    from likeness.backbones.open import kind_of, open_backbone, options_of
    from likeness.core.devices import pick_device, pick_dtype_name
    from likeness.core.runs import package_versions
    from likeness.core.weights import resolve_weights, weights_facts

    folder, device = resolve_weights(base), pick_device()
    asked: Any = options_of(kind_of(folder))(**options)
    backbone: Any = open_backbone(folder, loras=loras)
    rows = encoded(cases, base=base, options=tuple(options.items()))
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
    backbone: Any = open_backbone(base)
    more = {"options": asked} if backbone.facts.kind == "flux_uno" else {}  # the size of references hangs on them
    found: dict[str, dict[str, Any]] = {}
    for case in read_cases(cases).cases:
        found[case.id] = backbone.prepare(case.prompt, _shown(case, backbone=backbone, options=asked), **more)
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
