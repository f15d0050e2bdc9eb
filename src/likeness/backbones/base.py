"""The contract every backbone keeps; epsilon- and flow-prediction hide behind it.

Shapes: B pictures, C latent channels, h x w latent grid, L target tokens, D width of the network.
Time: `t` lies in [0, 1]; t = 1 is pure noise, t = 0 the clean picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

ConditionT = TypeVar("ConditionT")


@runtime_checkable  # beartype asks; any callable answers yes
class Watch(Protocol):
    """Sees the image tokens of every block while one forward pass runs; nothing is kept for it."""

    def __call__(self, layer: str, target_tokens: Tensor, reference_tokens: list[Tensor], /) -> None:
        """Receive what block `layer` put out: target (B, L, D) and one (B, Li, D) per reference image, detached."""
        ...


class Backbone(Protocol[ConditionT]):
    """A frozen or trainable generator of pictures from a prompt and reference images.

    Everything here works for B >= 1 pictures of one size with references of one size. `x0`, `x_t`, `eps` and
    predictions are latents (B, C, h, w), `t` is (B,) or a scalar tensor.
    """

    def condition(self, prompt: str, references: Sequence[Image] = ()) -> ConditionT:
        """Everything `predict` needs to know about one prompt and its reference images (B = 1)."""
        ...

    def noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t: the clean latents `x0` carried to time `t` along the model's path, with noise `eps`."""
        ...

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What a perfect `predict` answers at `noise(x0, eps, t)`: a velocity or the noise itself."""
        ...

    def predict(self, x_t: Tensor, t: Tensor, condition: ConditionT, watch: Watch | None = None) -> Tensor:
        """The network's answer at `x_t`, same shape as `x_t`; `watch` is called during the pass, block by block."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Clean latents (B, C, h, w) of pixels (B, 3, H, W) in [-1, 1]; deterministic."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), about [-1, 1], of clean latents (B, C, h, w)."""
        ...

    def generate(
        self,
        prompt: str,
        references: Sequence[Image] = (),
        *,
        seed: int,
        size: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        cfg_scale: float | None = None,
    ) -> Image:
        """One picture; the same arguments give the same pixels on the same machine."""
        ...
