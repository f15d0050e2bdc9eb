"""CLIP: image and text features of one space, for prompt fidelity and CLIP-I.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020); the
table metric uses openai/clip-vit-base-patch32, as the DreamBooth, UNO and PatchDPO scripts do.
Differs: float32 instead of those scripts' float16; texts one at a time, without padding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.weights import resolve_processing
from likeness.encoders.base import FeatureEncoder, encoder_id, load_whole, unit_rows


class TextFeature(NamedTuple):
    """A text's unit vector, and whether it has more tokens than the model reads."""

    vector: Float[np.ndarray, " D"]
    truncated: bool


def seen_by(processor: CLIPImageProcessorPil) -> str:
    """What the processor does to a picture, in words."""
    edge, crop = processor.size["shortest_edge"], processor.crop_size["height"]
    return f"PIL, short side {edge}, filter {int(processor.resample)}, centre crop {crop}, checkpoint's mean and std"


class ClipEncoder(FeatureEncoder):
    """A frozen CLIP in float32; D is the width of the shared space.

    `processing` names whose tokenizer and preprocessor config stand in for those that its folder lacks.
    """

    processing: ClassVar[str | None] = None
    reading = TextFeature
    wanted = ("CLIP", "a CLIPModel as safetensors with tokenizer and preprocessor config")

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.model: CLIPModel = load_whole(CLIPModel, folder, device=device)
        borrowed = None if (folder / "preprocessor_config.json").is_file() else self.processing
        texts = resolve_processing(borrowed) if borrowed else folder
        self.processor = CLIPImageProcessorPil.from_pretrained(texts, local_files_only=True)
        self.tokenizer = AutoTokenizer.from_pretrained(texts, local_files_only=True)
        self.max_tokens: int = self.model.text_model.config.max_position_embeddings
        self.device = device
        seen = seen_by(self.processor) + (f", tokenizer of {borrowed}" if borrowed else "")
        self.id = encoder_id("clip", spec=spec, folder=folder, preprocessing=seen)

    def _feature(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        outputs: Any = self.model.get_image_features(pixel_values=pixels)  # typed as a record or a tuple
        return outputs.pooler_output

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> list[TextFeature]:
        """One unit vector per text, cut to the model's length, independent of the other texts."""
        return [self._read(text) for text in texts]

    def _read(self, text: str) -> TextFeature:
        tokens = self.tokenizer(text, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        outputs: Any = self.model.get_text_features(input_ids=tokens["input_ids"].to(self.device))
        feature = outputs.pooler_output.cpu().numpy()
        is_longer = len(self.tokenizer(text, verbose=False)["input_ids"]) > self.max_tokens
        return TextFeature(unit_rows(feature)[0], is_longer)
