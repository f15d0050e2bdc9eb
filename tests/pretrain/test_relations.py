"""Stage "relations": what holds in a picture, losses against plain arithmetic, and a training that goes on."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from transformers import CLIPModel

from likeness.core.errors import ConfigError
from likeness.core.weights import embedded
from likeness.encoders.clip import ClipEncoder
from likeness.metrics.relations import rivals
from likeness.metrics.triplets import Triplet, phrase
from likeness.pretrain import optim
from likeness.pretrain.config import read_config
from likeness.pretrain.contrastive import load_clip
from likeness.pretrain.relations import (
    LOG_SCALE,
    WORLD_WORDS,
    asked_triplet,
    choice_loss,
    extent,
    group_of_scenarios,
    hard_texts,
    log_scale_at,
    part_of,
    relation_batch,
    relations_for,
    sigmoid_loss,
    stated,
    synonyms,
    train_relations,
    true_texts,
)
from likeness.world.actions import ACTIONS
from likeness.world.identity import Identity, split_of_identity
from likeness.world.relations import RELATIONS
from likeness.world.render import render
from likeness.world.scenario import Scenario, pair_split

# said once per process by torch: under autocast the norm's fp32 weight meets bf16 activations
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")

CAT, DOG = (Identity(species, "red", "blue", "plain", "none") for species in ("cat", "dog"))


def scene(action: str, *people: Identity) -> Scenario:
    return Scenario(action, "plain", people, 7)


def test_roles_matter_where_the_relation_is_not_mutual() -> None:
    assert stated("carry", ["cat", "dog"]) == [Triplet("cat", "carrying", "dog")]
    assert true_texts("carry", ["cat", "dog"]) == {"a cat carrying dog", "a cat juggling dog", "carrying", "juggling"}
    hugged = true_texts("hug", ["cat", "dog"])
    assert hugged == {"a cat hugging dog", "a dog hugging cat", "hugging"}  # and not kissing, which is drawn apart


def test_a_thing_is_the_object_of_one_subject() -> None:
    held = true_texts("balloon", ["dog"])
    assert {"a dog holding balloon", "a dog juggling balloon", "holding a balloon", "holding"} <= held
    assert not held & {
        "a dog holding umbrella",
        "a cat holding balloon",
        "a balloon holding dog",
        "holding an umbrella",
    }
    assert true_texts("dance", ["cat"]) == {"dancing"}
    assert true_texts("stand", ["cat"]) == frozenset()
    assert true_texts("together", ["cat", "dog"]) == frozenset()


def test_synonyms_are_those_of_the_metric_that_the_world_does_not_draw() -> None:
    assert synonyms("riding") == ["riding", "driving", "on"]  # not "sitting on", which is a stool's
    assert synonyms("waving") == ["waving"]
    assert all(not set(synonyms(word)[1:]) & WORLD_WORDS for word in WORLD_WORDS)


def test_the_stated_triplet_is_asked_or_one_that_does_not_hold() -> None:
    rng = random.Random(0)
    assert asked_triplet(scene("chase", DOG, CAT), rng=rng) == ("dog", "chasing", "cat")
    for action, people in (("stand", [CAT]), ("jump", [CAT]), ("together", [CAT, DOG])):
        shown = scene(action, *people)
        for _ in range(20):
            asked = asked_triplet(shown, rng=rng)
            assert asked.subject == "cat"
            assert (asked.object == "dog") == (len(people) == 2)
            assert phrase(asked) not in true_texts(action, [who.class_name for who in people])


def test_hard_texts_have_exchanged_roles_other_objects_and_other_relations() -> None:
    rng = random.Random(1)
    asked = Triplet("cat", "carrying", "dog")
    texts = hard_texts(asked, scene("carry", CAT, DOG), rng=rng)
    assert "a dog carrying cat" in texts
    others = {f"a cat {relation.relation} dog" for relation in relations_for(2)} - {phrase(asked)}
    assert len(others & set(texts)) >= 3
    texts = hard_texts(Triplet("cat", "riding", "bicycle"), scene("bike", CAT), rng=rng)
    assert {"riding a bike", "riding"} <= set(texts)
    assert any(text.startswith("a cat riding ") and text != "a cat riding bicycle" for text in texts)
    assert not any(text.startswith("a bicycle") for text in texts)


def test_a_group_shares_species_and_is_for_training() -> None:
    rng, swapped, actions = random.Random(2), 0, set[str]()
    for _ in range(150):
        group = group_of_scenarios(rng)
        assert len({tuple(sorted(who.species for who in each.identities)) for each in group}) == 1
        assert all(pair_split(each.action, each.scene) == "train" for each in group)
        assert {split_of_identity(who) for each in group for who in each.identities} == {"train"}
        first, second = group[:2]
        orders = [[who.species for who in each.identities] for each in (first, second)]
        swapped += first.action == second.action and orders[0] == orders[1][::-1]
        actions |= {each.action for each in group}
    assert swapped > 20
    assert actions == {name for name, action in ACTIONS.items() if set(action.num_subjects) & {1, 2}}


def test_a_part_shows_everybody() -> None:
    """Boxes of the labels lie in the rough extent, up to ears and paws."""
    rng = random.Random(3)
    for shown in [each for _ in range(12) for each in group_of_scenarios(rng)]:
        drawn = render(shown, size=64)
        x0, y0, x1, y1 = extent(shown)
        boxes = np.array([subject.box for subject in drawn.labels.subjects])
        assert np.all(boxes[:, :2].min(0) > np.array([x0, y0]) - 0.13), shown
        assert np.all(boxes[:, 2:].max(0) < np.array([x1, y1]) + 0.13), shown
        part = part_of(drawn.image, shown, rng=rng)
        assert part.shape == (64, 64, 3)


def test_a_batch_knows_what_holds() -> None:
    batch = relation_batch(0, 8, size=32)
    assert batch.pictures.shape == (8, 32, 32, 3)
    assert len(set(batch.texts)) == len(batch.texts)
    assert batch.holds.shape == (8, len(batch.texts))
    assert batch.choices.shape == (8, 9)
    for row, places in enumerate(batch.choices):
        texts = [batch.texts[place] for place in places]
        assert len(set(texts)) == 9
        assert batch.holds[row, places].sum() == batch.holds[row, places[0]]  # the asked one or none
        subject, rest = texts[0].split(" ", 2)[1:]
        relation = next(word for word in sorted(WORLD_WORDS, key=len, reverse=True) if rest.startswith(word))
        again = rivals(Triplet(subject, relation, rest.removeprefix(relation).strip()))
        assert texts == [phrase(rival) for rival in again]
    again = relation_batch(0, 8, size=32)
    assert again.texts == batch.texts
    np.testing.assert_array_equal(again.pictures, batch.pictures)


def test_the_sigmoid_loss_is_plain_cross_entropy() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
    holds = torch.tensor([[True, False], [False, False]])
    chances = np.array([[2.0, 1.0], [0.0, -3.0]])  # of what is the case, as log-odds
    expected = np.log1p(np.exp(-chances)).sum(1).mean()
    assert float(sigmoid_loss(logits, holds)) == pytest.approx(expected)


def test_the_choice_is_the_true_rival_or_none() -> None:
    """Picture 0 shows the first of one set of two; picture 1 shows neither."""
    logits = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
    holds = torch.tensor([[True, False], [False, False]])
    choices = torch.tensor([[0, 1]])
    right = np.log1p(np.exp(-3.0))
    even = 0.5 * (np.log1p(np.exp(-3.0)) + np.log1p(np.exp(3.0)))
    assert float(choice_loss(logits, holds, choices)) == pytest.approx(right + even)
    level = choice_loss(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool), choices)
    assert float(level) == pytest.approx(np.log(2))  # the least that is possible where nothing holds


def test_the_scale_rises_in_the_first_half() -> None:
    scales = [np.exp(log_scale_at(seen, total=1000)) for seen in (0, 250, 500, 1000)]
    assert scales[0] == pytest.approx(20, abs=0.1)
    assert scales[1] == pytest.approx(np.sqrt(scales[0] * scales[2]))  # evenly in its logarithm
    assert scales[2] == scales[3] == pytest.approx(99, abs=0.2)


def test_no_word_in_question_is_unknown_to_the_tokenizer() -> None:
    """Words that the world does not use are spelt in bytes, whose pieces are never the end that CLIP pools at."""
    encoder = ClipEncoder.load(embedded("clip"))
    end, unknown = encoder.tokenizer.eos_token_id, encoder.tokenizer.unk_token_id
    words = {word for action in RELATIONS.values() for word in synonyms(action.relation)} | {
        rival.relation for rival in rivals(Triplet("cat", "waving", "dog"))
    }
    assert {"juggling", "wearing", "looking at", "kicking"} <= words
    spelt = [encoder.tokenizer(word, add_special_tokens=False).input_ids for word in sorted(words)]
    assert all(ids and end not in ids and unknown not in ids for ids in spelt)
    assert len({tuple(ids) for ids in spelt}) == len(words)


def test_without_clip_it_says_what_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'stage "relations": expected a CLIP in .* run stage "clip" first'):
        load_clip(tmp_path, stage="relations")


def test_it_trains_goes_on_and_is_a_stock_model(
    tmp_path: Path, write_recipe: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(write_recipe(tmp_path))
    tiny.write_clip(config.work / "clip", seed=0, hidden_act="quick_gelu")
    before = CLIPModel.from_pretrained(config.work / "clip").state_dict()
    monkeypatch.setattr(optim, "SAVE_EVERY_BATCHES", 1)
    train_relations(config, device="cpu")
    first = CLIPModel.from_pretrained(config.work / "relations")
    assert float(first.logit_scale.detach()) == LOG_SCALE == float(torch.tensor(LOG_SCALE).bfloat16())
    assert -60 < first.config.logit_bias < -10  # pyright: ignore[reportAttributeAccessIssue] kept beside stock settings
    weights = first.state_dict()
    same = [torch.equal(before[name], tensor) for name, tensor in weights.items() if name.endswith("weight")]
    assert sum(same) < 3, "every layer is trained"
    train_relations(config, device="cpu")  # finished: nothing is trained, the same weights are written
    again = CLIPModel.from_pretrained(config.work / "relations").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())
    assert len((config.work / "relations.jsonl").read_text().splitlines()) == 2
