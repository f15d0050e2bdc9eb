"""A CLIP as a judge of statements: the log-odds that a picture shows what a sentence says.

Source: SigLIP (Zhai et al., arXiv:2303.15343, section 3.2): log-odds = exp(t') * cosine + b.
Differs: the picture is padded to a square with the checkpoint's mean colour instead of cut to its middle, since it is
a part of a picture whose edges matter.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from likeness.encoders.answers import YesNo
from likeness.encoders.asking import AskedEncoder
from likeness.encoders.base import encoder_id
from likeness.encoders.clip import ClipEncoder


def squared(picture: Image.Image, *, side: int, color: tuple[int, int, int]) -> Image.Image:
    """The whole picture in the middle of a square of `side` px (bicubic), the rest of which has one colour."""
    return ImageOps.pad(picture, (side, side), method=Image.Resampling.BICUBIC, color=color)


class ClipJudge(AskedEncoder[YesNo]):
    """A frozen CLIP with a `logit_bias` in its config, such as stage "relations" writes, that judges a statement."""

    answer = YesNo
    wanted: ClassVar[tuple[str, str]] = (
        "CLIP judge",
        "a CLIPModel as safetensors, with logit_bias in its config, tokenizer and preprocessor config",
    )

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.clip = ClipEncoder(folder, device=device, spec=spec)
        bias: Any = getattr(self.clip.model.config, "logit_bias", None)
        if not isinstance(bias, int | float):
            raise ValueError(f"logit_bias {bias!r}, with which cosines are no log-odds")
        self.bias, self.scale = float(bias), self.clip.model.logit_scale.exp().item()
        self.side: int = self.clip.processor.crop_size["height"]
        red, green, blue = (round(255 * mean) for mean in self.clip.processor.image_mean)
        self.color = (red, green, blue)
        how = f"PIL, padded to {self.side} px, {self.scale:.4f} * cosine + {self.bias:.4f}"
        self.id = encoder_id("clip judge", spec=spec, folder=folder, preprocessing=how)

    @torch.inference_mode()
    def _seen(self, picture: Image.Image) -> Float[Tensor, " D"]:
        shown = squared(picture, side=self.side, color=self.color)
        return torch.from_numpy(self.clip.look([shown])[0])

    def _answer(self, picture: Image.Image, seen: Float[Tensor, " D"], text: str) -> YesNo:
        cosine = float(seen.double() @ torch.from_numpy(self.clip.read([text])[0].vector).double())
        return YesNo(self.scale * cosine + self.bias, 1.0)
