"""A backbone as the generator of a data recipe: pictures drawn one at a time from prompt, references and seed.

The recipe (`data/relations/models.py`) knows only its protocol, `Draw`; here a backbone fulfils it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # options are the backbone's own

from PIL import Image

from likeness.core.devices import pick_device, pick_dtype_name
from likeness.core.hashing import short
from likeness.core.weights import resolve_adapter, resolve_weights, weights_facts
from likeness.generate.makers import BACKBONE, ImageMaker, MakerSpec, load_maker, read_options

__all__ = ["BackbonePictures", "LoadPictures"]


@dataclass(frozen=True)
class LoadPictures:
    """Loads the backbone of an embedded name, a folder or a hub id; `options` are its own, such as size and steps."""

    model: str = "flux"
    loras: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    device: str = "auto"
    dtype: str = "auto"

    @property
    def id(self) -> str:
        """Model, adapters, content hashes and settings in one line. Raises: WeightsError, ConfigError."""
        folder = resolve_weights(self.model)
        loras = [weights_facts(spec, resolve_adapter(spec)) for spec in self.loras]
        added = "".join(f" + {lora['id']}@{short(lora['sha256'])}" for lora in loras)
        device = pick_device(self.device)
        read_options(BACKBONE, self.options, folder=folder)
        place = f"{device.partition(':')[0]} {pick_dtype_name(device, self.dtype)}"
        given = ", ".join(f"{name} {value}" for name, value in sorted(self.options.items())) or "its defaults"
        own = weights_facts(self.model, folder)
        return f"{own['id']}@{short(own['sha256'])}{added}; {given}; {place}"

    def __call__(self) -> "BackbonePictures":
        """The loaded backbone. Raises: WeightsError; ConfigError for an option that it does not have."""
        folder, device = resolve_weights(self.model), pick_device(self.device)
        loras = tuple(Path(resolve_adapter(spec)) for spec in self.loras)
        maker = load_maker(MakerSpec(BACKBONE, folder, device, pick_dtype_name(device, self.dtype), loras))
        return BackbonePictures(maker, read_options(BACKBONE, self.options, folder=folder))


@dataclass(frozen=True)
class BackbonePictures:
    """Draws with a loaded maker and its options."""

    maker: ImageMaker
    options: Any

    def __call__(self, prompt: str, references: Sequence[Image.Image] = (), *, seed: int) -> Image.Image:
        """The picture of the prompt with the likeness of the references."""
        return self.maker.generate(prompt, references, seed=seed, options=self.options)
