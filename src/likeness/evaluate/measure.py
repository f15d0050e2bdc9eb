"""Every value of one picture for one case, independent of all other pictures of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict  # Any: JSON

import numpy as np
from jaxtyping import Float

from likeness.core.errors import MeasurementError
from likeness.core.hashing import pixels_sha256
from likeness.core.images import load_image
from likeness.core.records import Case, Subject
from likeness.metrics.attributes import (
    action_recognised,
    attribute_accuracy,
    leakage,
    match_subjects,
    right_attributes,
    scene_recognised,
)
from likeness.metrics.base import Value, mean_over_subjects, not_measured
from likeness.metrics.clip_i import clip_i
from likeness.metrics.clip_t import clip_t
from likeness.metrics.dino import dino

if TYPE_CHECKING:
    from likeness.encoders.clip import ClipEncoder
    from likeness.encoders.probe import AttributeProbe
    from likeness.encoders.reading import SubjectReading
    from likeness.encoders.vit import VitEncoder

Values = dict[str, Value]
IMAGE_METRICS = {"clip": ("clip_i", clip_i), "dino": ("dino", dino)}
SUBJECT_LABEL_KEYS = ("attribute_accuracy", "leakage")
LABEL_KEYS = (*SUBJECT_LABEL_KEYS, "action_recognised", "scene_recognised")


class Encoders(TypedDict, total=False):
    """The encoders at hand; metrics of an absent one are not measured."""

    clip: ClipEncoder
    dino: VitEncoder
    probe: AttributeProbe


@dataclass(frozen=True)
class Picture:
    """What a picture file shows: the hash of its pixels and one unit feature per encoder at hand."""

    pixels: str
    features: dict[str, Float[np.ndarray, " D"]]


@dataclass
class Eyes:
    """The encoders with what they have seen, by file: photos come up again for each sample of their subject."""

    encoders: Encoders
    _pictures: dict[Path, Picture] = field(default_factory=dict)
    _prompts: dict[str, Float[np.ndarray, " D"]] = field(default_factory=dict)

    def picture(self, path: Path) -> Picture:
        """The features of a file. Raises: DataError for a file that is no whole picture."""
        if path not in self._pictures:
            self._pictures[path] = self._look(path)
        return self._pictures[path]

    def _look(self, path: Path) -> Picture:
        image = load_image(path)
        features: dict[str, Float[np.ndarray, " D"]] = {}
        if "clip" in self.encoders:
            features["clip"] = self.encoders["clip"].image_features([image])[0]
        if "dino" in self.encoders:
            features["dino"] = self.encoders["dino"].features([image])[0]
        return Picture(pixels_sha256(image), features)

    def prompt(self, text: str, *, clip: ClipEncoder) -> Float[np.ndarray, " D"]:
        """CLIP's feature of a prompt."""
        if text not in self._prompts:
            self._prompts[text] = clip.text_features([text])[0]
        return self._prompts[text]


@dataclass(frozen=True)
class Measured:
    """Values of a sample, values per subject in the case's order, and per subject which attributes read wrong."""

    values: Values
    subjects: tuple[Values, ...]
    right: tuple[dict[str, bool], ...] = ()

    def to_json(self, case: Case) -> dict[str, Any]:
        """The measured part of a row of scores.jsonl."""
        rows = [
            {"subject": subject.id, "values": _values_to_json(values)}
            for subject, values in zip(case.subjects, self.subjects, strict=True)
        ]
        for row, right in zip(rows, self.right, strict=False):
            row["right_attributes"] = right
        return {"values": _values_to_json(self.values), "per_subject": rows}


def _values_to_json(values: Values) -> dict[str, Any]:
    return {name: value.to_json() for name, value in values.items()}


def prompt_fidelity(path: Path, prompt: str, *, eyes: Eyes) -> Value:
    """CLIP-T of a picture and the exact prompt."""
    clip = eyes.encoders.get("clip")
    if clip is None:
        return not_measured("no clip encoder was given")
    feature = eyes.picture(path).features["clip"]
    prompt_feature = eyes.prompt(prompt, clip=clip)
    return clip_t(image_feature=feature, prompt_feature=prompt_feature, truncated=clip.truncated(prompt))


def similarity(path: Path, photos: Sequence[Path], *, encoder: str, eyes: Eyes) -> Value:
    """CLIP-I or DINO of a picture against photos."""
    if encoder not in eyes.encoders:
        return not_measured(f"no {encoder} encoder was given")
    _, metric = IMAGE_METRICS[encoder]
    feature = eyes.picture(path).features[encoder]
    rows = [eyes.picture(photo).features[encoder] for photo in photos]
    return metric(image_feature=feature, photo_features=np.stack(rows) if rows else np.empty((0, len(feature))))


def subject_fidelity(path: Path, subject: Subject, *, eyes: Eyes) -> Values:
    """CLIP-I and DINO of a picture against all photos of a subject, and against its conditioning photo alone."""
    values: Values = {}
    for encoder, (name, _) in IMAGE_METRICS.items():
        values[name] = similarity(path, subject.measured_photos, encoder=encoder, eyes=eyes)
        one = similarity(path, [subject.reference_image], encoder=encoder, eyes=eyes)
        values[f"{name}_conditioning_photo"] = one
    return values


def over_subjects(subjects: Sequence[Values], *, keys: Sequence[str]) -> Values:
    """Each key's mean over subjects."""
    return {key: mean_over_subjects([values[key] for values in subjects]) for key in keys}


def fidelity_keys() -> list[str]:
    """The keys of `subject_fidelity`."""
    return [f"{name}{column}" for name, _ in IMAGE_METRICS.values() for column in ("", "_conditioning_photo")]


def measure_labels(path: Path, case: Case, *, eyes: Eyes) -> Measured:
    """Attribute accuracy, leakage, action and scene of a picture by the probe; not measured without labels or probe."""
    probe = eyes.encoders.get("probe")
    if probe is None:
        return unlabelled(case, reason="no probe was given")
    reading = probe.read([load_image(path)], num_subjects=[len(case.subjects)])[0]
    values = {
        "action_recognised": action_recognised(reading.action, case.action),
        "scene_recognised": scene_recognised(reading.scene, case.scene),
    }
    try:
        subjects, right = _measure_attributes(reading.subjects, case, labels=probe.config.attributes)
    except MeasurementError as error:
        nothing = unlabelled(case, reason=str(error))
        return Measured(nothing.values | values, nothing.subjects)
    return Measured(over_subjects(subjects, keys=SUBJECT_LABEL_KEYS) | values, tuple(subjects), tuple(right))


def unlabelled(case: Case, *, reason: str) -> Measured:
    """All label metrics not measured, for one reason."""
    subjects = tuple({key: not_measured(reason) for key in SUBJECT_LABEL_KEYS} for _ in case.subjects)
    return Measured({key: not_measured(reason) for key in LABEL_KEYS}, subjects)


def _measure_attributes(
    readings: Sequence[SubjectReading], case: Case, *, labels: dict[str, tuple[str, ...]]
) -> tuple[list[Values], list[dict[str, bool]]]:
    expected = [subject.attributes for subject in case.subjects if subject.attributes is not None]
    if len(expected) < len(case.subjects):
        raise MeasurementError("the case does not name every subject's attributes")
    matched = match_subjects(readings, expected, labels=labels)
    values = [
        {
            "attribute_accuracy": attribute_accuracy(matched[i], expected[i], labels=labels),
            "leakage": leakage(matched, expected, subject=i, labels=labels),
        }
        for i in range(len(expected))
    ]
    return values, [right_attributes(matched[i], expected[i], labels=labels) for i in range(len(expected))]


def measure_picture(path: Path, case: Case, *, eyes: Eyes, labelled: bool) -> Measured:
    """Every value of one picture; the label metrics only when the benchmark carries labels."""
    fidelity = [subject_fidelity(path, subject, eyes=eyes) for subject in case.subjects]
    values = {"clip_t": prompt_fidelity(path, case.prompt, eyes=eyes)} | over_subjects(fidelity, keys=fidelity_keys())
    if not labelled:
        return Measured(values, tuple(fidelity))
    return joined(Measured(values, tuple(fidelity)), measure_labels(path, case, eyes=eyes))


def joined(fidelity: Measured, labels: Measured) -> Measured:
    """Both sets of values of one picture as one."""
    subjects = tuple(a | b for a, b in zip(fidelity.subjects, labels.subjects, strict=True))
    return Measured(fidelity.values | labels.values, subjects, labels.right)
