"""Stages "faces" and "face_attributes": labels that fit the pictures, a training that goes on, probes that are read."""

import random
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch

from likeness.core.errors import ConfigError
from likeness.core.weights import embedded
from likeness.encoders.face_probes import read_probes
from likeness.encoders.faces_seen import COSINE, Face, FacesSeen
from likeness.encoders.faces_world import NOSE, face_box
from likeness.pretrain import calibrate, detector, face_attributes, faces, optim
from likeness.pretrain.cards import faces as faces_cards
from likeness.pretrain.config import read_config
from likeness.pretrain.faces import (
    GROUP,
    SIDE,
    changed_clothes,
    face_batch,
    head_of,
    in_a_portrait,
    people_in_groups,
    same_heads,
    threshold,
    train_faces,
)
from likeness.world.face_attributes import FACE_ATTRIBUTES
from likeness.world.identity import Identity, sample_identity, split_of_identity
from likeness.world.render import render
from likeness.world.scenario import sample_scenario

# said once per process by torch: under autocast the norm's fp32 weight meets bf16 activations
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")


def person(**changes: str) -> Identity:
    worn = {"accessory": "none", "skin": "tan", "hair_style": "short", "hair_color": "red", "beard": "shaved"}
    return Identity("person", "red", "blue", "plain", **{**worn, "age": "adult", **changes})


def test_boxes_and_noses_follow_from_the_eyes_as_they_are_drawn() -> None:
    subjects = [s for i in range(80) for s in render(sample_scenario(i, split="train"), size=48).labels.subjects]
    known = [(s, box) for s in subjects if (box := detector.face_box(s))]
    assert len(known) > 5
    for subject, box in known:
        eyes = faces._eyes(subject.keypoints)
        assert face_box(eyes) == pytest.approx(box, abs=1e-3)
        nose = complex(*subject.keypoints[2, :2])
        assert eyes[0] + 1j * NOSE * eyes[1] == pytest.approx(nose, abs=1e-3)


def test_the_eyes_of_a_portrait_are_black_where_they_are_said_to_be() -> None:
    rng = random.Random(0)
    for _ in range(8):
        look = in_a_portrait(rng, person(), size=256)
        for x in (look.eyes[0] + look.eyes[1], look.eyes[0] - look.eyes[1]):
            assert look.picture[int(x.imag * 256), int(x.real * 256)].max() < 120, "black, beside a highlight"


def test_a_head_is_what_clothes_and_hats_leave_of_a_person() -> None:
    assert head_of(person()) == head_of(person(accessory="scarf", accessory_color="green"))
    assert head_of(person()) != head_of(person(accessory="cap", accessory_color="green"))
    hidden = {"accessory": "crown", "accessory_color": "green"}
    assert head_of(person(**hidden)) == head_of(person(**hidden, hair_style="bun"))
    assert head_of(person(**hidden)) != head_of(person(**hidden, hair_style="long"))
    assert same_heads([person(), person(skin="dark"), person(accessory="bow tie")]).tolist() == [
        [1, 0, 1],
        [0, 1, 0],
        [1, 0, 1],
    ]


def test_groups_look_alike_and_stay_in_their_split() -> None:
    people = people_in_groups(0, 24, split="validation")
    assert {split_of_identity(who) for who in people} == {"validation"}
    assert people_in_groups(8, 8, split="validation") == people[8:16]
    for first in range(0, 24, GROUP):
        own = people[first].attributes()
        for who in people[first + 1 : first + GROUP]:
            other = who.attributes()
            differs = {name for name in own if own[name] != other[name]} - {"accessory_color"}
            assert 1 <= len(differs) <= 3  # a child has no beard
            assert not differs & {"species", "body_color", "second_color", "pattern"}
            assert head_of(who) != head_of(people[first])


def test_changed_clothes_keep_the_head() -> None:
    who = sample_identity(random.Random(1), split="train", species="person")
    changed = [changed_clothes(random.Random(i), who, split="train") for i in range(5)]
    assert len(set(changed)) > 1
    assert {split_of_identity(other) for other in changed} == {"train"}
    assert all(head_of(other) == head_of(who) for other in changed)


def test_batches_follow_from_their_number() -> None:
    both, second = face_batch(0, 8, size=64), face_batch(4, 4, size=64)
    rows = [4, 5, 6, 7, 12, 13, 14, 15]
    assert both.people[4:] == second.people
    assert torch.equal(both.windows[rows], second.windows)
    assert torch.equal(both.eyes[rows], second.eyes)
    assert torch.equal(both.classes[rows], second.classes)
    assert both.windows.shape == (16, 3, SIDE, SIDE)
    assert both.eyes[:, :2].abs().max() < 0.6
    assert both.classes.shape[1] == len(faces.HEAD_LABELS.attributes)


def test_the_line_between_one_person_and_another_by_hand() -> None:
    """Any line from 0.41 to 0.8 parts them; with a stranger at 0.85, one missed of three costs less than one of two."""
    own = np.array([0.8, 0.9, 0.95])
    assert threshold(own, np.array([0.1, 0.4])) == pytest.approx(0.61, abs=0.011)
    assert threshold(own, np.array([0.1, 0.85])) == pytest.approx(0.88, abs=0.011)


def test_it_trains_goes_on_and_its_embeddings_are_probed(
    tmp_path: Path, write_recipe: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches for the network; the embedded probe finds the heads of 12 people, in two pictures each."""
    config = read_config(write_recipe(tmp_path)).model_copy(update={"size": 128})
    monkeypatch.setattr(optim, "SAVE_EVERY_BATCHES", 1)
    monkeypatch.setattr(faces, "NUM_PAIRS", 8)
    train_faces(config, device="cpu")
    first = (config.work / "faces" / "model.safetensors").read_bytes()
    train_faces(config, device="cpu")  # finished: the same weights again
    assert (config.work / "faces" / "model.safetensors").read_bytes() == first
    assert len((config.work / "faces.jsonl").read_text().splitlines()) == 2

    with pytest.raises(ConfigError, match=r"faces in .*got none"):
        face_attributes.fit_face_attributes(config, device="cpu")
    copytree(config.work / "faces", config.export / "faces")
    copytree(embedded("probe"), config.export / "probe")
    monkeypatch.setattr(face_attributes, "NUM_PEOPLE", 12)
    found = read_probes(face_attributes.fit_face_attributes(config, device="cpu"))
    assert found.facts.attributes == FACE_ATTRIBUTES
    assert found.facts.faces == "faces"
    assert found.facts.faces_id == face_attributes.exported_faces(config, stage="test").id
    assert found.weight.shape == (len(FACE_ATTRIBUTES), faces.DIMS)

    monkeypatch.setattr(calibrate, "NUM_PICTURES", 6)
    monkeypatch.setattr(calibrate, "NUM_IDENTITIES", 6)
    card: Any = faces_cards.faces_card(config, device="cpu")
    read: Any = faces_cards.face_attributes_card(config, device="cpu")
    for pairs in (card["ips"], card["sis"], read["aps"]):
        assert pairs["missing"] <= 1
        assert pairs["auc"]["n"] == 6 - pairs["missing"]
        assert 0 <= pairs["auc"]["mean"] <= 1
    assert card["detector"]["count_right"]["n"] == 6
    assert card["same_person"]["similarity"] == face_attributes.exported_faces(config, stage="test").same_person
    assert set(read["scenes"]) == set(read["portraits"]) == set(FACE_ATTRIBUTES)


def test_the_face_at_a_place_is_the_nearest() -> None:
    boxes = [(0.0, 0.0, 60.0, 60.0), (40.0, 10.0, 80.0, 50.0)]  # middles at (0.15, 0.3) and (0.3, 0.3)
    some = tuple(Face(box, 1.0, np.zeros((5, 2), np.float32), np.ones(2, np.float32)) for box in boxes)
    seen = FacesSeen("nobody", (200, 100), COSINE, 0.5, some)
    assert face_attributes.face_at(seen, 0.2 + 0.3j) is some[0]
    assert face_attributes.face_at(seen, 0.25 + 0.3j) is some[1]
    assert face_attributes.face_at(seen, 0.3 + 0.43j) is some[1]
    assert face_attributes.face_at(seen, 0.3 + 0.45j) is None
    assert face_attributes.face_at(FacesSeen("nobody", (200, 100), COSINE, 0.5, ()), 0.3 + 0.3j) is None


def test_people_to_fit_are_training_people() -> None:
    who, looks = face_attributes.training_looks(3, size=32)
    assert split_of_identity(who) == "train"
    assert len(looks) == 2
    assert all(look.attributes == head_of(who) for look in looks), "nobody wears an outfit"
