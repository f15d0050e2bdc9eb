"""HPS: three CLIP models tuned on which of two pictures people preferred; their scores are on three scales.

Source: Wu et al., "Human Preference Score" (arXiv:2303.14420) for v1, ViT-L/14 from OpenAI's; "Human Preference Score
v2" (arXiv:2306.09341) for v2.0 and v2.1, ViT-H/14 from open_clip's.
Differs: float32 instead of autocast; pictures are resized by Pillow where hpsv2 resizes tensors (about 1e-3 apart).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from likeness.core.fetched import RECORD
from likeness.core.files import read_json
from likeness.encoders.clip import ClipEncoder
from likeness.encoders.open_clip import VIT_H_14, VIT_L_14, write_clip

WANTED = "a CLIPModel as safetensors with tokenizer and preprocessor config"


class _Hps(ClipEncoder):
    """A CLIP that keeps to one version: equal architectures would else be taken for each other."""

    name: ClassVar[str]
    activation: ClassVar[str]

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        super().__init__(folder, device=device, spec=spec)
        fetched: object = read_json(folder / RECORD)["name"] if (folder / RECORD).is_file() else self.name
        if fetched != self.name:
            raise ValueError(f"the weights of {fetched}")
        for tower in (self.model.vision_model, self.model.text_model):
            if tower.config.hidden_act != self.activation:
                raise ValueError(f"a CLIP with {tower.config.hidden_act} (where {self.activation} belongs)")


class HpsV1(_Hps):
    """HPS v1."""

    name, activation = "hps_v1", "quick_gelu"
    wanted = ("HPS v1 encoder", WANTED)


class HpsV2(_Hps):
    """HPS v2.0."""

    name, activation = "hps_v2", "gelu"
    wanted = ("HPS v2.0 encoder", WANTED)


class HpsV21(_Hps):
    """HPS v2.1."""

    name, activation = "hps_v21", "gelu"
    wanted = ("HPS v2.1 encoder", WANTED)


def convert_l14(tensors: Mapping[str, Tensor], folder: Path, base: str) -> None:
    """`folder` holds the ViT-L/14 of these tensors, with the tokenizer of `base`. Raises: WeightsError."""
    write_clip(tensors, folder=folder, heads=VIT_L_14, base=base)


def convert_h14(tensors: Mapping[str, Tensor], folder: Path, base: str) -> None:
    """`folder` holds the ViT-H/14 of these tensors, with the tokenizer of `base`. Raises: WeightsError."""
    write_clip(tensors, folder=folder, heads=VIT_H_14, base=base)
