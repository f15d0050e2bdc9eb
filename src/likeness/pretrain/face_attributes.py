"""Stage "face_attributes": probes of the exported face embeddings for the yes-or-no attributes of Stellar's APS.

They are fitted to what the detector and the embedder of `export` see of training people, not to the finer weights in
`work`, since a folder of probes belongs to the very bytes of its encoder.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import replaced_folder
from likeness.encoders.face_probes import fit_probes, write_probes
from likeness.encoders.faces_seen import Face, FacesSeen
from likeness.encoders.faces_world import WorldFaces
from likeness.encoders.probe import AttributeProbe
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.faces import Look, in_a_portrait, in_a_scene
from likeness.world.face_attributes import FACE_ATTRIBUTES, face_attributes
from likeness.world.identity import Identity, sample_identity

NUM_PEOPLE = 1000
FACES = "faces"
NEAR = 0.14
"""Of the picture's side: farther from the eyes than this lies no middle of their face."""


def exported_faces(config: PretrainConfig, *, stage: str) -> WorldFaces:
    """The face encoder in `export` with the probe beside it.

    Raises: ConfigError when one of them is absent.
    """
    for name in (FACES, "probe"):
        if not (config.export / name / "config.json").is_file():
            wanted = f'stage "{stage}": expected {name} in {config.export}, got none'
            raise ConfigError(f'{wanted}; run the stages "{name}" and "export" first.')
    return WorldFaces(config.export / FACES, spec=FACES, probe=AttributeProbe.load(config.export / "probe"))


def training_looks(number: int, *, size: int) -> tuple[Identity, list[Look]]:
    """Training person `number` in a portrait and in a scene, without an outfit."""
    rng = random.Random(f"face-attributes/{number}")
    who = sample_identity(rng, split="train", species="person")
    scene = in_a_scene(rng, who, split="train", size=size, dressed=0.0)
    return who, [in_a_portrait(rng, who, size=size), scene]


def face_at(seen: FacesSeen, place: complex) -> Face | None:
    """The face whose box's middle is nearest to `place` (x + iy in shares of the sides); None beyond NEAR."""

    def distance(face: Face) -> float:
        left, top, right, bottom = (edge / side / 2 for edge, side in zip(face.box, seen.size * 2, strict=True))
        return abs(complex(left + right, top + bottom) - place)

    nearest = min(seen.faces, key=distance, default=None)
    return nearest if nearest and distance(nearest) <= NEAR else None


def _found(encoder: WorldFaces, *, size: int) -> Iterator[tuple[Identity, Face]]:
    """Training people with their faces, as often as they were found."""
    for number in range(NUM_PEOPLE):
        who, looks = training_looks(number, size=size)
        sights = encoder.look([Image.fromarray(look.picture) for look in looks])
        for look, seen in zip(looks, sights, strict=True):
            if face := face_at(seen, complex(look.eyes[0])):
                yield who, face


def fit_face_attributes(config: PretrainConfig, *, device: str) -> Path:
    """Writes `<export>/face_attributes` and returns that folder; all is computed on the CPU, as faces always are.

    Raises: ConfigError without faces and probe in `export`; DataError where too few faces were found to fit.
    """
    encoder = exported_faces(config, stage="face_attributes")
    found = list(_found(encoder, size=config.size))
    if not found:
        raise DataError(
            f"Faces of {config.export}: expected some in {2 * NUM_PEOPLE} pictures, got none; train longer."
        )
    answers = [face_attributes(who) for who, _ in found]
    labels = {name: [answer[name] for answer in answers] for name in FACE_ATTRIBUTES}
    embeddings = np.stack([face.embedding for _, face in found])
    probes = fit_probes(embeddings, labels, values=FACE_ATTRIBUTES, faces=FACES, faces_id=encoder.id)
    with replaced_folder(config.export / "face_attributes") as fresh:
        write_probes(fresh, probes)
    return config.export / "face_attributes"
