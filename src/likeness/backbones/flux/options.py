"""What may be asked of a picture that FLUX draws."""

from typing import Any  # JSON

from pydantic import Field

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
