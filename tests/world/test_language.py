"""Sentences of the world: RelationBench and DreamBench word for word, and the grammar of groups, zoom and crowd."""

import random
import re

import pytest

from likeness.world.actions import ACTIONS
from likeness.world.identity import ATTRIBUTES, Identity, draw_identity
from likeness.world.outfits import OUTFITS
from likeness.world.props import PROPS
from likeness.world.scenario import (
    Scenario,
    caption,
    corpus,
    describe,
    described_caption,
    relation_bench,
    sample_scenario,
)
from likeness.world.scenes import SCENES

RELATION_BENCH = (
    "A {} is playing guitar on a park bench.",
    "A {} is playing piano in a grand hall.",
    "A {} is eating dinner in a bustling restaurant.",
    "A {} is dancing in the moonlight.",
    "A {} is lifting weights in a modern gym.",
    "A {} is reading a book by the fireplace.",
    "A {} is skiing down a steep slope in the Alps, with snowflakes falling gently.",
    "A {} is sleeping peacefully in a hammock under the shade of a palm tree.",
    "A {} is cooking lunch in a kitchen.",
    "A {} is singing on stage during a vibrant music festival.",
    "A {} is riding a bike along the scenic countryside road.",
    "A {} is riding a horse on the grassland.",
    "A {} is riding a motorbike on the street.",
    "A {} is playing soccer on football playground.",
    "A {} is playing chess with a {} under a tree.",
    "A {} is partner dancing with a {} in a vintage ballroom.",
    "A {} is carrying a {} on the diving room.",
    "A {} is fencing with a {} in an elegant arena.",
    "A {} shakes hands with a {} in the forest.",
    "A {} is kissing a {}.",
    "A {} is playing basketball with a {} on a street court.",
    "A {} is wrestling with a {} in a championship ring.",
    "A {} is hugging a {} in front of the mountain.",
    "A {} is fighting with a {} in a garden.",
    "A {} is sitting back to back with a {} on a hilltop.",
)
DREAMBENCH_SCENES = {
    "jungle": "a dog in the jungle",
    "snow": "a dog in the snow",
    "beach": "a dog on the beach",
    "cobblestone": "a dog on a cobblestone street",
    "pink_fabric": "a dog on top of pink fabric",
    "wooden_floor": "a dog on top of a wooden floor",
    "city": "a dog with a city in the background",
    "blue_house": "a dog with a blue house in the background",
    "purple_rug": "a dog on top of a purple rug in a forest",
    "wheat_field": "a dog with a wheat field in the background",
    "autumn": "a dog with a tree and autumn leaves in the background",
    "eiffel": "a dog with the Eiffel Tower in the background",
    "water": "a dog floating on top of water",
    "milk": "a dog floating in an ocean of milk",
    "sunflowers": "a dog on top of green grass with sunflowers around it",
    "mirror": "a dog on top of a mirror",
    "sidewalk": "a dog on top of the sidewalk in a crowded street",
    "dirt_road": "a dog on top of a dirt road",
    "white_rug": "a dog on top of a white rug",
}
"""All of both lists but "with a mountain in the background": the world's mountain stands in RelationBench's words."""

DREAMBENCH_LOOKS = {
    "red hat": "a dog wearing a red hat",
    "santa hat": "a dog wearing a santa hat",
    "rainbow scarf": "a dog wearing a rainbow scarf",
    "monocle": "a dog wearing a black top hat and a monocle",
    "chef": "a dog in a chef outfit",
    "firefighter": "a dog in a firefighter outfit",
    "police": "a dog in a police outfit",
    "pink glasses": "a dog wearing pink glasses",
    "yellow shirt": "a dog wearing a yellow shirt",
    "wizard": "a dog in a purple wizard outfit",
    "red": "a red dog",
    "purple": "a purple dog",
    "shiny": "a shiny dog",
    "wet": "a wet dog",
    "cube": "a cube shaped dog",
}


def animals(*species: str) -> tuple[Identity, ...]:
    """Plain characters of these species."""
    return tuple(draw_identity(random.Random(name), species=name) for name in species)


@pytest.mark.parametrize("number", range(1, 26))
def test_relationbench_sentences_word_for_word(number: int) -> None:
    sentence = RELATION_BENCH[number - 1]
    words = ("teapot", "person")[: sentence.count("{}")]
    scenario = relation_bench(animals(*words), number, seed=0)
    assert caption(scenario) == sentence.format(*words)


@pytest.mark.parametrize("scene", DREAMBENCH_SCENES)
def test_dreambench_scenes_word_for_word(scene: str) -> None:
    sentence = caption(Scenario("stand", scene, animals("dog"), 0))
    assert sentence == DREAMBENCH_SCENES[scene].replace("a dog", "A dog", 1)


@pytest.mark.parametrize("outfit", DREAMBENCH_LOOKS)
def test_dreambench_looks_word_for_word(outfit: str) -> None:
    sentence = caption(Scenario("stand", "plain", animals("dog"), 0, (outfit,)))
    assert sentence == DREAMBENCH_LOOKS[outfit].replace("a ", "A ", 1)


def test_the_world_is_as_large_as_promised() -> None:
    assert len(ATTRIBUTES["species"]) >= 8
    assert "person" in ATTRIBUTES["species"]
    assert len(PROPS) >= 10
    assert sorted(a.relation_bench for a in ACTIONS.values() if a.relation_bench) == list(range(1, 26))
    other_actions = [a for a in ACTIONS.values() if not a.relation_bench]
    other_scenes = len(SCENES) - 25
    assert len(other_actions) + other_scenes >= 15
    assert len(ACTIONS) + len(SCENES) >= 40


@pytest.mark.parametrize(
    ("species", "words"),
    [
        (("cat", "dog", "duck"), "A cat, a dog and a duck on the beach"),
        (("cat", "dog", "pig", "person"), "A cat, a dog, a pig and a person on the beach"),
    ],
)
def test_groups_are_listed_in_order(species: tuple[str, ...], words: str) -> None:
    assert caption(Scenario("group", "beach", animals(*species), 0)) == words


def test_group_actions_end_with_a_full_stop() -> None:
    three = animals("cat", "dog", "duck")
    assert caption(Scenario("group_dance", "beach", three, 0)) == "A cat, a dog and a duck are dancing on the beach."
    assert caption(Scenario("group_wave", "plain", three, 0)) == "A cat, a dog and a duck are waving."


@pytest.mark.parametrize(
    ("scenario", "sentence"),
    [
        (Scenario("stand", "beach", animals("cat"), 0, zoom=0.6), "A cat on the beach, seen from far away"),
        (Scenario("wave", "plain", animals("cat"), 0, zoom=0.6), "A cat is waving, seen from far away."),
        (Scenario("together", "plain", animals("cat", "dog"), 0, crowd=0.7), "A cat and a dog, close together"),
        (
            Scenario("group_wave", "beach", animals("cat", "dog", "pig"), 0, zoom=0.6, crowd=0.7),
            "A cat, a dog and a pig are waving on the beach, seen from far away, close together.",
        ),
    ],
)
def test_zoom_and_crowd_are_said(scenario: Scenario, sentence: str) -> None:
    assert caption(scenario) == sentence


def test_orange_takes_an() -> None:
    two = animals("cat", "dog")
    assert caption(Scenario("stand", "plain", two[:1], 0, ("orange",))) == "An orange cat"
    assert caption(Scenario("together", "plain", two, 0, ("", "orange"))) == "A cat and an orange dog"


def test_captions_are_clean_and_name_every_subject() -> None:
    for seed in range(500):
        scenario = sample_scenario(seed, split="validation", hard=seed % 2 == 0)
        sentence = caption(scenario)
        assert sentence.startswith("A"), sentence
        assert not re.search(r"  | \.| ,|\.\.|,,|[{}]|\ba orange", sentence), sentence
        named = re.findall(r"\b(?:" + "|".join(ATTRIBUTES["species"]) + r")\b", sentence)
        assert named == [who.class_name for who in scenario.identities], sentence


def test_hard_pictures_say_what_makes_them_hard() -> None:
    scenarios = [sample_scenario(seed, split="test", hard=True) for seed in range(200)]
    for scenario in scenarios:
        assert ("seen from far away" in caption(scenario)) == (scenario.zoom < 1)
        assert ("close together" in caption(scenario)) == (scenario.crowd < 1)
    assert any(s.zoom < 1 for s in scenarios)
    assert any(s.crowd < 1 for s in scenarios)


def test_descriptions_tell_look_alikes_apart() -> None:
    red = Identity("cat", "red", "blue", "stripes", "cap", "green")
    orange = Identity("cat", "orange", "blue", "plain", "none")
    assert describe(red) == "red cat with blue stripes wearing green cap"
    assert describe(orange) == "orange cat with blue paws"
    sentence = described_caption(Scenario("hug", "forest", (red, orange), 0))
    assert sentence == (
        "A red cat with blue stripes wearing green cap is hugging an orange cat with blue paws in the forest."
    )


def test_corpus_holds_every_word_of_sampled_captions() -> None:
    known = set(re.findall(r"\w+", " ".join(corpus())))
    for seed in range(300):
        for hard in (False, True):
            words = re.findall(r"\w+", caption(sample_scenario(seed, split="test", hard=hard)))
            assert set(words) <= known
    for sentence in RELATION_BENCH:
        assert set(re.findall(r"\w+", sentence.replace("{}", "cat"))) <= known
    for outfit in OUTFITS:
        assert set(outfit_words(outfit)) <= known


def outfit_words(outfit: str) -> list[str]:
    """The words an outfit adds to a caption."""
    return re.findall(r"\w+", f"{OUTFITS[outfit].before} {OUTFITS[outfit].after}")
