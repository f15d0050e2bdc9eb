"""What may be asked of a picture that SDXL with IP-Adapter-Plus draws."""

from pathlib import Path
from typing import Any  # JSON

from pydantic import Field

from likeness.backbones.options import Options
from likeness.backbones.sdxl.settings import SdxlSettings, read_settings


class SdxlOptions(Options):
    """Sizes in px, `size` the height and `width` the same by default, and how the picture is sampled.

    None is the model's own default. `cfg_scale` is classifier-free guidance of prompt and references together, away
    from `negative_prompt` (None: what the folder has for an empty one) and from the tokens of a picture of zeros.
    `adapter_scale` times what the references add. `average_references`: their tokens are averaged (PatchDPO), not set
    side by side. `crop_references`: those with a mask are cropped to the box around it.
    """

    size: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    cfg_scale: float | None = Field(default=None, ge=0)
    adapter_scale: float | None = Field(default=None, ge=0)
    average_references: bool | None = None
    crop_references: bool | None = None
    negative_prompt: str | None = None

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings with the folder's own where None stood."""
        own = read_settings(folder)
        height = own.size if self.size is None else self.size
        return {
            "size": height,
            "width": height if self.width is None else self.width,
            "steps": own.default_steps if self.steps is None else self.steps,
            "cfg_scale": self.scale(own),
            "adapter_scale": self.strength(own),
            "average_references": self.is_averaged(own),
            "crop_references": self.is_cropped(own),
            "negative_prompt": self.negative_prompt,
        }

    def scale(self, own: SdxlSettings) -> float:
        """The guidance in force: 1, none at all, up to 1."""
        return max(1.0, own.default_cfg_scale if self.cfg_scale is None else self.cfg_scale)

    def strength(self, own: SdxlSettings) -> float:
        """The scale of the references in force."""
        return own.adapter_scale if self.adapter_scale is None else self.adapter_scale

    def is_averaged(self, own: SdxlSettings) -> bool:
        """Whether references are averaged."""
        return own.average_references if self.average_references is None else self.average_references

    def is_cropped(self, own: SdxlSettings) -> bool:
        """Whether references with a mask are cropped to it."""
        return own.crop_references if self.crop_references is None else self.crop_references
