"""Identities: how many there are, their hash splits, and sampling inside a split."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import product

import pytest

from likeness.core.kinds import SPLITS, Split
from likeness.world.actions import ACTIONS
from likeness.world.identity import (
    ACCESSORIES,
    ATTRIBUTES,
    HUMANS,
    NOT_APPLICABLE,
    PALETTE,
    PATTERNS,
    Identity,
    draw_identity,
    sample_identity,
    split_of_identity,
    split_of_pair,
)
from likeness.world.scenario import OPEN_SCENES, STANDING, pair_split, sample_scenario
from likeness.world.scenes import SCENES


def test_there_are_more_than_a_million_identities() -> None:
    colors = len(PALETTE)
    assert colors == 10
    coats = colors * (colors - 1) * len(PATTERNS)  # the second colour differs from the first
    worn = 1 + (len(ACCESSORIES) - 1) * (colors - 1)  # nothing, or a thing in another colour than the coat
    per_species = coats * worn
    assert per_species == 10 * 9 * 6 * (1 + 6 * 9) == 29_700
    ages = 1 + len(ATTRIBUTES["beard"])  # children have no beard
    people = (
        per_species * len(ATTRIBUTES["skin"]) * len(ATTRIBUTES["hair_style"]) * len(ATTRIBUTES["hair_color"]) * ages
    )
    animals_and_objects = (len(ATTRIBUTES["species"]) - len(HUMANS)) * per_species
    assert animals_and_objects + people == 10 * 29_700 + 29_700 * 4 * 4 * 5 * 3 == 7_425_000


def test_drawn_identities_keep_the_rules() -> None:
    rng = random.Random(0)
    for who in (draw_identity(rng) for _ in range(3000)):
        for name, value in who.attributes().items():
            assert value in (*ATTRIBUTES[name], NOT_APPLICABLE)
        assert who.second_color != who.body_color
        assert who.accessory_color != who.body_color
        assert (who.accessory == "none") == (who.accessory_color == NOT_APPLICABLE)
        human = {who.skin, who.hair_style, who.hair_color, who.beard, who.age}
        assert (NOT_APPLICABLE in human) == (who.species not in HUMANS)
        assert who.age != "child" or who.beard == "shaved"
        assert who.category == {"person": "human", "robot": "object", "teapot": "object"}.get(who.species, "animal")


def test_equal_attributes_are_one_id_and_others_are_not() -> None:
    rng = random.Random(1)
    people = [draw_identity(rng) for _ in range(5000)]
    ids = {who: who.id for who in people}
    assert len(set(ids.values())) == len(ids)
    assert all(Identity(**who.attributes()).id == name for who, name in ids.items())
    assert all(name.startswith(f"{who.class_name}-") for who, name in ids.items())


def test_shares_of_identity_splits() -> None:
    rng = random.Random(2)
    counts = Counter(split_of_identity(draw_identity(rng)) for _ in range(20_000))
    assert counts["test"] / 20_000 == pytest.approx(0.10, abs=0.01)
    assert counts["validation"] / 20_000 == pytest.approx(0.05, abs=0.01)


def test_shares_of_pair_splits() -> None:
    pairs = list(product(ACTIONS, SCENES))
    counts = Counter(split_of_pair(*pair) for pair in pairs)
    # 3 standard deviations of 2,068 hash draws: 3 sqrt(0.15 * 0.85 / 2068) = 0.024
    assert counts["test"] / len(pairs) == pytest.approx(0.15, abs=0.024)
    assert counts["validation"] / len(pairs) == pytest.approx(0.05, abs=0.015)


def test_pair_split_equals_its_definition() -> None:
    for action, scene in list(product(ACTIONS, SCENES))[::37]:
        place = int(hashlib.sha256(f"pair-split\0{action}\0{scene}".encode()).hexdigest()[:12], 16) / 16**12
        assert split_of_pair(action, scene) == ("test" if place < 0.15 else "validation" if place < 0.2 else "train")


def test_identity_split_equals_its_definition() -> None:
    rng = random.Random(3)
    for who in (draw_identity(rng) for _ in range(200)):
        text = "\0".join(("identity-split", *who.attributes().values()))
        place = int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12
        assert split_of_identity(who) == ("test" if place < 0.1 else "validation" if place < 0.15 else "train")


SPLITS_PROGRAM = """
import json, random
from likeness.world.identity import draw_identity, split_of_identity
rng = random.Random(4)
print(json.dumps([(who.id, split_of_identity(who)) for who in (draw_identity(rng) for _ in range(300))]))
"""


def test_splits_do_not_depend_on_the_hash_seed_of_python() -> None:
    rng = random.Random(4)
    here = [[who.id, split_of_identity(who)] for who in (draw_identity(rng) for _ in range(300))]
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", SPLITS_PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == here


@pytest.mark.parametrize("split", SPLITS)
def test_sampled_identities_belong_to_their_split(split: Split) -> None:
    rng = random.Random(5)
    for _ in range(200):
        assert split_of_identity(sample_identity(rng, split=split)) == split
    assert sample_identity(rng, split=split, species="frog").species == "frog"


def test_a_look_alike_shares_species_and_coat_and_is_somebody_else() -> None:
    rng = random.Random(6)
    for _ in range(200):
        who = sample_identity(rng, split="test")
        other = sample_identity(rng, split="test", like=who)
        assert (other.species, other.body_color) == (who.species, who.body_color)
        assert other != who
        assert split_of_identity(other) == "test"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("hard", [False, True])
def test_sampled_scenarios_stay_in_their_split(split: Split, hard: bool) -> None:
    for seed in range(300):
        scenario = sample_scenario(seed, split=split, hard=hard)
        assert all(split_of_identity(who) == split for who in scenario.identities)
        assert len(set(scenario.identities)) == len(scenario.identities)
        if scenario.outfits:
            assert scenario.action in STANDING
        assert pair_split(scenario.action, scenario.scene) == split
        if scenario.scene not in OPEN_SCENES:
            assert split_of_pair(scenario.action, scenario.scene) == split


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_asked_for_counts_and_outfits(count: int) -> None:
    for seed in range(50):
        bare = sample_scenario(seed, split="test", num_subjects=count, dressed=False)
        dressed = sample_scenario(seed, split="test", num_subjects=count, dressed=True)
        assert len(bare.identities) == len(dressed.identities) == count
        assert not bare.outfits
        assert sum(bool(name) for name in dressed.outfits) == 1


def test_a_scenario_is_a_function_of_its_seed() -> None:
    for seed in range(30):
        assert sample_scenario(seed, split="test") == sample_scenario(seed, split="test")
    different = {sample_scenario(seed, split="test") for seed in range(200)}
    assert len(different) == 200
