"""How a folder of SD 1.5 wants to be used; imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from likeness.backbones.folder import settings_given
from likeness.backbones.sdxl.settings import DrawingSettings


@dataclass(frozen=True)
class SsrSettings(DrawingSettings):
    """Of a folder with an SSR-Encoder.

    Source: SSR-Encoder's infer_text.py and infer_multi.py (512 px, 30 steps, guidance 5, scale 0.65).
    """

    size: int = 512
    adapter_scale: float = 0.65


def read_ssr_settings(folder: Path) -> SsrSettings:
    """The folder's settings, defaults where `likeness.json` is silent or absent. Raises: WeightsError."""
    return SsrSettings(**settings_given(folder, SsrSettings))
