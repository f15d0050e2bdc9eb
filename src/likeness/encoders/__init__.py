"""Frozen feature extractors: CLIP (image and text), DINO-style ViT, and the attribute probe of the drawn world.

Importing this room costs nothing: torch and transformers are imported by the file of the encoder that needs them.
`base.py` has the contracts and what encoders share, `reading.py` is plain data. A new encoder is one file and one line
below. Every encoder looks at one picture at a time: measured on CPU, numbers of one picture change in the last bits
with the batch it travels in (2e-6 for the probe), and a sample's value must not depend on its neighbours.
"""

from pkgutil import resolve_name
from typing import Any, NamedTuple  # Any: what an encoder sees is its own type


class EncoderFacts(NamedTuple):
    """One line of ENCODERS. `load` is "module:Class", whose classmethod `load(spec, *, device)` gives the encoder.

    `photo` and `world` are the weights used by default for photographs and for the drawn world; None: only when named.
    Published ones are named with the revision that holds them as safetensors; their main branches hold pickles only.
    """

    load: str
    noun: str
    reads: str
    photo: str | None
    world: str | None
    licence: str


ENCODERS: dict[str, EncoderFacts] = {
    "clip": EncoderFacts(
        load="likeness.encoders.clip:ClipEncoder",
        noun="clip encoder",
        reads="pictures and texts in one space",
        photo="openai/clip-vit-base-patch32@refs/pr/15",
        world="clip",
        licence="MIT; embedded: Apache-2.0",
    ),
    "dino": EncoderFacts(
        load="likeness.encoders.vit:VitEncoder",
        noun="dino encoder",
        reads="who or what a picture shows",
        photo="facebook/dino-vits16@refs/pr/1",
        world="dino",
        licence="Apache-2.0",
    ),
    "probe": EncoderFacts(
        load="likeness.encoders.probe:AttributeProbe",
        noun="probe",
        reads="attributes, action and scene of the drawn world",
        photo=None,
        world="probe",
        licence="Apache-2.0",
    ),
}
PHOTO_ENCODERS: dict[str, str] = {name: facts.photo for name, facts in ENCODERS.items() if facts.photo}
WORLD_ENCODERS: dict[str, str] = {name: facts.world for name, facts in ENCODERS.items() if facts.world}


def load_encoder(name: str, spec: str, *, device: str = "cpu") -> Any:
    """The encoder `name` of ENCODERS with the weights `spec`. Raises: WeightsError when they cannot be had."""
    return resolve_name(ENCODERS[name].load).load(spec, device=device)
