"""How local tokens join the image tokens of a reference: the three injections of DreamRelation's Table 3.

Tokens in, tokens out: an adapter reads the answer as it read its image tokens. Those have the class token first and
then the patches row by row; local tokens are k x k cells of the same picture, row by row.
Source: DreamRelation (arXiv:2410.23280), supplement (design note dreamrelation.md, 2.1). It names addition and linear
projection without a formula; what is not concatenation is our reading, and at its start changes nothing that was
trained without it.

Shapes: N references, L = 1 + h w image tokens, M = k k local tokens, D width of both.
"""

from collections.abc import Mapping
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likeness.core.errors import ConfigError, DataError


class Concatenation(nn.Module):
    """Local tokens behind the image tokens: L + M. No parameters; for resamplers, which read any number of tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, image: Float[Tensor, "N L D"], local: Float[Tensor, "N M D"]) -> Float[Tensor, "N K D"]:
        """Raises: DataError for tokens of another width."""
        _require_width(image, local, width=self.width)
        return torch.cat([image, local.to(image)], dim=1)


class LinearProjection(nn.Module):
    """Each image token plus a linear map of the local token of its place; L tokens. D * D + D parameters.

    The map is all zeros at first, so that the adapter's answer is what it was. Together with the image token's own
    weight of one it is a linear layer on the pair of both, [I, W].
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.project = width, nn.Linear(width, width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, image: Float[Tensor, "N L D"], local: Float[Tensor, "N M D"]) -> Float[Tensor, "N L D"]:
        """Raises: DataError for tokens of another width, or no square grids."""
        _require_width(image, local, width=self.width)
        return image + self.project(at_patches(local.to(image), count=image.shape[1]))


class Addition(nn.Module):
    """Each image token plus the local token of its place; L tokens. No parameters, so it acts from the first step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, image: Float[Tensor, "N L D"], local: Float[Tensor, "N M D"]) -> Float[Tensor, "N L D"]:
        """Raises: DataError for tokens of another width, or no square grids."""
        _require_width(image, local, width=self.width)
        return image + at_patches(local.to(image), count=image.shape[1])


INJECTIONS: Mapping[str, type[Concatenation] | type[LinearProjection] | type[Addition]] = {
    "concatenation": Concatenation,
    "linear": LinearProjection,
    "addition": Addition,
}
"""By name, each made with the width of the image tokens."""


class LocalTokens(nn.Module):
    """Local tokens of an encoder, `local_width` wide, brought to the image tokens' width and injected.

    Where both widths are equal nothing is added to the injection, as for CLIP bigG, whose Local Image Encoder is the
    same tower. Else a linear layer without bias, ones on its diagonal at first, has local_width * width parameters.
    `legacy`: the public code cannot train with local tokens (its data loader has none); neither can this.
    """

    def __init__(self, injection: str, *, width: int, local_width: int, legacy: bool = False) -> None:
        super().__init__()
        if injection not in INJECTIONS:
            raise ConfigError(f"injection: expected one of {', '.join(INJECTIONS)}, got {injection!r}; choose one.")
        self.widen = nn.Identity() if width == local_width else nn.Linear(local_width, width, bias=False)
        if isinstance(self.widen, nn.Linear):
            nn.init.eye_(self.widen.weight)
        self.inject, self.legacy = INJECTIONS[injection](width), legacy

    def forward(self, image: Float[Tensor, "N L D"], local: Float[Tensor, "N M E"]) -> Float[Tensor, "N K D"]:
        """The tokens that an adapter reads. Raises: ConfigError in training under `legacy`; DataError as injections."""
        if self.legacy and self.training:
            wanted = "local tokens: expected no training with them under legacy, as in the public code"
            raise ConfigError(f"{wanted}, got some; train without, or set legacy to false.")
        return self.inject(image, self.widen(local))


def at_patches(local: Float[Tensor, "N M D"], *, count: int) -> Float[Tensor, "N L D"]:
    """For each of `count` = 1 + h h image tokens the local token of its place; their mean for the class token.

    Patch (r, c) of h x h lies in cell (r k // h, c k // h). Raises: DataError for counts that are no such squares.
    """
    cells, patches = isqrt(local.shape[1]), isqrt(count - 1)
    if cells * cells != local.shape[1] or patches * patches != count - 1:
        wanted = "expected k k local and 1 + h h image tokens"
        raise DataError(f"local tokens: {wanted}, got {local.shape[1]} and {count}; check the encoder.")
    place = torch.arange(patches, device=local.device) * cells // patches
    spread = local.unflatten(1, (cells, cells))[:, place][:, :, place].flatten(1, 2)
    return torch.cat([local.mean(1, keepdim=True), spread], dim=1)


def _require_width(image: Tensor, local: Tensor, *, width: int) -> None:
    if image.shape[-1] != width or local.shape[-1] != width or len(image) != len(local):
        got = f"{tuple(image.shape)} and {tuple(local.shape)}"
        raise DataError(f"local tokens: expected as many rows of width {width} as image tokens, got {got}; check both.")
