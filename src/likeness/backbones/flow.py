"""What backbones on a straight path from picture to noise share: the path, its times and schedule, Euler sampling.

Shapes: B pictures, C latent channels, h x w latent grid.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.base import FEATURES, TokenGrid
from likeness.backbones.flux.tokens import draw_time
from likeness.backbones.flux.watch import layer_names
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.stock import PartsT, SettingsT, StockBackbone, unknown_weighting
from likeness.core.errors import ConfigError
from likeness.core.files import read_json

EARLIEST_T = 0.02  # (1 - t) / t diverges at t = 0


def column(t: Tensor | float, like: Tensor) -> Tensor:
    """`t` as (B or 1, 1, 1, 1) of the kind of `like`."""
    return torch.as_tensor(t, dtype=like.dtype, device=like.device).reshape(-1, 1, 1, 1)


class FlowBackbone(StockBackbone[PartsT, SettingsT]):
    """Rectified flow: x_t = (1 - t) x0 + t eps, velocity eps - x0. The network is a transformer of the FLUX family.

    Source: Liu et al., "Flow straight and fast" (arXiv:2209.03003, equation 1).
    """

    features: ClassVar[tuple[str, ...]] = FEATURES

    @abstractmethod
    def shift(self, grid: tuple[int, int], *, steps: int | None = None) -> float:
        """mu of the schedule for the grid's tokens."""
        ...

    def blank_reference(self, size: tuple[int, int]) -> Tensor:
        """Latents: references are encoded as the picture is."""
        return self.blank_latents(size)

    @classmethod
    def layers_of(cls, folder: Path) -> tuple[str, ...]:
        """Names of the blocks, double ones first, from the transformer's config."""
        return tuple(layer_names(read_json(folder / "transformer" / "config.json")))

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

    def error_weight(self, t: Float[Tensor, " B"], kind: str) -> Float[Tensor, " B"]:
        """What a squared velocity error counts: 1, (1 - t)^2 for "eps", (1 - t) / t for "elbo", held below t = 0.02.

        Source: rectified flow and VDM (arXiv:2107.00630), with log-SNR 2 ln((1 - t) / t).
        Raises: ConfigError for another kind.
        """
        t = t.float()
        match kind:
            case "uniform":
                return torch.ones_like(t)
            case "eps":
                return (1 - t).square()
            case "elbo":
                return (1 - t) / t.clamp_min(EARLIEST_T)
            case _:
                raise unknown_weighting(kind)

    def draw_t(self, generator: torch.Generator, *, grid: tuple[int, int], law: str) -> float:
        """A time in [0.001, 0.999] by one of the `time_laws`; a law that shifts does so for the grid's tokens.

        Raises: ConfigError for another law.
        """
        if law not in self.time_laws:
            raise ConfigError(f"law of times: expected one of {', '.join(self.time_laws)}, got {law!r}; choose one.")
        return draw_time(generator, law=law, mu=self.shift(grid))

    # sampling ----------------------------------------------------------------------------------------------------

    # Any: the stock annotations call timesteps optional and want lists where arrays are converted
    def schedule(self, steps: int | None, *, grid: TokenGrid, mu: float | None = None) -> Any:
        """A fresh scheduler at its first step: sigmas 1 ... 1/steps, shifted by `mu`.

        None: the settings' number of steps, and the shift for the number of target tokens.
        """
        steps = self.settings.default_steps if steps is None else steps
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(self.parts.scheduler.config)
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(
            sigmas=sigmas, mu=self.shift(grid, steps=steps) if mu is None else mu, device=self.device
        )
        scheduler.set_begin_index(0)
        return scheduler

    @torch.no_grad()
    def denoise(
        self,
        x_t: Float[Tensor, "B C h w"],
        condition: GuidedCondition[Any],
        *,
        steps: int | None,
        mu: float | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """Clean latents by Euler steps of the guided velocity from pure noise; `steps` and `mu` as in `schedule`."""
        cells = self.facts.latents_per_token
        grid = TokenGrid(x_t.shape[-2] // cells, x_t.shape[-1] // cells)
        scheduler = self.schedule(steps, grid=grid, mu=mu)
        for timestep in scheduler.timesteps:
            t = timestep.to(x_t.dtype) / 1000  # rounded before the division, as diffusers does in bf16
            velocity = condition.prediction(partial(self.predict, x_t, t))
            x_t = scheduler.step(velocity, timestep, x_t, return_dict=False)[0]
        return x_t
