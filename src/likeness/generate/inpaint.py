"""A region of a picture drawn anew by the backbone: rejected pictures that come from the policy's own hand.

Source: latents outside the region are set back to the noised original before every step, as in RePaint (Lugmayr et al.,
arXiv:2201.09865, section 4.1).
Differs: rectified flow instead of DDPM, no resampling jumps, and the path starts at `strength` < 1, so that pose and
light of the original survive.
Shapes: S side in px, C latent channels, h x w latent grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.core.devices import pick_device, pick_dtype, pick_dtype_name
from likeness.core.errors import ConfigError, DataError
from likeness.core.hashing import folder_sha256, short
from likeness.core.weights import resolve_weights
from likeness.data.pairs.regeneration import Regenerate, RegenerationJob

if TYPE_CHECKING:
    from torch import Tensor

    from likeness.backbones.base import TokenGrid
    from likeness.backbones.flux.condition import FluxCondition
    from likeness.backbones.flux.options import FluxOptions
    from likeness.backbones.flux.uno import FluxUno
    from likeness.backbones.guided import GuidedCondition

__all__ = ["STRENGTH", "FluxInpainter", "LoadInpainter"]

STRENGTH = 0.9
"""Noise level from which the region is drawn: high enough for other colours and kinds, low enough to keep the pose."""


@dataclass(frozen=True)
class LoadInpainter:
    """Loads the backbone of an embedded name, a folder or a hub id as a `Regenerate`. Raises: WeightsError."""

    model: str = "flux"
    device: str = "auto"
    dtype: str = "auto"
    steps: int | None = None
    strength: float = STRENGTH
    cfg_scale: float | None = None
    reference_cfg_scale: float | None = None

    @property
    def id(self) -> str:
        """Model, content hash and settings in one line."""
        folder = resolve_weights(self.model)
        name = folder.name if Path(self.model).is_dir() else self.model
        device = pick_device(self.device)
        scales = f"cfg {self.cfg_scale}, reference cfg {self.reference_cfg_scale}"
        numbers = f"steps {self.steps}, strength {self.strength:g}, {scales}"
        place = f"{device.partition(':')[0]} {pick_dtype_name(device, self.dtype)}"
        return f"flux_uno {name}@{short(folder_sha256(folder))}; {numbers}; {place}"

    def __call__(self) -> Regenerate:
        """The loaded model."""
        from likeness.backbones.flux.options import FluxOptions
        from likeness.backbones.flux.uno import FluxUno

        options = FluxOptions(steps=self.steps, cfg_scale=self.cfg_scale, reference_cfg_scale=self.reference_cfg_scale)
        device = pick_device(self.device)
        backbone = FluxUno.load(self.model, device=device, dtype=pick_dtype(device, self.dtype))
        return FluxInpainter(backbone, options=options, strength=self.strength)


class FluxInpainter:
    """Draws regions anew, one picture at a time; equal jobs give equal pixels on one machine.

    Of the `options` steps and guidance count, sizes are those of the pictures. Raises: ConfigError for a strength
    outside (0, 1].
    """

    def __init__(self, backbone: FluxUno, *, options: FluxOptions, strength: float = STRENGTH) -> None:
        if not 0 < strength <= 1:
            raise ConfigError(f"strength: expected more than 0 and at most 1, got {strength}; 0.9 suits.")
        self._backbone, self._options, self._strength = backbone, options, strength

    def __call__(self, job: RegenerationJob, /) -> NDArray[np.uint8]:
        """The (S, S, 3) picture whose region is new; outside it is the autoencoder's copy of the original.

        Raises: DataError when region and picture differ in size, ConfigError for sides the backbone cannot cut into
        tokens.
        """
        import torch

        from likeness.backbones.flux.tokens import token_grid
        from likeness.backbones.pixels import to_pixels

        if job.region.shape != job.picture.shape[:2]:
            raise DataError(f"region: expected {job.picture.shape[:2]} as the picture, got {job.region.shape}.")
        backbone = self._backbone
        backbone.grid(size=job.picture.shape[0], width=job.picture.shape[1])
        with torch.no_grad():
            x0 = backbone.encode(to_pixels([Image.fromarray(job.picture)])).to(backbone.device, backbone.dtype)
            grid = token_grid(x0)
            region = region_latents(job.region, grid=grid).to(x0)
            eps = backbone.initial_noise([job.seed], grid=grid)
            full = backbone.condition(job.prompt, job.references, guidance=self._options.guidance)
            condition = backbone.guided(full, self._options)
            latents = self._denoise(x0, eps, region, condition, times=self._times(grid))
            return np.asarray(backbone.to_images(latents)[0])

    def _times(self, grid: TokenGrid) -> list[float]:
        """Falling noise levels from the first at most `strength` to 0."""
        sigmas = self._backbone.schedule(self._options.steps, grid=grid).sigmas.tolist()
        kept = [sigma for sigma in sigmas if sigma <= self._strength]
        return kept if len(kept) > 1 else [self._strength, 0.0]

    def _denoise(
        self, x0: Tensor, eps: Tensor, region: Tensor, condition: GuidedCondition[FluxCondition], *, times: list[float]
    ) -> Tensor:
        """Latents (1, C, h, w): Euler steps inside the region, outside the original at the noise level of each step."""
        backbone = self._backbone
        x_t = backbone.noise(x0, eps, x0.new_tensor(times[0]))
        for t, after in pairwise(times):
            velocity = condition.prediction(partial(backbone.predict, x_t, x0.new_tensor(t)))
            x_t = x_t + (after - t) * velocity
            x_t = region * x_t + (1 - region) * backbone.noise(x0, eps, x0.new_tensor(after))
        return x_t


def region_latents(region: NDArray[np.bool_], *, grid: TokenGrid) -> Tensor:
    """(1, 1, h, w) float32: 1 for the latents of every token that the region touches, else 0."""
    import torch

    rows, columns = region.shape[0] // grid.rows, region.shape[1] // grid.columns
    touched = region.reshape(grid.rows, rows, grid.columns, columns).any(axis=(1, 3))
    return torch.from_numpy(touched.repeat(2, axis=0).repeat(2, axis=1)).float()[None, None]
