"""The card of "detector": does it know which words a test picture shows, where the subjects are, and is GOA of use?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from likeness.encoders.detections import MOST_BOXES, Detections, apart, overlaps
from likeness.encoders.owl import OwlDetector
from likeness.encoders.relations import THRESHOLD
from likeness.pretrain.cards.numbers import Card, grouped_auc, share
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.detector import FACE, face_box
from likeness.world.identity import ATTRIBUTES
from likeness.world.relations import RELATIONS, labels_of, words_of
from likeness.world.render import Labels, Rendering

FITS = 0.5
"""From this intersection over union a box is right; kept boxes of one word overlap less than that."""
SPECIES = ATTRIBUTES["species"]
THINGS = tuple(sorted({words_of(thing) for relation in RELATIONS.values() for thing in relation.things}))
WORDS = (*SPECIES, FACE, *THINGS)
"""Every word that a metric asks of the world's pictures."""


class Looked(NamedTuple):
    """One picture: its truth, its side in px, and what the detector answers to each of WORDS."""

    labels: Labels
    side: int
    found: dict[str, Detections]


def look(detector: OwlDetector, picture: Rendering) -> Looked:
    """What the detector sees of one picture."""
    answers = detector.ask([Image.fromarray(picture.image)] * len(WORDS), WORDS)
    return Looked(picture.labels, len(picture.image), dict(zip(WORDS, answers, strict=True)))


def detector_card(config: PretrainConfig, pictures: Sequence[Rendering], *, device: str) -> Card:
    """Words, boxes and GOA of the exported detector."""
    detector = OwlDetector.load(config.export / "detector", device=device)
    looks = [look(detector, picture) for picture in pictures]
    return {
        "words": {word: words_card(looks, [word]) for word in WORDS},
        "all_words": words_card(looks, WORDS),
        "things": words_card(looks, THINGS),
        "subject_boxes": boxes_card(looks, SPECIES),
        "face_boxes": boxes_card(looks, [FACE]),
        "goa": goa_card(looks),
        "score_from": THRESHOLD,
    }


# -- words -----------------------------------------------------------------------------------------------------
def truth_of(labels: Labels, word: str) -> bool | None:
    """Whether the picture shows what the word names; None for the face of a person who hides it."""
    people = [subject for subject in labels.subjects if subject.class_name == "person"]
    if word == FACE:
        return any(map(face_box, people)) or (None if people else False)
    return word in {*(each.class_name for each in labels.subjects), *map(words_of, labels.objects)}


def words_card(looks: Sequence[Looked], words: Sequence[str]) -> Card:
    """AUC of the best score: pictures that show a word against pictures that do not, the words together."""
    scores: dict[bool, list[float]] = {True: [], False: []}
    pictures: dict[bool, list[str]] = {True: [], False: []}
    for index, each in enumerate(looks):
        for word in words:
            if (is_there := truth_of(each.labels, word)) is not None:
                scores[is_there].append(each.found[word].best(word))
                pictures[is_there].append(str(index))
    return grouped_auc(scores[True], scores[False], groups=(pictures[True], pictures[False]))


# -- boxes -----------------------------------------------------------------------------------------------------
def boxes_card(looks: Sequence[Looked], words: Sequence[str]) -> Card:
    """Recall by subject and precision by picture at IoU 0.5, each word asked of every picture.

    A found box is right once: of several on one subject the best counts, the others are wrong.
    """
    hits: list[tuple[float, str]] = []
    rights: list[tuple[float, str]] = []
    for index, each in enumerate(looks):
        for word in words:
            wanted, names = _true_boxes(each, word)
            matched, is_right = matches(_kept(each.found[word]), wanted)
            hits += [(float(hit), name) for hit, name in zip(matched, names, strict=True)]
            rights += [(float(right), str(index)) for right in is_right]
    columns = {"recall": hits, "precision": rights}
    return {name: share([v for v, _ in rows], [g for _, g in rows]) for name, rows in columns.items()}


def _true_boxes(each: Looked, word: str) -> tuple[Float[np.ndarray, "N 4"], list[str]]:
    """The boxes in px of the subjects, or faces, that the word names, and whose they are."""
    people = [s for s in each.labels.subjects if s.class_name == word or word == FACE]
    boxes = [(s.id, face_box(s) if word == FACE else s.box) for s in people]
    there = [(name, box) for name, box in boxes if box is not None]
    return np.array([box for _, box in there], dtype=np.float64).reshape(-1, 4) * each.side, [name for name, _ in there]


def _kept(found: Detections) -> Float[np.ndarray, "N 4"]:
    boxes, _ = found.at_least(THRESHOLD, most=MOST_BOXES)
    return boxes[apart(boxes, most=FITS)]


def matches(found: Float[np.ndarray, "N 4"], wanted: Float[np.ndarray, "M 4"]) -> tuple[list[bool], list[bool]]:
    """Which of `wanted` are found, and which of `found` are right: each takes the free box that it fits best."""
    shared = overlaps(found, wanted)
    matched, is_right = [False] * len(wanted), [False] * len(found)
    for index in range(len(found)):
        free = [place for place in range(len(wanted)) if not matched[place] and shared[index, place] >= FITS]
        if free:
            matched[max(free, key=lambda place: shared[index, place])] = is_right[index] = True
    return matched, is_right


# -- GOA -------------------------------------------------------------------------------------------------------
def goa_card(looks: Sequence[Looked]) -> Card:
    """GOA of pictures for their own words, and for those of the next picture with as many subjects and no such word."""
    words = [_detectables(each.labels) for each in looks]
    pairs = [(i, other) for i in range(len(looks)) if (other := _stranger(i, looks, words)) is not None]
    own, shuffled = [_goa(looks[i], words[i]) for i, _ in pairs], [_goa(looks[i], words[j]) for i, j in pairs]
    names = ["+".join(s.id for s in looks[i].labels.subjects) for i, _ in pairs]
    return {
        "auc": grouped_auc(own, shuffled, groups=(names, names)),
        "matched": share(own, names),
        "shuffled": share(shuffled, names),
    }


def _detectables(labels: Labels) -> tuple[str, ...]:
    people = labels.subjects
    return labels_of(labels.action, ids=[s.id for s in people], class_names=[s.class_name for s in people]).detectables


def _stranger(index: int, looks: Sequence[Looked], words: Sequence[Sequence[str]]) -> int | None:
    """The next picture with as many subjects and no word in common; None where there is none."""
    after = [(index + step) % len(looks) for step in range(1, len(looks))]
    count = len(looks[index].labels.subjects)
    alike = (j for j in after if len(looks[j].labels.subjects) == count)
    return next((j for j in alike if not set(words[j]) & set(words[index])), None)


def _goa(each: Looked, words: Sequence[str]) -> float:
    """The metric `goa`: the mean of each word's best score."""
    return float(np.mean([each.found[word].best(word) for word in words]))
