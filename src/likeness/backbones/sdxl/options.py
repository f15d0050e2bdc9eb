"""What may be asked of a picture that SDXL draws, with IP-Adapter-Plus or with MS-Diffusion."""

from pathlib import Path
from typing import Annotated, Any  # Any: JSON

from pydantic import BeforeValidator, Field

from likeness.backbones.options import Options
from likeness.backbones.sdxl.local_settings import uses_local_tokens
from likeness.backbones.sdxl.settings import DrawingSettings, SdxlSettings, read_ms_settings, read_settings
from likeness.core.errors import ConfigError


class DrawingOptions(Options):
    """Sizes in px, `size` the height and `width` the same by default, and how the picture is sampled.

    None is the model's own default. `cfg_scale` is classifier-free guidance of prompt and references together.
    `adapter_scale` times what the references add.
    """

    size: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    cfg_scale: float | None = Field(default=None, ge=0)
    adapter_scale: float | None = Field(default=None, ge=0)

    def scale(self, own: DrawingSettings) -> float:
        """The guidance in force: 1, none at all, up to 1."""
        return max(1.0, own.default_cfg_scale if self.cfg_scale is None else self.cfg_scale)

    def strength(self, own: DrawingSettings) -> float:
        """The scale of the references in force."""
        return own.adapter_scale if self.adapter_scale is None else self.adapter_scale

    def drawn(self, own: DrawingSettings) -> dict[str, Any]:
        """The settings above, the folder's own where None stood."""
        height = own.size if self.size is None else self.size
        return {
            "size": height,
            "width": height if self.width is None else self.width,
            "steps": own.default_steps if self.steps is None else self.steps,
            "cfg_scale": self.scale(own),
            "adapter_scale": self.strength(own),
        }

    def as_stock(self, own: DrawingSettings, *, num_images: int) -> dict[str, Any]:
        """What diffusers' pipelines call these settings, for `num_images` pictures of one prompt."""
        given = self.drawn(own)
        return {
            "guidance_scale": given["cfg_scale"],
            "num_inference_steps": given["steps"],
            "height": given["size"],
            "width": given["width"],
            "num_images_per_prompt": num_images,
        }


class SdxlOptions(DrawingOptions):
    """Guidance leads away from `negative_prompt` (None: what the folder has for an empty one) and from the tokens of a
    picture of zeros. `average_references`: their tokens are averaged (PatchDPO), not set side by side.
    `crop_references`: those with a mask are cropped to the box around it.
    """

    average_references: bool | None = None
    crop_references: bool | None = None
    negative_prompt: str | None = None

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings with the folder's own where None stood."""
        own = read_settings(folder)
        more = {"average_references": self.is_averaged(own), "crop_references": self.is_cropped(own)}
        return {**self.drawn(own), **more, "negative_prompt": self.negative_prompt}

    def is_averaged(self, own: SdxlSettings) -> bool:
        """Whether references are averaged."""
        return own.average_references if self.average_references is None else self.average_references

    def is_cropped(self, own: SdxlSettings) -> bool:
        """Whether references with a mask are cropped to it."""
        return own.crop_references if self.crop_references is None else self.crop_references


def _split(value: Any) -> Any:
    """The parts of "0.6,0.8", as a command line has it; other values as they are."""
    return value.split(",") if isinstance(value, str) else value


class SubjectOptions(DrawingOptions):
    """`subject_scales`, one for each reference in order ("0.6,0.8" on a command line), stand for `adapter_scale`.

    `negative_prompt` is what guidance leads away from, `legacy` a fault of the published code, as a subclass says.
    """

    subject_scales: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...] | None, BeforeValidator(_split), Field(min_length=1, max_length=4)
    ] = None
    negative_prompt: str | None = None
    legacy: bool = False

    def scales(self, own: DrawingSettings, *, count: int) -> list[float]:
        """The scale in force of each of `count` references. Raises: ConfigError for another number of them."""
        wanted = self.subject_scales
        if wanted is not None and len(wanted) != count:
            got = f"{len(wanted)} for {count} references"
            raise ConfigError(f"subject_scales: expected a number for each reference, got {got}; give {count}.")
        return list(wanted or [self.strength(own)] * count)

    def told_of_subjects(self) -> dict[str, Any]:
        """The settings above, as JSON."""
        scales = None if self.subject_scales is None else list(self.subject_scales)
        return {"subject_scales": scales, "negative_prompt": self.negative_prompt, "legacy": self.legacy}


class MsOptions(SubjectOptions):
    """Guidance leads away from `negative_prompt` (None: what the folder has for an empty one) and from no references.

    `legacy`: queries outside every box read the adapter's untrained dummy tokens, as the published code does on its
    faster path. `local_tokens`: whether references have those of the model's Local Image Encoder (None: where it has
    one).
    """

    local_tokens: bool | None = None

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings with the folder's own where None stood. Raises: ConfigError for local tokens of no encoder."""
        more = {**self.told_of_subjects(), "local_tokens": uses_local_tokens(folder, self.local_tokens)}
        return {**self.drawn(read_ms_settings(folder)), **more}
