"""Stable Diffusion XL whatever reads its references: two text encoders, and the sizes that the U-Net is told.

Source: SDXL (arXiv:2307.01952), diffusers 0.42 `StableDiffusionXLPipeline`.

Shapes: B pictures, T text tokens, h x w latent grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from likeness.backbones.lora import add_changes, layer_shapes
from likeness.backbones.lora_file import TEXT_PARTS, LoraFile, read_lora
from likeness.backbones.sdxl.concept import concept_file, read_concept
from likeness.backbones.sdxl.condition import SdxlText
from likeness.backbones.sdxl.folder import SdxlParts, empty_unet, load_parts, sketch_parts
from likeness.backbones.sdxl.layered_text import behind_each_other, give_own_texts, require_layers
from likeness.backbones.sdxl.local_encoder import injection_beside, require_place
from likeness.backbones.sdxl.settings import DrawingSettings
from likeness.backbones.sdxl.text_attention import columns_in
from likeness.backbones.sdxl.text_lora import change_encoder, text_changes
from likeness.backbones.sdxl.unet import ConditionT, OptionsT, UnetBackbone
from likeness.backbones.sdxl.words import Words
from likeness.core.errors import WeightsError
from likeness.core.weights import resolve_adapter

DrawingT = TypeVar("DrawingT", bound=DrawingSettings)


class SdxlBackbone(
    UnetBackbone[SdxlParts[DrawingT], DrawingT, ConditionT, OptionsT], Generic[DrawingT, ConditionT, OptionsT]
):
    """A `UnetBackbone` over the parts of a folder as sdxl/folder.py describes it."""

    adapter_kind: ClassVar[Any]
    """The `AdapterKind` of a subclass."""
    reads_layered_words: ClassVar[bool] = False
    """Whether its U-Net is told the text alone, which then may differ from layer to layer (layered_text.py)."""
    reads_local_tokens: ClassVar[bool] = False

    def __init__(self, parts: SdxlParts[DrawingT]) -> None:
        super().__init__(parts)
        self.settings = parts.settings
        self.words = Words(parts)
        self._read_before: set[Path] = set()

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
        """As of a `StockBackbone`; words that come with adapters are known from the first prompt on.

        Raises: WeightsError, too, for a LoRA that is given twice: it would count twice in the U-Net alone.
        """
        for number, lora in enumerate(loras):
            if resolve_adapter(lora) in [resolve_adapter(earlier) for earlier in loras[:number]]:
                raise WeightsError(f"{lora}: expected each LoRA once, got it twice; leave one of them out.")
        backbone = super().load(spec, device=device, dtype=dtype, loras=loras)
        for lora in loras:
            backbone.add_words(lora)
        return backbone

    @classmethod
    def read_lora(cls, folder: Path, spec: str | Path) -> LoraFile:
        """As of a `StockBackbone`, also of text encoders, and what concept.py reads.

        Raises: WeightsError, too, for an injection of local tokens beside it that the model has no place for.
        """
        if injection := injection_beside(spec):
            require_place(injection, folder, taken=cls.reads_local_tokens)
        return cls._read_file(folder, spec, network=cls.empty_network(folder))

    @classmethod
    def _read_file(cls, folder: Path, spec: str | Path, *, network: Any) -> LoraFile:
        concept, layers = read_concept(spec), layer_shapes(network)
        if concept is None:
            return cls._read_matrices(folder, spec, layers=layers)
        require_layers(concept.layers, network, where=concept.path)
        found = concept_file(concept, folder=folder, layers=layers)
        if not concept.has_lora:
            return found
        return cls._read_matrices(folder, spec, layers=layers)._replace(embeddings=found.embeddings)

    @classmethod
    def _read_matrices(cls, folder: Path, spec: str | Path, *, layers: Mapping[str, tuple[int, int]]) -> LoraFile:
        found = read_lora(spec, layers=layers, find=cls.names(layers), beside=TEXT_PARTS)
        return found._replace(text=text_changes(folder, spec))

    def add_lora(self, spec: str | Path, *, name: str) -> None:
        """As of a `StockBackbone`; the words that lie there are known, text encoders and layers changed."""
        self.add_words(spec)
        read = self._read_file(self.parts.folder, spec, network=self.network)
        if read.changes:
            add_changes(self.network, read.changes, name=name)

    def add_words(self, spec: str | Path) -> None:
        """Prompts may hold the words that lie at `spec`, and are read by text encoders with its changes, if it has any.

        The same place is read once. Raises: WeightsError.
        """
        place, concept = resolve_adapter(spec).resolve(), read_concept(spec)
        if place in self._read_before:
            return
        if concept is not None:
            for token, rows in concept.words.items():
                self.learn_word(token, rows, layers=concept.layers[token])
        if concept is None or concept.has_lora:
            for part, changes in text_changes(self.parts.folder, spec).items():
                name = f"text_{len(self._read_before) + 1}"
                self.parts.stored.always(part, partial(change_encoder, changes=changes, name=name))
        self._read_before.add(place)

    def learn_word(self, token: str, rows: Mapping[str, Tensor], *, layers: int = 1) -> dict[str, nn.Parameter]:
        """The word's rows as parameters; see `Words.add`. Raises: WeightsError, also for other layers."""
        if layers > 1:
            if not self.reads_layered_words:
                wanted = f"word {token}: expected a model that reads a text for each layer, got {type(self).__name__}"
                raise WeightsError(f"{wanted}; use SDXL with IP-Adapter-Plus.")
            require_layers({token: layers}, self.empty_network(self.parts.folder), where=f"word {token}")
            if max(self.words.layers.values(), default=1) == 1:
                tokens = self.parts.text_tokens
                self.parts.stored.always("unet", partial(give_own_texts, tokens=tokens))
        return self.words.add(token, rows, layers=layers)

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

        With gradient to the rows of learnt words. Prompts with layered words have a text for each layer.
        """
        parts, hidden, pooled = self.parts, list[Tensor](), torch.empty(0)
        layers = self.words.layers_in(prompts)
        for tokenizer, encoder in (
            (parts.tokenizer, parts.text_encoder),
            (parts.tokenizer_2, parts.text_encoder_2),
        ):
            length = tokenizer.model_max_length
            read = tokenizer(
                [self.words.spelt(prompt, layer=layer) for prompt in prompts for layer in range(layers)],
                padding="max_length",
                max_length=length,
                truncation=True,
                return_tensors="pt",
            )
            seen = encoder(read.input_ids.to(self.device), output_hidden_states=True)
            hidden.append(seen.hidden_states[-2])
            pooled = seen[0]  # of the second encoder, which has a projection
        text = SdxlText(torch.cat(hidden, dim=-1).to(self.device), pooled.to(self.device))
        return behind_each_other(text, layers=layers)

    def word_columns(self, prompt: str, words: str) -> Bool[Tensor, " T"]:
        """The tokens of the first encoder, whose places the second one shares, that `words` of the prompt became."""
        return columns_in(self.words.spelt(prompt), self.words.spelt(words), tokenizer=self.parts.tokenizer)

    def empty_text(self, text: SdxlText, negative_prompt: str | None, *, empty: SdxlText | None) -> SdxlText:
        """What guidance leads away from, for each row of `text`; `empty` spares encoding an empty prompt."""
        if negative_prompt is None and self.parts.zeros_for_empty:
            return SdxlText(torch.zeros_like(text.embeds), torch.zeros_like(text.pooled))
        found = empty if empty is not None and not negative_prompt else self.embed_text([negative_prompt or ""])
        return SdxlText(found.embeds.expand(len(text.embeds), -1, -1), found.pooled.expand_as(text.pooled))

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
