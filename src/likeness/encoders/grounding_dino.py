"""GroundingDINO: where in a picture a phrase is seen.

Source: Liu et al., "Grounding DINO" (arXiv:2303.05499). Score of a box for a text: sigmoid of the largest logit of the
box over all tokens of the text, as transformers' own post-processing has it.
Differs: every text is asked alone, lower case with a full stop; in one question of many phrases they see each other.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, GroundingDinoForObjectDetection
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

from likeness.encoders.asking import AskedEncoder
from likeness.encoders.base import encoder_id, load_whole
from likeness.encoders.detections import Detections, best_boxes, corners


class GroundingDinoDetector(AskedEncoder[Detections]):
    """A frozen GroundingDINO in float32. Lines of a question compete for the boxes, each asked alone.

    Box number i of one text need not be that of another, since the text chooses where to look; the boxes of the best
    text's answer are kept.
    """

    answer = Detections
    wanted: ClassVar[tuple[str, str]] = (
        "GroundingDINO",
        "a GroundingDinoForObjectDetection as safetensors with tokenizer and preprocessor config",
    )

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.model: Any = load_whole(GroundingDinoForObjectDetection, folder, device=device)
        self.processor: Any = GroundingDinoImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.max_tokens: int = self.model.config.max_text_len
        self.device = device
        size = self.processor.size
        how = f"PIL, short side {size['shortest_edge']}, long side at most {size['longest_edge']}, lower case"
        self.id = encoder_id("grounding_dino", spec=spec, folder=folder, preprocessing=how, batch=1)

    def _seen(self, picture: Image.Image) -> dict[str, Tensor]:
        return dict(self.processor(picture, return_tensors="pt").to(self.device))

    def _answer(self, picture: Image.Image, seen: dict[str, Tensor], text: str) -> Detections:
        found = [self._boxes(line, seen) for line in text.split("\n")]
        scores = np.stack([score for _, score in found], axis=1)
        boxes = np.stack([box for box, _ in found], axis=1)[np.arange(len(scores)), scores.argmax(axis=1)]
        return best_boxes(text, size=picture.size, boxes=corners(boxes, scale=picture.size), scores=scores)

    def _boxes(self, text: str, seen: dict[str, Tensor]) -> tuple[Float[np.ndarray, "N 4"], Float[np.ndarray, " N"]]:
        phrase = f"{text.strip().lower().removesuffix('.')}."
        tokens = self.tokenizer(phrase, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        outputs = self.model(**seen, **tokens.to(self.device))
        scores = torch.sigmoid(outputs.logits[0].float()).amax(dim=-1)
        return outputs.pred_boxes[0].float().cpu().numpy(), scores.cpu().numpy()
