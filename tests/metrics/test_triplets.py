"""The parser of Stellar's prompts: the six prompts of its mock data set, and what their template allows besides."""

from pathlib import Path

import pytest

from likeness.core.records import Case, Labels, Subject
from likeness.metrics.goa import words_to_find
from likeness.metrics.relations import relation_words
from likeness.metrics.triplets import Triplet, case_triplets, is_role, parse_prompt, phrase, with_article

MOCK = [
    ("{} as a clown skiing", ["clown", "skis"], "clown", [("skiing on", "skis")]),
    ("{} as a firefighter taking a degree", ["firefighter", "degree"], "firefighter", [("taking", "degree")]),
    (
        "{} next to a shark gazing upon space",
        ["shark", "space"],
        None,
        [("next to", "shark"), ("gazing upon", "space")],
    ),
    ("{} in cowboy boots at a sunny day", ["cowboy boots"], None, [("in", "cowboy boots")]),
    ("{} as the Pope cooking rice", ["rice", "Pope"], "Pope", [("cooking", "rice")]),
    ("{} as an astronaut holding a cup of coffee", ["astronaut", "coffee"], "astronaut", [("holding", "coffee")]),
]
FURTHER = [
    (
        "A person riding a red horse on the beach at sunset",
        ["horse", "beach"],
        None,
        [("riding", "horse"), ("on", "beach")],
    ),
    ("{} skiing in snow on a mountain", ["mountain"], None, [("on", "mountain")]),
    ("{} sitting on a chair in front of a lake", ["lake"], None, [("in front of", "lake")]),
    ("{} in front of the Golden Gate Bridge", ["Golden Gate Bridge"], None, [("in front of", "Golden Gate Bridge")]),
    ("{} looking at a picture of the sea", ["sea"], None, [("looking at", "sea")]),
    ("{} juggling apples in Paris", ["apple", "Paris"], None, [("juggling", "apple"), ("in", "Paris")]),
    (
        "{} as an Egyptian pharaoh eating pizza",
        ["Egyptian pharaoh", "pizza"],
        "Egyptian pharaoh",
        [("eating", "pizza")],
    ),
    ("{} as a pirate eating pizza", ["pirate", "pizza"], "pirate", [("eating", "pizza")]),
    ("a person golfing", ["club"], None, [("golfing with", "club")]),
]


@pytest.mark.parametrize(("prompt", "detectables", "role", "relations"), MOCK + FURTHER)
def test_relations_of_a_prompt(
    prompt: str, detectables: list[str], role: str | None, relations: list[tuple[str, str]]
) -> None:
    parsed = parse_prompt(prompt, detectables)
    assert parsed is not None
    assert parsed.role == role
    assert parsed.triplets == tuple(Triplet("person", relation, thing) for relation, thing in relations)
    assert parsed.unplaced == ()


@pytest.mark.parametrize(("prompt", "detectables", "role", "relations"), MOCK)
def test_the_prompt_as_it_is_measured_reads_the_same(
    prompt: str, detectables: list[str], role: str | None, relations: list[tuple[str, str]]
) -> None:
    assert parse_prompt(prompt.format("a person"), detectables) == parse_prompt(prompt, detectables)


def test_what_no_words_relate_is_listed() -> None:
    parsed = parse_prompt("{} at night", ["moon"])
    assert parsed is not None
    assert (parsed.triplets, parsed.unplaced) == ((), ("moon",))


def test_other_prompts_have_no_such_form() -> None:
    assert parse_prompt("a cat on a mat", ["mat"]) is None
    assert parse_prompt("a personal computer on a desk", ["desk"]) is None


def test_roles_whatever_their_case() -> None:
    assert all(is_role(word) for word in ("Egyptian pharaoh", "pope", "DJ", "clown"))
    assert not is_role("skis")


def test_labels_come_first_and_ids_are_read_as_classes() -> None:
    cat = Subject(id="cat-1", class_name="cat", reference_image=Path("cat.png"))
    labels = Labels(triplets=(("cat-1", "hug", "ball"),), detectables=("rice",))
    case = Case(id="a", prompt="a person cooking rice", subjects=(cat,), labels=labels)
    assert case_triplets(case) == (Triplet("cat", "hug", "ball"),)
    bare = case.model_copy(update={"labels": Labels(detectables=("rice",))})
    assert case_triplets(bare) == (Triplet("person", "cooking", "rice"),)
    assert case_triplets(Case(id="b", prompt="a person cooking rice")) == ()


def test_what_a_case_of_the_world_lacks_follows_from_its_action() -> None:
    people = tuple(Subject(id=f"{kind}-1", class_name=kind, reference_image=Path("x.png")) for kind in ("cat", "dog"))
    hug = Case(id="a", prompt="A cat is hugging a dog.", subjects=people, labels=Labels(action="hug"))
    assert case_triplets(hug) == (Triplet("cat", "hugging", "dog"),)
    assert relation_words(hug) == ["hugging"]
    assert words_to_find(hug) == ["cat", "dog"]
    bike = Case(id="b", prompt="A cat is riding a bike.", subjects=people[:1], labels=Labels(action="bike"))
    assert case_triplets(bike) == (Triplet("cat", "riding", "bicycle"),)
    assert words_to_find(bike) == ["cat", "bicycle"]
    own = bike.model_copy(update={"labels": Labels(action="bike", detectables=("helmet",))})
    assert words_to_find(own) == ["helmet"]
    elsewhere = bike.model_copy(update={"labels": Labels(action="yodel")})
    assert (case_triplets(elsewhere), words_to_find(elsewhere)) == ((), [])


def test_a_drawn_action_without_an_object_is_no_prompt_of_stellar() -> None:
    """With the word "person" to detect, Stellar's rules read it as "a person waving with person"."""
    who = Subject(id="p1", class_name="person", reference_image=Path("p.png"))
    waving = Case(id="a", prompt="A person is waving in the park.", subjects=(who,), labels=Labels(action="wave"))
    assert case_triplets(waving) == ()
    assert relation_words(waving) == ["waving"]
    nobody = Case(id="a", prompt="Somebody is skiing.", labels=Labels(action="ski"))
    assert case_triplets(nobody) == ()


def test_articles() -> None:
    assert [with_article(noun) for noun in ("person", "astronaut", "the Pope")] == [
        "a person",
        "an astronaut",
        "the Pope",
    ]
    assert phrase(Triplet("person", "holding", "coffee")) == "a person holding coffee"
