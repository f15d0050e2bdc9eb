"""What backbones on a straight path from picture to noise share: the path, its times and schedule, Euler sampling.

Shapes: B pictures, C latent channels, h x w latent grid.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from likeness.backbones.base import BackboneFacts, TokenGrid, Watch
from likeness.backbones.flux.tokens import draw_time
from likeness.backbones.flux.watch import layer_names
from likeness.backbones.folder import PartsOnDemand
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.lora import add_changes, add_loras, layer_shapes
from likeness.backbones.lora_file import Find, LoraFile, read_lora
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.files import read_json
from likeness.core.weights import resolve_weights


@runtime_checkable
class FlowSettings(Protocol):
    """What the sampler needs of a folder's settings: px of a side, and denoising steps."""

    @property
    def size(self) -> int: ...
    @property
    def default_steps(self) -> int: ...


@runtime_checkable
class FlowParts(Protocol):
    """What the sampler needs of a folder's parts: no property that would read one."""

    @property
    def stored(self) -> PartsOnDemand: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def scheduler(self) -> Any: ...
    @property
    def folder(self) -> Path: ...


PartsT = TypeVar("PartsT", bound=FlowParts)
SettingsT = TypeVar("SettingsT", bound=FlowSettings)


def column(t: Tensor | float, like: Tensor) -> Tensor:
    """`t` as (B or 1, 1, 1, 1) of the kind of `like`."""
    return torch.as_tensor(t, dtype=like.dtype, device=like.device).reshape(-1, 1, 1, 1)


def stored_references(row: Mapping[str, Tensor], *, most: int) -> list[Tensor]:
    """What `prepare` named reference0, reference1 ... in a sample."""
    return [row[f"reference{number}"] for number in range(most) if f"reference{number}" in row]


def require_one_shape(references: Sequence[Sequence[Tensor]]) -> None:
    """Raises: DataError for samples whose references differ in number or size."""
    sizes = {tuple(tuple(latents.shape) for latents in row) for row in references}
    if len(sizes) != 1:
        raise DataError(f"collate: expected samples whose references have one set of sizes, got {sorted(sizes)}.")


class FlowBackbone(ABC, Generic[PartsT, SettingsT]):
    """Rectified flow: x_t = (1 - t) x0 + t eps, velocity eps - x0. The network is a transformer of the FLUX family.

    Source: Liu et al., "Flow straight and fast" (arXiv:2209.03003, equation 1).
    """

    time_laws: ClassVar[tuple[str, ...]]
    facts: BackboneFacts
    parts: PartsT
    settings: SettingsT

    # what a subclass gives ---------------------------------------------------------------------------------------

    def __init__(self, parts: PartsT) -> None:
        """The backbone of the parts, which it keeps."""
        self.parts = parts

    @classmethod
    @abstractmethod
    def load_parts(cls, folder: Path, *, device: str, dtype: torch.dtype) -> PartsT:
        """All parts of the folder, frozen. Raises: WeightsError."""
        ...

    @classmethod
    @abstractmethod
    def sketch_parts(cls, folder: Path, *, dtype: torch.dtype) -> PartsT:
        """The parts by their configs alone. Raises: WeightsError."""
        ...

    @abstractmethod
    def blank_text(self) -> dict[str, Tensor]:
        """Empty tensors as `prepare` gives them of a prompt."""
        ...

    @classmethod
    @abstractmethod
    def empty_network(cls, folder: Path) -> Any:
        """The transformer of the folder without its weights. Raises: WeightsError."""
        ...

    @classmethod
    @abstractmethod
    def names(cls, layers: Mapping[str, object]) -> Find:
        """What the names in LoRA files mean on a network with `layers`."""
        ...

    @abstractmethod
    def fit_references(self, references: Sequence[Image]) -> list[Image]:
        """Reference images at the size the model reads."""
        ...

    @abstractmethod
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Pixels of clean latents."""
        ...

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, condition: Any, watch: Watch | None = None) -> Tensor:
        """The velocity at `x_t`."""
        ...

    @abstractmethod
    def shift(self, grid: tuple[int, int], *, steps: int | None = None) -> float:
        """mu of the schedule for the grid's tokens."""
        ...

    @abstractmethod
    def noise_shape(self, grid: TokenGrid) -> tuple[int, int, int]:
        """(C, h, w) of the latents of a picture on the grid."""
        ...

    # the folder --------------------------------------------------------------------------------------------------

    @classmethod
    def layers_of(cls, folder: Path) -> tuple[str, ...]:
        """Names of the blocks, double ones first, from the transformer's config."""
        return tuple(layer_names(read_json(folder / "transformer" / "config.json")))

    @classmethod
    def load(
        cls,
        spec: str | Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        loras: Sequence[str | Path] = (),
    ) -> Self:
        """The frozen backbone of an embedded name, a folder or a hub id, with adapters that all act.

        Raises: WeightsError listing missing parts or naming the damaged file.
        """
        folder = resolve_weights(str(spec))
        backbone = cls(cls.load_parts(folder, device=device, dtype=dtype))
        for lora in loras:
            cls.read_lora(folder, lora)  # refused now, not when the transformer is first needed
        backbone.parts.stored.always("transformer", partial(add_loras, backbone, list(loras)))
        return backbone

    @classmethod
    def sketch(cls, folder: Path, *, dtype: torch.dtype) -> Self:
        """The backbone of the folder's configs, without weights or tokenizers. Raises: WeightsError."""
        return cls(cls.sketch_parts(folder, dtype=dtype))

    def blank(self, size: tuple[int, int], references: Sequence[Image] = ()) -> dict[str, Tensor]:
        """Empty tensors as `prepare` and `encode` give them, for a picture of `size` (width, height)."""
        px = self.facts.px_per_token
        sizes = [size, *(image.size for image in self.fit_references(references))]
        target, *others = [torch.empty(self.noise_shape(TokenGrid(high // px, wide // px))) for wide, high in sizes]
        named = {f"reference{number}": latents for number, latents in enumerate(others)}
        return {"latents": target, **self.blank_text(), **named}

    def encoders(self) -> Mapping[str, torch.nn.Module]:
        """Text encoders and autoencoder."""
        stored = self.parts.stored
        return {name: stored.get(name) for name in stored.names if name != "transformer"}

    @property
    def network(self) -> Any:
        """The transformer; Any, since its config is typed as a dict."""
        return self.parts.stored.get("transformer")

    def put_encoders_away(self) -> None:
        """Everything but the transformer leaves memory, and is read from the folder again when it is needed."""
        self.parts.stored.put_away(but="transformer")
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @classmethod
    def read_lora(cls, folder: Path, spec: str | Path) -> LoraFile:
        """What the LoRA would do to the transformer of the folder; loads no weights but those of the LoRA.

        Raises: WeightsError when it does not fit in full, or changes no layer.
        """
        return cls._read_lora(cls.empty_network(folder), spec)

    @classmethod
    def _read_lora(cls, network: torch.nn.Module, spec: str | Path) -> LoraFile:
        layers = layer_shapes(network)
        return read_lora(spec, layers=layers, find=cls.names(layers))

    def add_lora(self, spec: str | Path, *, name: str) -> None:
        """The transformer carries the LoRA as the frozen, active adapter `name`; docs/loras.md lists the layouts."""
        add_changes(self.network, self._read_lora(self.network, spec).changes, name=name)

    @property
    def device(self) -> torch.device:
        """Where the parts compute."""
        return self.parts.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of text embeddings and latents."""
        return self.parts.dtype

    def grid(self, *, size: int | None = None, width: int | None = None) -> TokenGrid:
        """The token grid of a picture `size` px high and `width` px wide (square by default).

        Raises: ConfigError when a side is not a positive multiple of the token's pixels.
        """
        height, patch_px = self.settings.size if size is None else size, self.facts.px_per_token
        sides = (height, height if width is None else width)
        if any(side < patch_px or side % patch_px for side in sides):
            raise ConfigError(f"size: expected multiples of {patch_px} px, got {sides}; round them.")
        return TokenGrid(sides[0] // patch_px, sides[1] // patch_px)

    def require_few(self, references: Sequence[Image]) -> None:
        """Raises: DataError for more references than the model takes."""
        if len(references) > (most := self.facts.max_references):
            raise DataError(f"references: expected at most {most}, got {len(references)}; leave some out.")

    # the path from picture to noise ------------------------------------------------------------------------------

    def noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = (1 - t) x0 + t eps."""
        at = column(t, x0)
        return (1 - at) * x0 + at * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The velocity eps - x0, the same at every `t`."""
        return eps - x0

    def clean(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """x0 = x_t - t v."""
        return x_t - column(t, x_t) * prediction

    def draw_t(self, generator: torch.Generator, *, grid: tuple[int, int], law: str) -> float:
        """A time in [0.001, 0.999] by one of the `time_laws`; a law that shifts does so for the grid's tokens.

        Raises: ConfigError for another law.
        """
        if law not in self.time_laws:
            raise ConfigError(f"law of times: expected one of {', '.join(self.time_laws)}, got {law!r}; choose one.")
        return draw_time(generator, law=law, mu=self.shift(grid))

    # pixels ------------------------------------------------------------------------------------------------------

    def encode_exactly(self) -> None:
        """The VAE computes in fp32 from now on."""
        self.parts.stored.always("vae", self._vae_in_fp32)

    def _vae_in_fp32(self) -> None:
        self.parts.stored.get("vae").float()

    @torch.no_grad()
    def to_images(self, latents: Float[Tensor, "B C h w"]) -> list[Image]:
        """Decoded RGB pictures, rounded as diffusers rounds.

        Raises: WeightsError when the pixels are not finite; rounded, they would be a black picture.
        """
        pixels = self.decode(latents)
        if not pixels.isfinite().all():
            wanted = f"{self.parts.folder}: expected finite pixels, got NaN or infinity from the model"
            causes = "a file of it or of an adapter may be damaged, or its numbers too large for the dtype"
            raise WeightsError(f"{wanted} ({causes}); download it again, or try --dtype float32 or bfloat16.")
        processor = VaeImageProcessor(vae_scale_factor=self.facts.px_per_token)
        images: Any = processor.postprocess(pixels, output_type="pil")  # typed as one picture
        return images

    # sampling ----------------------------------------------------------------------------------------------------

    def initial_noise(self, seeds: Sequence[int], *, grid: TokenGrid) -> Float[Tensor, "B C h w"]:
        """Noise of one CPU generator per seed, so that neither device nor batch changes it; as diffusers draws."""
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        shape = (len(seeds), *self.noise_shape(grid))
        return randn_tensor(shape, generator=generators, device=self.device, dtype=self.dtype)

    # Any: the stock annotations call timesteps optional and want lists where arrays are converted
    def schedule(self, steps: int | None, *, grid: TokenGrid) -> Any:
        """A fresh scheduler at its first step: sigmas 1 ... 1/steps, shifted for the number of target tokens.

        None: the settings' number of steps.
        """
        steps = self.settings.default_steps if steps is None else steps
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(self.parts.scheduler.config)
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(sigmas=sigmas, mu=self.shift(grid, steps=steps), device=self.device)
        scheduler.set_begin_index(0)
        return scheduler

    @torch.no_grad()
    def denoise(
        self,
        x_t: Float[Tensor, "B C h w"],
        condition: GuidedCondition[Any],
        *,
        steps: int | None,
    ) -> Float[Tensor, "B C h w"]:
        """Clean latents by Euler steps of the guided velocity from pure noise."""
        cells = self.facts.latents_per_token
        scheduler = self.schedule(steps, grid=TokenGrid(x_t.shape[-2] // cells, x_t.shape[-1] // cells))
        for timestep in scheduler.timesteps:
            t = timestep.to(x_t.dtype) / 1000  # rounded before the division, as diffusers does in bf16
            velocity = condition.velocity(partial(self.predict, x_t, t))
            x_t = scheduler.step(velocity, timestep, x_t, return_dict=False)[0]
        return x_t

    def stack(self, tensors: Iterable[Tensor]) -> Tensor:
        """The tensors as rows on the network's device."""
        return torch.stack(list(tensors)).to(self.device)
