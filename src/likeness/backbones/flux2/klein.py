"""FLUX.2 klein: one network for pictures and references, which stand at times 10, 20, ... of the position ids.

Source: diffusers 0.42 `Flux2KleinPipeline`, which this equals without and with references.
Differs: each sample of a batch has references of its own (the pipeline shares one set), through direct calls of the
transformer.
Shapes: B pictures, C channels of a token, H x W token grid: a latent cell is a token. L target tokens, T text tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from likeness.backbones.base import BackboneFacts, TokenGrid, Watch
from likeness.backbones.flow import FlowBackbone
from likeness.backbones.flux.watch import watching
from likeness.backbones.flux2.folder import (
    ADAPTER_TARGETS,
    KleinParts,
    KleinSettings,
    empty_transformer,
    load_klein_parts,
    sketch_klein_parts,
)
from likeness.backbones.flux2.lora_names import flux2_names
from likeness.backbones.flux2.options import KleinOptions
from likeness.backbones.flux2.tokens import (
    from_patches,
    image_ids,
    pack,
    schedule_shift,
    text_ids,
    to_patches,
    unpack,
)
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.lora_file import Find
from likeness.backbones.pixels import to_pixels
from likeness.backbones.stock import require_one_shape, stored_references
from likeness.core.errors import DataError
from likeness.core.images import fit_area

MAX_REFERENCES = 4  # Black Forest Labs' table for klein


@dataclass(frozen=True)
class KleinCondition:
    """Everything but noise and time: the text's hidden states and the tokens of the references with their grids."""

    text: Float[Tensor, "B T D"]
    references: tuple[Float[Tensor, "B _ C"], ...] = ()
    reference_grids: tuple[TokenGrid, ...] = ()

    @property
    def batch_size(self) -> int:
        """B."""
        return self.text.shape[0]

    def select(self, rows: Sequence[int] | Tensor) -> KleinCondition:
        """The condition of the given rows, in that order; a row may come twice."""
        index = torch.as_tensor(rows, device=self.text.device)
        return replace(self, text=self.text[index], references=tuple(tokens[index] for tokens in self.references))


def _grid(latents: Tensor) -> TokenGrid:
    return TokenGrid(latents.shape[-2], latents.shape[-1])


class Flux2Klein(FlowBackbone[KleinParts, KleinSettings]):
    """A `Backbone` over the parts of a Flux2KleinPipeline folder; its `network` is the transformer."""

    time_laws: ClassVar[tuple[str, ...]] = ("logit_normal", "uniform")

    def __init__(self, parts: KleinParts) -> None:
        super().__init__(parts)
        self.settings = parts.settings
        self.facts = BackboneFacts(
            kind="flux2_klein",
            prediction="velocity",
            px_per_token=2 * parts.cell_px,
            latents_per_token=1,
            max_references=MAX_REFERENCES,
            adapter_targets=ADAPTER_TARGETS,
            adapter_prefix="transformer",
        )

    @classmethod
    def load_parts(cls, folder: Path, *, device: str, dtype: torch.dtype) -> KleinParts:
        """All parts of the folder, frozen. Raises: WeightsError listing missing parts or naming the damaged file."""
        return load_klein_parts(folder, device=device, dtype=dtype)

    @classmethod
    def sketch_parts(cls, folder: Path, *, dtype: torch.dtype) -> KleinParts:
        """The parts by their configs alone. Raises: WeightsError."""
        return sketch_klein_parts(folder, dtype=dtype)

    def blank_text(self) -> dict[str, Tensor]:
        """As `embed_text` gives it."""
        sizes = (self.settings.max_sequence_length, self.network.config.joint_attention_dim)
        return {"embeds": torch.empty(sizes, dtype=self.dtype)}

    @classmethod
    def empty_network(cls, folder: Path) -> Any:
        """The transformer of the folder without its weights. Raises: WeightsError."""
        return empty_transformer(folder)

    @classmethod
    def names(cls, layers: Mapping[str, object]) -> Find:
        """Names of diffusers, of the model's own code and, for FLUX.1, of x-labs."""
        return flux2_names(layers)

    # text ------------------------------------------------------------------------------------------------------------

    def _tokens(self, prompt: str, *, length: int | None) -> Mapping[str, Tensor]:
        """The prompt as a user's turn of a chat without thinking; padded and cut to `length` where there is one."""
        tokenizer = self.parts.tokenizer
        turn = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        fitted = {} if length is None else {"padding": "max_length", "truncation": True, "max_length": length}
        return tokenizer(text, return_tensors="pt", verbose=False, **fitted)

    @torch.no_grad()
    def embed_text(self, prompts: Sequence[str]) -> Float[Tensor, "B T D"]:
        """Hidden states of the settings' layers of the text encoder side by side, padding included, as the pipeline."""
        read = [self._tokens(prompt, length=self.settings.max_sequence_length) for prompt in prompts]
        inputs = {name: torch.cat([row[name] for row in read]) for name in ("input_ids", "attention_mask")}
        encoder = self.parts.text_encoder
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        hidden = encoder(**inputs, output_hidden_states=True, use_cache=False).hidden_states
        return torch.cat([hidden[layer] for layer in self.settings.text_layers], dim=-1).to(self.device, self.dtype)

    def prompt_is_truncated(self, prompt: str) -> bool:
        """Whether the text encoder loses the end of the prompt."""
        return self._tokens(prompt, length=None)["input_ids"].shape[1] > self.settings.max_sequence_length

    # conditions ------------------------------------------------------------------------------------------------------

    def fit_references(self, references: Sequence[Image]) -> list[Image]:
        """References made smaller to the settings' area where they are larger, sides cut to multiples of a token."""
        self.require_few(references)
        area, side = self.settings.reference_area, self.facts.px_per_token
        return [fit_area(image, area=area, multiple=side) for image in references]

    def prepare(self, prompt: str, references: Sequence[Image] = (), *, layout: object = None) -> dict[str, Tensor]:
        """The text as "embeds" (T, D), latents (C, H, W) as "reference0", "reference1" ...

        Raises: DataError for references that do not fit, and for a layout: klein has only the prompt to place subjects.
        """
        if layout is not None:
            raise DataError("layout: expected none, since FLUX.2 reads none, got one; say it in the prompt instead.")
        latents = [self.encode(to_pixels([image]))[0].contiguous() for image in self.fit_references(references)]
        return {
            "embeds": self.embed_text([prompt])[0].contiguous(),
            **{f"reference{number}": tensor for number, tensor in enumerate(latents)},
        }

    def collate(self, rows: Sequence[Mapping[str, Tensor]], *, guidance: float | None = None) -> KleinCondition:
        """The condition of samples whose references agree in number and size, picture by picture.

        Raises: DataError when they do not agree (the network has no attention mask, so it cannot pad).
        """
        references = [stored_references(row, most=MAX_REFERENCES) for row in rows]
        require_one_shape(references)
        slots = [self.stack(slot) for slot in zip(*references, strict=True)]
        return KleinCondition(
            self.stack(row["embeds"] for row in rows), tuple(map(pack, slots)), tuple(map(_grid, slots))
        )

    def predict(
        self, x_t: Float[Tensor, "B C H W"], t: Tensor, condition: KleinCondition, watch: Watch | None = None
    ) -> Float[Tensor, "B C H W"]:
        """The velocity at target positions; references take part in attention and are dropped from the answer.

        `t` in [0, 1], (B,) or scalar. `watch` is called once per block; layers are named as in the transformer.
        Raises: ConfigError for features that are none of FEATURES.
        """
        grid = _grid(x_t)
        lengths = [grid.rows * grid.columns, *(tokens.shape[1] for tokens in condition.references)]
        with watching(self.network, watch, lengths=lengths, grid=grid):
            velocity = self.network(
                hidden_states=torch.cat([pack(x_t), *condition.references], dim=1).to(self.network.dtype),
                encoder_hidden_states=condition.text,
                timestep=t.expand(x_t.shape[0]),
                img_ids=image_ids(grid, condition.reference_grids).to(x_t.device),
                txt_ids=text_ids(condition.text.shape[1]).to(x_t.device),
                guidance=None,
                return_dict=False,
            )[0]
        return unpack(velocity[:, : lengths[0]], grid)

    # pixels ----------------------------------------------------------------------------------------------------------

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel of a token, which the VAE keeps as those of a batch norm."""
        norm, epsilon = self.parts.vae.bn, self.parts.vae.config.batch_norm_eps
        mean, deviation = norm.running_mean, (norm.running_var + epsilon).sqrt()
        return mean.view(1, -1, 1, 1).to(like), deviation.view(1, -1, 1, 1).to(like)

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B C H W"]:
        """The mean of the VAE's distribution in patches, each channel normalised."""
        vae = self.parts.vae
        patches = to_patches(vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode())
        mean, deviation = self._statistics(patches)
        return (patches - mean) / deviation

    def decode(self, latents: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 3 h w"]:
        """The VAE's pixels of latents as `encode` gives them."""
        vae = self.parts.vae
        mean, deviation = self._statistics(latents)
        return vae.decode(from_patches(latents * deviation + mean).to(self.device, vae.dtype), return_dict=False)[0]

    # sampling --------------------------------------------------------------------------------------------------------

    def noise_shape(self, grid: TokenGrid) -> tuple[int, int, int]:
        """One cell per token."""
        return (self.network.config.in_channels, grid.rows, grid.columns)

    def shift(self, grid: tuple[int, int], *, steps: int | None = None) -> float:
        """mu of the schedule for the grid's tokens and the number of steps, the settings' by default."""
        return schedule_shift(grid[0] * grid[1], steps=self.settings.default_steps if steps is None else steps)

    def generate(
        self, prompt: str, references: Sequence[Image] = (), *, seed: int, options: KleinOptions | None = None
    ) -> Image:
        """One picture, equal to stock Flux2KleinPipeline with a CPU generator of the same seed.

        Raises: ConfigError, DataError, WeightsError.
        """
        return self.paint(self.prepare(prompt, references), seed=seed, options=options)

    def paint_batch(
        self,
        rows: Sequence[Mapping[str, Tensor]],
        *,
        seeds: Sequence[int],
        options: KleinOptions | None = None,
        unprompted: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> list[Image]:
        """As of a `StockBackbone`."""
        options = options or KleinOptions()
        grid, condition = self.grid(size=options.size, width=options.width), self.guided(rows, options, unprompted)
        return self.to_images(self.denoise(self.initial_noise(seeds, grid=grid), condition, steps=options.steps))

    def drawing(
        self, prompt: str, references: Sequence[Image], options: KleinOptions
    ) -> GuidedCondition[KleinCondition]:
        """The condition of one picture with what its guidance needs. Raises: DataError as `prepare`."""
        return self.guided([self.prepare(prompt, references)], options, None)

    def guided(
        self,
        rows: Sequence[Mapping[str, Tensor]],
        options: KleinOptions,
        unprompted: Sequence[Mapping[str, Tensor]] | None,
    ) -> GuidedCondition[KleinCondition]:
        """The condition of the rows with what guidance needs beside it."""
        full, empty = self.collate(rows), None
        scale = options.scale(self.settings.default_cfg_scale, is_distilled=self.parts.is_distilled)
        if scale > 1:
            text = self.embed_text([""] * len(rows)) if unprompted is None else self.collate(unprompted).text
            empty = replace(full, text=text)
        return GuidedCondition(full, None, empty, cfg_scale=scale, reference_cfg_scale=scale)
