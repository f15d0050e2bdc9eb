"""ELITE draws: the first word of a picture, put into the prompt of an SDXL, and local tokens of the subject in it.

Source: ELITE (arXiv:2302.13848): at inference the primary word alone, which is of the last layer, and lambda = 0.8.
Differs: SDXL for Stable Diffusion 1.4: words for both text encoders; patches of the first picture encoder are read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar  # Any: SDXL with whichever adapter

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from pydantic import Field
from torch.nn import functional

from likeness.backbones.guided import GuidedCondition
from likeness.backbones.memory import Memory
from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.backbones.sdxl.concept import KEYS_VALUES
from likeness.backbones.sdxl.local_mapping import LOCAL, Local, LocalAttention, LocalMapping
from likeness.backbones.sdxl.picture_towers import PictureTowers, on_black, on_black_square
from likeness.backbones.sdxl.picture_words import read_facts
from likeness.backbones.sdxl.placed_words import CLASS, PLACE, place_columns
from likeness.backbones.sdxl.stellarnet import StellarNet, WordOptions, open_beside
from likeness.core.images import to_rgb
from likeness.core.masks import inside


class EliteOptions(WordOptions):
    """As `WordOptions`. `class_word`: the word of a prompt without S* before which it is put.

    `local_scale` times what local tokens add (lambda), where the folder has a local mapping.
    """

    class_word: str = Field(default=CLASS, min_length=1)
    local_scale: float = Field(default=0.8, ge=0)


@dataclass(frozen=True)
class LocallyGuided(GuidedCondition[Any]):
    """Guidance in which the full condition alone is told of the local tokens."""

    attention: LocalAttention
    told: Local

    def prediction(self, predict: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        """As of a `GuidedCondition`."""

        def shown(condition: Any) -> torch.Tensor:
            self.attention.told = self.told if condition is self.full else None
            return predict(condition)

        try:
            return super().prediction(shown)
        finally:
            self.attention.told = None


class LocalTokens:
    """A mapping at work in a U-Net: what it makes of pictures, and pictures drawn with it."""

    def __init__(self, backbone: SdxlBackbone[Any, Any, Any], mapping: LocalMapping, towers: PictureTowers) -> None:
        self._backbone, self._mapping, self._towers = backbone, mapping, towers.first()
        self.attention = LocalAttention(backbone.network, mapping)

    def look(
        self, pictures: Sequence[Image.Image], masks: Sequence[Bool[np.ndarray, "H W"]]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What is read of pictures before black, and (B, P) which patches are the subject's."""
        (states,) = self._towers.look([on_black(*each) for each in zip(pictures, masks, strict=True)])
        side = round((states[0].shape[1] - 1) ** 0.5)
        squares = [np.array(on_black_square(Image.fromarray(mask).convert("RGB")))[..., 0] > 0 for mask in masks]
        shown = [torch.from_numpy(square)[None, None].float() for square in squares]
        patches = [functional.interpolate(each, (side, side), mode="nearest") for each in shown]
        return states, (torch.cat(patches).flatten(1) > 0.5).to(states[0].device)

    def columns(self, prompts: Sequence[str], *, count: int = 1) -> Bool[torch.Tensor, "B T"]:
        """Which tokens of prompts are the subject's words, with `count` of them for each S*."""
        return place_columns(self._backbone.parts.tokenizer, prompts, count=count)

    @torch.no_grad()
    def paint(
        self,
        told: dict[str, torch.Tensor],
        prompt: str,
        picture: Image.Image,
        mask: Bool[np.ndarray, "H W"],
        *,
        count: int = 1,
        scale: float,
        seed: int,
        options: Any,
    ) -> Image.Image:
        """One picture of a prompt, whose text is `told`, with the tokens of the subject in `picture`.

        `count` words stand for each S* of the prompt.
        """
        backbone = self._backbone
        tokens = self._mapping(*self.look([picture], [mask]))
        guided = backbone.guided(backbone.collate([told]), options)
        condition = LocallyGuided(
            **{name: getattr(guided, name) for name in GuidedCondition.__dataclass_fields__},
            attention=self.attention,
            told=Local(tokens, self.columns([prompt], count=count), scale),
        )
        noise = backbone.initial_noise([seed], grid=backbone.grid(size=options.size, width=options.width))
        return backbone.to_images(backbone.denoise(noise, condition, steps=options.steps))[0]


class Elite(StellarNet):
    """An image maker (generate/makers.py) over an SDXL and the folder `inversion` of a run of ELITE."""

    options: ClassVar[type[WordOptions]] = EliteOptions
    adapter: ClassVar[str] = KEYS_VALUES

    def __init__(self, backbone: SdxlBackbone[Any, Any, Any], inversion: Path) -> None:
        mapping = None
        if (inversion / LOCAL).is_file():
            mapping = LocalMapping.load(inversion, read_facts(inversion), backbone.network).to(backbone.device)
        super().__init__(backbone, inversion)
        self._local = None if mapping is None else LocalTokens(backbone, mapping, self._towers)

    def crop_reference(self, reference: Image.Image, mask: Image.Image, *, options: Any = None) -> Image.Image:
        """The reference with the mask as its transparency: words are made of all of it, local tokens of the subject.

        Raises: DataError for an empty mask.
        """
        super().crop_reference(reference, mask)
        seen = to_rgb(reference).copy()
        seen.putalpha(Image.fromarray(inside(mask)))
        return seen

    def prompt_is_truncated(self, prompt: str) -> bool:
        """Whether the end of a prompt is lost with one word for S*, which takes a token wherever it is put."""
        return super().prompt_is_truncated(prompt if PLACE in prompt or "{}" in prompt else f"{PLACE} {prompt}")

    def _picture(self, reference: Image.Image) -> Image.Image:
        return reference.convert("RGB")

    def _paint(self, told: Any, prompt: str, reference: Image.Image, *, seed: int, options: Any) -> Image.Image:
        assert isinstance(options, EliteOptions), "as the class says"
        if self._local is None:
            return self._backbone.paint(told, seed=seed, options=self._own(options))
        mask = np.ones(reference.size[::-1], dtype=bool)
        if reference.mode == "RGBA":
            mask = np.asarray(reference.getchannel("A")) > 0
        count = self._words.facts.num_words if options.word == "full" else 1
        picture: Any = {"count": count, "scale": options.local_scale, "seed": seed, "options": self._own(options)}
        return self._local.paint(told, prompt, self._picture(reference), mask, **picture)

    def _noun(self, options: Any) -> str:
        return options.class_word


def load_elite(
    folder: Path, *, device: str, dtype: str, loras: Sequence[Path] = (), memory: Memory | None = None
) -> Elite:
    """ELITE over the SDXL in `folder`; one of `loras` is the folder `inversion` of a run, others act beside it.

    Raises: ConfigError, WeightsError.
    """
    return Elite(*open_beside(folder, device=device, dtype=dtype, loras=loras, memory=memory))


load_elite.options = EliteOptions  # pyright: ignore[reportFunctionMemberAccess] where makers look for it
