"""What may be asked of a picture that FLUX draws."""

from pathlib import Path
from typing import Any  # JSON

from pydantic import Field

from likeness.backbones.flux.folder import FluxSettings, read_settings
from likeness.backbones.options import Options


class FluxOptions(Options):
    """Sizes in px, `size` the height and `width` the same by default, and how the picture is sampled.

    None is the model's own default, from its `likeness.json`. `guidance` is the distilled guidance of FLUX.1-dev; what
    the two scales of classifier-free guidance do is in `GuidedCondition`. A `cfg_scale` alone is that of the references
    too.
    """

    size: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    cfg_scale: float | None = Field(default=None, ge=0)
    reference_cfg_scale: float | None = Field(default=None, ge=0)

    def settings(self) -> dict[str, Any]:
        """As `Options.settings`; a square picture records no width, as it always has."""
        return self.model_dump(mode="json", exclude={"width"} if self.width is None else None)

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings with the folder's own where None stood; both scales as `scales` gives them."""
        own = read_settings(folder)
        height = own.size if self.size is None else self.size
        by_prompt, by_references = self.scales(own)
        return {
            "size": height,
            **({} if self.width is None else {"width": self.width}),
            "steps": own.default_steps if self.steps is None else self.steps,
            "guidance": own.guidance if self.guidance is None else self.guidance,
            "cfg_scale": by_prompt,
            "reference_cfg_scale": by_references,
        }

    def scales(self, own: FluxSettings) -> tuple[float, float]:
        """Guidance by the prompt and by the references, where a model has settings of its `own`.

        Both scales come from the settings when both are None; a `cfg_scale` alone is that of the references too, so
        that it is plain classifier-free guidance. Up to 1 it is 1, none at all, as in FluxPipeline.
        """
        by_prompt = max(1.0, own.default_cfg_scale if self.cfg_scale is None else self.cfg_scale)
        by_references = own.default_reference_cfg_scale if self.cfg_scale is None else by_prompt
        return by_prompt, by_references if self.reference_cfg_scale is None else self.reference_cfg_scale
