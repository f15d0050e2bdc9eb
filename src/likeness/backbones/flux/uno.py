"""FLUX.1 with UNO conditioning: reference images join the target as tokens of one sequence.

The same code runs FLUX.1-dev with UNO's LoRA and the tiny model inside the package; all sizes come from the configs.
Source: UNO (arXiv:2504.02160) and its public code; sampling equals diffusers 0.42 `FluxPipeline` without references.
Differs: references are encoded by the mean of the VAE's distribution, not a sample, so that a seed fixes the picture.

Shapes: B pictures, C latent channels, h x w latent grid, L target tokens, T text tokens, D network width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from likeness.backbones.base import Watch
from likeness.backbones.flux.folder import FluxParts, load_flux_parts
from likeness.backbones.flux.tokens import (
    TokenGrid,
    pack_latents,
    schedule_shift,
    token_grid,
    uno_position_ids,
    unpack_latents,
)
from likeness.backbones.flux.watch import watching
from likeness.backbones.lora import add_loras
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.images import fit_reference
from likeness.core.weights import resolve_weights

MAX_REFERENCES = 4  # UNO's demo takes four; training saw two


@dataclass(frozen=True)
class FluxText:
    """Prompts as the network reads them: T5 tokens (B, T, D_t5) and one CLIP vector (B, D_clip) each."""

    embeds: Float[Tensor, "B T D5"]
    pooled: Float[Tensor, "B Dc"]


@dataclass(frozen=True)
class FluxCondition:
    """Everything but noise and time: text, reference tokens with their grids, and the guidance number.

    `guidance` is None for networks without a guidance embedding.
    """

    text: FluxText
    references: tuple[Float[Tensor, "B _ C4"], ...] = ()
    reference_grids: tuple[TokenGrid, ...] = ()
    guidance: Float[Tensor, " B"] | None = None

    @property
    def batch_size(self) -> int:
        """B."""
        return self.text.pooled.shape[0]

    def select(self, rows: Sequence[int] | Tensor) -> FluxCondition:
        """The condition of the given rows, in that order; a row may come twice."""
        index = torch.as_tensor(rows, device=self.text.pooled.device)
        return replace(
            self,
            text=FluxText(self.text.embeds[index], self.text.pooled[index]),
            references=tuple(tokens[index] for tokens in self.references),
            guidance=None if self.guidance is None else self.guidance[index],
        )


@dataclass(frozen=True)
class GuidedCondition:
    """A condition and the poorer ones that classifier-free guidance leads away from, each where it is needed.

    v = v_empty + s_p (v_prompt - v_empty) + s_r (v_full - v_prompt), s_p the `cfg_scale` and s_r the
    `reference_cfg_scale`. `prompt_only` is None where both are one s, since then v = v_empty + s (v_full - v_empty),
    and where there are no references, `empty` where s_p is 1: one to three passes.
    Source: InstructPix2Pix (Brooks et al., arXiv:2211.09800, equation 3).
    Differs: prompt before references, not after, since FLUX knows the prompt alone and never references alone.
    """

    full: FluxCondition
    prompt_only: FluxCondition | None
    empty: FluxCondition | None
    cfg_scale: float
    reference_cfg_scale: float

    def velocity(self, predict: Callable[[FluxCondition], Tensor]) -> Tensor:
        """The guided velocity, of the shape that `predict` gives: the network at one x_t and t, (B, C, h, w)."""
        full = predict(self.full)
        if self.prompt_only is None:
            return self._away_from_empty(full, predict)
        prompt = predict(self.prompt_only)
        return self._away_from_empty(prompt, predict) + self.reference_cfg_scale * (full - prompt)

    def _away_from_empty(self, velocity: Tensor, predict: Callable[[FluxCondition], Tensor]) -> Tensor:
        if self.empty is None:
            return velocity
        free = predict(self.empty)
        return free + self.cfg_scale * (velocity - free)


def to_pixels(images: Sequence[Image]) -> Float[Tensor, "B 3 H W"]:
    """RGB pictures of one size as numbers in [-1, 1]."""
    return torch.stack([torch.from_numpy(np.array(image)) for image in images]).permute(0, 3, 1, 2) / 127.5 - 1


def _column(t: Tensor | float, like: Tensor) -> Tensor:
    return torch.as_tensor(t, dtype=like.dtype, device=like.device).reshape(-1, 1, 1, 1)


class FluxUno:
    """A `Backbone` over the parts of a FluxPipeline folder; `transformer` is the part that training changes."""

    def __init__(self, parts: FluxParts) -> None:
        self.parts = parts
        self.settings = parts.settings
        self.transformer = parts.transformer
        self.patch_px = 2 * 2 ** (len(parts.vae.config.block_out_channels) - 1)
        self._images = VaeImageProcessor(vae_scale_factor=self.patch_px)
        self._ids: dict[tuple[TokenGrid, ...], Tensor] = {}

    @classmethod
    def load(
        cls,
        spec: str | Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        loras: Sequence[str | Path] = (),
    ) -> FluxUno:
        """The frozen backbone of an embedded name, a folder or a hub id, with adapters that all act.

        Raises: WeightsError listing missing parts or naming the damaged file.
        """
        parts = load_flux_parts(resolve_weights(str(spec)), device=device, dtype=dtype)
        add_loras(parts.transformer, loras)
        return cls(parts)

    @property
    def device(self) -> torch.device:
        """Where the transformer lives."""
        return self.transformer.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of text embeddings and latents."""
        return self.parts.text_encoder.dtype

    @property
    def latent_channels(self) -> int:
        """C."""
        return self.transformer.config.in_channels // 4

    def grid(self, *, size: int | None = None, width: int | None = None) -> TokenGrid:
        """The token grid of a picture `size` px high and `width` px wide (square by default).

        Raises: ConfigError when a side is not a positive multiple of the token's pixels.
        """
        height = self.settings.size if size is None else size
        sides = (height, height if width is None else width)
        if any(side < self.patch_px or side % self.patch_px for side in sides):
            raise ConfigError(f"size: expected multiples of {self.patch_px} px, got {sides}; round them.")
        return TokenGrid(sides[0] // self.patch_px, sides[1] // self.patch_px)

    def num_target_tokens(self, *, size: int | None = None, width: int | None = None) -> int:
        """L of a picture of that size."""
        grid = self.grid(size=size, width=width)
        return grid.rows * grid.columns

    # text ------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed_text(self, prompts: Sequence[str]) -> FluxText:
        """Prompts padded to full length, T5 without attention mask, CLIP pooled at its end token, as FluxPipeline."""
        parts, options = self.parts, {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        pieces = parts.tokenizer_2(list(prompts), max_length=self.settings.max_sequence_length, **options).input_ids
        words = parts.tokenizer(list(prompts), max_length=parts.tokenizer.model_max_length, **options).input_ids
        embeds = parts.text_encoder_2(pieces.to(parts.text_encoder_2.device))[0]
        pooled = parts.text_encoder(words.to(parts.text_encoder.device)).pooler_output
        return FluxText(embeds.to(self.device, parts.text_encoder_2.dtype), pooled.to(self.device, self.dtype))

    def prompt_is_truncated(self, prompt: str) -> bool:
        """Whether T5 loses the end of the prompt; the CLIP vector sees fewer words by FLUX's design."""
        return len(self.parts.tokenizer_2(prompt, verbose=False).input_ids) > self.settings.max_sequence_length

    def unknown_words(self, prompt: str) -> list[str]:
        """Words, once each in order, that T5 reads as single letters or unknown symbols."""
        words = dict.fromkeys(re.findall(r"[^\W\d_]+", prompt))
        return [word for word in words if self._is_unknown(word)]

    def _is_unknown(self, word: str) -> bool:
        tokenizer = self.parts.tokenizer_2
        ids = tokenizer(word, add_special_tokens=False).input_ids
        pieces = [piece for piece in (token.strip("▁") for token in tokenizer.convert_ids_to_tokens(ids)) if piece]
        spelt = len(word) > 1 and all(len(piece) == 1 for piece in pieces)
        return tokenizer.unk_token_id in ids or spelt or (self.settings.word_vocabulary and len(pieces) > 1)

    # conditions ------------------------------------------------------------------------------------------------------

    def fit_references(self, references: Sequence[Image]) -> list[Image]:
        """Reference images at the size the model reads: larger when alone, sides multiples of a token's pixels."""
        if len(references) > MAX_REFERENCES:
            raise DataError(f"references: expected at most {MAX_REFERENCES}, got {len(references)}; leave some out.")
        settings = self.settings
        long_side = settings.reference_size_single if len(references) == 1 else settings.reference_size_multi
        return [fit_reference(image, long_side=long_side, multiple=self.patch_px) for image in references]

    def condition(
        self, prompt: str, references: Sequence[Image] = (), *, guidance: float | None = None
    ) -> FluxCondition:
        """The condition of one picture (B = 1)."""
        return self.condition_batch([prompt], [references], guidance=guidance)

    def condition_batch(
        self, prompts: Sequence[str], references: Sequence[Sequence[Image]], *, guidance: float | None = None
    ) -> FluxCondition:
        """The condition of B pictures, whose reference images agree in number and fitted sizes, picture by picture.

        Raises: DataError when they do not agree (the network has no attention mask, so it cannot pad).
        """
        fitted = [self.fit_references(images) for images in references]
        sizes = {tuple(image.size for image in images) for images in fitted}
        if len(prompts) != len(fitted) or len(sizes) > 1:
            got = f"{len(prompts)} prompts, {len(fitted)} lists of references, fitted sizes {sorted(sizes)}"
            raise DataError(f"condition_batch: expected as many lists as prompts and one set of sizes, got {got}.")
        slots = [self.encode(to_pixels(images)) for images in zip(*fitted, strict=True)]
        return self.assemble(self.embed_text(prompts), slots, guidance=guidance)

    def assemble(
        self,
        text: FluxText,
        reference_latents: Sequence[Float[Tensor, "B C _ _"]] = (),
        *,
        guidance: float | None = None,
    ) -> FluxCondition:
        """The condition made of embeddings and reference latents computed before (one entry per reference slot)."""
        number = self.settings.guidance if guidance is None else guidance
        has_guidance = self.transformer.config.guidance_embeds
        return FluxCondition(
            text=text,
            references=tuple(pack_latents(latents) for latents in reference_latents),
            reference_grids=tuple(token_grid(latents) for latents in reference_latents),
            guidance=torch.full((text.pooled.shape[0],), number, device=self.device) if has_guidance else None,
        )

    # the path from picture to noise ----------------------------------------------------------------------------------

    def noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = (1 - t) x0 + t eps."""
        column = _column(t, x0)
        return (1 - column) * x0 + column * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The velocity eps - x0, the same at every `t`."""
        return eps - x0

    def predict(
        self,
        x_t: Float[Tensor, "B C h w"],
        t: Tensor,
        condition: FluxCondition,
        watch: Watch | None = None,
        *,
        features: str = "attention_input",
    ) -> Float[Tensor, "B C h w"]:
        """The velocity at target positions; references take part in attention and are dropped from the answer.

        `t` in [0, 1], (B,) or scalar. `watch(layer, target_tokens, reference_tokens)` is called once per block with
        detached views of its image tokens, (B, L, D) and (B, Li, D); layers are named as in the transformer. What
        it sees of them is one of `FEATURES`. Raises: ConfigError for other features.
        """
        grid = token_grid(x_t)
        lengths = [grid.rows * grid.columns, *(tokens.shape[1] for tokens in condition.references)]
        with watching(self.transformer, watch, lengths=lengths, features=features):
            velocity = self.transformer(
                hidden_states=torch.cat([pack_latents(x_t), *condition.references], dim=1),
                encoder_hidden_states=condition.text.embeds,
                pooled_projections=condition.text.pooled,
                timestep=t.expand(x_t.shape[0]),
                guidance=condition.guidance,
                img_ids=self._position_ids(grid, *condition.reference_grids),
                txt_ids=torch.zeros(condition.text.embeds.shape[1], 3, device=x_t.device),
                return_dict=False,
            )[0]
        return unpack_latents(velocity[:, : lengths[0]], grid)

    def _position_ids(self, *grids: TokenGrid) -> Tensor:
        if grids not in self._ids:
            self._ids[grids] = uno_position_ids(grids[0], grids[1:]).to(self.device)
        return self._ids[grids]

    # pixels ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """(z - shift) * scale with z the mean of the VAE's distribution."""
        vae = self.parts.vae
        mean = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        return (mean - vae.config.shift_factor) * vae.config.scaling_factor

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """The VAE's pixels at z = latents / scale + shift."""
        vae = self.parts.vae
        scaled = latents / vae.config.scaling_factor + vae.config.shift_factor
        return vae.decode(scaled.to(vae.device, vae.dtype), return_dict=False)[0]

    @torch.no_grad()
    def to_images(self, latents: Float[Tensor, "B C h w"]) -> list[Image]:
        """Decoded RGB pictures, rounded as diffusers rounds.

        Raises: WeightsError when the pixels are not finite; rounded, they would be a black picture.
        """
        pixels = self.decode(latents)
        if not pixels.isfinite().all():
            wanted = f"{self.parts.folder}: expected finite pixels, got NaN or infinity from the model"
            causes = "a file of it or of an adapter may be damaged, or its numbers too large for the dtype"
            raise WeightsError(f"{wanted} ({causes}); download it again, or try --dtype float32 or bfloat16.")
        images: Any = self._images.postprocess(pixels, output_type="pil")  # typed as one picture
        return images

    # sampling --------------------------------------------------------------------------------------------------------

    def initial_noise(self, seeds: Sequence[int], *, grid: TokenGrid) -> Float[Tensor, "B C h w"]:
        """Noise of one CPU generator per seed, so that neither device nor batch changes it; as FluxPipeline draws."""
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        shape = (len(seeds), self.latent_channels, 2 * grid.rows, 2 * grid.columns)
        return randn_tensor(shape, generator=generators, device=self.device, dtype=self.dtype)

    # Any: the stock annotations call timesteps optional and want lists where arrays are converted
    def schedule(self, steps: int, *, num_tokens: int) -> Any:
        """A fresh scheduler at its first step: sigmas 1 ... 1/steps, shifted for the number of target tokens."""
        stock = self.parts.scheduler.config
        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        mu = schedule_shift(num_tokens, **{name: stock[name] for name in names if name in stock})
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(stock)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu, device=self.device)
        scheduler.set_begin_index(0)
        return scheduler

    @torch.no_grad()
    def denoise(
        self,
        x_t: Float[Tensor, "B C h w"],
        condition: GuidedCondition,
        *,
        steps: int,
    ) -> Float[Tensor, "B C h w"]:
        """Clean latents by Euler steps of the guided velocity from pure noise."""
        grid = token_grid(x_t)
        scheduler = self.schedule(steps, num_tokens=grid.rows * grid.columns)
        for timestep in scheduler.timesteps:
            t = timestep.to(x_t.dtype) / 1000  # rounded before the division, as FluxPipeline does in bf16
            velocity = condition.velocity(partial(self.predict, x_t, t))
            x_t = scheduler.step(velocity, timestep, x_t, return_dict=False)[0]
        return x_t

    def generate(
        self,
        prompt: str,
        references: Sequence[Image] = (),
        *,
        seed: int,
        size: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        cfg_scale: float | None = None,
        reference_cfg_scale: float | None = None,
    ) -> Image:
        """One picture, `size` px high and `width` wide (square by default); what is None comes from the settings.

        Without references it equals stock FluxPipeline with a CPU generator of the same seed; `cfg_scale` > 1 then
        equals `true_cfg_scale` with an empty negative prompt. What the two scales do is in `GuidedCondition`.
        Raises: ConfigError, DataError, WeightsError.
        """
        return self.generate_batch(
            [prompt], [references], seeds=[seed], size=size, width=width, steps=steps, guidance=guidance,
            cfg_scale=cfg_scale, reference_cfg_scale=reference_cfg_scale,
        )[0]  # fmt: skip

    def generate_batch(
        self,
        prompts: Sequence[str],
        references: Sequence[Sequence[Image]],
        *,
        seeds: Sequence[int],
        size: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        cfg_scale: float | None = None,
        reference_cfg_scale: float | None = None,
    ) -> list[Image]:
        """One picture per prompt, as `generate` would give them, up to the rounding of batched arithmetic."""
        grid = self.grid(size=size, width=width)
        steps = self.settings.default_steps if steps is None else steps
        if steps < 1:
            raise ConfigError(f"steps: expected at least 1, got {steps}; 25 suits FLUX.")
        if len(seeds) != len(prompts):
            raise DataError(f"seeds: expected {len(prompts)}, one per prompt, got {len(seeds)}.")
        condition = self.guided(
            self.condition_batch(prompts, references, guidance=guidance),
            cfg_scale=cfg_scale,
            reference_cfg_scale=reference_cfg_scale,
        )
        return self.to_images(self.denoise(self.initial_noise(seeds, grid=grid), condition, steps=steps))

    def guided(
        self, condition: FluxCondition, *, cfg_scale: float | None = None, reference_cfg_scale: float | None = None
    ) -> GuidedCondition:
        """The condition with what guidance needs beside it.

        Both scales come from the settings when both are None; a `cfg_scale` alone is that of the references too, so
        that it is plain classifier-free guidance. Up to 1 it is 1, none at all, as in FluxPipeline.
        """
        settings = self.settings
        by_prompt = max(1.0, settings.default_cfg_scale if cfg_scale is None else cfg_scale)
        by_references = settings.default_reference_cfg_scale if cfg_scale is None else by_prompt
        if reference_cfg_scale is not None:
            by_references = reference_cfg_scale
        prompt_only = replace(condition, references=(), reference_grids=())
        full = condition if by_references else prompt_only
        return GuidedCondition(
            full=full,
            prompt_only=prompt_only if full.references and by_references != by_prompt else None,
            empty=replace(prompt_only, text=self._empty_text(condition.batch_size)) if by_prompt > 1 else None,
            cfg_scale=by_prompt,
            reference_cfg_scale=by_references,
        )

    def _empty_text(self, batch_size: int) -> FluxText:
        text = self.embed_text([""])
        return FluxText(text.embeds.expand(batch_size, -1, -1), text.pooled.expand(batch_size, -1))
