"""How stages load encoders: by a name of the class and weights, in any process."""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any  # encoders have their contracts in encoders/base.py

from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import short
from likeness.core.weights import public_name

__all__ = ["CAPTIONER", "DETECTOR", "SEGMENTER", "LoadEncoder"]

DETECTOR = "likeness.encoders.grounding_dino:GroundingDinoDetector"
SEGMENTER = "likeness.encoders.sam2:Sam2Segmenter"
CAPTIONER = "likeness.encoders.vlm:Describer"


@dataclass(frozen=True)
class LoadEncoder:
    """Loads the encoder class `kind` ("module:Class") with the weights `spec`."""

    kind: str
    spec: str
    device: str = "auto"

    @property
    def id(self) -> str:
        """By the content of the weights, with the kind of device. Raises: WeightsError."""
        from likeness.core.devices import pick_device
        from likeness.encoders.base import weights_folder

        digest = short(remembered_sha256(weights_folder(self.spec)))
        device = pick_device(self.device).partition(":")[0]
        return f"{self.kind.rpartition(':')[2]} {public_name(self.spec)}@{digest}; {device}"

    def __call__(self) -> Any:
        """The loaded encoder. Raises: WeightsError."""
        from likeness.core.devices import pick_device

        return resolve_name(self.kind).load(self.spec, device=pick_device(self.device))
