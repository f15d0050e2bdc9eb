"""Stable Diffusion XL with IP-Adapter-Plus: each reference becomes image tokens, read by a second cross-attention.

Sampling equals diffusers 0.42 `StableDiffusionXLPipeline` with `load_ip_adapter`, without references that without.
Source: SDXL (arXiv:2307.01952), IP-Adapter (arXiv:2308.06721), Diffusion-DPO (arXiv:2311.12908) for times in training.
Differs: a reference that is not square is padded on white (PatchDPO's script), where CLIP's processor cuts it.

Shapes: B pictures, C latent channels, h x w latent grid (a cell is a token), T text tokens, N tokens of a reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from likeness.backbones.base import BackboneFacts, TokenGrid, Watch
from likeness.backbones.cropping import around_subject
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.lora_file import Find
from likeness.backbones.sdxl.adapter import image_attention
from likeness.backbones.sdxl.condition import SdxlCondition, SdxlText
from likeness.backbones.sdxl.folder import (
    ADAPTER_TARGETS,
    SdxlParts,
    empty_unet,
    load_sdxl_parts,
    sketch_sdxl_parts,
)
from likeness.backbones.sdxl.lora_names import sdxl_names
from likeness.backbones.sdxl.noising import bound_weights, draw_time, steps_of
from likeness.backbones.sdxl.options import SdxlOptions
from likeness.backbones.sdxl.settings import SdxlSettings
from likeness.backbones.sdxl.watch import FEATURES, watched_blocks, watching
from likeness.backbones.stock import StockBackbone, require_one_shape, stored_references, unknown_weighting
from likeness.core.errors import ConfigError, DataError

MAX_REFERENCES = 8  # PatchDPO averages up to six photos of a subject


class SdxlIpAdapter(StockBackbone[SdxlParts, SdxlSettings]):
    """A `Backbone` over the parts of a folder as sdxl/folder.py describes it; its `network` is the U-Net."""

    time_laws: ClassVar[tuple[str, ...]] = ("uniform",)
    features: ClassVar[tuple[str, ...]] = FEATURES
    network_part: ClassVar[str] = "unet"

    def __init__(self, parts: SdxlParts) -> None:
        super().__init__(parts)
        self.settings = parts.settings
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
        self._alphas: Tensor = parts.scheduler.alphas_cumprod
        self._zero_tokens: Tensor | None = None

    # the U-Net stays once it is read, and so do these modules of it, whatever adapters they get
    @cached_property
    def _image_attention(self) -> list[Any]:
        return list(image_attention(self.network))

    @cached_property
    def _blocks(self) -> dict[str, Any]:
        return watched_blocks(self.network)

    @classmethod
    def load_parts(cls, folder: Path, *, device: str, dtype: torch.dtype) -> SdxlParts:
        """All parts of the folder, frozen. Raises: WeightsError listing missing parts or naming the damaged file."""
        return load_sdxl_parts(folder, device=device, dtype=dtype)

    @classmethod
    def sketch_parts(cls, folder: Path, *, dtype: torch.dtype) -> SdxlParts:
        """The parts by their configs alone. Raises: WeightsError."""
        return sketch_sdxl_parts(folder, dtype=dtype)

    def blank_text(self) -> dict[str, Tensor]:
        """As `embed_text` gives it; the six numbers of sizes are what the U-Net reads beside the pooled vector."""
        config = self.network.config
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        sizes = {"embeds": (self.parts.text_tokens, config.cross_attention_dim), "pooled": (pooled,)}
        return {name: torch.empty(size, dtype=self.dtype) for name, size in sizes.items()}

    def blank_reference(self, size: tuple[int, int]) -> Tensor:
        """Its image tokens, whatever its size."""
        return torch.empty(self.parts.image_tokens, self.network.config.cross_attention_dim, dtype=self.dtype)

    @classmethod
    def empty_network(cls, folder: Path) -> Any:
        """The U-Net of the folder without its weights. Raises: WeightsError."""
        return empty_unet(folder)

    @classmethod
    def layers_of(cls, folder: Path) -> tuple[str, ...]:
        """Names of the blocks with cross-attention, on the way down, in the middle, on the way up."""
        return tuple(watched_blocks(empty_unet(folder)))

    @classmethod
    def names(cls, layers: Mapping[str, object]) -> Find:
        """Names of diffusers and of SDXL's own code."""
        return sdxl_names(layers)

    # text ------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed_text(self, prompts: Sequence[str]) -> SdxlText:
        """Both CLIPs' hidden states before the last layer side by side, padded to full length, as the pipeline."""
        parts, hidden, pooled = self.parts, list[Tensor](), torch.empty(0)
        for tokenizer, encoder in (
            (parts.tokenizer, parts.text_encoder),
            (parts.tokenizer_2, parts.text_encoder_2),
        ):
            length = tokenizer.model_max_length
            read = tokenizer(
                list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            )
            seen = encoder(read.input_ids.to(self.device), output_hidden_states=True)
            hidden.append(seen.hidden_states[-2])
            pooled = seen[0]  # of the second encoder, which has a projection
        return SdxlText(torch.cat(hidden, dim=-1).to(self.device), pooled.to(self.device))

    def _empty_text(self, text: SdxlText, negative_prompt: str | None, *, empty: SdxlText | None) -> SdxlText:
        """What guidance leads away from, for each row of `text`; `empty` spares encoding an empty prompt."""
        if negative_prompt is None and self.parts.zeros_for_empty:
            return SdxlText(torch.zeros_like(text.embeds), torch.zeros_like(text.pooled))
        found = empty if empty is not None and not negative_prompt else self.embed_text([negative_prompt or ""])
        return SdxlText(found.embeds.expand_as(text.embeds), found.pooled.expand_as(text.pooled))

    def prompt_is_truncated(self, prompt: str) -> bool:
        """Whether one of the text encoders loses the end of the prompt."""
        tokenizers = (self.parts.tokenizer, self.parts.tokenizer_2)
        return any(len(each(prompt, verbose=False).input_ids) > each.model_max_length for each in tokenizers)

    # references ------------------------------------------------------------------------------------------------------

    def fit_references(self, references: Sequence[Image.Image]) -> list[Image.Image]:
        """References as they are: `prepare` pads and scales them, and no place in them has a token of its own.

        Raises: DataError for too many.
        """
        self.require_few(references)
        return list(references)

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
        self, condition: SdxlCondition, options: SdxlOptions, *, empty: SdxlText | None = None
    ) -> GuidedCondition[SdxlCondition]:
        """The condition with what guidance leads away from, as the options say; `empty` is the text of no prompt."""
        own, scale = self.settings, options.scale(self.settings)
        full = replace(condition, scale=options.strength(own), averaged=options.is_averaged(own))
        if scale == 1:
            return GuidedCondition(full, None, None, cfg_scale=1.0, reference_cfg_scale=1.0)
        text = self._empty_text(condition.text, options.negative_prompt, empty=empty)
        references = tuple(self._tokens_of_zeros().expand_as(tokens) for tokens in condition.references)
        poorer = replace(full, text=text, references=references)
        return GuidedCondition(full, None, poorer, cfg_scale=scale, reference_cfg_scale=scale)

    # the network -----------------------------------------------------------------------------------------------------

    def predict(
        self, x_t: Float[Tensor, "B C h w"], t: Tensor, condition: SdxlCondition, watch: Watch | None = None
    ) -> Float[Tensor, "B C h w"]:
        """The noise in `x_t` at the training step of `t` in [0, 1], (B,) or scalar; see sdxl/noising.py.

        `watch` is called once per block with cross-attention; blocks are named as in the U-Net.
        Raises: ConfigError for features that are none of `features`.
        """
        grid, step = TokenGrid(x_t.shape[-2], x_t.shape[-1]), self._steps(t).expand(x_t.shape[0])
        with watching(self._blocks, watch, references=condition.references, grid=grid):
            return self._answer(x_t, step, condition)

    def _answer(self, x: Tensor, timestep: Tensor, condition: SdxlCondition) -> Tensor:
        """The U-Net at latents scaled as its scheduler scales them, and at a time of the scheduler.

        The scale of the references stays in force after the call, for layers that checkpointing runs again.
        """
        images, text = condition.image_tokens(), condition.text
        for layer in self._image_attention:
            layer.scale = [0.0 if images is None else condition.scale]  # at 0 the layer looks at no image token
        height, width = (side * self.facts.px_per_token for side in x.shape[-2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=text.embeds.dtype, device=x.device)
        added = {
            "text_embeds": text.pooled,
            "time_ids": sizes.expand(x.shape[0], -1),  # original size, corner of the crop, target size
            "image_embeds": [text.embeds[:, None, :0] if images is None else images],
        }
        options = {"encoder_hidden_states": text.embeds, "added_cond_kwargs": added, "return_dict": False}
        return self.network(x.to(self.dtype), timestep, **options)[0]

    # the path from picture to noise ----------------------------------------------------------------------------------

    def _steps(self, t: Tensor) -> Tensor:
        return steps_of(t, count=len(self._alphas))

    def _signal(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """What x0 and the noise are multiplied by, each (B or 1, 1, 1, 1)."""
        share = self._alphas.to(t.device)[self._steps(t)].to(like).reshape(-1, 1, 1, 1)
        return share.sqrt(), (1 - share).sqrt()

    def noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps."""
        signal, noise = self._signal(t, x0)
        return signal * x0 + noise * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The noise itself."""
        return eps

    def clean(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """x0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar)."""
        signal, noise = self._signal(t, x_t)
        return (x_t - noise * prediction) / signal

    def draw_t(self, generator: torch.Generator, *, grid: tuple[int, int], law: str) -> float:
        """The time of a training step drawn uniformly, whatever the grid. Raises: ConfigError for another law."""
        if law not in self.time_laws:
            raise ConfigError(f"law of times: expected one of {', '.join(self.time_laws)}, got {law!r}; choose one.")
        return draw_time(generator, count=len(self._alphas))

    def error_weight(self, t: Float[Tensor, " B"], kind: str) -> Float[Tensor, " B"]:
        """What a squared error of the noise counts: 1, also for "eps", since that is what it is; `bound_weights`.

        Raises: ConfigError for another kind.
        """
        match kind:
            case "uniform" | "eps":
                return torch.ones_like(t, dtype=torch.float32)
            case "elbo":
                return bound_weights(self._alphas).to(t.device)[self._steps(t)]
            case _:
                raise unknown_weighting(kind)

    # pixels ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """(z - shift) * scale of the mean z of the VAE's distribution; SDXL's own VAE has no shift."""
        vae = self.parts.vae
        mean = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
        return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """The VAE's pixels at z = latents / scale + shift."""
        vae = self.parts.vae
        scaled = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return vae.decode(scaled.to(self.device, vae.dtype), return_dict=False)[0]

    # sampling --------------------------------------------------------------------------------------------------------

    def noise_shape(self, grid: TokenGrid) -> tuple[int, int, int]:
        """One cell per token."""
        return (self.network.config.in_channels, grid.rows, grid.columns)

    @torch.no_grad()
    def denoise(
        self, noise: Float[Tensor, "B C h w"], condition: GuidedCondition[SdxlCondition], *, steps: int | None
    ) -> Float[Tensor, "B C h w"]:
        """Clean latents by the folder's scheduler from noise of variance 1. None: the settings' number of steps."""
        scheduler: Any = type(self.parts.scheduler).from_config(self.parts.scheduler.config)
        scheduler.set_timesteps(self.settings.default_steps if steps is None else steps, device=self.device)
        if hasattr(scheduler, "set_begin_index"):  # DDIM's needs none
            scheduler.set_begin_index(0)
        x = noise * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, timestep)
            x = scheduler.step(condition.prediction(partial(self._answer, scaled, timestep)), timestep, x).prev_sample
        return x

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

    def paint(
        self,
        row: Mapping[str, Tensor],
        *,
        seed: int,
        options: SdxlOptions | None = None,
        unprompted: Mapping[str, Tensor] | None = None,
    ) -> Image.Image:
        """One picture of what `prepare` gave, `unprompted` for an empty prompt. Raises: ConfigError, WeightsError."""
        options = options or SdxlOptions()
        grid = self.grid(size=options.size, width=options.width)
        empty = None if unprompted is None else self.collate([unprompted]).text
        condition = self.guided(self.collate([row]), options, empty=empty)
        return self.to_images(self.denoise(self.initial_noise([seed], grid=grid), condition, steps=options.steps))[0]


def on_white_square(image: Image.Image) -> Image.Image:
    """The picture in the middle of a white square that just holds it. Source: PatchDPO's script."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
