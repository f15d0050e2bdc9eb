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
    world where `world` is None. Published weights are named with a revision that holds them as safetensors, or by the
    name under which `likeness fetch` keeps them.
    """

    load: str
    noun: str
    reads: str
    photo: str | None
    world: str | None
    licence: str
    published: str | None = None
    embedded: str | None = None


_CLIP_BIGG14 = "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k@743c27bd53dfe508a0ade0f50698f99b39d03bec"
_OWL = "google/owlv2-large-patch14-ensemble@d638f16c163f70a8b6bd643b2ddbfc8be2c34807"
_POSE = "usyd-community/vitpose-base-simple@a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45"
_VLM = "Qwen/Qwen2.5-VL-7B-Instruct@cc594898137f460bfe9f0759e9844b3ce807cfb5"

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
    "dinov2": EncoderFacts(
        load="likeness.encoders.vit:VitEncoder",
        noun="dinov2 encoder",
        reads="who or what a picture shows",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published="facebook/dinov2-base@f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    ),
    "clip_bigg14": EncoderFacts(
        load="likeness.encoders.clip:ClipEncoder",
        noun="CLIP bigG/14 encoder",
        reads="pictures and texts in one space, as in Stellar's tables",
        photo=None,
        world=None,
        licence="MIT",
        published=_CLIP_BIGG14,
    ),
    "relation_clip": EncoderFacts(
        load="likeness.encoders.clip:ClipEncoder",
        noun="relation CLIP",
        reads="pictures and texts in one space, by who does what to whom",
        photo=None,
        world=None,
        licence="MIT; embedded: Apache-2.0",
        published=_CLIP_BIGG14,
        embedded="relations",
    ),
    "hps_v1": EncoderFacts(
        load="likeness.encoders.hps:HpsV1",
        noun="HPS v1 encoder",
        reads="pictures and texts in one space, by what people preferred",
        photo=None,
        world=None,
        licence="weights unstated; code Apache-2.0",
        published="hps_v1",
    ),
    "hps_v2": EncoderFacts(
        load="likeness.encoders.hps:HpsV2",
        noun="HPS v2.0 encoder",
        reads="pictures and texts in one space, by what people preferred",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published="hps_v2",
    ),
    "hps_v21": EncoderFacts(
        load="likeness.encoders.hps:HpsV21",
        noun="HPS v2.1 encoder",
        reads="pictures and texts in one space, by what people preferred",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published="hps_v21",
    ),
    "pickscore": EncoderFacts(
        load="likeness.encoders.pickscore:PickScoreEncoder",
        noun="PickScore encoder",
        reads="pictures and texts in one space, by what people picked",
        photo=None,
        world=None,
        licence="none stated; code MIT",
        published="yuvalkirstain/PickScore_v1@a4e4367c6dfa7288a00c550414478f865b875800",
    ),
    "aesthetic": EncoderFacts(
        load="likeness.encoders.aesthetic:AestheticEncoder",
        noun="aesthetic encoder",
        reads="how people would rate a picture's looks",
        photo=None,
        world=None,
        licence="head Apache-2.0 (repository), CLIP MIT",
        published="aesthetic",
    ),
    "image_reward": EncoderFacts(
        load="likeness.encoders.blip:ImageRewardEncoder",
        noun="ImageReward encoder",
        reads="how people would like a picture for its prompt",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published="image_reward",
    ),
    "faces": EncoderFacts(
        load="likeness.encoders.faces:FaceEncoder",
        noun="face encoder",
        reads="faces and whose they are",
        photo=None,
        world=None,
        licence="dlib: Boost, weights CC0; YuNet: MIT; SFace, AuraFace: Apache-2.0; buffalo_l: research only",
        published="dlib",
        embedded="faces",
    ),
    "face_attributes": EncoderFacts(
        load="likeness.encoders.face_attributes:FaceAttributeEncoder",
        noun="face attribute encoder",
        reads="attributes of the largest face",
        photo=None,
        world=None,
        licence="that of the faces and of the pictures it was fitted to",
        embedded="face_attributes",
    ),
    "efficientnet": EncoderFacts(
        load="likeness.encoders.efficientnet:EfficientNetEncoder",
        noun="EfficientNet encoder",
        reads="what kind of thing a picture shows",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published="efficientnet-lite0",
    ),
    "sentence": EncoderFacts(
        load="likeness.encoders.sentence:SentenceEncoder",
        noun="sentence encoder",
        reads="texts by what they say",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published="all-minilm-l6-v2",
    ),
    "nsfw": EncoderFacts(
        load="likeness.encoders.nsfw:NsfwEncoder",
        noun="nsfw encoder",
        reads="whether a picture is safe for work",
        photo=None,
        world=None,
        licence="Apache-2.0, weights BSD-2",
        published="opennsfw",
    ),
    "owl": EncoderFacts(
        load="likeness.encoders.owl:OwlDetector",
        noun="OWL detector",
        reads="where a picture shows what a text says",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published=_OWL,
        embedded="detector",
    ),
    "grounding_dino": EncoderFacts(
        load="likeness.encoders.grounding_dino:GroundingDinoDetector",
        noun="GroundingDINO",
        reads="where a picture shows what a phrase says",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published="IDEA-Research/grounding-dino-base@12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
    ),
    "vlm": EncoderFacts(
        load="likeness.encoders.vlm:YesNoModel",
        noun="vision-language model",
        reads="whether a question about a picture is answered yes",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published=_VLM,
    ),
    "relations": EncoderFacts(
        load="likeness.encoders.relations:RelationEncoder",
        noun="relations encoder",
        reads="whether two things in a picture stand in a relation",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published=f"{_OWL}+{_VLM}",
        embedded="detector+relations",
    ),
    "pose": EncoderFacts(
        load="likeness.encoders.pose:PoseEncoder",
        noun="ViTPose",
        reads="where the joints of whoever is in a box of a picture are",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published=_POSE,
        embedded="pose",
    ),
    "sam2": EncoderFacts(
        load="likeness.encoders.sam2:Sam2Segmenter",
        noun="SAM 2",
        reads="the outline of what is in a box of a picture",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published="facebook/sam2.1-hiera-large@665f8e2ad61cf5f53d65644ff27c8ee525124610",
    ),
    "dreamsim": EncoderFacts(
        load="likeness.encoders.dreamsim:DreamSimEncoder",
        noun="DreamSim",
        reads="what people notice of a picture",
        photo=None,
        world=None,
        licence="MIT; DINO Apache-2.0",
        published="dreamsim",
    ),
    "subjects": EncoderFacts(
        load="likeness.encoders.photo_subjects:AnySubjects",
        noun="subjects encoder",
        reads="where each subject of a picture is, and who it is",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published=f"{_OWL}+facebook/dino-vits16@refs/pr/1",
        embedded="subjects",
    ),
    "joints": EncoderFacts(
        load="likeness.encoders.joints:JointsEncoder",
        noun="joints encoder",
        reads="where the joints of each subject of a picture are",
        photo=None,
        world=None,
        licence="Apache-2.0",
        published=f"{_OWL}+facebook/dino-vits16@refs/pr/1+{_POSE}",
        embedded="subjects+pose",
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
        self._loaded: dict[tuple[str, str], Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The loaded encoder; names with the same class and weights share it.

        Raises: WeightsError when its weights cannot be had.
        """
        place = ENCODERS[name].load, self.specs[name]
        if place not in self._loaded:
            self._loaded[place] = load_encoder(name, self.specs[name], device=self.device)
        return self._loaded[place]

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
