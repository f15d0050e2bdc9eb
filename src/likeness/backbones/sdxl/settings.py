"""How a folder of SDXL wants to be used; imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from likeness.backbones.folder import settings_given


@dataclass(frozen=True)
class SdxlSettings:
    """How a folder wants to be used; from its optional `likeness.json`, else as SDXL and PatchDPO's script do it.

    `size` in px; `adapter_scale`, `average_references` and `crop_references` are those of the options of the same name.
    Source: diffusers 0.42 `StableDiffusionXLPipeline` (1024 px, guidance 5), PatchDPO's script (30 steps).
    """

    size: int = 1024
    default_steps: int = 30
    default_cfg_scale: float = 5.0
    adapter_scale: float = 1.0
    average_references: bool = False
    crop_references: bool = True


def read_settings(folder: Path) -> SdxlSettings:
    """The folder's settings, defaults where `likeness.json` is silent or absent. Raises: WeightsError."""
    return SdxlSettings(**settings_given(folder, SdxlSettings))
