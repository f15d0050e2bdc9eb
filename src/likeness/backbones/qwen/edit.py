"""Qwen-Image-Edit (2509, 2511): the text encoder looks at small references, the network reads their latents.

Source: diffusers 0.42 `QwenImageEditPlusPipeline`; Qwen-Image technical report (arXiv:2508.02324).
Differs: samples share a batch, each with references of its own (the pipeline draws one picture); a picture may have no
reference; pictures have rows and columns for the text encoder, as in its training: under transformers 5 the pipeline
leaves out what that needs, and they become one line of text (huggingface/diffusers#14194).
Shapes: B pictures, C latent channels, h x w latent grid: a token is 2 x 2 cells. T tokens of text and of what is seen,
D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import pad

from likeness.backbones.base import BackboneFacts, TokenGrid, Watch
from likeness.backbones.flow import FlowBackbone
from likeness.backbones.flux.tokens import pack_latents, schedule_shift, token_grid, unpack_latents
from likeness.backbones.flux.watch import watching
from likeness.backbones.guided import GuidedCondition
from likeness.backbones.lora_file import Find, found_by
from likeness.backbones.pixels import to_pixels
from likeness.backbones.qwen.folder import (
    QwenOptions,
    QwenParts,
    QwenSettings,
    adapter_targets,
    empty_transformer,
    load_qwen_parts,
    sketch_qwen_parts,
)
from likeness.backbones.stock import require_one_shape, stored_references
from likeness.core.errors import ConfigError, DataError
from likeness.core.images import scale_to_area

MAX_REFERENCES = 3  # the model cards': 1 to 3
SIDE = 32  # sides of references are multiples of it
MAX_POSITIONS = 3072  # of the 4096 that the network has for rows, columns and text, the text's part
UNPROMPTED = " "  # what stands for no prompt in Qwen's examples
IMAGE_TOKEN = "<|image_pad|>"
_SHIFT_NAMES = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")


@dataclass(frozen=True)
class QwenCondition:
    """Everything but noise and time: what the text encoder says, and the tokens of the references with their grids.

    `valid` is False where a shorter text is padded; None: no row is.
    """

    text: Float[Tensor, "B T D"]
    valid: Bool[Tensor, "B T"] | None
    references: tuple[Float[Tensor, "B _ C4"], ...] = ()
    reference_grids: tuple[TokenGrid, ...] = ()

    @property
    def batch_size(self) -> int:
        """B."""
        return self.text.shape[0]

    def select(self, rows: Sequence[int] | Tensor) -> QwenCondition:
        """The condition of the given rows, in that order; a row may come twice."""
        index = torch.as_tensor(rows, device=self.text.device)
        return replace(
            self,
            text=self.text[index],
            valid=None if self.valid is None else self.valid[index],
            references=tuple(tokens[index] for tokens in self.references),
        )


class RescaledCondition(GuidedCondition[QwenCondition]):
    """Guidance after which every token of the velocity is as long as without: v |v_full| / |v|.

    Source: diffusers 0.42 `QwenImageEditPlusPipeline`, true_cfg_scale.
    """

    def prediction(self, predict: Callable[[QwenCondition], Tensor]) -> Tensor:
        """The guided velocity, of the shape that `predict` gives."""
        if self.empty is None:
            return predict(self.full)
        full, free = predict(self.full), predict(self.empty)
        guided = pack_latents(free + self.cfg_scale * (full - free))
        wanted, got = (tokens.norm(dim=-1, keepdim=True) for tokens in (pack_latents(full), guided))
        return unpack_latents(guided * (wanted / got), token_grid(full))


class QwenImageEdit(FlowBackbone[QwenParts, QwenSettings]):
    """A `Backbone` over the parts of a QwenImageEditPlusPipeline folder; its `network` is the transformer."""

    time_laws: ClassVar[tuple[str, ...]] = ("logit_normal", "uniform")

    def __init__(self, parts: QwenParts) -> None:
        super().__init__(parts)
        self.settings = parts.settings
        self.facts = BackboneFacts(
            kind="qwen_image_edit",
            prediction="velocity",
            px_per_token=2 * parts.cell_px,
            latents_per_token=2,
            max_references=MAX_REFERENCES,
            adapter_targets=adapter_targets(parts.num_layers),
            adapter_prefix="transformer",
        )

    @classmethod
    def load_parts(cls, folder: Path, *, device: str, dtype: torch.dtype) -> QwenParts:
        """All parts of the folder, frozen. Raises: WeightsError listing missing parts or naming the damaged file."""
        return load_qwen_parts(folder, device=device, dtype=dtype)

    @classmethod
    def sketch_parts(cls, folder: Path, *, dtype: torch.dtype) -> QwenParts:
        """The parts by their configs alone. Raises: WeightsError."""
        return sketch_qwen_parts(folder, dtype=dtype)

    def blank_text(self) -> dict[str, Tensor]:
        """As samples keep it, none of it padding: the longest that a batch sees."""
        length = self.settings.max_sequence_length
        embeds = torch.empty(length, self.network.config.joint_attention_dim, dtype=self.dtype)
        return {"embeds": embeds, "valid": torch.ones(length, dtype=torch.bool)}

    @classmethod
    def empty_network(cls, folder: Path) -> Any:
        """The transformer of the folder without its weights. Raises: WeightsError."""
        return empty_transformer(folder)

    @classmethod
    def names(cls, layers: Mapping[str, object]) -> Find:
        """Names of diffusers, which are those of the model's own code."""
        return found_by(layers, whole={}, stacks=(), last={})

    # text ------------------------------------------------------------------------------------------------------------

    def _inputs(self, prompt: str, references: Sequence[Image]) -> dict[str, Tensor]:
        """The chat with the pictures before the prompt, one token for every 2 x 2 patches that the encoder sees."""
        parts = self.parts
        pictures = [scale_to_area(image, area=self.settings.seen_area, multiple=SIDE) for image in references]
        seen = dict(parts.image_processor(images=pictures, return_tensors="pt")) if pictures else {}
        patches = seen["image_grid_thw"].prod(dim=1).tolist() if pictures else []
        counts = [number // parts.image_processor.merge_size**2 for number in patches]
        shown = "".join(
            f"Picture {number}: <|vision_start|>{IMAGE_TOKEN * count}<|vision_end|>"
            for number, count in enumerate(counts, start=1)
        )
        words = parts.tokenizer(parts.template.format(shown + (prompt or UNPROMPTED)), return_tensors="pt")
        ids = words["input_ids"]
        is_picture = ids == parts.text_encoder.config.image_token_id
        if is_picture.sum() != sum(counts):
            raise DataError(f"prompt: expected no {IMAGE_TOKEN}, which stands for pictures, got one; remove it.")
        mask = words["attention_mask"]
        return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": is_picture.int(), **seen}

    @torch.no_grad()
    def embed_text(self, prompt: str, references: Sequence[Image] = ()) -> Float[Tensor, "T D"]:
        """Last hidden states of the text encoder, which sees the references, behind the system's turn of the chat.

        Raises: DataError for more tokens than the network has positions for.
        """
        inputs = {name: tensor.to(self.device) for name, tensor in self._inputs(prompt, references).items()}
        answer = self.parts.text_encoder(**inputs, output_hidden_states=True, use_cache=False, logits_to_keep=1)
        states = answer.hidden_states[-1][0, self.parts.template_start :]
        if len(states) > MAX_POSITIONS:
            wanted = f"at most {MAX_POSITIONS} tokens with the pictures"
            raise DataError(f"prompt: expected {wanted}, got {len(states)}; shorten it.")
        return states.to(self.device, self.dtype)

    def _text(self, prompt: str, references: Sequence[Image]) -> dict[str, Tensor]:
        """The text as samples keep it, all of one length where it is not longer, so that they can share a batch."""
        states = self.embed_text(prompt, references)
        free = max(0, self.settings.max_sequence_length - len(states))
        valid = torch.arange(len(states) + free, device=states.device) < len(states)
        return {"embeds": pad(states, (0, 0, 0, free)), "valid": valid}

    # conditions ------------------------------------------------------------------------------------------------------

    def fit_references(self, references: Sequence[Image]) -> list[Image]:
        """References at the settings' area, larger or smaller, sides rounded to multiples of 32 px."""
        self.require_few(references)
        return [scale_to_area(image, area=self.settings.reference_area, multiple=SIDE) for image in references]

    def prepare(self, prompt: str, references: Sequence[Image] = (), *, layout: object = None) -> dict[str, Tensor]:
        """The text as "embeds" (T, D), "valid" (T,) where it is not padded, latents as "reference0", "reference1" ...

        Raises: DataError for references that do not fit, and for a layout: Qwen has only the prompt to place subjects.
        """
        if layout is not None:
            raise DataError("layout: expected none, since Qwen reads none, got one; say it in the prompt instead.")
        latents = [self.encode(to_pixels([image]))[0].contiguous() for image in self.fit_references(references)]
        named = {f"reference{number}": tensor for number, tensor in enumerate(latents)}
        return {**self._text(prompt, references), **named}

    def collate(self, rows: Sequence[Mapping[str, Tensor]], *, guidance: float | None = None) -> QwenCondition:
        """The condition of samples whose references agree in number and size, picture by picture; texts may differ.

        Raises: DataError when they do not agree.
        """
        references = [stored_references(row, most=MAX_REFERENCES) for row in rows]
        require_one_shape(references)
        lengths = [int(row["valid"].sum()) for row in rows]
        longest = max(lengths)
        texts = [pad(row["embeds"][:n], (0, 0, 0, longest - n)) for row, n in zip(rows, lengths, strict=True)]
        slots = [self.stack(slot) for slot in zip(*references, strict=True)]
        is_padded = min(lengths) < longest
        return QwenCondition(
            text=self.stack(texts),
            valid=self.stack(torch.arange(longest) < length for length in lengths) if is_padded else None,
            references=tuple(map(pack_latents, slots)),
            reference_grids=tuple(map(token_grid, slots)),
        )

    def predict(
        self, x_t: Float[Tensor, "B C h w"], t: Tensor, condition: QwenCondition, watch: Watch | None = None
    ) -> Float[Tensor, "B C h w"]:
        """The velocity at target positions; references take part in attention and are dropped from the answer.

        `t` in [0, 1], (B,) or scalar. `watch` is called once per block; layers are named as in the transformer.
        Raises: ConfigError for features that are none of FEATURES.
        """
        grid, dtype = token_grid(x_t), self.network.dtype
        lengths = [grid.rows * grid.columns, *(tokens.shape[1] for tokens in condition.references)]
        shapes = [(1, *each) for each in (grid, *condition.reference_grids)]
        with watching(self.network, watch, lengths=lengths, grid=grid):
            velocity = self.network(
                hidden_states=torch.cat([pack_latents(x_t), *condition.references], dim=1).to(dtype),
                encoder_hidden_states=condition.text,
                encoder_hidden_states_mask=condition.valid,
                timestep=t.expand(x_t.shape[0]),
                img_shapes=[shapes] * x_t.shape[0],
                return_dict=False,
            )[0]
        return unpack_latents(velocity[:, : lengths[0]], grid)

    # pixels ----------------------------------------------------------------------------------------------------------

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each latent channel."""
        config = self.parts.vae.config
        mean, deviation = (torch.tensor(each).to(like) for each in (config.latents_mean, config.latents_std))
        return mean.view(1, -1, 1, 1), deviation.view(1, -1, 1, 1)

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """The mean of the VAE's distribution, each channel normalised; a picture is a video of one frame."""
        vae = self.parts.vae
        frames = pixels.to(self.device, vae.dtype)[:, :, None]
        latents = vae.encode(frames).latent_dist.mode()[:, :, 0]
        mean, deviation = self._statistics(latents)
        return (latents - mean) / deviation

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """The VAE's pixels of latents as `encode` gives them."""
        vae = self.parts.vae
        latents = latents.to(self.device, vae.dtype)
        mean, deviation = self._statistics(latents)
        return vae.decode((latents * deviation + mean)[:, :, None], return_dict=False)[0][:, :, 0]

    # sampling --------------------------------------------------------------------------------------------------------

    def noise_shape(self, grid: TokenGrid) -> tuple[int, int, int]:
        """16 channels as published, two cells per token along each side."""
        return (self.network.config.in_channels // 4, 2 * grid.rows, 2 * grid.columns)

    def shift(self, grid: tuple[int, int], *, steps: int | None = None) -> float:
        """mu of the schedule for the grid's tokens, by the numbers of the folder's scheduler; steps do not matter."""
        stock = self.parts.scheduler.config
        return schedule_shift(grid[0] * grid[1], **{name: stock[name] for name in _SHIFT_NAMES if name in stock})

    def generate(
        self, prompt: str, references: Sequence[Image] = (), *, seed: int, options: QwenOptions | None = None
    ) -> Image:
        """One picture, as stock QwenImageEditPlusPipeline with a CPU generator of the same seed makes it.

        Raises: ConfigError, DataError, WeightsError.
        """
        options = options or QwenOptions()
        row, unprompted = self._rows(prompt, references, options)
        return self.paint(row, seed=seed, options=options, unprompted=unprompted)

    def drawing(self, prompt: str, references: Sequence[Image], options: QwenOptions) -> RescaledCondition:
        """The condition of one picture with what its guidance needs. Raises: DataError as `prepare`."""
        row, unprompted = self._rows(prompt, references, options)
        return self.guided([row], options, None if unprompted is None else [unprompted])

    def _rows(
        self, prompt: str, references: Sequence[Image], options: QwenOptions
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """What `prepare` gives, and the same for an empty prompt where guidance needs it."""
        row = self.prepare(prompt, references)
        return row, {**row, **self._text("", references)} if options.scale(self.settings) > 1 else None

    def paint_batch(
        self,
        rows: Sequence[Mapping[str, Tensor]],
        *,
        seeds: Sequence[int],
        options: QwenOptions | None = None,
        unprompted: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> list[Image]:
        """As of a `StockBackbone`; `unprompted` is for an empty prompt and the same references.

        Raises: also ConfigError for guidance without `unprompted`, which nothing else can give: the text encoder looks
        at the references there, too.
        """
        options = options or QwenOptions()
        grid, guided = self.grid(size=options.size, width=options.width), self.guided(rows, options, unprompted)
        return self.to_images(self.denoise(self.initial_noise(seeds, grid=grid), guided, steps=options.steps))

    def guided(
        self,
        rows: Sequence[Mapping[str, Tensor]],
        options: QwenOptions,
        unprompted: Sequence[Mapping[str, Tensor]] | None,
    ) -> RescaledCondition:
        """The condition of the rows with what guidance needs beside it. Raises: ConfigError as `paint_batch`."""
        scale, full = options.scale(self.settings), self.collate(rows)
        if scale == 1:
            return RescaledCondition(full, None, None, cfg_scale=1.0, reference_cfg_scale=1.0)
        if unprompted is None:
            wanted = "what `prepare` gives for an empty prompt and the same references"
            raise ConfigError(f"cfg_scale {scale:g}: expected {wanted}, got none; pass it as `unprompted`, or scale 1.")
        return RescaledCondition(full, None, self.collate(unprompted), cfg_scale=scale, reference_cfg_scale=scale)
