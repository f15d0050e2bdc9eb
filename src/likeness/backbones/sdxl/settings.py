"""How a folder of SDXL wants to be used; imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from likeness.backbones.folder import settings_given


@dataclass(frozen=True)
class DrawingSettings:
    """What every adapter's folder may say in its optional `likeness.json`; else as SDXL does it.

    `size` in px; `adapter_scale` is that of the option of the same name.
    Source: diffusers 0.42 `StableDiffusionXLPipeline` (1024 px, guidance 5).
    """

    size: int = 1024
    default_steps: int = 30
    default_cfg_scale: float = 5.0
    adapter_scale: float = 1.0


@dataclass(frozen=True)
class SdxlSettings(DrawingSettings):
    """Of a folder with an IP-Adapter, `average_references` and `crop_references` as the options.

    Source: PatchDPO's script (30 steps).
    """

    average_references: bool = False
    crop_references: bool = True


def read_settings(folder: Path) -> SdxlSettings:
    """The folder's settings, defaults where `likeness.json` is silent or absent. Raises: WeightsError."""
    return SdxlSettings(**settings_given(folder, SdxlSettings))


@dataclass(frozen=True)
class MsSettings(DrawingSettings):
    """Of a folder with an MS-Diffusion adapter.

    Source: MS-Diffusion's inference and DreamRelation's training and inference (scale 0.6, 30 steps).
    """

    adapter_scale: float = 0.6


def read_ms_settings(folder: Path) -> MsSettings:
    """The folder's settings, defaults where `likeness.json` is silent or absent. Raises: WeightsError."""
    return MsSettings(**settings_given(folder, MsSettings))
