"""Faces: a detector and an embedder behind one contract; which ones is told by the name of the weights.

"dlib" needs nothing but the extra `offline`. A folder is read by the files that lie in it: YuNet and SFace, an ONNX
pack of the layout that insightface made common, or the encoder of the drawn world's people. ONNX packs go by their name
too, where insightface keeps them. The detector, the embedder, their hashes and licences are in the encoder's id, and
what was seen says whose it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from likeness.core.errors import WeightsError
from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import short
from likeness.encoders.base import weights_folder
from likeness.encoders.faces_seen import Face, FacesSeen, largest_first

Pixels = UInt8[np.ndarray, "H W 3"]

DLIB = "likeness.encoders.faces_dlib:DlibFaces"
FOLDERS = {
    "opencv": ("likeness.encoders.faces_opencv:OpenCvFaces", "face_detection_yunet*.onnx"),
    "insightface": ("likeness.encoders.faces_onnx:OnnxFaces", "*.onnx"),
    "world": ("likeness.encoders.faces_world:WorldFaces", "model.safetensors"),
}
"""Kinds of folders and a file by which each is recognised, the first that fits."""


class Pack(NamedTuple):
    """A published ONNX pack: its folder below ~/.insightface/models, where it comes from, and its licence."""

    folder: str
    source: str
    licence: str


PACKS = {
    "buffalo_l": Pack("buffalo_l", "the insightface model zoo", "non-commercial research only"),
    "antelopev2": Pack("antelopev2", "the insightface model zoo", "non-commercial research only"),
    "auraface": Pack("auraface", "huggingface.co/fal/AuraFace-v1", "Apache-2.0"),
}
PACKS_FOLDER = Path("~/.insightface/models")

FACENET = (
    "faces facenet: expected a kind that is read here, got FaceNet (MTCNN and InceptionResnetV1), whose weights are "
    "pickles for classes of a package that pins an old torch; export both to ONNX there and add a file like "
    "encoders/faces_onnx.py, or use dlib, opencv or an ONNX pack."
)
WANTED = "dlib, buffalo_l, antelopev2, auraface, or a folder with YuNet and SFace, an ONNX pack or world faces"


class FaceEncoder(ABC):
    """A detector and an embedder; a subclass finds the faces of one picture and says how they are compared.

    Pictures are looked at one by one, so that nothing depends on neighbours.
    """

    sight: ClassVar[Any] = FacesSeen
    measure: ClassVar[str]
    same_person: float
    id: str

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> "FaceEncoder":
        """The encoder that `spec` names: "dlib", a pack by name, or a folder. All compute on the CPU.

        Raises: WeightsError when the weights or the library that reads them are absent or damaged.
        """
        name = str(spec)
        if name == "facenet":
            raise WeightsError(FACENET)
        if name == "dlib":
            return resolve_name(DLIB)()
        if name in PACKS:
            return resolve_name(FOLDERS["insightface"][0])(_pack_folder(name), spec=name, licence=PACKS[name].licence)
        folder = weights_folder(spec)
        for kind, pattern in FOLDERS.values():
            if any(folder.glob(pattern)):
                return resolve_name(kind)(folder, spec=spec)
        raise WeightsError(f"faces {spec}: expected {WANTED}, got a folder without their files; pass one of these.")

    def look(self, images: Sequence[Image.Image]) -> list[FacesSeen]:
        """The faces of each picture, the largest first."""
        return [self._seen(image) for image in images]

    def _seen(self, image: Image.Image) -> FacesSeen:
        faces = largest_first(self.faces(image.convert("RGB")))
        return FacesSeen(self.id, (image.width, image.height), self.measure, self.same_person, faces)

    @abstractmethod
    def faces(self, image: Image.Image) -> list[Face]:
        """The faces of an RGB picture, in any order."""


def _pack_folder(name: str) -> Path:
    folder, pack = PACKS_FOLDER.expanduser() / PACKS[name].folder, PACKS[name]
    if not folder.is_dir():
        wanted = f"faces {name}: expected its ONNX files in {PACKS_FOLDER}/{pack.folder}, got no such folder"
        raise WeightsError(f"{wanted}; get them from {pack.source} (licence: {pack.licence}), or pass a folder.")
    return folder


def named(path: Path, *, licence: str) -> str:
    """A file of weights by name, hash and licence."""
    return f"{path.name}@{short(remembered_sha256(path))} ({licence})"


def shrunk(image: Image.Image, *, longest: int) -> tuple[Image.Image, float]:
    """The picture with its longer side at most `longest` px, and by what its sides were multiplied (at most 1)."""
    scale = min(1.0, longest / max(image.size))
    if scale == 1:
        return image, 1.0
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR), scale
