"""Frozen feature extractors: CLIP (image and text), DINO-style ViT, and the attribute probe of the drawn world.

Importing this room costs nothing: torch and transformers are imported by the file of the encoder that needs them.
`base.py` has the contracts and what encoders share, `reading.py` is plain data. A new encoder is one file and one line
below. Pictures go through a network in batches of one fixed shape: measured on CPU, a picture's numbers change in the
last bits with the size of the batch (2e-6 for CLIP), but neither with its neighbours nor with its place in it.
"""

import os
from collections.abc import Iterator, Mapping
from pkgutil import resolve_name
from typing import Any, NamedTuple  # Any: what an encoder sees is its own type

from likeness.core.errors import ConfigError


class EncoderFacts(NamedTuple):
    """One line of ENCODERS. `load` is "module:Class", whose classmethod `load(spec, *, device)` gives the encoder.

    `photo` and `world` are the weights used by default for photographs and for the drawn world. Where `photo` is None,
    `published` are those for photographs when a metric that needs them is asked for; likewise `embedded` for the drawn
    world where `world` is None. Published weights are named with a revision that holds them as safetensors.
    """

    load: str
    noun: str
    reads: str
    photo: str | None
    world: str | None
    licence: str
    published: str | None = None
    embedded: str | None = None


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
    "subjects": EncoderFacts(
        load="likeness.encoders.world_subjects:WorldSubjects",
        noun="subjects encoder",
        reads="where each subject of a picture is, and who it is",
        photo=None,
        world=None,
        licence="Apache-2.0",
        embedded="subjects",
    ),
}
PHOTO_ENCODERS: dict[str, str] = {name: facts.photo for name, facts in ENCODERS.items() if facts.photo}
WORLD_ENCODERS: dict[str, str] = {name: facts.world for name, facts in ENCODERS.items() if facts.world}


def load_encoder(name: str, spec: str, *, device: str = "cpu") -> Any:
    """The encoder `name` of ENCODERS with the weights `spec`. Raises: WeightsError when they cannot be had."""
    return resolve_name(ENCODERS[name].load).load(spec, device=device)


class EncoderSet(Mapping[str, Any]):
    """Encoders by name, each loaded when it is first asked for; another process loads its own."""

    def __init__(self, specs: Mapping[str, str], *, device: str = "cpu") -> None:
        """`specs` are name -> weights. Raises: ConfigError for a name that is none of ENCODERS."""
        if unknown := sorted(set(specs) - set(ENCODERS)):
            raise ConfigError(f"Encoders: expected one of {', '.join(ENCODERS)}, got {unknown[0]}; correct the name.")
        self.specs = {name: specs[name] for name in ENCODERS if name in specs}
        self.device = device
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The loaded encoder. Raises: WeightsError when its weights cannot be had."""
        if name not in self._loaded:
            self._loaded[name] = load_encoder(name, self.specs[name], device=self.device)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _encoder_set, (self.specs, self.device)

    @property
    def num_workers(self) -> int:
        """Processes that can compute beside each other: one per core, or one for a GPU."""
        return len(os.sched_getaffinity(0)) if self.device == "cpu" and hasattr(os, "sched_getaffinity") else 1


def _encoder_set(specs: Mapping[str, str], device: str) -> EncoderSet:
    return EncoderSet(specs, device=device)
