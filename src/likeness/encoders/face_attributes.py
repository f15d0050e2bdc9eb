"""Attributes of the largest face of a picture, by probes of its embedding (Stellar's APS).

The probes are arrays fitted once (`face_probes.py`), never to the pictures of the run that they judge.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import short
from likeness.encoders.base import weights_folder
from likeness.encoders.face_attributes_seen import FaceAttributes
from likeness.encoders.face_probes import CONFIG, PROBES, read_probes
from likeness.encoders.faces import FaceEncoder
from likeness.encoders.faces_seen import FacesSeen
from likeness.encoders.packaged import told


class FaceAttributeEncoder:
    """A face encoder and probes of its embeddings."""

    sight: ClassVar[Any] = FaceAttributes

    def __init__(self, folder: Path, *, spec: str | Path, device: str) -> None:
        """Raises: WeightsError when the probes are damaged, or fitted to the embeddings of another encoder."""
        with told("face attributes", spec, wanted=f"{PROBES} and {CONFIG}", form="a folder of probes"):
            self._probes = read_probes(folder)
            facts = self._probes.facts
            inside = facts.faces.removeprefix("./")
            self._faces = FaceEncoder.load(folder / inside if inside != facts.faces else inside, device=device)
            if facts.faces_id is not None and facts.faces_id != self._faces.id:
                raise ValueError(f"probes that were fitted to the embeddings of {facts.faces_id}, not {self._faces.id}")
        self._labels = {name: tuple(values) for name, values in facts.attributes.items()}
        name = folder.name if Path(spec).is_dir() else str(spec)
        hashes = "+".join(short(remembered_sha256(folder / file)) for file in (PROBES, CONFIG))
        self.id = f"face attributes {name}@{hashes} of the largest face; {self._faces.id}"

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> "FaceAttributeEncoder":
        """The probes of a folder with the face encoder that they were fitted to. Raises: WeightsError."""
        return cls(weights_folder(spec), spec=spec, device=device)

    def look(self, images: Sequence[Image.Image]) -> list[FaceAttributes]:
        """What is read of each picture's largest face."""
        return [self._read(seen) for seen in self._faces.look(images)]

    def _read(self, seen: FacesSeen) -> FaceAttributes:
        face = seen.largest
        return FaceAttributes(
            self.id, None if face is None else self._probes.probabilities(face.embedding), self._labels
        )
