"""The picture encoders that words are made by: frozen CLIP towers, and the picture as they see it.

Source: StellarNet (arXiv:2312.06116v1): the background is black before CLIP's normalisation; CLIP ViT-L/14 beside the
first text encoder, CLIP ViT-bigG/14 beside the second.

Shapes: B pictures, L tokens (CLS first), D their width.
"""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple, Self  # Any: sizes in stock configs are annotated as a number or a pair

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.backbones.sdxl.picture_words import Branch, InversionFacts
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.hash_cache import remembered_sha256
from likeness.core.images import to_rgb
from likeness.core.weights import public_name, resolve_weights
from likeness.encoders.base import short_reason
from likeness.encoders.dense import load_vision_tower, normalised


class _Tower(NamedTuple):
    """A frozen CLIPVisionModelWithProjection, the side it reads, mean and deviation of its pixels."""

    network: Any
    side: int
    mean: Sequence[float]
    std: Sequence[float]


class PictureTowers:
    """The encoders of both branches; one that stands in both is in memory once and looks once.

    Raises: WeightsError for a folder without a CLIP and its preprocessing.
    """

    def __init__(
        self, folders: Sequence[Path], depths: Sequence[Sequence[int]], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._folders, self._depths, self._device, self._dtype = tuple(folders), depths, device, dtype
        self._towers = {folder: _load(folder, device=device, dtype=dtype) for folder in dict.fromkeys(folders)}

    @property
    def configs(self) -> list[Any]:
        """The CLIPVisionConfig of each branch's encoder."""
        return [self._towers[folder].network.config for folder in self._folders]

    def at(self, depths: Sequence[Sequence[int]]) -> Self:
        """The same encoders, read at these depths. Raises: ConfigError for one that there is not."""
        for folder, config, wanted in zip(self._folders, self.configs, depths, strict=True):
            if any(not 0 <= depth <= config.num_hidden_layers for depth in wanted):
                known = f"numbers of 0 to {config.num_hidden_layers}, the blocks of {folder.name}"
                raise ConfigError(f"depths: expected {known}, got {list(wanted)}; correct them.")
        other = copy(self)
        other._depths = depths
        return other

    def first(self) -> Self:
        """The encoder of the first branch alone."""
        other = copy(self)
        other._folders, other._depths = self._folders[:1], self._depths[:1]
        other._towers = {folder: self._towers[folder] for folder in other._folders}
        return other

    @torch.no_grad()
    def look(self, pictures: Sequence[Image.Image]) -> list[list[Float[Tensor, "B L D"]]]:
        """By branch, the hidden states at its depths; depth 0 is what enters the first block, no state is normed."""
        seen: dict[Path, Sequence[Tensor]] = {}
        for folder, tower in self._towers.items():
            pixels = torch.stack([_pixels(picture, tower) for picture in pictures])
            found = tower.network(pixels.to(self._device, self._dtype), output_hidden_states=True)
            seen[folder] = found.hidden_states
        return [
            [seen[folder][depth].float() for depth in depths]
            for folder, depths in zip(self._folders, self._depths, strict=True)
        ]


def _load(folder: Path, *, device: torch.device, dtype: torch.dtype) -> _Tower:
    try:
        network = load_vision_tower(folder, device="cpu")
        processor: Any = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        what = f"image encoder {folder}: expected a CLIP as safetensors with preprocessor_config.json"
        raise WeightsError(f"{what}, got {short_reason(error)}; name another.") from error
    frozen: Any = network.requires_grad_(False)
    config: Any = network.config
    return _Tower(frozen.to(device, dtype), config.image_size, processor.image_mean, processor.image_std)


def _pixels(picture: Image.Image, tower: _Tower) -> Float[Tensor, "3 S S"]:
    square = on_black_square(to_rgb(picture)).resize((tower.side, tower.side), Image.Resampling.BICUBIC)
    return torch.from_numpy(normalised(square, mean=tower.mean, std=tower.std))


def on_black_square(image: Image.Image) -> Image.Image:
    """The picture in the middle of a black square that just holds it."""
    side = max(image.size)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def on_black(image: Image.Image, mask: Bool[np.ndarray, "H W"]) -> Image.Image:
    """The picture with every pixel outside the mask black."""
    return Image.fromarray(np.where(mask[..., None], np.asarray(to_rgb(image)), np.uint8(0)))


def branch_of(spec: str, *, depths: Sequence[int], word_width: int, config: Any) -> Branch:
    """What is written down of an encoder that `spec` names, whose CLIPVisionConfig is given."""
    facts: dict[str, Any] = {"encoder": public_name(spec), "sha256": remembered_sha256(resolve_weights(spec))}
    return Branch(**facts, depths=tuple(depths), width=config.hidden_size, word_width=word_width)


def find_towers(facts: InversionFacts, folder: Path, *, device: torch.device, dtype: torch.dtype) -> PictureTowers:
    """The encoders that a folder's words were trained with: a link or folder of their name in it, or weights by name.

    Raises: WeightsError for those that are not to be had, or are others.
    """
    places: list[Path] = []
    for branch in facts.branches:
        inside = folder / branch.encoder
        place = inside if inside.is_dir() else resolve_weights(branch.encoder)
        if (got := remembered_sha256(place)) != branch.sha256:
            wanted = f"{place}: expected the image encoder {branch.encoder} with hash {branch.sha256[:12]}"
            raise WeightsError(f"{wanted}, got {got[:12]}; link the right one as {inside}.")
        places.append(place)
    return PictureTowers(places, [branch.depths for branch in facts.branches], device=device, dtype=dtype)
