"""What may be asked of a picture that SD 1.5 draws with SSR-Encoder."""

from pathlib import Path
from typing import Any  # Any: JSON

from likeness.backbones.sd15.settings import read_ssr_settings
from likeness.backbones.sdxl.options import SubjectOptions


class SsrOptions(SubjectOptions):
    """Guidance leads away from `negative_prompt` (None: an empty one) and from the tokens of a picture of zeros.

    A reference of scale 0 is absent. `legacy`: scales multiply the tokens before they become keys and values, and leave
    the row that guidance leads away from as it is, as the published code does for several pictures. It also gives each
    the first scale; equal `subject_scales` repeat that.
    """

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings with the folder's own where None stood."""
        return {**self.drawn(read_ssr_settings(folder)), **self.told_of_subjects()}
