"""What backbones share whose network is a U-Net that predicts noise: DDPM's path, the autoencoder, the sampler.

Shapes: B pictures, C latent channels, h x w latent grid (a cell is a token).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from likeness.backbones.base import TokenGrid, Watch
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.lora_file import Find
from likeness.backbones.sdxl.lora_names import sdxl_names
from likeness.backbones.sdxl.noising import bound_weights, draw_focal_time, draw_time, steps_of
from likeness.backbones.sdxl.options import DrawingOptions
from likeness.backbones.sdxl.text_attention import TextAttention, watching_text
from likeness.backbones.sdxl.watch import FEATURES, watched_blocks, watching
from likeness.backbones.stock import PartsT, SettingsT, StockBackbone, unknown_weighting
from likeness.core.errors import ConfigError


@runtime_checkable
class ShowsReferences(Protocol):
    """A condition as a watch needs it: the tokens of each reference, (B, N, D)."""

    @property
    def references(self) -> tuple[Tensor, ...]: ...


ConditionT = TypeVar("ConditionT", bound=ShowsReferences)
OptionsT = TypeVar("OptionsT", bound=DrawingOptions)


class UnetBackbone(StockBackbone[PartsT, SettingsT], Generic[PartsT, SettingsT, ConditionT, OptionsT]):
    """A `StockBackbone` whose `network` is a UNet2DConditionModel; what it is told beside noise, a subclass says."""

    time_laws: ClassVar[tuple[str, ...]] = ("uniform", "relation_focal")
    features: ClassVar[tuple[str, ...]] = FEATURES
    network_part: ClassVar[str] = "unet"

    def __init__(self, parts: PartsT) -> None:
        super().__init__(parts)
        self._alphas: Tensor = parts.scheduler.alphas_cumprod

    # the U-Net stays once it is read, and so do these modules of it, whatever adapters they get
    @cached_property
    def _blocks(self) -> dict[str, Any]:
        return watched_blocks(self.network)

    # what a subclass gives -------------------------------------------------------------------------------------------

    @abstractmethod
    def own_options(self) -> OptionsT:
        """The options that leave everything to the folder."""
        ...

    @abstractmethod
    def collate(self, rows: Sequence[Mapping[str, Tensor]], *, guidance: float | None = None) -> ConditionT:
        """The condition of B samples, by the folder's settings."""
        ...

    @abstractmethod
    def guided(
        self, condition: ConditionT, options: OptionsT, *, empty: ConditionT | None = None
    ) -> GuidedCondition[ConditionT]:
        """The condition with what guidance leads away from; `empty` is that of an empty prompt, which it spares."""
        ...

    @abstractmethod
    def answer(self, x: Tensor, timestep: Tensor, condition: ConditionT) -> Tensor:
        """The U-Net at latents scaled as its scheduler scales them, and at a time of the scheduler."""
        ...

    # the network -----------------------------------------------------------------------------------------------------

    @classmethod
    def layers_of(cls, folder: Path) -> tuple[str, ...]:
        """Names of the blocks with cross-attention, on the way down, in the middle, on the way up."""
        return tuple(watched_blocks(cls.empty_network(folder)))

    @classmethod
    def names(cls, layers: Mapping[str, object]) -> Find:
        """Names of diffusers and of the original code."""
        return sdxl_names(layers)

    def fit_references(self, references: Sequence[Image.Image]) -> list[Image.Image]:
        """References as they are: `prepare` scales them, and no place in them has a token of its own.

        Raises: DataError for too many.
        """
        self.require_few(references)
        return list(references)

    def text_attention(self, words: Bool[Tensor, "B T"], *, grid: TokenGrid) -> AbstractContextManager[TextAttention]:
        """Within it one `predict` is watched; see text_attention.py."""
        return watching_text(self._blocks, words, grid=grid)

    def predict(
        self, x_t: Float[Tensor, "B C h w"], t: Tensor, condition: ConditionT, watch: Watch | None = None
    ) -> Float[Tensor, "B C h w"]:
        """The noise in `x_t` at the training step of `t` in [0, 1], (B,) or scalar; see sdxl/noising.py.

        `watch` is called once per block with cross-attention; blocks are named as in the U-Net.
        Raises: ConfigError for features that are none of `features`.
        """
        grid, step = TokenGrid(x_t.shape[-2], x_t.shape[-1]), self._steps(t).expand(x_t.shape[0])
        with watching(self._blocks, watch, references=condition.references, grid=grid):
            return self.answer(x_t, step, condition)

    # the path from picture to noise ----------------------------------------------------------------------------------

    def _steps(self, t: Tensor) -> Tensor:
        return steps_of(t, count=len(self._alphas))

    def _signal(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """What x0 and the noise are multiplied by, each (B or 1, 1, 1, 1)."""
        share = self._alphas.to(t.device)[self._steps(t)].to(like).reshape(-1, 1, 1, 1)
        return share.sqrt(), (1 - share).sqrt()

    def noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps."""
        signal, noise = self._signal(t, x0)
        return signal * x0 + noise * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The noise itself."""
        return eps

    def clean(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """x0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar)."""
        signal, noise = self._signal(t, x_t)
        return (x_t - noise * prediction) / signal

    def draw_t(self, generator: torch.Generator, *, grid: tuple[int, int], law: str) -> float:
        """The time of a training step, whatever the grid: drawn uniformly, or as `draw_focal_time` says.

        Raises: ConfigError for another law.
        """
        if law not in self.time_laws:
            raise ConfigError(f"law of times: expected one of {', '.join(self.time_laws)}, got {law!r}; choose one.")
        draw = draw_focal_time if law == "relation_focal" else draw_time
        return draw(generator, count=len(self._alphas))

    def error_weight(self, t: Float[Tensor, " B"], kind: str) -> Float[Tensor, " B"]:
        """What a squared error of the noise counts: 1, also for "eps", since that is what it is; `bound_weights`.

        Raises: ConfigError for another kind.
        """
        match kind:
            case "uniform" | "eps":
                return torch.ones_like(t, dtype=torch.float32)
            case "elbo":
                return bound_weights(self._alphas).to(t.device)[self._steps(t)]
            case _:
                raise unknown_weighting(kind)

    # pixels ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """(z - shift) * scale of the mean z of the VAE's distribution; SDXL's own VAE has no shift."""
        vae: Any = self.parts.stored.get("vae")
        mean = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
        return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """The VAE's pixels at z = latents / scale + shift."""
        vae: Any = self.parts.stored.get("vae")
        scaled = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return vae.decode(scaled.to(self.device, vae.dtype), return_dict=False)[0]

    # sampling --------------------------------------------------------------------------------------------------------

    def noise_shape(self, grid: TokenGrid) -> tuple[int, int, int]:
        """One cell per token."""
        return (self.network.config.in_channels, grid.rows, grid.columns)

    @torch.no_grad()
    def denoise(
        self, noise: Float[Tensor, "B C h w"], condition: GuidedCondition[ConditionT], *, steps: int | None
    ) -> Float[Tensor, "B C h w"]:
        """Clean latents by the folder's scheduler from noise of variance 1. None: the settings' number of steps."""
        scheduler: Any = type(self.parts.scheduler).from_config(self.parts.scheduler.config)
        scheduler.set_timesteps(self.settings.default_steps if steps is None else steps, device=self.device)
        if hasattr(scheduler, "set_begin_index"):  # DDIM's needs none
            scheduler.set_begin_index(0)
        x = noise * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, timestep)
            x = scheduler.step(condition.prediction(partial(self.answer, scaled, timestep)), timestep, x).prev_sample
        return x

    @torch.no_grad()
    def paint_batch(
        self,
        rows: Sequence[Mapping[str, Tensor]],
        *,
        seeds: Sequence[int],
        options: OptionsT | None = None,
        unprompted: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> list[Image.Image]:
        """As of a `StockBackbone`."""
        options = options or self.own_options()
        grid = self.grid(size=options.size, width=options.width)
        empty = None if unprompted is None else self.collate(unprompted)
        condition = self.guided(self.collate(rows), options, empty=empty)
        return self.to_images(self.denoise(self.initial_noise(seeds, grid=grid), condition, steps=options.steps))
