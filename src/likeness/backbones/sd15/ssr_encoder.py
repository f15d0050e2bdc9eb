"""Stable Diffusion 1.5 with SSR-Encoder: what a phrase names in a reference becomes tokens, read beside the text.

DreamRelation's second base (arXiv:2410.23280, supplement, table 1). Sampling equals diffusers 0.42
`StableDiffusionPipeline` that is given the tokens (`stock_arguments`), without references plain SD 1.5.
Source: SSR-Encoder (arXiv:2312.16272) and its public code.
Differs: scales of several references are `subject_attention.py`'s; batches and guidance up to 1 work. A query by mask
is not built.

Shapes: B pictures, C latent channels, h x w latent grid (a cell is a token), T text tokens, n references, N tokens of
each, D their width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from likeness.backbones.base import BackboneFacts
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.sd15.condition import SsrCondition
from likeness.backbones.sd15.folder import SsrParts, empty_unet, load_parts, sketch_parts
from likeness.backbones.sd15.options import SsrOptions
from likeness.backbones.sd15.settings import SsrSettings
from likeness.backbones.sd15.ssr_adapter import EVERY
from likeness.backbones.sd15.subject_attention import Subjects
from likeness.backbones.sdxl.ms_diffusion import RELATION_TARGETS
from likeness.backbones.sdxl.text_attention import columns_in
from likeness.backbones.sdxl.unet import UnetBackbone
from likeness.backbones.stock import fitting_layout, require_one_shape, stored_references
from likeness.core.records import MAX_SUBJECTS, Layout


class Sd15SsrEncoder(UnetBackbone[SsrParts, SsrSettings, SsrCondition, SsrOptions]):
    """A `Backbone` over the parts of a folder as sd15/folder.py describes it; its `network` is the U-Net."""

    def __init__(self, parts: SsrParts) -> None:
        super().__init__(parts)
        self.settings = parts.settings
        self.facts = BackboneFacts(
            kind="sd15_ssr_encoder",
            prediction="noise",
            px_per_token=parts.cell_px,
            latents_per_token=1,
            max_references=MAX_SUBJECTS,
            adapter_targets=RELATION_TARGETS,
            adapter_prefix="unet",
            tokens_per_reference=parts.image_tokens,
            reads_layout=True,
        )
        self._zero_tokens: Tensor | None = None

    @classmethod
    def load_parts(cls, folder: Path, *, device: str, dtype: torch.dtype) -> SsrParts:
        """All parts of the folder, frozen. Raises: WeightsError listing missing parts or naming the damaged file."""
        return load_parts(folder, device=device, dtype=dtype)

    @classmethod
    def sketch_parts(cls, folder: Path, *, dtype: torch.dtype) -> SsrParts:
        """The parts by their configs alone. Raises: WeightsError."""
        return sketch_parts(folder, dtype=dtype)

    @classmethod
    def empty_network(cls, folder: Path) -> Any:
        """The U-Net of the folder without its weights. Raises: WeightsError."""
        return empty_unet(folder)

    def own_options(self) -> SsrOptions:
        """The options that leave everything to the folder."""
        return SsrOptions()

    # text ------------------------------------------------------------------------------------------------------------

    def blank_text(self) -> dict[str, Tensor]:
        """As `embed_text` gives it."""
        width = self.network.config.cross_attention_dim
        return {"embeds": torch.empty(self.parts.text_tokens, width, dtype=self.dtype)}

    def blank_reference(self, size: tuple[int, int]) -> Tensor:
        """Its tokens, whatever its size."""
        return torch.empty(self.parts.image_tokens, self.network.config.cross_attention_dim, dtype=self.dtype)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "n T D"]:
        """CLIP's last hidden states of prompts or phrases, padded to full length, as the pipeline."""
        tokenizer, encoder = self.parts.tokenizer, self.parts.text_encoder
        length = tokenizer.model_max_length
        read = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return encoder(read.input_ids.to(self.device))[0].to(self.device)

    def word_columns(self, prompt: str, words: str) -> Bool[Tensor, " T"]:
        """The tokens that `words` of the prompt became; none where it does not hold them."""
        return columns_in(prompt, words, tokenizer=self.parts.tokenizer)

    def prompt_is_truncated(self, prompt: str) -> bool:
        """Whether the text encoder loses the end of the prompt."""
        tokenizer = self.parts.tokenizer
        return len(tokenizer(prompt, verbose=False).input_ids) > tokenizer.model_max_length

    # references ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _tokens(self, pixels: Float[Tensor, "R 3 H W"], queries: Sequence[str]) -> Float[Tensor, "R N D"]:
        """What each query chooses of a picture as CLIP's processor gives it, from every fourth layer of its encoder."""
        encoder, aligner = self.parts.image_encoder, self.parts.aligner
        levels = encoder(pixels.to(self.device, encoder.dtype), output_hidden_states=True).hidden_states[EVERY::EVERY]
        return aligner(self.embed_text(queries).to(levels[0].device), levels).to(self.device)

    def _pixels(self, references: Sequence[Image.Image]) -> Float[Tensor, "R 3 H W"]:
        shown = [image.convert("RGB") for image in references]
        return self.parts.image_processor(shown, return_tensors="pt").pixel_values

    def _tokens_of_zeros(self) -> Float[Tensor, "N D"]:
        """Those of an empty query and a picture of zeros, after normalisation: no reference, as the published code."""
        if self._zero_tokens is None:
            side = self.parts.image_px
            self._zero_tokens = self._tokens(torch.zeros(1, 3, side, side), [""])[0]
        return self._zero_tokens

    # conditions ------------------------------------------------------------------------------------------------------

    def prepare(
        self, prompt: str, references: Sequence[Image.Image] = (), *, layout: object = None
    ) -> dict[str, Tensor]:
        """The text as "embeds" (T, D), tokens (N, D) of what is sought in each reference as "reference0" ...

        `layout` is a `Layout` whose phrases are the queries of the references, in their order; its boxes are not read.
        Without one the whole prompt is the query of each.
        Raises: DataError for too many references, and for another layout.
        """
        shown = self.fit_references(references)
        given = fitting_layout(layout, num_references=len(shown))
        prepared = {"embeds": self.embed_text([prompt])[0]}
        if not shown:
            return prepared
        self._tokens_of_zeros()  # which `paint` needs when the encoders may be away
        tokens = self._tokens(self._pixels(shown), [prompt] * len(shown) if given is None else given.phrases)
        return {**prepared, **{f"reference{number}": each.contiguous() for number, each in enumerate(tokens)}}

    def collate(self, rows: Sequence[Mapping[str, Tensor]], *, guidance: float | None = None) -> SsrCondition:
        """The condition of samples that agree in the number of references, by the folder's settings.

        `guidance` is a number for guidance-distilled models, and SD 1.5 is none.
        Raises: DataError when they do not agree.
        """
        references = [stored_references(row, most=MAX_SUBJECTS) for row in rows]
        require_one_shape(references)
        text = self.stack(row["embeds"] for row in rows)
        if not references[0]:
            return SsrCondition(text)
        scales = torch.full((len(rows), len(references[0])), self.settings.adapter_scale, device=self.device)
        return SsrCondition(text, tuple(self.stack(slot) for slot in zip(*references, strict=True)), scales)

    def guided(
        self, condition: SsrCondition, options: SsrOptions, *, empty: SsrCondition | None = None
    ) -> GuidedCondition[SsrCondition]:
        """The condition with what guidance leads away from: the negative prompt and the tokens of a picture of zeros.

        Raises: ConfigError for `subject_scales` of another number than references.
        """
        full, scale = self._asked(condition, options), options.scale(self.settings)
        if scale == 1:
            return GuidedCondition(full, None, None, cfg_scale=1.0, reference_cfg_scale=1.0)
        negative = options.negative_prompt or ""
        text = empty.text if empty is not None and not negative else self.embed_text([negative])
        references = tuple(self._tokens_of_zeros().expand_as(tokens) for tokens in condition.references)
        poorer = replace(full, text=text.expand_as(condition.text), references=references)
        if full.legacy and full.scales is not None:
            poorer = replace(poorer, scales=torch.ones_like(full.scales))
        return GuidedCondition(full, None, poorer, cfg_scale=scale, reference_cfg_scale=scale)

    def _asked(self, condition: SsrCondition, options: SsrOptions) -> SsrCondition:
        """The condition with the scales that the options ask for."""
        if condition.scales is None:
            return condition
        wanted = options.scales(self.settings, count=len(condition.references))
        each = condition.scales.new_tensor(wanted).expand_as(condition.scales)
        return replace(condition, scales=each, some_absent=0 in wanted, legacy=options.legacy)

    # the network -----------------------------------------------------------------------------------------------------

    def _row(self, condition: SsrCondition) -> tuple[Float[Tensor, "B tokens D"], Subjects | None]:
        """The tokens that the U-Net reads, [text | tokens of the references], and what says which they are."""
        scales, references = condition.scales, condition.references
        if scales is None:
            return condition.text, None
        if condition.legacy:
            references = [tokens * scales[:, [i], None].to(tokens) for i, tokens in enumerate(references)]
            scales = torch.ones_like(scales)
        subjects = Subjects(scales, references[0].shape[1], condition.some_absent and not condition.legacy)
        return torch.cat([condition.text, *references], dim=1), subjects

    def answer(self, x: Tensor, timestep: Tensor, condition: SsrCondition) -> Tensor:
        """The U-Net at latents scaled as its scheduler scales them, and at a time of the scheduler."""
        row, subjects = self._row(condition)
        told = None if subjects is None else {"images": subjects}
        options = {"encoder_hidden_states": row, "cross_attention_kwargs": told, "return_dict": False}
        return self.network(x.to(self.dtype), timestep, **options)[0]

    def stock_arguments(
        self, row: Mapping[str, Tensor], options: SsrOptions | None = None, *, num_images: int = 1
    ) -> dict[str, Any]:
        """What `StableDiffusionPipeline` with our `network` as its U-Net is called with, but for the generator.

        Both rows have T + n N tokens. `num_images` pictures of one prompt. Raises: ConfigError.
        """
        options = options or self.own_options()
        guided = self.guided(self.collate([row]), options)
        tokens, subjects = self._row(guided.full)
        arguments = {"prompt_embeds": tokens, **options.as_stock(self.settings, num_images=num_images)}
        scales = [] if subjects is None else [subjects.scales]
        if guided.empty is not None:
            arguments["negative_prompt_embeds"], poorer = self._row(guided.empty)
            scales = [*([] if poorer is None else [poorer.scales]), *scales]
        if subjects is not None:
            each = torch.cat(scales).repeat_interleave(num_images, dim=0)
            arguments["cross_attention_kwargs"] = {"images": replace(subjects, scales=each)}
        return arguments

    # sampling --------------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str,
        references: Sequence[Image.Image] = (),
        *,
        seed: int,
        options: SsrOptions | None = None,
        layout: Layout | None = None,
    ) -> Image.Image:
        """One picture with a CPU generator of the seed. Raises: ConfigError, DataError, WeightsError."""
        return self.paint(self.prepare(prompt, references, layout=layout), seed=seed, options=options)
