"""The Local Image Encoder in an SDXL folder with MS-Diffusion: local tokens join what CLIP makes of each reference.

    local_encoder                        a CLIP or DINO in stock format: what `likeness train local_encoder.toml` saves,
                                         or `likeness fetch local_image_encoder` makes of the published checkpoint
    local_encoder/local_tokens.json      optional, `LocalSettings`
    local_encoder/injection.safetensors  the tensors of `LocalTokens`, where the injection has any

It lies in the model's folder, so that the folder's hash names it, too.
Source: DreamRelation (arXiv:2410.23280), supplement, Tables 2 and 3; design note dreamrelation.md, 2.1.
Differs: every reference has its own local tokens; the public code gives all of them those of the first picture
(`first_picture_for_all`), and goes on without a word where its encoder is missing.

Shapes: n references, S image tokens of each, W their width, K tokens of each afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: stock models

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from likeness.backbones.local_tokens import LocalTokens
from likeness.backbones.sdxl.local_settings import FOLDER_NAME, SETTINGS_NAME, read_local_settings
from likeness.core.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from likeness.encoders.dense import DenseEncoder

INJECTION_NAME = "injection.safetensors"


class LocalEncoder(nn.Module):
    """A frozen dense encoder in float32 and the injection of its local tokens."""

    def __init__(self, dense: DenseEncoder, tokens: LocalTokens, *, first_picture_for_all: bool = False) -> None:
        super().__init__()
        tower: Any = dense
        self._dense, self.tower, self.tokens = dense, tower.model, tokens
        self.first_picture_for_all = first_picture_for_all
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, features: Float[Tensor, "n S W"], references: Sequence[Image.Image]) -> Float[Tensor, "n K W"]:
        """The references' image tokens with the local tokens of the whole pictures. Raises: DataError."""
        from likeness.encoders.object_tokens import object_tokens, whole_pictures

        device = next(self.tower.parameters()).device
        seen = [torch.from_numpy(self._dense.pixel_values(reference))[None].to(device) for reference in references]
        dense = torch.cat([self._dense.dense(pixels) for pixels in seen])  # one by one, as `DenseEncoder.look`
        count = len(references)
        local = object_tokens(
            dense,
            whole_pictures(count).to(device),
            picture=torch.arange(count, device=device),
            first_picture_for_all=self.first_picture_for_all,
        ).tokens
        return self.tokens(features.float(), local.to(features.device)).to(features.dtype)


def load_local_encoder(folder: Path, *, width: int, device: str) -> LocalEncoder:
    """That of the model's folder, for image tokens `width` wide. Raises: WeightsError."""
    from likeness.encoders.dense import DENSE_ENCODERS

    place = folder / FOLDER_NAME
    settings = read_local_settings(place)
    dense = DENSE_ENCODERS[settings.encoder].load(place, device=device)
    if settings.side is not None:
        dense = _at(dense, settings.side, path=place / SETTINGS_NAME)
    tokens = LocalTokens(settings.injection, width=width, local_width=dense.width)
    _load_injection(tokens, place / INJECTION_NAME, is_trained=settings.injection == "linear")
    return LocalEncoder(dense, tokens.to(device), first_picture_for_all=settings.first_picture_for_all)


def sketch_local_encoder(folder: Path) -> nn.Module:
    """Its network by the config alone, on the meta device. Raises: WeightsError."""
    from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

    from likeness.encoders.dense import vision_config

    place = folder / FOLDER_NAME
    is_dino = read_local_settings(place).encoder == "dino"
    try:
        with torch.device("meta"):
            if is_dino:
                return AutoModel.from_config(AutoConfig.from_pretrained(place, local_files_only=True))
            return CLIPVisionModelWithProjection(vision_config(place))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{place}: expected the config of a CLIP or DINO, got {error}; copy it again.") from error


def _at(dense: DenseEncoder, side: int, *, path: Path) -> DenseEncoder:
    try:
        return dense.at(side)
    except ConfigError as error:
        raise WeightsError(f"{path}: {error}") from error


def _load_injection(tokens: LocalTokens, path: Path, *, is_trained: bool) -> None:
    """The injection has the file's tensors; those that bring a narrower encoder to width may stay as they are made."""
    from safetensors.torch import load_file

    if not path.is_file():
        if is_trained:
            wanted = f"{path}: expected the trained map of a linear injection, which without one adds nothing, got none"
            raise WeightsError(f"{wanted}; train it, or take concatenation.")
        return
    try:
        tokens.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        wanted = f"{path}: expected {', '.join(tokens.state_dict()) or 'no tensor'} of this injection"
        raise WeightsError(f"{wanted}, got {error}; take the file that was trained with it.") from error


def convert_local_encoder(tensors: Mapping[str, Tensor], folder: Path, base: str) -> None:
    """`folder` has the picture tower of the published checkpoint, a CLIP ViT-bigG/14; its text tower is left.

    The published code reads patches by the value path of the last block, as `encoder = "local"` does; `base` is not
    needed. Source: the layout of CLIPSelf's checkpoints (design note dreamrelation.md, 2.2).
    Raises: WeightsError for tensors that no CLIP has, and for a picture tower with more or fewer than its own.
    """
    from likeness.encoders.open_clip import VIT_BIG_G_14, write_vision_tower

    write_vision_tower(tensors, folder=folder, heads=VIT_BIG_G_14)
