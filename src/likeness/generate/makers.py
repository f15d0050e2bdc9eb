"""What can make pictures: the protocol a backbone fulfils here, and how worker processes find it by name."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple, Protocol, runtime_checkable  # Any: what a name gives is checked after the fact

from PIL import Image

from likeness.backbones.memory import Memory
from likeness.backbones.open import kind_of, options_of
from likeness.backbones.options import Options
from likeness.core.errors import ConfigError
from likeness.core.files import read_json
from likeness.core.layouts import layout_of
from likeness.core.records import Case, Layout
from likeness.generate.placing import ATTENDED, Placed

__all__ = [
    "BACKBONE",
    "ImageMaker",
    "LoadMaker",
    "MakerSpec",
    "layout_asked",
    "layout_placed",
    "load_maker",
    "maker_for",
    "maker_name",
    "notes_on",
    "read_options",
]

MOST_SIDE, MOST_PIXELS = 8192, 4096 * 4096
"""Far above what any known backbone draws well, and still within the memory of one device."""
BACKBONE = "likeness.backbones.open:open_backbone"
"""The maker that is whichever backbone the model's folder holds."""
STELLARNET = "likeness.backbones.sdxl.stellarnet:load_stellarnet"
"""The maker where an adapter makes words of a portrait."""
ELITE = "likeness.backbones.sdxl.elite:load_elite"
"""Likewise, where the adapter has keys and values of its own."""
INVERSION, KEYS_VALUES = "inversion.safetensors", "pytorch_custom_diffusion_weights.safetensors"
"""The files in a folder by which such adapters are told."""


@runtime_checkable
class ImageMaker(Protocol):
    """Makes one picture at a time; equal arguments give equal pixels, whatever was made before.

    A maker may also have `prompt_is_truncated(prompt) -> bool` and `unknown_words(prompt) -> sequence of words`; what
    they report becomes a note in the manifest. One whose `facts.reads_layout` is true is also given the `layout` of a
    case with subjects (`placing.py`; a maker of one's own that of `core.layouts.layout_of`).
    """

    def generate(
        self, prompt: str, references: Sequence[Image.Image] = (), *, seed: int, options: Any = None
    ) -> Image.Image:
        """One picture; `options` are what `read_options` gives for this maker, None means the maker's own defaults."""
        ...


@runtime_checkable
class LoadMaker(Protocol):
    """Loads a maker from a folder of weights, on a device, in a precision named as torch names it.

    One that can add adapters also takes `loras`, files or folders, and one that can be kept small `memory`; they are
    passed only when there are any. One that
    has an attribute `options`, a model of its own options, has them checked before anything is loaded.
    """

    def __call__(self, folder: Path, /, *, device: str, dtype: str) -> ImageMaker:
        """The loaded maker."""
        ...


class MakerSpec(NamedTuple):
    """All a process needs to load the maker; `load` is "module:function"."""

    load: str
    folder: Path
    device: str
    dtype: str
    loras: tuple[Path, ...] = ()
    memory: Memory = Memory()


def maker_name(load: str | LoadMaker) -> str:
    """The "module:function" name under which any process finds `load`. Raises: ConfigError when there is none."""
    if isinstance(load, str):
        _find(load)
        return load
    module, name = getattr(load, "__module__", "?"), getattr(load, "__qualname__", "?")
    if "<" in name or _find(f"{module}:{name}") != load:
        raise ConfigError(f"maker: expected a function at the top of a module, got {module}:{name}; move it there.")
    return f"{module}:{name}"


def maker_for(load: str, adapters: Sequence[Path]) -> str:
    """The maker `load`, or for a backbone with such an adapter the one that reads it."""
    makes_words = [place for place in adapters if (place / INVERSION).is_file()]
    if load != BACKBONE or not makes_words:
        return load
    return ELITE if any((place / KEYS_VALUES).is_file() for place in makes_words) else STELLARNET


def _find(name: str) -> Callable[..., Any]:
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"maker: expected an importable module:function, got {name!r} ({error}).") from error
    if ":" not in name or not callable(found):
        raise ConfigError(f"maker: expected module:function, got {name!r}; name a function.")
    return found


def read_options(load: str, given: Mapping[str, Any], *, folder: Path) -> Options | dict[str, Any]:
    """The options as the maker takes them: its own model of them, or what was given where it has none.

    Raises: ConfigError naming the option, also for a picture of more pixels than MOST_PIXELS with the memory it would
    take; WeightsError when the folder holds no known backbone.
    """
    _require_drawable(given, folder=folder)
    model = options_of(kind_of(folder)) if load == BACKBONE else getattr(_find(load), "options", None)
    return dict(given) if model is None else model(**given)


def _require_drawable(given: Mapping[str, Any], *, folder: Path) -> None:
    try:
        sides = [int(given[name]) for name in ("size", "width") if given.get(name) is not None]
    except (TypeError, ValueError):
        return  # the maker's own model of its options says what is wrong
    pixels = sides[0] * sides[-1] if sides else 0
    if pixels > MOST_PIXELS or max(sides, default=0) > MOST_SIDE:
        channels = _channels(folder)
        took = f"about {pixels * channels * 4 / 1e9:,.0f} GB in the last layer alone ({channels} float32 for each px)"
        limit = f"at most {MOST_SIDE} px a side and {MOST_PIXELS / 1e6:.0f} million px"
        raise ConfigError(f"size: expected {limit}, got {sides[0]} x {sides[-1]}, which takes {took}; lower it.")


def _channels(folder: Path) -> int:
    """Channels of the autoencoder's last layer at full size; those of a picture where the folder does not say."""
    path = folder / "vae" / "config.json"
    config = read_json(path) if path.is_file() else {}
    widths = config.get("block_out_channels") if isinstance(config, dict) else None
    return widths[0] if isinstance(widths, list) and widths and isinstance(widths[0], int) else 3


def load_maker(spec: MakerSpec) -> ImageMaker:
    """The maker `spec` describes, loaded in this process."""
    more: dict[str, Any] = {"loras": spec.loras} if spec.loras else {}
    more |= {} if spec.memory == Memory() else {"memory": spec.memory}
    return _find(spec.load)(spec.folder, device=spec.device, dtype=spec.dtype, **more)


def layout_asked(case: Case, *, maker: ImageMaker) -> dict[str, Any]:
    """The case's layout as a further argument of `generate`, for a maker that reads one."""
    layout = layout_of(case) if getattr(getattr(maker, "facts", None), "reads_layout", False) else None
    return {} if layout is None else {"layout": layout}


def layout_placed(
    case: Case, placed: Placed, *, maker: Any, seed: int, options: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The picture's layout as a further argument of `generate`, with a note of boxes that the maker found."""
    if placed.source != ATTENDED:
        return ({} if placed.layout is None else {"layout": placed.layout}), ()
    names = tuple(subject.class_name.strip() for subject in case.subjects)
    layout: Layout = maker.attended_layout(case.prompt, names, seed=seed, options=options)
    return {"layout": layout}, (f"layout by text attention: {json.dumps([list(box) for box in layout.boxes])}",)


def notes_on(prompt: str, *, maker: ImageMaker) -> list[str]:
    """What the maker says about words it will not see or does not know; empty when all is well."""
    notes: list[str] = []
    if getattr(maker, "prompt_is_truncated", lambda _: False)(prompt):
        notes.append("truncated: the prompt is longer than the text encoder reads")
    if unknown := sorted(set(getattr(maker, "unknown_words", lambda _: ())(prompt))):
        more = f" and {len(unknown) - 20} more" if len(unknown) > 20 else ""
        notes.append(f"unknown words: {', '.join(unknown[:20])}{more}")
    return notes
