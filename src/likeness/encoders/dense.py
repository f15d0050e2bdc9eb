"""Dense features: one feature for every patch of a picture, instead of one for all of it.

Three kinds stand behind one interface, the choice of DreamRelation's Table 2. `local` is its Local Image Encoder: in
the last block of a CLIP each token takes its own value path alone, so that it tells what lies at its own place.
Source: CLIPSelf (arXiv:2310.01403), section 3.1, after MaskCLIP (arXiv:2112.01071); DreamRelation (arXiv:2410.23280),
supplement, and its public code (design note dreamrelation.md, 2.1).

Shapes: B pictures, h x w patches, D width of the tokens.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar  # Any: stock models and their layers, which are typed as many things

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, CLIPVisionConfig, CLIPVisionModelWithProjection

from likeness.core.errors import ConfigError
from likeness.core.files import read_json
from likeness.core.images import to_rgb
from likeness.encoders.base import FolderEncoder, encoder_id, in_batches, load_whole
from likeness.encoders.vit import vit_model

DENSE_BATCH = 1
"""Pictures that go through a network together: maps of thousands of tokens leave no room for more."""


class _OfWholeClip(CLIPVisionModelWithProjection):
    """Read from a folder that also holds a text tower, which is no mistake to tell of."""

    _keys_to_ignore_on_load_unexpected: set[str] | list[str] | None = [  # noqa: RUF012 - declared so by the stock class
        *(r"^text_model\.", r"^text_projection", r"^logit_"),
    ]


def vision_config(folder: Path) -> CLIPVisionConfig:
    """The config of the picture tower of a folder that holds it alone or a whole CLIP.

    Raises: ValueError for a model of another kind.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type == "clip":
        config.vision_config.projection_dim = config.projection_dim
        return config.vision_config
    if isinstance(config, CLIPVisionConfig):
        return config
    raise ValueError(f"model_type {config.model_type} (known: clip, clip_vision_model)")


def load_vision_tower(folder: Path, *, device: str) -> CLIPVisionModelWithProjection:
    """The picture tower with its projection, in float32, of a folder that holds it alone or a whole CLIP.

    Raises: ValueError for missing tensors or a model of another kind.
    """
    vision = vision_config(folder)
    read = load_whole(_OfWholeClip, folder, device=device, config=vision)
    with torch.device("meta"):
        tower = CLIPVisionModelWithProjection(vision)
    tower.vision_model, tower.visual_projection = read.vision_model, read.visual_projection
    return tower.eval()


def last_block_input(model: CLIPVisionModelWithProjection, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L D"]:
    """CLIP's image tokens, L = 1 + h w with the class token first: what enters the last block, without a final norm.

    Adapters of the IP-Adapter and MS-Diffusion kind read these. The positions are interpolated to the picture's size.
    """
    vision: Any = model.vision_model
    tokens = vision.pre_layrnorm(vision.embeddings(pixels, interpolate_pos_encoding=True))
    for layer in vision.encoder.layers[:-1]:
        tokens = layer(tokens, attention_mask=None)
    return tokens


def value_path(layer: Any, tokens: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
    """A block in which every token attends to itself alone: its value, projected out, then the MLP."""
    attention = layer.self_attn
    tokens = tokens + attention.out_proj(attention.v_proj(layer.layer_norm1(tokens)))
    return tokens + layer.mlp(layer.layer_norm2(tokens))


def dense_features(
    model: CLIPVisionModelWithProjection, pixels: Float[Tensor, "B 3 H W"], *, project: bool
) -> Float[Tensor, "B h w D"]:
    """Unit features of the patches by the value path of the last block.

    With `project` they lie in CLIP's shared space, where training compares them; without it they keep the tower's
    width, which DreamRelation hands to its resampler.
    """
    vision: Any = model.vision_model
    tokens = value_path(vision.encoder.layers[-1], last_block_input(model, pixels))[:, 1:]
    return _unit_grid(_normed(model, tokens, project=project), pixels, patch=vision.config.patch_size)


def global_patches(
    model: CLIPVisionModelWithProjection, pixels: Float[Tensor, "B 3 H W"], *, project: bool
) -> Float[Tensor, "B h w D"]:
    """Unit features of the patches as the whole CLIP has them: the last block mixes them with all others."""
    vision: Any = model.vision_model
    tokens = vision.encoder.layers[-1](last_block_input(model, pixels), attention_mask=None)[:, 1:]
    return _unit_grid(_normed(model, tokens, project=project), pixels, patch=vision.config.patch_size)


def global_feature(model: CLIPVisionModelWithProjection, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B P"]:
    """The unit feature of a whole picture in CLIP's shared space."""
    outputs: Any = model(pixel_values=pixels)
    return F.normalize(outputs.image_embeds.float(), dim=-1)


def _normed(model: CLIPVisionModelWithProjection, tokens: Tensor, *, project: bool) -> Tensor:
    normed = model.vision_model.post_layernorm(tokens)
    return model.visual_projection(normed) if project else normed


def _unit_grid(tokens: Float[Tensor, "B L D"], pixels: Tensor, *, patch: int) -> Float[Tensor, "B h w D"]:
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    return F.normalize(tokens.float(), dim=-1).unflatten(1, (rows, columns))


class DenseEncoder(FolderEncoder):
    """A frozen model's dense features of pictures that are squashed to `side` px squares, as DreamRelation does.

    `side` is a multiple of `patch`; without one it is four times the size the model was trained at (896 px for 224).
    """

    patch: int
    width: int
    side: int
    _mean: list[float]
    _std: list[float]

    def _read_preprocessing(self, folder: Path, *, trained_at: int, patch: int, width: int) -> None:
        settings = read_json(folder / "preprocessor_config.json")
        self._mean, self._std = settings["image_mean"], settings["image_std"]
        self.patch, self.width, self.side = patch, width, 4 * trained_at

    def at(self, side: int) -> "DenseEncoder":
        """The encoder itself, from now on looking at `side` px. Raises: ConfigError for no multiple of the patch."""
        if side < self.patch or side % self.patch:
            raise ConfigError(f"side: expected a multiple of the patch, {self.patch} px, got {side}; change it.")
        self.side = side
        return self

    def pixel_values(self, image: Image.Image) -> Float[np.ndarray, "3 S S"]:
        """The picture as the model sees it."""
        return normalised(squashed(image, side=self.side), mean=self._mean, std=self._std)

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "N h w D"]:
        """Unit features of every patch, by picture."""
        pixels = [self.pixel_values(image) for image in images]
        return in_batches(pixels, self.dense, device=self.device, size=DENSE_BATCH)

    @abstractmethod
    def dense(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B h w D"]:
        """Unit features of every patch of pictures as `pixel_values` has them."""


class _ClipDense(DenseEncoder):
    wanted: ClassVar[tuple[str, str]] = (
        "dense CLIP",
        "a CLIPModel or CLIPVisionModelWithProjection as safetensors with preprocessor_config.json",
    )

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.model, self.device = load_vision_tower(folder, device=device), device
        config: Any = self.model.config
        sizes: Any = {"trained_at": config.image_size, "patch": config.patch_size, "width": config.hidden_size}
        self._read_preprocessing(folder, **sizes)
        self.id = encoder_id(type(self).__name__, spec=spec, folder=folder, preprocessing="squashed", batch=DENSE_BATCH)


class ClipGlobal(_ClipDense):
    """A CLIP's patches behind its ordinary last block."""

    def dense(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B h w D"]:
        """As `global_patches`, at the tower's width."""
        return global_patches(self.model, pixels, project=False)


class ClipLocal(_ClipDense):
    """A CLIP's patches by the value path: the Local Image Encoder, where the CLIP was trained for it."""

    def dense(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B h w D"]:
        """As `dense_features`, at the tower's width."""
        return dense_features(self.model, pixels, project=False)


class DinoDense(DenseEncoder):
    """The patches of a DINO-style ViT behind its final norm."""

    wanted = ("dense ViT", "a ViTModel or Dinov2Model as safetensors with preprocessor_config.json")

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.model, self.device = vit_model(folder, device=device), device
        config: Any = self.model.config
        sizes: Any = {"trained_at": config.image_size, "patch": config.patch_size, "width": config.hidden_size}
        self._read_preprocessing(folder, **sizes)
        self.id = encoder_id("DinoDense", spec=spec, folder=folder, preprocessing="squashed", batch=DENSE_BATCH)

    def dense(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B h w D"]:
        """Unit features; positions are interpolated."""
        model: Any = self.model
        options = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}
        tokens = model(pixel_values=pixels, **options).last_hidden_state[:, 1:]
        return _unit_grid(tokens, pixels, patch=self.patch)


DENSE_ENCODERS: Mapping[str, type[DenseEncoder]] = {"clip": ClipGlobal, "dino": DinoDense, "local": ClipLocal}
"""Where local tokens may come from: the rows of DreamRelation's Table 2, by name."""


def squashed(image: Image.Image, *, side: int) -> Image.Image:
    """The picture as a square, whatever its sides were."""
    return to_rgb(image).resize((side, side), Image.Resampling.BICUBIC)


def normalised(image: Image.Image, *, mean: Sequence[float], std: Sequence[float]) -> Float[np.ndarray, "3 H W"]:
    """The pixels of an RGB picture, in [0, 1], minus the mean, divided by the deviation."""
    pixels = np.asarray(image, dtype=np.float32) / 255
    centre, scale = (np.asarray(values, dtype=np.float32) for values in (mean, std))
    return np.ascontiguousarray(((pixels - centre) / scale).transpose(2, 0, 1))
