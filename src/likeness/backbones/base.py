"""The contract every backbone keeps; epsilon- and flow-prediction hide behind it.

Shapes: B pictures, C latent channels, h x w latent grid, L target tokens, D width of the network.
Time: `t` lies in [0, 1]; t = 1 is pure noise, t = 0 the clean picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, get_args, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

ConditionT = TypeVar("ConditionT")

Features = Literal["attention_input", "block_output", "attention_output", "query", "key"]
# What a `Watch` may see of each block: the normalised and modulated tokens that enter attention; the residual stream
# behind the block; what attention adds; queries or keys after their norm, before rope (all heads joined).
FEATURES: tuple[str, ...] = get_args(Features)


@runtime_checkable  # beartype asks; any callable answers yes
class Watch(Protocol):
    """Sees features of the image tokens in every block while one forward pass runs; nothing is kept for it."""

    def __call__(self, layer: str, target_tokens: Tensor, reference_tokens: list[Tensor], /) -> None:
        """Receive the tokens of block `layer`: target (B, L, D) and one (B, Li, D) per reference image, detached."""
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

    def predict(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: ConditionT,
        watch: Watch | None = None,
        *,
        features: str = "attention_input",
    ) -> Tensor:
        """The network's answer at `x_t`, same shape; `watch` sees `features`, one of `FEATURES`, block by block.

        Each block is reported once per call, also when gradient checkpointing runs it again later.
        """
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
        reference_cfg_scale: float | None = None,
    ) -> Image:
        """One picture; the same arguments give the same pixels on the same machine."""
        ...
