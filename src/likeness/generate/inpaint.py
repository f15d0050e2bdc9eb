"""A region of a picture drawn anew by the backbone: rejected pictures that come from the policy's own hand.

Source: latents outside the region are set back to the noised original before every step, as in RePaint (Lugmayr et al.,
arXiv:2201.09865, section 4.1).
Differs: rectified flow instead of DDPM (FLUX.1, FLUX.2 klein, Qwen-Image-Edit), no resampling jumps, and the path
starts at `strength` < 1, so that pose and light of the original survive.
Shapes: S side in px, C latent channels, h x w latent grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: backbones have conditions and options of their own

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.backbones.open import kind_of, open_backbone, options_of
from likeness.core.devices import pick_device, pick_dtype, pick_dtype_name
from likeness.core.errors import ConfigError, DataError
from likeness.core.hashing import folder_sha256, short
from likeness.core.weights import resolve_weights
from likeness.data.pairs.regeneration import Regenerate, RegenerationJob

if TYPE_CHECKING:
    from torch import Tensor

    from likeness.backbones.base import TokenGrid
    from likeness.backbones.guided import GuidedCondition
    from likeness.backbones.options import Options

__all__ = ["STRENGTH", "FlowInpainter", "LoadInpainter"]

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
    guidance: float | None = None

    @property
    def id(self) -> str:
        """Model, content hash and settings in one line."""
        folder = resolve_weights(self.model)
        name = folder.name if Path(self.model).is_dir() else self.model
        device = pick_device(self.device)
        scales = f"cfg {self.cfg_scale}, reference cfg {self.reference_cfg_scale}"
        numbers = f"steps {self.steps}, strength {self.strength:g}, {scales}"
        numbers += "" if self.guidance is None else f", guidance {self.guidance:g}"
        place = f"{device.partition(':')[0]} {pick_dtype_name(device, self.dtype)}"
        return f"{kind_of(folder)} {name}@{short(folder_sha256(folder))}; {numbers}; {place}"

    def __call__(self) -> Regenerate:
        """The loaded model."""
        device = pick_device(self.device)
        backbone = open_backbone(self.model, device=device, dtype=pick_dtype(device, self.dtype))
        return FlowInpainter(backbone, options=self.options(), strength=self.strength)

    def options(self) -> Options:
        """What is asked of the model beside its defaults. Raises: ConfigError for what this kind of model knows not."""
        asked = {"steps": self.steps, "cfg_scale": self.cfg_scale, "guidance": self.guidance}
        asked |= {"reference_cfg_scale": self.reference_cfg_scale}
        known = options_of(kind_of(resolve_weights(self.model)))
        return known(**{name: value for name, value in asked.items() if value is not None})


class FlowInpainter:
    """Draws regions anew, one picture at a time; equal jobs give equal pixels on one machine.

    Of the `options` steps and guidance count, sizes are those of the pictures. Raises: ConfigError for a strength
    outside (0, 1], or a backbone that does not draw on a straight path.
    """

    # Any: every flow backbone has a `drawing`, with options of its own kind
    def __init__(self, backbone: Any, *, options: Any, strength: float = STRENGTH) -> None:
        if not hasattr(backbone, "drawing"):
            wanted = "a model on a straight path (FLUX.1, FLUX.2 klein, Qwen-Image-Edit) to draw regions with"
            raise ConfigError(f"inpaint: expected {wanted}, got {backbone.facts.kind}; name another model.")
        if not 0 < strength <= 1:
            raise ConfigError(f"strength: expected more than 0 and at most 1, got {strength}; 0.9 suits.")
        self._backbone, self._options, self._strength = backbone, options, strength

    def __call__(self, job: RegenerationJob, /) -> NDArray[np.uint8]:
        """The (S, S, 3) picture whose region is new; outside it is the autoencoder's copy of the original.

        Raises: DataError when region and picture differ in size, ConfigError for sides the backbone cannot cut into
        tokens.
        """
        import torch

        from likeness.backbones.pixels import to_pixels

        if job.region.shape != job.picture.shape[:2]:
            raise DataError(f"region: expected {job.picture.shape[:2]} as the picture, got {job.region.shape}.")
        backbone = self._backbone
        grid = backbone.grid(size=job.picture.shape[0], width=job.picture.shape[1])
        with torch.no_grad():
            x0 = backbone.encode(to_pixels([Image.fromarray(job.picture)])).to(backbone.device, backbone.dtype)
            region = region_latents(job.region, grid=grid, cells=backbone.facts.latents_per_token).to(x0)
            eps = backbone.initial_noise([job.seed], grid=grid)
            condition = backbone.drawing(job.prompt, job.references, self._options)
            latents = self._denoise(x0, eps, region, condition, times=self._times(grid))
            return np.asarray(backbone.to_images(latents)[0])

    def _times(self, grid: TokenGrid) -> list[float]:
        """Falling noise levels from the first at most `strength` to 0."""
        sigmas = self._backbone.schedule(self._options.steps, grid=grid).sigmas.tolist()
        kept = [sigma for sigma in sigmas if sigma <= self._strength]
        return kept if len(kept) > 1 else [self._strength, 0.0]

    def _denoise(
        self, x0: Tensor, eps: Tensor, region: Tensor, condition: GuidedCondition[Any], *, times: list[float]
    ) -> Tensor:
        """Latents (1, C, h, w): Euler steps inside the region, outside the original at the noise level of each step."""
        backbone = self._backbone
        x_t = backbone.noise(x0, eps, x0.new_tensor(times[0]))
        for t, after in pairwise(times):
            velocity = condition.prediction(partial(backbone.predict, x_t, x0.new_tensor(t)))
            x_t = x_t + (after - t) * velocity
            x_t = region * x_t + (1 - region) * backbone.noise(x0, eps, x0.new_tensor(after))
        return x_t


def region_latents(region: NDArray[np.bool_], *, grid: TokenGrid, cells: int) -> Tensor:
    """(1, 1, h, w) float32: 1 for the `cells` x `cells` latents of every token that the region touches, else 0."""
    import torch

    rows, columns = region.shape[0] // grid.rows, region.shape[1] // grid.columns
    touched = region.reshape(grid.rows, rows, grid.columns, columns).any(axis=(1, 3))
    return torch.from_numpy(touched.repeat(cells, axis=0).repeat(cells, axis=1)).float()[None, None]
