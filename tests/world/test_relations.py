"""Relations of actions agree with the sentences and with what is drawn."""

import random

import pytest

from likeness.world.actions import ACTIONS
from likeness.world.identity import draw_identity
from likeness.world.relations import NO_RELATION, RELATIONS, relation_of, triplets_of, words_of
from likeness.world.render import render
from likeness.world.scenario import Scenario

PAIRS = [name for name, action in ACTIONS.items() if action.num_subjects == (2,)]


def test_every_action_has_a_relation_or_a_reason() -> None:
    assert set(RELATIONS) | set(NO_RELATION) == set(ACTIONS)
    assert not set(RELATIONS) & set(NO_RELATION)


@pytest.mark.parametrize("action", RELATIONS)
def test_predicate_is_what_the_sentence_says_between_subjects_and_scene(action: str) -> None:
    sentence = ACTIONS[action].template
    before, after = sentence.split(RELATIONS[action].predicate)
    assert before.removesuffix("is ").removesuffix("are ") in ("A {0} ", "A {all} ")
    assert after in (" {scene}.", " a {1} {scene}.")


@pytest.mark.parametrize("action", RELATIONS)
def test_relation_begins_like_the_sentence_or_with_its_verb(action: str) -> None:
    found = RELATIONS[action]
    assert found.relation.split()[0] in found.predicate.split()


@pytest.mark.parametrize("action", ACTIONS)
def test_things_are_drawn_and_hold_the_object(action: str) -> None:
    rng, count = random.Random(action), ACTIONS[action].num_subjects[0]
    scenario = Scenario(action, "plain", tuple(draw_identity(rng) for _ in range(count)), 3)
    found, drawn = relation_of(action), render(scenario, size=16).labels.objects
    decoration = set(drawn) - set(found.things if found else ())
    assert decoration <= {"music_note", "heart", "ski_pole", "hammock_back", "brush"}
    if found:
        assert set(found.things) <= set(drawn)
        assert found.object is None or found.object in map(words_of, found.things)


@pytest.mark.parametrize("action", PAIRS)
def test_pairs_relate_the_first_subject_to_the_second(action: str) -> None:
    expected = () if action == "together" else (("a", RELATIONS[action].relation, "b"),)
    assert triplets_of(action, ("a", "b")) == expected


def test_triplets_of_one_subject_name_the_thing() -> None:
    assert triplets_of("bike", ("x",)) == (("x", "riding", "bicycle"),)
    assert triplets_of("sleep", ("x",)) == (("x", "sleeping in", "hammock"),)
    assert triplets_of("wave", ("x",)) == triplets_of("stand", ("x",)) == ()
    assert triplets_of("group_dance", ("a", "b", "c")) == ()


def test_only_what_one_does_to_the_other_is_not_symmetric() -> None:
    swapped_is_false = {name for name in PAIRS if name in RELATIONS and not RELATIONS[name].symmetric}
    assert swapped_is_false == {"carry", "give_gift", "give_flower", "chase"}
