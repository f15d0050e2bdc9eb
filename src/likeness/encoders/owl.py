"""OWL-ViT and OWLv2: where in a picture a text is seen, without a list of classes.

Source: Minderer et al., "Simple Open-Vocabulary Object Detection with Vision Transformers" (arXiv:2205.06230) and
"Scaling Open-Vocabulary Object Detection" (arXiv:2306.09683). Score of a box for a text: sigmoid of its logit.
Differs: every text is asked alone. The stock processor pads lists of unequal length with a blank text, which can win
boxes, so that a picture's scores depend on which other pictures are in the batch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, Owlv2ForObjectDetection, OwlViTForObjectDetection
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil

from likeness.encoders.asking import AskedEncoder
from likeness.encoders.base import encoder_id, load_whole
from likeness.encoders.detections import Detections, best_boxes, corners


class _Kind(NamedTuple):
    """What differs between the two: classes, and the sides in px that a box's shares refer to."""

    model: Any
    processor: Any
    fit: str
    scale: Callable[[tuple[int, int]], tuple[int, int]]


_KINDS = {
    "owlvit": _Kind(OwlViTForObjectDetection, OwlViTImageProcessorPil, "squashed", lambda size: size),
    "owlv2": _Kind(Owlv2ForObjectDetection, Owlv2ImageProcessorPil, "padded", lambda size: (max(size), max(size))),
}


class _Boxes(NamedTuple):
    features: Float[Tensor, "1 N D"]
    px: Float[np.ndarray, "N 4"]


class OwlDetector(AskedEncoder[Detections]):
    """A frozen OWL detector in float32. Lines of a question compete for the boxes, each with its own logit."""

    answer = Detections
    wanted: ClassVar[tuple[str, str]] = (
        "OWL detector",
        "an OwlViTForObjectDetection or Owlv2ForObjectDetection as safetensors with tokenizer and preprocessor config",
    )

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        name = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if name not in _KINDS:
            raise ValueError(f"model_type {name} (known: {', '.join(_KINDS)})")
        self.kind = _KINDS[name]
        self.model: Any = load_whole(self.kind.model, folder, device=device)
        self.processor: Any = self.kind.processor.from_pretrained(folder, local_files_only=True)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.max_tokens: int = self.model.config.text_config.max_position_embeddings
        self.device = device
        side, seen = self.model.config.vision_config.image_size, self.processor.size
        if (seen["height"], seen["width"]) != (side, side):
            raise ValueError(f"a preprocessor config for {seen['width']} x {seen['height']} px (the model: {side} px)")
        how = f"PIL, {self.kind.fit} to {side} px, text cut to {self.max_tokens} tokens"
        self.id = encoder_id(name, spec=spec, folder=folder, preprocessing=how, batch=1)

    def _seen(self, picture: Image.Image) -> _Boxes:
        pixels = self.processor(picture, return_tensors="pt")["pixel_values"].float().to(self.device)
        feature_map, _ = self.model.image_embedder(pixel_values=pixels)
        features = feature_map.flatten(1, 2)
        boxes = self.model.box_predictor(features, feature_map)[0].cpu().numpy()
        return _Boxes(features, corners(boxes, scale=self.kind.scale(picture.size)))

    def _answer(self, picture: Image.Image, seen: _Boxes, text: str) -> Detections:
        logits = [self._logits(seen.features, line) for line in text.split("\n")]
        scores = torch.sigmoid(torch.stack(logits, dim=1)).cpu().numpy()
        return best_boxes(text, size=picture.size, boxes=seen.px, scores=scores)

    def _logits(self, features: Float[Tensor, "1 N D"], text: str) -> Float[Tensor, " N"]:
        tokens = self.tokenizer(
            text, padding="max_length", truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.device)
        towers = getattr(self.model, self.model.base_model_prefix)
        query = towers.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"]).pooler_output
        query = query / torch.linalg.norm(query, dim=-1, keepdim=True)
        logits, _ = self.model.class_predictor(features, query[None])
        return logits[0, :, 0].float()
