"""Stable Diffusion XL with IP-Adapter-Plus: each reference becomes image tokens, read by a second cross-attention.

Sampling equals diffusers 0.42 `StableDiffusionXLPipeline` with `load_ip_adapter`, without references that without.
Source: SDXL (arXiv:2307.01952), IP-Adapter (arXiv:2308.06721), Diffusion-DPO (arXiv:2311.12908) for times in training.
Differs: a reference that is not square is padded on white (PatchDPO's script), where CLIP's processor cuts it.

Shapes: B pictures, C latent channels, h x w latent grid (a cell is a token), T text tokens, N tokens of a reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from likeness.backbones.base import BackboneFacts
from likeness.backbones.cropping import around_subject
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.sdxl.adapter import image_attention
from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.backbones.sdxl.condition import SdxlCondition, SdxlText
from likeness.backbones.sdxl.folder import ADAPTER_TARGETS, IP_ADAPTER, SdxlParts
from likeness.backbones.sdxl.options import SdxlOptions
from likeness.backbones.sdxl.settings import SdxlSettings
from likeness.backbones.stock import require_one_shape, stored_references
from likeness.core.errors import DataError

MAX_REFERENCES = 8  # PatchDPO averages up to six photos of a subject


class SdxlIpAdapter(SdxlBackbone[SdxlSettings, SdxlCondition, SdxlOptions]):
    """A `Backbone` over the parts of a folder as sdxl/folder.py describes it; its `network` is the U-Net."""

    adapter_kind: ClassVar[Any] = IP_ADAPTER
    reads_layered_words: ClassVar[bool] = True

    def __init__(self, parts: SdxlParts[SdxlSettings]) -> None:
        super().__init__(parts)
        self.facts = BackboneFacts(
            kind="sdxl_ip_adapter",
            prediction="noise",
            px_per_token=parts.cell_px,
            latents_per_token=1,
            max_references=MAX_REFERENCES,
            adapter_targets=ADAPTER_TARGETS,
            adapter_prefix="unet",
            tokens_per_reference=parts.image_tokens,
        )
        self._zero_tokens: Tensor | None = None

    @cached_property
    def _image_attention(self) -> list[Any]:
        return list(image_attention(self.network))

    def own_options(self) -> SdxlOptions:
        """The options that leave everything to the folder."""
        return SdxlOptions()

    # references ------------------------------------------------------------------------------------------------------

    def crop_reference(
        self, reference: Image.Image, mask: Image.Image, *, options: SdxlOptions | None = None
    ) -> Image.Image:
        """The box around the mask, which `prepare` pads on white, or all of the reference, as the options say.

        Raises: DataError for an empty mask.
        """
        is_cropped = (options or SdxlOptions()).is_cropped(self.settings)
        return around_subject(reference, mask) if is_cropped else reference

    @torch.no_grad()
    def _tokens(self, pixels: Float[Tensor, "R 3 H W"]) -> Float[Tensor, "R N D"]:
        """The resampled features of pictures as CLIP's processor gives them, from the layer before its last."""
        encoder = self.parts.image_encoder
        features = encoder(pixels.to(self.device, encoder.dtype), output_hidden_states=True).hidden_states[-2]
        return self.parts.resampler(features).to(self.device)

    def _pixels(self, reference: Image.Image) -> Float[Tensor, "1 3 H W"]:
        return self.parts.image_processor(on_white_square(reference), return_tensors="pt").pixel_values

    def _tokens_of_zeros(self) -> Float[Tensor, "N D"]:
        """Those of a picture of zeros, after normalisation: no reference, as the adapter learnt it."""
        if self._zero_tokens is None:
            self._zero_tokens = self._tokens(torch.zeros(1, 3, self.parts.image_px, self.parts.image_px))[0]
        return self._zero_tokens

    # conditions ------------------------------------------------------------------------------------------------------

    def prepare(
        self, prompt: str, references: Sequence[Image.Image] = (), *, layout: object = None
    ) -> dict[str, Tensor]:
        """The text as "embeds" (T, D) and "pooled" (Dp), image tokens (N, D) as "reference0", "reference1" ...

        Raises: DataError for too many references, and for a layout: SDXL has only the prompt to place subjects.
        """
        if layout is not None:
            raise DataError("layout: expected none, since SDXL reads none, got one; say it in the prompt instead.")
        text = self.embed_text([prompt])
        if references:
            self._tokens_of_zeros()  # which `paint` needs when the encoders may be away
        tokens = [self._tokens(self._pixels(image))[0].contiguous() for image in self.fit_references(references)]
        named = {f"reference{number}": each for number, each in enumerate(tokens)}
        return {"embeds": text.embeds[0], "pooled": text.pooled[0], **named}

    def collate(self, rows: Sequence[Mapping[str, Tensor]], *, guidance: float | None = None) -> SdxlCondition:
        """The condition of samples that agree in the number of references, by the folder's settings.

        `guidance` is a number for guidance-distilled models, and SDXL is none.
        Raises: DataError when they do not agree.
        """
        references = [stored_references(row, most=MAX_REFERENCES) for row in rows]
        require_one_shape(references)
        return SdxlCondition(
            SdxlText(self.stack(row["embeds"] for row in rows), self.stack(row["pooled"] for row in rows)),
            tuple(self.stack(slot) for slot in zip(*references, strict=True)),
            scale=self.settings.adapter_scale,
            averaged=self.settings.average_references,
        )

    def guided(
        self, condition: SdxlCondition, options: SdxlOptions, *, empty: SdxlCondition | None = None
    ) -> GuidedCondition[SdxlCondition]:
        """The condition with what guidance leads away from, as the options say; `empty` is that of no prompt."""
        own, scale = self.settings, options.scale(self.settings)
        full = replace(condition, scale=options.strength(own), averaged=options.is_averaged(own))
        if scale == 1:
            return GuidedCondition(full, None, None, cfg_scale=1.0, reference_cfg_scale=1.0)
        text = self.empty_text(condition.text, options.negative_prompt, empty=None if empty is None else empty.text)
        references = tuple(self._tokens_of_zeros().expand_as(tokens) for tokens in condition.references)
        poorer = replace(full, text=text, references=references)
        return GuidedCondition(full, None, poorer, cfg_scale=scale, reference_cfg_scale=scale)

    # the network -----------------------------------------------------------------------------------------------------

    def answer(self, x: Tensor, timestep: Tensor, condition: SdxlCondition) -> Tensor:
        """The U-Net at latents scaled as its scheduler scales them, and at a time of the scheduler.

        The scale of the references stays in force after the call, for layers that checkpointing runs again.
        """
        images, text = condition.image_tokens(), condition.text
        for layer in self._image_attention:
            layer.scale = [0.0 if images is None else condition.scale]  # at 0 the layer looks at no image token
        shown = [text.embeds[:, None, :0] if images is None else images]
        added = {**self.told(x, text), "image_embeds": shown}
        options = {"encoder_hidden_states": text.embeds, "added_cond_kwargs": added, "return_dict": False}
        return self.network(x.to(self.dtype), timestep, **options)[0]

    # sampling --------------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str,
        references: Sequence[Image.Image] = (),
        *,
        seed: int,
        options: SdxlOptions | None = None,
    ) -> Image.Image:
        """One picture, equal to the stock pipeline with a CPU generator of the same seed.

        Raises: ConfigError, DataError, WeightsError.
        """
        return self.paint(self.prepare(prompt, references), seed=seed, options=options)


def on_white_square(image: Image.Image) -> Image.Image:
    """The picture in the middle of a white square that just holds it. Source: PatchDPO's script."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
