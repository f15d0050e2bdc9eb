"""Stable Diffusion XL with MS-Diffusion: each reference becomes image tokens that are read inside its box alone.

Sampling equals diffusers 0.42 `StableDiffusionXLPipeline` that is given the tokens (`stock_arguments`), without
references plain SDXL.
Source: MS-Diffusion (arXiv:2406.07209); DreamRelation (arXiv:2410.23280), whose base it is; the design note, section 1.
Differs: pictures that are not square, batches, guidance up to 1, and a layout that was not given all work; in the
published code each of them fails.

Shapes: B pictures, C latent channels, h x w latent grid (a cell is a token), n references, N tokens of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from likeness.backbones.base import BackboneFacts, TokenGrid
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.local_tokens import LocalTokens
from likeness.backbones.sdxl.attended import attention_to, box_around
from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.backbones.sdxl.boxed_attention import Boxed
from likeness.backbones.sdxl.condition import MsCondition, SdxlText
from likeness.backbones.sdxl.folder import MS_ADAPTER, SdxlParts
from likeness.backbones.sdxl.local_encoder import injection_beside, require_trainable_injection
from likeness.backbones.sdxl.local_settings import FOLDER_NAME, has_local_encoder, uses_local_tokens
from likeness.backbones.sdxl.ms_adapter import DUMMIES
from likeness.backbones.sdxl.options import MsOptions
from likeness.backbones.sdxl.settings import MsSettings
from likeness.backbones.stock import fitting_layout, require_one_shape, stored_references
from likeness.core.errors import WeightsError
from likeness.core.layouts import proposed_boxes
from likeness.core.records import MAX_SUBJECTS, Layout

RELATION_TARGETS = r".*attn2\.(to_[qkv]|to_out\.0)"
"""The cross-attention that DreamRelation tunes: 280 layers of SDXL; none is the adapter's, so plain SDXL reads it."""
READ_PX = 512
"""Side to which a reference is squashed before CLIP's own processor, as the published code does it."""


class SdxlMsDiffusion(SdxlBackbone[MsSettings, MsCondition, MsOptions]):
    """A `Backbone` over the parts of a folder as sdxl/folder.py describes it; its `network` is the U-Net."""

    adapter_kind: ClassVar[Any] = MS_ADAPTER
    reads_local_tokens: ClassVar[bool] = True

    def __init__(self, parts: SdxlParts[MsSettings]) -> None:
        super().__init__(parts)
        self.local_tokens = has_local_encoder(parts.folder)
        self._injection: Path | None = None
        self._tuned: LocalTokens | None = None
        self.facts = BackboneFacts(
            kind="sdxl_ms_diffusion",
            prediction="noise",
            px_per_token=parts.cell_px,
            latents_per_token=1,
            max_references=MAX_SUBJECTS,
            adapter_targets=RELATION_TARGETS,
            adapter_prefix="unet",
            tokens_per_reference=parts.image_tokens,
            reads_layout=True,
        )

    def own_options(self) -> MsOptions:
        """The options that leave everything to the folder."""
        return MsOptions()

    def blank(self, size: tuple[int, int], references: Sequence[Image.Image] = ()) -> dict[str, Tensor]:
        """Empty tensors as `prepare` and `encode` give them, the boxes included."""
        boxes = {"boxes": torch.empty(len(references), 4)} if references else {}
        return {**super().blank(size, references), **boxes}

    # what LoRAs bring -------------------------------------------------------------------------------------------------

    def add_words(self, spec: str | Path) -> None:
        """As of an `SdxlBackbone`; and local tokens join as the injection beside the LoRA says, where one is.

        Raises: WeightsError, too, for a second injection.
        """
        super().add_words(spec)
        path = injection_beside(spec)
        if path is None or path == self._injection:
            return
        if self._injection is not None:
            wanted = f"{path}: expected one LoRA with an injection of local tokens, got {self._injection} before it"
            raise WeightsError(f"{wanted}; leave one of them out.")
        self._injection = path
        self.parts.stored.always(FOLDER_NAME, lambda encoder: encoder.read_injection(path))

    def tune_injection(self) -> LocalTokens:
        """The injection, whose parameters training may change; it and the resampler stay in memory.

        Raises: ConfigError, WeightsError.
        """
        require_trainable_injection(self.parts.folder)
        tokens: LocalTokens = self.parts.local_encoder.tokens
        self.parts.stored.always(FOLDER_NAME, lambda encoder: encoder.take(tokens))
        self._tuned, self._reader = tokens, self.parts.resampler
        return tokens

    # references ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def image_features(self, references: Sequence[Image.Image]) -> Float[Tensor, "n S W"]:
        """What CLIP's last but one layer makes of the squashed pictures, all its tokens."""
        squashed = _squashed(references)
        encoder = self.parts.image_encoder
        pixels = self.parts.image_processor(squashed, return_tensors="pt").pixel_values
        return encoder(pixels.to(self.device, encoder.dtype), output_hidden_states=True).hidden_states[-2]

    @torch.no_grad()
    def embed_phrases(self, phrases: Sequence[str]) -> Float[Tensor, "n P"]:
        """The pooled vector of each phrase by the first text encoder."""
        tokenizer, encoder = self.parts.tokenizer, self.parts.text_encoder
        length = tokenizer.model_max_length
        read = tokenizer(list(phrases), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return encoder(read.input_ids.to(self.device)).pooler_output

    def all_features(self, references: Sequence[Image.Image], *, local_tokens: bool) -> Float[Tensor, "n K W"]:
        """What the resampler reads: `image_features`, joined by local tokens where they are asked for."""
        features = self.image_features(references)
        if not local_tokens:
            return features
        return self.parts.local_encoder(features, _squashed(references)).to(features.device)

    @torch.no_grad()
    def _tokens(
        self, references: Sequence[Image.Image], layout: Layout | None, *, local_tokens: bool
    ) -> dict[str, Tensor]:
        """The tokens (N, D) as "reference0" ...; where the injection is tuned, also what it and the resampler read."""
        features, read = self.all_features(references, local_tokens=local_tokens), dict[str, Tensor]()
        if local_tokens and self._tuned is not None:
            local = self.parts.local_encoder.local(_squashed(references))
            read = {"features": self.image_features(references), "local": local}
        told: list[Tensor] = []
        if layout is not None:
            told = [torch.tensor(layout.boxes, device=features.device), self.embed_phrases(layout.phrases)]
            read |= {"phrases": told[1]} if read else {}
        tokens = self.parts.resampler(features, *told).to(self.device)
        return {**{f"reference{number}": each.contiguous() for number, each in enumerate(tokens)}, **read}

    def _retuned(self, rows: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
        """The tokens (B, N, D) of each reference by the injection as it is now, with gradient to it."""
        assert self._tuned is not None
        read = {name: self.stack(row[name] for row in rows) for name in ("features", "local", "boxes")}
        features, local = (read[name].flatten(0, 1) for name in ("features", "local"))
        seen = self._tuned(features.float(), local.float()).to(features.dtype)
        told: list[Tensor] = []
        if "phrases" in rows[0]:
            told = [read["boxes"].flatten(0, 1), self.stack(row["phrases"] for row in rows).flatten(0, 1)]
        return list(self._reader(seen, *told).unflatten(0, read["features"].shape[:2]).unbind(1))

    def attended_layout(
        self, prompt: str, phrases: tuple[str, ...], *, seed: int, options: MsOptions | None = None
    ) -> Layout:
        """A box for each phrase of the prompt where the model attends to it at the beginning (`attended.py`)."""
        options = options or self.own_options()
        told = options.drawn(self.settings)
        grid = self.grid(size=told["size"], width=told["width"])
        seen = attention_to(self, prompt, phrases, seed=seed, grid=grid, steps=told["steps"])
        return Layout(boxes=tuple(box_around(each) for each in seen), phrases=phrases)

    # conditions ------------------------------------------------------------------------------------------------------

    def prepare(
        self,
        prompt: str,
        references: Sequence[Image.Image] = (),
        *,
        layout: object = None,
        options: MsOptions | None = None,
    ) -> dict[str, Tensor]:
        """The text as "embeds" (T, D) and "pooled" (Dp), image tokens (N, D) as "reference0" ..., "boxes" (n, 4).

        `layout` is a `Layout` with a box and a phrase for each reference, in their order. Without one, boxes are
        `core.layouts.proposed_boxes`, and the tokens are made without box and phrase, as in a part of the adapter's
        training. Of the `options` those count that say whether there are local tokens; where they do not, the attribute
        `local_tokens` does, at first whether the folder has an encoder for them. Where the injection is tuned, rows
        with local tokens also have "features", "local" and "phrases", of which `collate` makes the tokens anew.
        Raises: DataError for too many references, and for another layout; ConfigError for local tokens of no encoder.
        """
        asked = None if options is None else options.local_tokens
        with_local = uses_local_tokens(self.parts.folder, self.local_tokens if asked is None else asked)
        shown = self.fit_references(references)
        given = fitting_layout(layout, num_references=len(shown))
        text = self.embed_text([prompt])
        prepared = {"embeds": text.embeds[0], "pooled": text.pooled[0]}
        if not shown:
            return prepared
        boxes = proposed_boxes(len(shown)) if given is None else given.boxes
        tokens = self._tokens(shown, given, local_tokens=with_local)
        return {**prepared, **tokens, "boxes": torch.tensor(boxes)}

    def collate(self, rows: Sequence[Mapping[str, Tensor]], *, guidance: float | None = None) -> MsCondition:
        """The condition of samples that agree in the number of references, by the folder's settings.

        `guidance` is a number for guidance-distilled models, and SDXL is none.
        Raises: DataError when they do not agree.
        """
        references = [stored_references(row, most=MAX_SUBJECTS) for row in rows]
        require_one_shape(references)
        text = SdxlText(self.stack(row["embeds"] for row in rows), self.stack(row["pooled"] for row in rows))
        if not references[0]:
            return MsCondition(text)
        boxes = self.stack(row["boxes"] for row in rows)
        scales = torch.full_like(boxes[..., 0], self.settings.adapter_scale)
        tuned = self._tuned is not None and "features" in rows[0]
        slots = self._retuned(rows) if tuned else [self.stack(slot) for slot in zip(*references, strict=True)]
        return MsCondition(text, tuple(slots), boxes, scales)

    def guided(
        self, condition: MsCondition, options: MsOptions, *, empty: MsCondition | None = None
    ) -> GuidedCondition[MsCondition]:
        """The condition with what guidance leads away from: the negative prompt without any image token.

        The published code gives that row zeros for tokens and boxes, by which the layers add nothing: the same.
        Raises: ConfigError for `subject_scales` of another number than references.
        """
        full, scale = self._asked(condition, options), options.scale(self.settings)
        if scale == 1:
            return GuidedCondition(full, None, None, cfg_scale=1.0, reference_cfg_scale=1.0)
        text = self.empty_text(condition.text, options.negative_prompt, empty=None if empty is None else empty.text)
        return GuidedCondition(full, None, MsCondition(text), cfg_scale=scale, reference_cfg_scale=scale)

    def _asked(self, condition: MsCondition, options: MsOptions) -> MsCondition:
        """The condition with the scales that the options ask for."""
        if condition.boxes is None or condition.scales is None:
            return condition
        each = condition.scales.new_tensor(options.scales(self.settings, count=len(condition.references)))
        return replace(condition, scales=each.expand_as(condition.scales), legacy=options.legacy)

    # the network -----------------------------------------------------------------------------------------------------

    def _row(self, condition: MsCondition, grid: TokenGrid) -> tuple[Tensor, Boxed | None]:
        """The tokens that the U-Net reads, [text | dummy | image tokens], and what says which they are."""
        embeds = condition.text.embeds
        if condition.boxes is None or condition.scales is None:
            return embeds, None
        dummies = getattr(self.network, DUMMIES).to(embeds)
        row = torch.cat([embeds, dummies.expand(len(embeds), -1, -1), *condition.references], dim=1)
        num_tokens, num_dummies = condition.references[0].shape[1], dummies.shape[1]
        return row, Boxed(condition.boxes, condition.scales, grid, num_tokens, num_dummies, condition.legacy)

    def answer(self, x: Tensor, timestep: Tensor, condition: MsCondition) -> Tensor:
        """The U-Net at latents scaled as its scheduler scales them, and at a time of the scheduler."""
        row, boxed = self._row(condition, TokenGrid(x.shape[-2], x.shape[-1]))
        options = {"encoder_hidden_states": row, "added_cond_kwargs": self.told(x, condition.text)}
        more = {"cross_attention_kwargs": None if boxed is None else {"images": boxed}, "return_dict": False}
        return self.network(x.to(self.dtype), timestep, **options, **more)[0]

    def stock_arguments(
        self, row: Mapping[str, Tensor], options: MsOptions | None = None, *, num_images: int = 1
    ) -> dict[str, Any]:
        """What `StableDiffusionXLPipeline` with our `network` as its U-Net is called with, but for the generator.

        The prompt's row has T + 4 + n N tokens; the negative one has zeros after its text, and boxes without area.
        `num_images` pictures of one prompt. Raises: ConfigError.
        """
        options = options or self.own_options()
        grid = self.grid(size=options.size, width=options.width)
        guided = self.guided(self.collate([row]), options)
        tokens, boxed = self._row(guided.full, grid)
        embeds = {"prompt_embeds": tokens, "pooled_prompt_embeds": guided.full.text.pooled}
        arguments = {**embeds, **options.as_stock(self.settings, num_images=num_images)}
        if guided.empty is not None:
            text = guided.empty.text
            missing = tokens.shape[1] - text.embeds.shape[1]
            arguments["negative_prompt_embeds"] = torch.nn.functional.pad(text.embeds, (0, 0, 0, missing))
            arguments["negative_pooled_prompt_embeds"] = text.pooled
        if boxed is not None:
            arguments["cross_attention_kwargs"] = {
                "images": _repeated(boxed, num_images, is_guided=guided.empty is not None)
            }
        return arguments

    # sampling --------------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str,
        references: Sequence[Image.Image] = (),
        *,
        seed: int,
        options: MsOptions | None = None,
        layout: object = None,
    ) -> Image.Image:
        """One picture with a CPU generator of the seed. Raises: ConfigError, DataError, WeightsError."""
        row = self.prepare(prompt, references, layout=layout, options=options)
        return self.paint(row, seed=seed, options=options)


def _squashed(references: Sequence[Image.Image]) -> list[Image.Image]:
    return [image.convert("RGB").resize((READ_PX, READ_PX)) for image in references]


def _repeated(boxed: Boxed, count: int, *, is_guided: bool) -> Boxed:
    """For the rows of the stock pipeline: all negative ones first where it is guided, then `count` of the prompt."""
    rows = {"boxes": boxed.boxes, "scales": boxed.scales}
    if is_guided:
        rows = {name: torch.cat([torch.zeros_like(each), each]) for name, each in rows.items()}
    repeated = {name: each.repeat_interleave(count, dim=0) for name, each in rows.items()}
    return Boxed(**repeated, **{name: getattr(boxed, name) for name in ("grid", "num_tokens", "num_dummies", "legacy")})
