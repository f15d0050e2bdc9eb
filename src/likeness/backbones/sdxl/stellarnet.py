"""StellarNet draws: words made of one portrait, put into the prompt of an SDXL with the LoRA learnt beside them.

Source: StellarNet (arXiv:2312.06116v1): the word of the last layer alone is put in, which leaves out the background's
detail; five were trained. ELITE's code for the choice of another.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal  # Any: SDXL with whichever adapter

import torch
from PIL import Image
from pydantic import Field

from likeness.backbones.lora import FILE_NAME, tuned_layers
from likeness.backbones.memory import Memory
from likeness.backbones.open import backbone_class, kind_of, open_backbone, options_of
from likeness.backbones.options import Options
from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.backbones.sdxl.picture_towers import find_towers, on_black
from likeness.backbones.sdxl.picture_words import PictureWords, is_inversion
from likeness.backbones.sdxl.placed_words import CLASS, placed_ids, read_placed, with_place
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.masks import inside

NAME = "stellarnet"


class WordOptions(Options):
    """Sizes in px, `size` the height and `width` the same by default; None is the model's own default.

    `word`: which of the words stands for S*, "0" that of the last layer, or "full" for all of them side by side.
    Guidance leads away from `negative_prompt`.
    """

    size: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    cfg_scale: float | None = Field(default=None, ge=0)
    negative_prompt: str | None = None
    word: Literal["0", "1", "2", "3", "4", "full"] = "0"

    @property
    def drawing(self) -> dict[str, Any]:
        """What the model's own options are told."""
        return self.model_dump(include={"size", "width", "steps", "cfg_scale", "negative_prompt"})

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings with the folder's own where None stood."""
        own = options_of(kind_of(folder))(**self.drawing).in_force(folder)
        return {**self.settings(), **{name: own[name] for name in self.drawing}}


class StellarOptions(WordOptions):
    """As `WordOptions`. `lora_scale` times what the LoRA adds (lambda)."""

    lora_scale: float = Field(default=1.0, ge=0)


class StellarNet:
    """An image maker (generate/makers.py) over an SDXL and the folder `inversion` of a run."""

    options: ClassVar[type[WordOptions]] = StellarOptions
    adapter: ClassVar[str] = FILE_NAME

    def __init__(self, backbone: SdxlBackbone[Any, Any, Any], inversion: Path) -> None:
        self._backbone = backbone
        self._words = PictureWords.load(inversion).to(backbone.device)
        self._towers = find_towers(self._words.facts, inversion, device=backbone.device, dtype=backbone.dtype)
        backbone.add_lora(inversion / self.adapter, name=NAME)
        self._tuned = [layer for layer in tuned_layers(backbone.network) if NAME in layer.lora_A]
        self._scales = [layer.scaling[NAME] for layer in self._tuned]
        parts = backbone.parts
        widths = [encoder.config.hidden_size for encoder in (parts.text_encoder, parts.text_encoder_2)]
        told = [branch.word_width for branch in self._words.facts.branches]
        if widths != told:
            wanted = f"{inversion}: expected words as wide as the text encoders of the model, {widths}"
            raise WeightsError(f"{wanted}, got {told}; name the model that it was trained on.")

    def crop_reference(self, reference: Image.Image, mask: Image.Image, *, options: Any = None) -> Image.Image:
        """The reference with all black outside the mask. Raises: DataError for an empty mask."""
        covered = inside(mask)
        if not covered.any():
            raise DataError("expected it to cover the person, got no pixel inside; make it again or leave it out.")
        return on_black(reference, covered)

    def prompt_is_truncated(self, prompt: str) -> bool:
        """Whether the end of a prompt is lost with one word for S*."""
        parts = self._backbone.parts
        coders = (parts.tokenizer, parts.tokenizer_2)
        return any(placed_ids(each, with_place(prompt), count=1).is_cut for each in coders)

    @torch.no_grad()
    def generate(
        self,
        prompt: str,
        references: Sequence[Image.Image] = (),
        *,
        seed: int,
        options: WordOptions | None = None,
    ) -> Image.Image:
        """One picture of who is in the reference, whose place in the prompt is found by `with_place`.

        Raises: DataError for another number of references and a prompt without a place; ConfigError.
        """
        options = options or self.options()
        if len(references) != 1:
            raise DataError(f"references: expected one portrait, got {len(references)}; give one.")
        (reference,), prompt = references, with_place(prompt, noun=self._noun(options))
        seen = self._towers.look([self._picture(reference)])
        words = [_chosen(own, options.word) for own in self._words(seen)]
        text = read_placed(self._backbone.parts, [prompt], words, legacy=self._words.facts.legacy)
        told = {"embeds": text.embeds[0], "pooled": text.pooled[0]}
        return self._paint(told, prompt, reference, seed=seed, options=options)

    def _picture(self, reference: Image.Image) -> Image.Image:
        """What words are made of."""
        return reference

    def _noun(self, options: Any) -> str:
        """The word before which those of the picture go, in a prompt that does not say where."""
        return CLASS

    def _paint(self, told: Any, prompt: str, reference: Image.Image, *, seed: int, options: Any) -> Image.Image:
        """The picture of a prompt whose text is `told`."""
        for layer, scale in zip(self._tuned, self._scales, strict=True):
            layer.scaling[NAME] = scale * options.lora_scale
        return self._backbone.paint(told, seed=seed, options=self._own(options))

    def _own(self, options: Any) -> Any:
        """The model's own options."""
        return type(self._backbone.own_options())(**options.drawing)


def _chosen(words: torch.Tensor, which: str) -> torch.Tensor:
    """The words (B, K, E) that are put in. Raises: ConfigError for one that there is not."""
    if which == "full":
        return words
    if int(which) >= words.shape[1]:
        raise ConfigError(f"word: expected a number below {words.shape[1]}, got {which}; choose another.")
    return words[:, [int(which)]]


def load_stellarnet(
    folder: Path, *, device: str, dtype: str, loras: Sequence[Path] = (), memory: Memory | None = None
) -> StellarNet:
    """StellarNet over the SDXL in `folder`; one of `loras` is the folder `inversion` of a run, others act beside it.

    Raises: ConfigError, WeightsError.
    """
    return StellarNet(*open_beside(folder, device=device, dtype=dtype, loras=loras, memory=memory))


def open_beside(
    folder: Path, *, device: str, dtype: str, loras: Sequence[Path], memory: Memory | None
) -> tuple[Any, Path]:
    """The SDXL in `folder` with `loras`, but for the one that makes words, which is returned.

    Raises: ConfigError, WeightsError.
    """
    made = [place for place in loras if is_inversion(place)]
    if len(made) != 1:
        raise ConfigError(f"--lora: expected one folder that makes words of a portrait, got {len(made)}; name one.")
    if not issubclass(backbone_class(folder), SdxlBackbone):
        raise ConfigError(f"{folder}: expected a folder of SDXL beside {made[0]}, got another model; name one.")
    others = [place for place in loras if place not in made]
    backbone: Any = open_backbone(folder, device=device, dtype=dtype, loras=others, memory=memory)
    return backbone, made[0]


load_stellarnet.options = StellarOptions  # pyright: ignore[reportFunctionMemberAccess] where makers look for it
