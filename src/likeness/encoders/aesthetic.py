"""Aesthetic score: a head on the CLIP L/14 feature of a picture, tuned on human ratings from 1 to 10.

Source: LAION's improved aesthetic predictor ("sac+logos+ava1-l14-linearMSE"), on openai/clip-vit-large-patch14.
Differs: its five linear layers are kept as the one affine map that they are, and computed in float64.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.errors import WeightsError
from likeness.core.weights import resolve_weights
from likeness.encoders.affine import head_of, read_head, write_head
from likeness.encoders.base import PixelEncoder, encoder_id, in_batches, load_whole, unit_rows
from likeness.encoders.clip import seen_by


class AestheticEncoder(PixelEncoder):
    """A frozen CLIP and the head beside it; it sees one number in a picture."""

    sight: ClassVar[Any] = float
    wanted = ("aesthetic encoder", "a CLIP as safetensors with preprocessor config and head.safetensors")

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.model: CLIPVisionModelWithProjection = load_whole(CLIPVisionModelWithProjection, folder, device=device)
        self.processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self.head = read_head(folder, width=self.model.config.projection_dim)
        self.device = device
        self.id = encoder_id("aesthetic", spec=spec, folder=folder, preprocessing=seen_by(self.processor))

    def _feature(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        return self.model(pixel_values=pixels).image_embeds

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> list[float]:
        """The score of each picture, independent of the other pictures."""
        pixels = [self.pixel_values(image) for image in images]
        features = unit_rows(in_batches(pixels, self._feature, device=self.device))
        return [float(score) for score in self.head(features)]


def convert_aesthetic(tensors: Mapping[str, Tensor], folder: Path, base: str) -> None:
    """`folder` holds the head of these tensors beside the CLIP of `base`. Raises: WeightsError."""
    head = head_of({name: tensor.double().numpy() for name, tensor in tensors.items()}, prefix="layers.")
    clip = resolve_weights(base)
    model: CLIPVisionModelWithProjection = load_whole(CLIPVisionModelWithProjection, clip, device="cpu")
    if model.config.projection_dim != len(head.weight):
        what = f"{base}: expected a CLIP with features of width {len(head.weight)}, got {model.config.projection_dim}"
        raise WeightsError(f"{what}; pass --base openai/clip-vit-large-patch14.")
    model.save_pretrained(folder)
    CLIPImageProcessorPil.from_pretrained(clip, local_files_only=True).save_pretrained(folder)
    write_head(head, folder=folder)
