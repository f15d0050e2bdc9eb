"""The parser of Stellar's prompts: the six prompts of its mock data set, and what their template allows besides."""

from pathlib import Path

import pytest

from likeness.benchmarks.stellar_prompts import NUM_TEMPLATES, prompts_of
from likeness.benchmarks.stellar_world import who_is
from likeness.core.records import Case, Labels, Subject
from likeness.data.formats.stellar_files import filled
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, NotApplicableError
from likeness.metrics.goa import words_to_find
from likeness.metrics.relations import relation_words
from likeness.metrics.triplets import Triplet, case_triplets, is_role, parse_prompt, phrase, with_article
from likeness.world.face_attributes import FACE_ATTRIBUTES, face_attributes
from likeness.world.relations import triplets_of

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


def test_a_prompt_of_stellars_layout_that_lists_nothing_states_nothing() -> None:
    """Free prompts (H) and templates without a thing: no "person" to detect, no relation from the action."""
    kinds: set[tuple[bool, bool]] = set()
    for person in range(8):
        who = who_is(person, "test")
        subject = Subject(
            id=who.id,
            class_name="person",
            reference_image=Path("0.jpg"),
            attributes=who.attributes() | face_attributes(who),
        )
        for number, (action, scene, prompt) in enumerate(prompts_of(person, "test")):
            related = triplets_of(action, [who.id]) if number < NUM_TEMPLATES else ()
            labels = Labels(action=action, scene=scene, triplets=related, detectables=prompt.detectables)
            case = Case(id="a", prompt=filled(prompt.text), subjects=(subject,), labels=labels)
            kinds.add((number < NUM_TEMPLATES, bool(prompt.detectables)))
            assert words_to_find(case) == list(prompt.detectables)
            assert [triplet.object for triplet in case_triplets(case)] == list(prompt.detectables)
            assert bool(relation_words(case)) == bool(prompt.detectables)
    assert kinds == {(True, True), (True, False), (False, False)}


def test_the_worlds_own_people_are_named_by_their_prompt() -> None:
    """World benchmarks list them: without attributes of a face, the action completes the case."""
    who = Subject(id="p1", class_name="person", reference_image=Path("p.png"), attributes={"age": "child"})
    waving = Case(id="a", prompt="A person is waving in the park.", subjects=(who,), labels=Labels(action="wave"))
    assert words_to_find(waving) == ["person"]
    of_stellar = who.model_copy(update={"attributes": {"age": "child"} | dict.fromkeys(FACE_ATTRIBUTES, "no")})
    stellar = waving.model_copy(update={"subjects": (of_stellar,)})
    assert (words_to_find(stellar), relation_words(stellar)) == ([], [])
    with pytest.raises(NotApplicableError, match="names nothing"):
        METRICS["goa"].measure(Evidence(stellar, picture={}, prompt={}, subjects=(), answers={"owl": {}}))
    listed = stellar.model_copy(update={"labels": Labels(action="wave", detectables=("person",))})
    assert words_to_find(listed) == ["person"]
