"""The last blocks of a vision tower as what a run trains; without them it answers as the frozen teacher."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any  # JSON; stock layers, which are typed as many things

import torch
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.errors import ConfigError
from likeness.core.files import replaced_folder, write_json

NOTES_NAME = "local_encoder.json"
"""What the tower was trained from and how, beside the stock files."""


class LastBlocks:
    """The last `unlocked` blocks of a CLIP's vision tower, but for what the value path of the last one leaves unread.

    Embeddings, the final norm and the projection stay frozen, as in the public script of CLIPSelf. `blend` is the share
    of what was learnt in the saved weights; the rest is the teacher (WiSE-FT, arXiv:2109.01903, as CLIPSelf does).
    Raises: ConfigError for more blocks than there are.
    """

    def __init__(
        self,
        model: CLIPVisionModelWithProjection,
        *,
        processor: CLIPImageProcessorPil,
        unlocked: int,
        blend: float,
    ) -> None:
        vision: Any = model.vision_model
        layers = vision.encoder.layers
        if unlocked > len(layers):
            raise ConfigError(
                f"model.unlocked: expected at most {len(layers)}, the blocks of the base, got {unlocked}."
            )
        self._model, self._processor, self._blend = model, processor, blend
        model.requires_grad_(False)
        self.named: list[tuple[str, torch.nn.Parameter]] = []
        for number in range(len(layers) - unlocked, len(layers)):
            unread = ("self_attn.q_proj", "self_attn.k_proj") if number == len(layers) - 1 else ()
            for name, parameter in layers[number].named_parameters():
                if not name.startswith(unread or "\0"):
                    self.named.append((f"blocks.{number}.{name}", parameter.requires_grad_()))
        self._teacher = {name: parameter.detach().clone() for name, parameter in self.named}

    @contextmanager
    def _holding(self, values: Mapping[str, Tensor]) -> Generator[None, None, None]:
        trained = {name: parameter.data for name, parameter in self.named}
        try:
            for name, parameter in self.named:
                parameter.data = values[name]
            yield
        finally:
            for name, parameter in self.named:
                parameter.data = trained[name]

    def off(self) -> Any:
        """Within it the tower is the teacher: CLIP as it was before training."""
        return self._holding(self._teacher)

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` is a stock CLIPVisionModelWithProjection, with preprocessing and NOTES_NAME. Raises: OutputError."""
        blended = {name: torch.lerp(self._teacher[name], p.detach(), self._blend) for name, p in self.named}
        with self._holding(blended), replaced_folder(folder) as fresh:
            self._model.save_pretrained(fresh)
            self._processor.save_pretrained(fresh)
            write_json(fresh / NOTES_NAME, {"kind": "local_image_encoder", "blend": self._blend, **metadata})
