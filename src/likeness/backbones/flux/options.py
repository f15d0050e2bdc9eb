"""What may be asked of a picture that FLUX draws."""

from pathlib import Path
from typing import Any, Literal  # Any: JSON

from pydantic import Field

from likeness.backbones.flux.folder import FluxSettings, read_settings
from likeness.backbones.options import Options


class FluxOptions(Options):
    """Sizes in px, `size` the height and `width` the same by default, and how the picture is sampled.

    None is the model's own default, from its `likeness.json`. `guidance` is the distilled guidance of FLUX.1-dev; what
    the two scales of classifier-free guidance do is in `GuidedCondition`. A `cfg_scale` alone is that of the references
    too. `reference_size` is the long side of every reference, 512 px for one and 320 for several by UNO's default.
    `schedule` is how the noise levels are shifted: "flux" by the number of tokens, "uno" as UNO's inference script.
    """

    size: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    cfg_scale: float | None = Field(default=None, ge=0)
    reference_cfg_scale: float | None = Field(default=None, ge=0)
    reference_size: int | None = Field(default=None, ge=16)
    schedule: Literal["flux", "uno"] | None = None

    def settings(self) -> dict[str, Any]:
        """As `Options.settings`; what came later than the first runs is recorded only where it was asked for."""
        later = {"width", "reference_size", "schedule"}
        return self.model_dump(mode="json", exclude={name for name in later if getattr(self, name) is None})

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
            "schedule": self.schedule or "flux",
            "reference_sizes": [self.long_side(own, count=count) for count in (1, 2)],
        }

    def long_side(self, own: FluxSettings, *, count: int) -> int:
        """Long side in px of each of `count` references."""
        usual = own.reference_size_single if count == 1 else own.reference_size_multi
        return usual if self.reference_size is None else self.reference_size

    def scales(self, own: FluxSettings) -> tuple[float, float]:
        """Guidance by the prompt and by the references, where a model has settings of its `own`.

        Both scales come from the settings when both are None; a `cfg_scale` alone is that of the references too, so
        that it is plain classifier-free guidance. Up to 1 it is 1, none at all, as in FluxPipeline.
        """
        by_prompt = max(1.0, own.default_cfg_scale if self.cfg_scale is None else self.cfg_scale)
        by_references = own.default_reference_cfg_scale if self.cfg_scale is None else by_prompt
        return by_prompt, by_references if self.reference_cfg_scale is None else self.reference_cfg_scale
