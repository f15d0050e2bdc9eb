"""FLUX.1 with UNO conditioning: reference images join the target as tokens of one sequence.

The same code runs FLUX.1-dev with UNO's LoRA and the tiny model inside the package; all sizes come from the configs.
Source: UNO (arXiv:2504.02160) and its public code; sampling equals diffusers 0.42 `FluxPipeline` without references.
Differs: references are encoded by the mean of the VAE's distribution, not a sample, so that a seed fixes the picture.

Shapes: B pictures, C latent channels, h x w latent grid, L target tokens, T text tokens, D network width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from likeness.backbones.base import BackboneFacts, TokenGrid, Watch
from likeness.backbones.flow import FlowBackbone
from likeness.backbones.flux.condition import FluxCondition, FluxText
from likeness.backbones.flux.folder import (
    ADAPTER_TARGETS,
    FluxParts,
    FluxSettings,
    empty_transformer,
    load_flux_parts,
    sketch_flux_parts,
)
from likeness.backbones.flux.lora_names import flux_names, uno_gaps
from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.flux.tokens import (
    TIME_LAWS,
    pack_latents,
    schedule_shift,
    token_grid,
    uno_position_ids,
    uno_sequence_length,
    unpack_latents,
)
from likeness.backbones.flux.watch import watching
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.lora import layer_shapes
from likeness.backbones.lora_file import Find, LoraFile
from likeness.backbones.pixels import to_pixels
from likeness.backbones.stock import require_one_shape, stored_references
from likeness.core.errors import DataError, WeightsError
from likeness.core.images import fit_reference

MAX_REFERENCES = 4  # UNO's demo takes four; training saw two
_SHIFT_NAMES = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")


class FluxUno(FlowBackbone[FluxParts, FluxSettings]):
    """A `Backbone` over the parts of a FluxPipeline folder; its `network` is the transformer."""

    time_laws: ClassVar[tuple[str, ...]] = TIME_LAWS

    def __init__(self, parts: FluxParts) -> None:
        super().__init__(parts)
        self.settings = parts.settings
        self.facts = BackboneFacts(
            kind="flux_uno",
            prediction="velocity",
            px_per_token=2 * parts.cell_px,
            latents_per_token=2,
            max_references=MAX_REFERENCES,
            adapter_targets=ADAPTER_TARGETS,
            adapter_prefix="transformer",
        )
        self._ids: dict[tuple[TokenGrid, ...], Tensor] = {}

    @classmethod
    def load_parts(cls, folder: Path, *, device: str, dtype: torch.dtype) -> FluxParts:
        """All parts of the folder, frozen. Raises: WeightsError listing missing parts or naming the damaged file."""
        return load_flux_parts(folder, device=device, dtype=dtype)

    @classmethod
    def sketch_parts(cls, folder: Path, *, dtype: torch.dtype) -> FluxParts:
        """The parts by their configs alone. Raises: WeightsError."""
        return sketch_flux_parts(folder, dtype=dtype)

    def blank_text(self) -> dict[str, Tensor]:
        """As `embed_text` gives it."""
        config = self.network.config
        embeds = torch.empty(self.settings.max_sequence_length, config.joint_attention_dim, dtype=self.dtype)
        return {"embeds": embeds, "pooled": torch.empty(config.pooled_projection_dim, dtype=self.dtype)}

    @classmethod
    def empty_network(cls, folder: Path) -> Any:
        """The transformer of the folder without its weights. Raises: WeightsError."""
        return empty_transformer(folder)

    @classmethod
    def names(cls, layers: Mapping[str, object]) -> Find:
        """Names of diffusers, of the model's own code and, for FLUX.1, of x-labs."""
        return flux_names(layers)

    @classmethod
    def _read_lora(cls, network: torch.nn.Module, spec: str | Path) -> LoraFile:
        read, layers = super()._read_lora(network, spec), layer_shapes(network)
        if gaps := uno_gaps(read.modules, layers):
            wanted, got = 2 * (len(read.modules) + len(gaps)), 2 * len(read.modules)
            what = f"{read.path}: expected UNO's {wanted} tensors for all blocks, got {got}, without {gaps[0]}"
            raise WeightsError(f"{what}; download it again.")
        return read

    # text ------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed_text(self, prompts: Sequence[str]) -> FluxText:
        """Prompts padded to full length, T5 without attention mask, CLIP pooled at its end token, as FluxPipeline."""
        parts, options = self.parts, {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        pieces = parts.tokenizer_2(list(prompts), max_length=self.settings.max_sequence_length, **options).input_ids
        words = parts.tokenizer(list(prompts), max_length=parts.tokenizer.model_max_length, **options).input_ids
        embeds = parts.text_encoder_2(pieces.to(self.device))[0]
        pooled = parts.text_encoder(words.to(self.device)).pooler_output
        return FluxText(embeds.to(self.device, parts.text_encoder_2.dtype), pooled.to(self.device, self.dtype))

    def prompt_is_truncated(self, prompt: str) -> bool:
        """Whether T5 loses the end of the prompt; the CLIP vector sees fewer words by FLUX's design."""
        return len(self.parts.tokenizer_2(prompt, verbose=False).input_ids) > self.settings.max_sequence_length

    def unknown_words(self, prompt: str) -> list[str]:
        """Words, once each in order, that T5 reads as single letters or unknown symbols."""
        return [word for word in dict.fromkeys(re.findall(r"[^\W\d_]+", prompt)) if self._is_unknown(word)]

    def _is_unknown(self, word: str) -> bool:
        tokenizer = self.parts.tokenizer_2
        ids = tokenizer(word, add_special_tokens=False).input_ids
        pieces = [piece for piece in (token.strip("▁") for token in tokenizer.convert_ids_to_tokens(ids)) if piece]
        spelt = len(word) > 1 and all(len(piece) == 1 for piece in pieces)
        return tokenizer.unk_token_id in ids or spelt or (self.settings.word_vocabulary and len(pieces) > 1)

    # conditions ------------------------------------------------------------------------------------------------------

    def fit_references(self, references: Sequence[Image], *, options: FluxOptions | None = None) -> list[Image]:
        """Reference images at the size the model reads: larger when alone, sides multiples of a token's pixels."""
        self.require_few(references)
        long_side = (options or FluxOptions()).long_side(self.settings, count=len(references))
        return [fit_reference(image, long_side=long_side, multiple=self.facts.px_per_token) for image in references]

    def prepare(
        self,
        prompt: str,
        references: Sequence[Image] = (),
        *,
        layout: object = None,
        options: FluxOptions | None = None,
    ) -> dict[str, Tensor]:
        """The text as "embeds" (T, D_t5) and "pooled" (D_clip), latents (C, h, w) as "reference0", "reference1" ...

        Of the `options` the size of references counts.
        Raises: DataError for references that do not fit, and for a layout: FLUX has only the prompt to place subjects.
        """
        if layout is not None:
            raise DataError("layout: expected none, since FLUX.1 reads none, got one; say it in the prompt instead.")
        fitted = self.fit_references(references, options=options)
        latents = [self.encode(to_pixels([image]))[0].contiguous() for image in fitted]
        text = self.embed_text([prompt])
        named = {f"reference{number}": tensor for number, tensor in enumerate(latents)}
        return {"embeds": text.embeds[0], "pooled": text.pooled[0], **named}

    def collate(self, rows: Sequence[Mapping[str, Tensor]], *, guidance: float | None = None) -> FluxCondition:
        """The condition of samples whose references agree in number and size, picture by picture.

        Raises: DataError when they do not agree (the network has no attention mask, so it cannot pad).
        """
        references = [stored_references(row, most=MAX_REFERENCES) for row in rows]
        require_one_shape(references)
        text = FluxText(self.stack(row["embeds"] for row in rows), self.stack(row["pooled"] for row in rows))
        return self.assemble(text, [self.stack(slot) for slot in zip(*references, strict=True)], guidance=guidance)

    def condition(
        self, prompt: str, references: Sequence[Image] = (), *, guidance: float | None = None
    ) -> FluxCondition:
        """The condition of one picture (B = 1)."""
        return self.collate([self.prepare(prompt, references)], guidance=guidance)

    def assemble(
        self,
        text: FluxText,
        reference_latents: Sequence[Float[Tensor, "B C _ _"]] = (),
        *,
        guidance: float | None = None,
    ) -> FluxCondition:
        """The condition made of embeddings and reference latents computed before (one entry per reference slot)."""
        number = self.settings.guidance if guidance is None else guidance
        has_guidance = self.network.config.guidance_embeds
        return FluxCondition(
            text=text,
            references=tuple(pack_latents(latents) for latents in reference_latents),
            reference_grids=tuple(token_grid(latents) for latents in reference_latents),
            guidance=torch.full((text.pooled.shape[0],), number, device=self.device) if has_guidance else None,
        )

    def predict(
        self, x_t: Float[Tensor, "B C h w"], t: Tensor, condition: FluxCondition, watch: Watch | None = None
    ) -> Float[Tensor, "B C h w"]:
        """The velocity at target positions; references take part in attention and are dropped from the answer.

        `t` in [0, 1], (B,) or scalar. `watch` is called once per block; layers are named as in the transformer.
        Raises: ConfigError for features that are none of FEATURES.
        """
        grid = token_grid(x_t)
        lengths = [grid.rows * grid.columns, *(tokens.shape[1] for tokens in condition.references)]
        with watching(self.network, watch, lengths=lengths, grid=grid):
            velocity = self.network(
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
        mean = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
        return (mean - vae.config.shift_factor) * vae.config.scaling_factor

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """The VAE's pixels at z = latents / scale + shift."""
        vae = self.parts.vae
        scaled = latents / vae.config.scaling_factor + vae.config.shift_factor
        return vae.decode(scaled.to(self.device, vae.dtype), return_dict=False)[0]

    # sampling ----------------------------------------------------------------------------------------------------

    def noise_shape(self, grid: TokenGrid) -> tuple[int, int, int]:
        """16 channels as published, two cells per token along each side."""
        return (self.network.config.in_channels // 4, 2 * grid.rows, 2 * grid.columns)

    def shift(self, grid: tuple[int, int], *, steps: int | None = None) -> float:
        """mu of the schedule for the grid's tokens, by the numbers of the folder's scheduler; steps do not matter."""
        return self._shift_for(grid[0] * grid[1])

    def _shift_for(self, num_tokens: int) -> float:
        stock = self.parts.scheduler.config
        return schedule_shift(num_tokens, **{name: stock[name] for name in _SHIFT_NAMES if name in stock})

    def generate(
        self, prompt: str, references: Sequence[Image] = (), *, seed: int, options: FluxOptions | None = None
    ) -> Image:
        """One picture.

        Without references it equals stock FluxPipeline with a CPU generator of the same seed; `cfg_scale` > 1 then
        equals `true_cfg_scale` with an empty negative prompt. Raises: ConfigError, DataError, WeightsError.
        """
        return self.paint(self.prepare(prompt, references, options=options), seed=seed, options=options)

    @torch.no_grad()
    def paint_batch(
        self,
        rows: Sequence[Mapping[str, Tensor]],
        *,
        seeds: Sequence[int],
        options: FluxOptions | None = None,
        unprompted: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> list[Image]:
        """As of a `StockBackbone`."""
        options = options or FluxOptions()
        grid = self.grid(size=options.size, width=options.width)
        condition = self.collate(rows, guidance=options.guidance)
        empty = None if unprompted is None else self.collate(unprompted).text
        guided = self.guided(condition, options, empty=empty)
        noise, mu = self.initial_noise(seeds, grid=grid), self.drawing_shift(grid, options)
        return self.to_images(self.denoise(noise, guided, steps=options.steps, mu=mu))

    def drawing(self, prompt: str, references: Sequence[Image], options: FluxOptions) -> GuidedCondition[FluxCondition]:
        """The condition of one picture with what its guidance needs. Raises: DataError as `prepare`."""
        return self.guided(self.condition(prompt, references, guidance=options.guidance), options)

    def drawing_shift(self, grid: TokenGrid, options: FluxOptions) -> float:
        """mu of the schedule that the options choose."""
        tokens = grid.rows * grid.columns
        return self._shift_for(uno_sequence_length(tokens) if options.schedule == "uno" else tokens)

    def guided(
        self, condition: FluxCondition, options: FluxOptions, *, empty: FluxText | None = None
    ) -> GuidedCondition[FluxCondition]:
        """The condition with what guidance needs beside it, scaled as the options say; `empty` reads no prompt."""
        by_prompt, by_references = options.scales(self.settings)
        prompt_only = replace(condition, references=(), reference_grids=())
        full = condition if by_references else prompt_only
        return GuidedCondition(
            full=full,
            prompt_only=prompt_only if full.references and by_references != by_prompt else None,
            empty=replace(prompt_only, text=empty or self._empty_text(condition.batch_size)) if by_prompt > 1 else None,
            cfg_scale=by_prompt,
            reference_cfg_scale=by_references,
        )

    def _empty_text(self, batch_size: int) -> FluxText:
        text = self.embed_text([""])
        return FluxText(text.embeds.expand(batch_size, -1, -1), text.pooled.expand(batch_size, -1))
