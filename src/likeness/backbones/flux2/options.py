"""What may be asked of a picture that FLUX.2 klein draws."""

from pathlib import Path
from typing import Any  # JSON

from pydantic import Field

from likeness.backbones.flux2.folder import is_distilled, read_settings
from likeness.backbones.options import Options


class KleinOptions(Options):
    """Sizes in px, `size` the height and `width` the same by default, and how the picture is sampled.

    None is the model's own default. `cfg_scale` is classifier-free guidance of the prompt, with the references in both
    passes, as in diffusers; a step-distilled model takes none.
    """

    size: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    cfg_scale: float | None = Field(default=None, ge=0)

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings with the folder's own where None stood."""
        own = read_settings(folder)
        height = own.size if self.size is None else self.size
        return {
            "size": height,
            "width": height if self.width is None else self.width,
            "steps": own.default_steps if self.steps is None else self.steps,
            "cfg_scale": self.scale(own.default_cfg_scale, is_distilled=is_distilled(folder)),
        }

    def scale(self, usual: float, *, is_distilled: bool) -> float:
        """The guidance in force: 1, none at all, up to 1 and for a step-distilled model, as in Flux2KleinPipeline."""
        return 1.0 if is_distilled else max(1.0, usual if self.cfg_scale is None else self.cfg_scale)
