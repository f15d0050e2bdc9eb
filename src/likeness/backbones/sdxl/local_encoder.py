"""The Local Image Encoder in an SDXL folder with MS-Diffusion: local tokens join what CLIP makes of each reference.

    local_encoder                        a CLIP or DINO in stock format: what `likeness train local_encoder.toml` saves,
                                         or `likeness fetch local_image_encoder` makes of the published checkpoint
    local_encoder/local_tokens.json      optional, `LocalSettings`
    local_encoder/injection.safetensors  the tensors of `LocalTokens`, where the injection has any

It lies in the model's folder, so that the folder's hash names it, too. A LoRA that was trained together with the
injection has the same file beside its own, which then counts instead.
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
from likeness.backbones.lora import write_tensors
from likeness.backbones.sdxl.local_settings import FOLDER_NAME, SETTINGS_NAME, has_local_encoder, read_local_settings
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.files import read_json
from likeness.core.weights import check_safetensors, resolve_adapter

if TYPE_CHECKING:
    from likeness.encoders.dense import DenseEncoder

INJECTION_NAME = "injection.safetensors"


class LocalEncoder(nn.Module):
    """A frozen dense encoder in float32 and the injection of its local tokens.

    `untrained`: what is wrong with an injection that has yet to be trained; empty for one that can be used.
    """

    def __init__(
        self, dense: DenseEncoder, tokens: LocalTokens, *, first_picture_for_all: bool = False, untrained: str = ""
    ) -> None:
        super().__init__()
        tower: Any = dense
        self._dense, self.tower, self.tokens = dense, tower.model, tokens
        self.first_picture_for_all, self.untrained = first_picture_for_all, untrained
        self.eval().requires_grad_(False)

    def take(self, tokens: LocalTokens) -> None:
        """From now on this is the injection, as it is and as it becomes."""
        self.tokens, self.untrained = tokens, ""

    def read_injection(self, path: Path) -> None:
        """The injection has the tensors of the file. Raises: WeightsError."""
        read_injection(self.tokens, path)
        self.untrained = ""

    @torch.no_grad()
    def forward(self, features: Float[Tensor, "n S W"], references: Sequence[Image.Image]) -> Float[Tensor, "n K W"]:
        """The references' image tokens with the local tokens of the whole pictures.

        Raises: DataError; WeightsError for an injection that has yet to be trained.
        """
        if self.untrained:
            raise WeightsError(self.untrained)
        return self.inject(features, self.local(references))

    def inject(self, features: Float[Tensor, "n S W"], local: Float[Tensor, "n M E"]) -> Float[Tensor, "n K W"]:
        """Image tokens with the local tokens, in the image tokens' precision. Raises: DataError."""
        return self.tokens(features.float(), local.to(features.device)).to(features.dtype)

    @torch.no_grad()
    def local(self, references: Sequence[Image.Image]) -> Float[Tensor, "n M E"]:
        """The local tokens of the whole pictures, as the encoder has them."""
        from likeness.encoders.object_tokens import object_tokens, whole_pictures

        device = next(self.tower.parameters()).device
        seen = [torch.from_numpy(self._dense.pixel_values(reference))[None].to(device) for reference in references]
        dense = torch.cat([self._dense.dense(pixels) for pixels in seen])  # one by one, as `DenseEncoder.look`
        count = len(references)
        return object_tokens(
            dense,
            whole_pictures(count).to(device),
            picture=torch.arange(count, device=device),
            first_picture_for_all=self.first_picture_for_all,
        ).tokens


def load_local_encoder(folder: Path, *, width: int, device: str) -> LocalEncoder:
    """That of the model's folder, for image tokens `width` wide. Raises: WeightsError."""
    from likeness.encoders.dense import DENSE_ENCODERS

    place = folder / FOLDER_NAME
    settings = read_local_settings(place)
    dense = DENSE_ENCODERS[settings.encoder].load(place, device=device)
    if settings.side is not None:
        dense = _at(dense, settings.side, path=place / SETTINGS_NAME)
    tokens = LocalTokens(settings.injection, width=width, local_width=dense.width)
    path, untrained = place / INJECTION_NAME, ""
    if path.is_file():
        read_injection(tokens, path)
    elif settings.injection == "linear":
        wanted = f"{path}: expected the trained map of a linear injection, which without one adds nothing, got none"
        untrained = f"{wanted}; train it (data.train_injection), or take concatenation."
    first = settings.first_picture_for_all
    return LocalEncoder(dense, tokens.to(device), first_picture_for_all=first, untrained=untrained)


def require_trainable_injection(folder: Path) -> None:
    """Raises: ConfigError where the injection of the model's encoder has no parameters; by the configs alone."""
    place = folder / FOLDER_NAME
    settings = read_local_settings(place)
    width, local_width = (_width(folder / name) for name in ("image_encoder", FOLDER_NAME))
    if settings.injection != "linear" and width == local_width:
        wanted = "expected an injection with parameters (linear, or an encoder of another width than CLIP)"
        raise ConfigError(f"train_injection: {wanted}, got {settings.injection} in {folder.name}; set it to false.")


def _width(folder: Path) -> int:
    config = read_json(folder / "config.json")
    return config.get("vision_config", config)["hidden_size"]


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


def read_injection(tokens: LocalTokens, path: Path) -> None:
    """The injection has the file's tensors; those that bring a narrower encoder to width may stay as they are made.

    Raises: WeightsError for a file of another injection.
    """
    from safetensors.torch import load_file

    check_safetensors(path)
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


def injection_beside(lora: str | Path) -> Path | None:
    """The injection in the folder of a LoRA, where it was trained with one. Raises: WeightsError."""
    place = resolve_adapter(lora)
    return path if (path := place / INJECTION_NAME).is_file() else None


def require_place(injection: Path, folder: Path, *, taken: bool) -> None:
    """Raises: WeightsError where the model in `folder` has no place for an injection, `taken` by its kind or not."""
    if not taken or not has_local_encoder(folder):
        wanted = f"{injection}: expected a model with {FOLDER_NAME}, whose injection this is, got none in {folder.name}"
        raise WeightsError(f"{wanted}; name the model that it was trained on, or the LoRA's file alone.")


def save_injection(tokens: LocalTokens, folder: Path, *, metadata: Mapping[str, Any]) -> None:
    """`folder`/injection.safetensors with the metadata in its header, the same bytes each time. Raises: OutputError."""
    write_tensors(folder / INJECTION_NAME, tokens.state_dict(), metadata=metadata)
