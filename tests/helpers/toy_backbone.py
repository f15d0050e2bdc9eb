"""The smallest backbone, in one file: what a new kind must bring to be generated with. It paints one hue."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field

from likeness.backbones import BackboneEntry
from likeness.backbones.options import Options


class ToyOptions(Options):
    hue: int = Field(default=0, ge=0, le=255)


class Toy:
    @classmethod
    def load(cls, folder: Path, *, device: str, dtype: Any, loras: Sequence[Path]) -> "Toy":
        return cls()

    def generate(
        self, prompt: str, references: Sequence[Image.Image] = (), *, seed: int, options: ToyOptions | None = None
    ) -> Image.Image:
        return Image.new("HSV", (8, 8), ((options or ToyOptions()).hue, 255, 255)).convert("RGB")


ENTRY = BackboneEntry("toy_backbone:Toy", "ToyPipeline", "toy_backbone:ToyOptions", "one hue")
