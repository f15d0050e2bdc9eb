"""The backbones behind `likeness data dip --source models`: what draws a picture, and what fills a region of one.

The recipe's own room knows only what it asks of them; `recipe_models` answers with loaders for a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: options are the backbone's own, pipelines of diffusers untyped

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from likeness.backbones.flux.folder import FOLDER, load_flux_parts
from likeness.backbones.open import kind_of, open_backbone, options_of
from likeness.backbones.options import Options
from likeness.core.devices import pick_device, pick_dtype, pick_dtype_name
from likeness.core.errors import DataError, WeightsError
from likeness.core.files import read_json
from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import short
from likeness.core.weights import public_name, resolve_adapter, resolve_weights
from likeness.data.pairs.regeneration import LoadRegenerate, Regenerate, RegenerationJob
from likeness.data.staged.generate import Painter
from likeness.data.staged.recipe import ModelRecipe
from likeness.generate.inpaint import LoadInpainter

if TYPE_CHECKING:
    from likeness.backbones.base import Backbone

__all__ = ["LoadBackbonePainter", "LoadFill", "recipe_models"]

FILL = "FluxFillPipeline"
"""Its folder has the parts of a FluxPipeline; into its transformer come a masked picture and the mask as well."""


def _named(spec: str, place: Path) -> str:
    return f"{public_name(spec)}@{short(remembered_sha256(place))}"


def _computed(device: str, dtype: str) -> str:
    place = pick_device(device)
    return f"{place.partition(':')[0]} {pick_dtype_name(place, dtype)}"


# -- pictures --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class LoadBackbonePainter:
    """Loads any backbone with its adapters as a `Painter`."""

    model: str
    loras: tuple[str, ...] = ()
    dtype: str = "auto"
    device: str = "auto"

    @property
    def id(self) -> str:
        """Kind, model and adapters by content, device and precision. Raises: WeightsError."""
        folder = resolve_weights(self.model)
        adapters = "".join(f" + {_named(lora, resolve_adapter(lora))}" for lora in self.loras)
        return f"{kind_of(folder)} {_named(self.model, folder)}{adapters}; {_computed(self.device, self.dtype)}"

    def require_options(self, options: dict[str, Any]) -> None:
        """Raises: ConfigError for an option that this kind of backbone does not know."""
        options_of(kind_of(resolve_weights(self.model)))(**options)

    def __call__(self) -> Painter:
        """The loaded model."""
        loras = [resolve_adapter(lora) for lora in self.loras]
        return _BackbonePainter(open_backbone(self.model, device=self.device, dtype=self.dtype, loras=loras))


class _BackbonePainter:
    def __init__(self, backbone: Backbone[Any]) -> None:
        self._backbone, self._options = backbone, options_of(backbone.facts.kind)

    def __call__(
        self, prompt: str, references: Sequence[Image.Image], /, *, seed: int, options: dict[str, Any]
    ) -> Image.Image:
        return self._backbone.generate(prompt, references, seed=seed, options=self._options(**options))


class FillOptions(Options):
    """What a FluxFillPipeline may be asked; the defaults are diffusers'."""

    steps: int = Field(default=50, ge=1)
    guidance: float = Field(default=30.0, ge=0)


class InpaintOptions(Options):
    """What a flow backbone may be asked when it draws a region; None means its own default."""

    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    cfg_scale: float | None = Field(default=None, ge=0)
    reference_cfg_scale: float | None = Field(default=None, ge=0)


# -- regions ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class LoadFill:
    """Loads a FluxFillPipeline as a `Regenerate`: it sees what is around the region, not what was in it."""

    model: str
    dtype: str = "auto"
    steps: int = 50
    guidance: float = 30.0
    strength: float = 1.0
    device: str = "auto"

    @property
    def id(self) -> str:
        """Model by content, and settings. Raises: WeightsError."""
        numbers = f"steps {self.steps}, guidance {self.guidance:g}, strength {self.strength:g}"
        place = _named(self.model, resolve_weights(self.model))
        return f"flux_fill {place}; {numbers}; {_computed(self.device, self.dtype)}"

    def __call__(self) -> Regenerate:
        """The loaded pipeline. Raises: WeightsError."""
        from diffusers import FluxFillPipeline

        folder, device = resolve_weights(self.model), pick_device(self.device)
        _require_fill(folder)
        parts: Any = load_flux_parts(folder, device=device, dtype=pick_dtype(device, self.dtype))
        pipeline: Any = FluxFillPipeline(**{name: getattr(parts, name) for name in FOLDER.parts})
        pipeline.set_progress_bar_config(disable=True)
        return _Filler(pipeline, load=self, max_tokens=parts.settings.max_sequence_length)


def _require_fill(folder: Path) -> None:
    """Raises: WeightsError for a folder of another pipeline, whose transformer takes no mask."""
    index = folder / "model_index.json"
    name = read_json(index).get("_class_name") if index.is_file() else None
    if name != FILL:
        wanted = f"{folder}: expected a diffusers {FILL} folder, got {name or 'one without model_index.json'}"
        raise WeightsError(f'{wanted}; name FLUX.1-Fill-dev, or take kind = "backbone".')


class _Filler:
    """Fills one region at a time; the references of a job are not seen, since the pipeline takes none."""

    def __init__(self, pipeline: Any, *, load: LoadFill, max_tokens: int) -> None:
        self._pipeline, self._load, self._max_tokens = pipeline, load, max_tokens

    def __call__(self, job: RegenerationJob, /) -> NDArray[np.uint8]:
        """The (H, W, 3) picture. Raises: DataError for sides that are no multiples of a token."""
        import torch

        height, width = job.picture.shape[:2]
        token = 2 * self._pipeline.vae_scale_factor
        if height % token or width % token:
            wanted = f"sides that are multiples of {token} px"
            raise DataError(f"picture: expected {wanted}, got {width} x {height}; generate another size.")
        (drawn,) = self._pipeline(
            prompt=job.prompt,
            image=Image.fromarray(job.picture),
            mask_image=Image.fromarray(job.region).convert("L"),
            height=height,
            width=width,
            strength=self._load.strength,
            num_inference_steps=self._load.steps,
            guidance_scale=self._load.guidance,
            max_sequence_length=self._max_tokens,
            generator=torch.Generator("cpu").manual_seed(job.seed),
        ).images
        return np.asarray(drawn.convert("RGB"))


def recipe_models(recipe: ModelRecipe, *, device: str = "auto") -> tuple[LoadBackbonePainter, LoadRegenerate]:
    """What draws the pictures of a recipe, and what draws regions anew. Raises: ConfigError, WeightsError."""
    drawn, filled = recipe.generate, recipe.inpaint
    painter = LoadBackbonePainter(drawn.model, tuple(drawn.loras), drawn.dtype, device)
    for options in (drawn.options, drawn.reference_options):
        painter.require_options(options)
    known = FillOptions if filled.kind == "fill" else InpaintOptions
    asked = known(**filled.options).model_dump(exclude_none=True)
    kind = LoadFill if filled.kind == "fill" else LoadInpainter
    inpainter = kind(filled.model, dtype=filled.dtype, device=device, strength=filled.strength, **asked)
    if isinstance(inpainter, LoadInpainter):
        inpainter.options()
    return painter, inpainter
