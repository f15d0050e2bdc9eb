"""Painter, a toy backbone: paints one shade, the same for equal prompts and seeds. Enough to generate with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field

from likeness.backbones.options import Options
from likeness.core.rng import seed_for


class PainterOptions(Options):
    """`shade` is added to every channel."""

    shade: int = Field(default=0, ge=0, le=55)


class Painter:
    """What `generate` needs of a backbone; training needs the rest of `backbones/base.py:Backbone`."""

    @classmethod
    def load(cls, folder: Path, *, device: str, dtype: Any, loras: Sequence[Path]) -> "Painter":
        """The painter of a folder whose model_index.json names PainterPipeline."""
        return cls()

    def generate(
        self, prompt: str, references: Sequence[Image.Image] = (), *, seed: int, options: PainterOptions | None = None
    ) -> Image.Image:
        """One picture of 32 x 32 px."""
        chosen, shade = seed_for(prompt, seed), (options or PainterOptions()).shade
        red, green, blue = ((chosen >> 8 * channel) % 200 + shade for channel in range(3))
        return Image.new("RGB", (32, 32), (red, green, blue))
