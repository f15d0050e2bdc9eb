"""Cards of the face encoder and of its attribute probes: what IPS, SIS, APS and face counts can reach on true pictures.

Every number comes from the code of the metrics themselves. Matched: a picture of the person of the case; shuffled: of
another person.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from likeness.core.rng import seed_for
from likeness.encoders.detections import overlaps
from likeness.encoders.face_attributes_seen import FaceAttributes
from likeness.encoders.face_probes import Probes, read_probes
from likeness.encoders.faces_seen import FacesSeen
from likeness.encoders.faces_world import WorldFaces
from likeness.encoders.reading import best_answer
from likeness.metrics.aps import attribute_share
from likeness.metrics.base import Value
from likeness.metrics.face_likeness import likeness_to
from likeness.metrics.sis import smallest
from likeness.pretrain import calibrate
from likeness.pretrain.calibrate import identity_pictures
from likeness.pretrain.cards.numbers import FIRST, Card, auc, share
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.detector import Box, face_box
from likeness.pretrain.face_attributes import exported_faces
from likeness.world.face_attributes import face_attributes
from likeness.world.identity import Identity
from likeness.world.render import Rendering, render, render_reference
from likeness.world.scenario import sample_scenario

RIVALS = 19
OVERLAP = 0.5
NUM_OTHER_PHOTOS = 2


# -- detector --------------------------------------------------------------------------------------------------
def matched_boxes(found: Sequence[Box], true: Sequence[Box]) -> dict[int, tuple[int, float]]:
    """Number of a true box -> number of the found one and their overlap; the best pairs from OVERLAP on, each once."""
    shared = overlaps(np.array(found).reshape(-1, 4), np.array(true).reshape(-1, 4))
    pairs = sorted(((float(value), *place) for place, value in np.ndenumerate(shared)), reverse=True)
    kept: dict[int, tuple[int, float]] = {}
    for value, i, j in pairs:
        if value >= OVERLAP and j not in kept and i not in {taken for taken, _ in kept.values()}:
            kept[j] = (i, value)
    return kept


def detector_card(pictures: Sequence[Rendering], sights: Sequence[FacesSeen]) -> Card:
    """Share of true faces found, share of found faces that are true, their overlap, and pictures counted right."""
    recall: list[tuple[float, str]] = []
    precision: list[tuple[float, str]] = []
    fits: list[tuple[float, str]] = []
    counts: list[tuple[float, str]] = []
    for picture, seen in zip(pictures, sights, strict=True):
        true = [(subject.id, box) for subject in picture.labels.subjects if (box := face_box(subject))]
        found = [tuple(edge / side for edge, side in zip(f.box, seen.size * 2, strict=True)) for f in seen.faces]
        kept = matched_boxes([(b[0], b[1], b[2], b[3]) for b in found], [box for _, box in true])
        group = "+".join(subject.id for subject in picture.labels.subjects)
        recall += [(float(j in kept), name) for j, (name, _) in enumerate(true)]
        right = {i for i, _ in kept.values()}
        precision += [(float(i in right), group) for i in range(len(found))]
        fits += [(value, true[j][0]) for j, (_, value) in kept.items()]
        counts.append((float(len(found) == len(true)), group))
    parts = {"recall": recall, "precision": precision, "overlap": fits, "count_right": counts}
    return {name: share([v for v, _ in rows], [g for _, g in rows]) for name, rows in parts.items()}


# -- matched against shuffled ----------------------------------------------------------------------------------
class Pairs(NamedTuple):
    """Values (N, N) of picture i for case j, of `names`; rows and columns without a value are left out and counted."""

    values: Float[np.ndarray, "N N"]
    names: list[str]
    missing: int


def pairs_of(people: Sequence[Identity], measure: Callable[[int, int], Value]) -> Pairs:
    """What `measure(i, j)` says of every picture i and case j."""
    count = range(len(people))
    values = np.array([[measure(i, j).value for j in count] for i in count])
    kept = np.flatnonzero(~np.isnan(values.diagonal()))
    return Pairs(values[np.ix_(kept, kept)], [people[i].id for i in kept.tolist()], len(people) - len(kept))


def pairs_card(pairs: Pairs) -> Card:
    """`auc`: the chance that a matched value exceeds a shuffled one; `auc_hardest`: the best of RIVALS other cases."""
    values, names, missing = pairs
    count = len(names)
    if count < 2:
        return {"missing": missing, "reason": "in fewer than two pictures a face was found"}
    others = np.stack([np.delete(row, i) for i, row in enumerate(values)])
    rivals = min(RIVALS, count - 1)
    turned = [[row[(i + step) % count] for step in range(1, rivals + 1)] for i, row in enumerate(values)]
    own, hardest = values.diagonal().tolist(), np.max(turned, axis=1)
    return {
        "auc": auc(own, others),
        "auc_hardest": auc(own, hardest[:, None]),
        "first": share([float(a > b) for a, b in zip(own, hardest, strict=True)], names),
        "matched": share(own, names),
        "shuffled": share(others.mean(1).tolist(), names),
        "rivals_per_subject": rivals,
        "missing": missing,
    }


def _other_portraits(people: Sequence[Identity], number: int, *, size: int) -> list[Image.Image]:
    seeds = [seed_for("calibration", who.id, f"photo {number}") for who in people]
    drawn = [render_reference(who, seed=seed, size=size) for who, seed in zip(people, seeds, strict=True)]
    return [Image.fromarray(picture) for picture in drawn]


def _person_picture(index: int, *, size: int) -> Rendering:
    """A test picture as the world draws them."""
    return render(sample_scenario(index, split="test"), size=size)


def faces_card(config: PretrainConfig, *, device: str) -> Card:
    """Detection on test pictures, and IPS and SIS of test people, matched and shuffled."""
    encoder, size = exported_faces(config, stage="calibrate"), config.size
    pictures = [_person_picture(FIRST + 80_000 + i, size=size) for i in range(calibrate.NUM_PICTURES)]
    sights = encoder.look([Image.fromarray(picture.image) for picture in pictures])
    people, scenes, portraits = identity_pictures(size, species=("person",))
    seen, photos = encoder.look(scenes), encoder.look(portraits)
    others = [encoder.look(_other_portraits(people, number, size=size)) for number in range(NUM_OTHER_PHOTOS)]
    ips = pairs_of(people, lambda i, j: likeness_to(seen[i], photos[j]))
    sis = pairs_of(people, lambda i, j: smallest([likeness_to(seen[i], photo[j]) for photo in others]))
    return {
        "detector": detector_card(pictures, sights),
        "ips": pairs_card(ips),
        "sis": pairs_card(sis),
        "same_person": _accepted(ips, encoder.same_person),
        "split": "test",
    }


def _accepted(pairs: Pairs, line: float) -> Card:
    """The line, and how often a matched and a shuffled picture reach it."""
    if len(pairs.names) < 2:
        return {"similarity": line, "reason": "in fewer than two pictures a face was found"}
    reached = pairs.values >= line
    shuffled = (reached.sum(1) - reached.diagonal()) / (len(reached) - 1)
    own = share(reached.diagonal().astype(float).tolist(), pairs.names)
    return {"similarity": line, "matched": own, "shuffled": share(shuffled.tolist(), pairs.names)}


def read_by(probes: Probes, sights: Sequence[FacesSeen]) -> list[FaceAttributes]:
    """What probes read of the largest face of each picture."""
    labels = {name: tuple(values) for name, values in probes.facts.attributes.items()}
    faces = [seen.largest for seen in sights]
    return [
        FaceAttributes("calibration", None if face is None else probes.probabilities(face.embedding), labels)
        for face in faces
    ]


def accuracies(people: Sequence[Identity], read: Sequence[FaceAttributes]) -> Card:
    """Accuracy of each attribute where a face was found, and the share of people of whom it is true."""
    card: Card = {}
    for name in read[0].labels:
        true = [face_attributes(who)[name] for who in people]
        found = [
            (float(best_answer(one.attributes[name]) == answer), who.id)
            for who, answer, one in zip(people, true, read, strict=True)
            if one.attributes is not None
        ]
        card[name] = {
            **share([v for v, _ in found], [g for _, g in found]),
            "yes": round(true.count("yes") / len(true), 4),
        }
    return card


def face_attributes_card(config: PretrainConfig, *, device: str) -> Card:
    """Accuracy of each attribute in scenes and portraits of test people, and APS matched and shuffled."""
    encoder: WorldFaces = exported_faces(config, stage="calibrate")
    probes = read_probes(config.export / "face_attributes")
    people, scenes, portraits = identity_pictures(config.size, species=("person",))
    read = read_by(probes, encoder.look(scenes))
    wanted = [face_attributes(who) for who in people]
    return {
        "aps": pairs_card(pairs_of(people, lambda i, j: attribute_share(read[i], wanted[j]))),
        "scenes": accuracies(people, read),
        "portraits": accuracies(people, read_by(probes, encoder.look(portraits))),
        "split": "test",
    }
