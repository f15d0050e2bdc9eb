"""Stable Diffusion XL whatever reads its references: two text encoders, and the sizes that the U-Net is told.

Source: SDXL (arXiv:2307.01952), diffusers 0.42 `StableDiffusionXLPipeline`.

Shapes: B pictures, T text tokens, h x w latent grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from likeness.backbones.base import TokenGrid
from likeness.backbones.lora import add_changes, layer_shapes
from likeness.backbones.lora_file import Find, LoraFile
from likeness.backbones.sdxl.concept import concept_file, read_concept
from likeness.backbones.sdxl.condition import SdxlText
from likeness.backbones.sdxl.folder import SdxlParts, empty_unet, load_parts, sketch_parts
from likeness.backbones.sdxl.local_encoder import injection_beside, require_place
from likeness.backbones.sdxl.lora_names import sdxl_names
from likeness.backbones.sdxl.settings import DrawingSettings
from likeness.backbones.sdxl.text_attention import TextAttention, columns_of, watching_text
from likeness.backbones.sdxl.unet import ConditionT, OptionsT, UnetBackbone
from likeness.backbones.sdxl.watch import watched_blocks
from likeness.backbones.sdxl.words import Words

DrawingT = TypeVar("DrawingT", bound=DrawingSettings)


class SdxlBackbone(
    UnetBackbone[SdxlParts[DrawingT], DrawingT, ConditionT, OptionsT], Generic[DrawingT, ConditionT, OptionsT]
):
    """A `UnetBackbone` over the parts of a folder as sdxl/folder.py describes it."""

    adapter_kind: ClassVar[Any]
    """The `AdapterKind` of a subclass."""
    reads_local_tokens: ClassVar[bool] = False

    def __init__(self, parts: SdxlParts[DrawingT]) -> None:
        super().__init__(parts)
        self.settings = parts.settings
        self.words = Words(parts)

    @classmethod
    def load_parts(cls, folder: Path, *, device: str, dtype: torch.dtype) -> SdxlParts[DrawingT]:
        """All parts of the folder, frozen. Raises: WeightsError listing missing parts or naming the damaged file."""
        return load_parts(folder, cls.adapter_kind, device=device, dtype=dtype)

    @classmethod
    def sketch_parts(cls, folder: Path, *, dtype: torch.dtype) -> SdxlParts[DrawingT]:
        """The parts by their configs alone. Raises: WeightsError."""
        return sketch_parts(folder, cls.adapter_kind, dtype=dtype)

    @classmethod
    def empty_network(cls, folder: Path) -> Any:
        """The U-Net of the folder without its weights. Raises: WeightsError."""
        return empty_unet(folder, cls.adapter_kind)

    @classmethod
    def load(
        cls,
        spec: str | Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        loras: Sequence[str | Path] = (),
    ) -> Self:
        """As of a `StockBackbone`; words that come with adapters are known from the first prompt on."""
        backbone = super().load(spec, device=device, dtype=dtype, loras=loras)
        for lora in loras:
            backbone.add_words(lora)
        return backbone

    @classmethod
    def read_lora(cls, folder: Path, spec: str | Path) -> LoraFile:
        """As of a `StockBackbone`, and what concept.py reads.

        Raises: WeightsError, too, for an injection of local tokens beside it that the model has no place for.
        """
        if injection := injection_beside(spec):
            require_place(injection, folder, taken=cls.reads_local_tokens)
        if (concept := read_concept(spec)) is None:
            return super().read_lora(folder, spec)
        return concept_file(concept, folder=folder, layers=layer_shapes(cls.empty_network(folder)))

    def add_lora(self, spec: str | Path, *, name: str) -> None:
        """As of a `StockBackbone`; of what concept.py reads, the words are known and the layers changed."""
        if (concept := read_concept(spec)) is None:
            super().add_lora(spec, name=name)
            return
        self.add_words(spec)
        read = concept_file(concept, folder=self.parts.folder, layers=layer_shapes(self.network))
        if read.changes:
            add_changes(self.network, read.changes, name=name)

    def add_words(self, spec: str | Path) -> None:
        """Prompts may hold the words that lie at `spec`, if any do. Raises: WeightsError."""
        concept = read_concept(spec)
        for token, rows in () if concept is None else concept.words.items():
            self.words.add(token, rows)

    @classmethod
    def layers_of(cls, folder: Path) -> tuple[str, ...]:
        """Names of the blocks with cross-attention, on the way down, in the middle, on the way up."""
        return tuple(watched_blocks(cls.empty_network(folder)))

    @classmethod
    def names(cls, layers: Mapping[str, object]) -> Find:
        """Names of diffusers and of SDXL's own code."""
        return sdxl_names(layers)

    def fit_references(self, references: Sequence[Image.Image]) -> list[Image.Image]:
        """References as they are: `prepare` scales them, and no place in them has a token of its own.

        Raises: DataError for too many.
        """
        self.require_few(references)
        return list(references)

    # text ------------------------------------------------------------------------------------------------------------

    def blank_text(self) -> dict[str, Tensor]:
        """As `embed_text` gives it; the six numbers of sizes are what the U-Net reads beside the pooled vector."""
        config = self.network.config
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        sizes = {"embeds": (self.parts.text_tokens, config.cross_attention_dim), "pooled": (pooled,)}
        return {name: torch.empty(size, dtype=self.dtype) for name, size in sizes.items()}

    def blank_reference(self, size: tuple[int, int]) -> Tensor:
        """Its image tokens, whatever its size."""
        return torch.empty(self.parts.image_tokens, self.network.config.cross_attention_dim, dtype=self.dtype)

    @torch.no_grad()
    def embed_text(self, prompts: Sequence[str]) -> SdxlText:
        """`read_text` without gradient."""
        return self.read_text(prompts)

    def read_text(self, prompts: Sequence[str]) -> SdxlText:
        """Both CLIPs' hidden states before the last layer side by side, padded to full length, as the pipeline.

        With gradient to the rows of learnt words.
        """
        parts, hidden, pooled = self.parts, list[Tensor](), torch.empty(0)
        for tokenizer, encoder in (
            (parts.tokenizer, parts.text_encoder),
            (parts.tokenizer_2, parts.text_encoder_2),
        ):
            length = tokenizer.model_max_length
            read = tokenizer(
                [self.words.spelt(prompt) for prompt in prompts],
                padding="max_length",
                max_length=length,
                truncation=True,
                return_tensors="pt",
            )
            seen = encoder(read.input_ids.to(self.device), output_hidden_states=True)
            hidden.append(seen.hidden_states[-2])
            pooled = seen[0]  # of the second encoder, which has a projection
        return SdxlText(torch.cat(hidden, dim=-1).to(self.device), pooled.to(self.device))

    def word_columns(self, prompt: str, words: str) -> Bool[Tensor, " T"]:
        """The tokens of the first encoder, whose places the second one shares, that `words` of the prompt became."""
        tokenizer, prompt = self.parts.tokenizer, self.words.spelt(prompt)
        options: Any = {"padding": "max_length", "truncation": True, "return_offsets_mapping": True}
        read = tokenizer(prompt, max_length=tokenizer.model_max_length, **options)
        return columns_of(read["offset_mapping"], prompt=prompt, words=self.words.spelt(words))

    def text_attention(self, words: Bool[Tensor, "B T"], *, grid: TokenGrid) -> AbstractContextManager[TextAttention]:
        """Within it one `predict` is watched; see text_attention.py."""
        return watching_text(self._blocks, words, grid=grid)

    def empty_text(self, text: SdxlText, negative_prompt: str | None, *, empty: SdxlText | None) -> SdxlText:
        """What guidance leads away from, for each row of `text`; `empty` spares encoding an empty prompt."""
        if negative_prompt is None and self.parts.zeros_for_empty:
            return SdxlText(torch.zeros_like(text.embeds), torch.zeros_like(text.pooled))
        found = empty if empty is not None and not negative_prompt else self.embed_text([negative_prompt or ""])
        return SdxlText(found.embeds.expand_as(text.embeds), found.pooled.expand_as(text.pooled))

    def prompt_is_truncated(self, prompt: str) -> bool:
        """Whether one of the text encoders loses the end of the prompt."""
        tokenizers = (self.parts.tokenizer, self.parts.tokenizer_2)
        return any(
            len(each(self.words.spelt(prompt), verbose=False).input_ids) > each.model_max_length for each in tokenizers
        )

    def told(self, x: Tensor, text: SdxlText) -> dict[str, Any]:
        """What the U-Net is told beside the prompt's tokens: the pooled text, original size, crop and target size."""
        height, width = (side * self.facts.px_per_token for side in x.shape[-2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=text.embeds.dtype, device=x.device)
        return {"text_embeds": text.pooled, "time_ids": sizes.expand(x.shape[0], -1)}
