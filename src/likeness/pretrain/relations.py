"""Stage "relations": a CLIP that tells who does what to whom in the world's pictures.

It begins as the embedded CLIP and learns which of the sentences that RFS-C and CLIP-R ask about hold in a picture:
the stated triplet, its rivals in other relations, exchanged roles, other objects, and the relation's words alone.
Source: the sigmoid loss of SigLIP (Zhai et al., arXiv:2303.15343, section 3.2), over all pictures and texts of a batch.
Differs: truth comes from the world's labels, so that a text may hold in several pictures; the logit scale is not learnt
but rises to exp(LOG_SCALE), because softmax(100 * cosine) is what RFS-C reads (beginning there makes all features alike
within 50 batches, and they part slowly); the bias is -scale * threshold with a learnt threshold. A second loss is that
softmax's cross entropy: where none of nine rivals holds, each is to have a ninth, or the rarer sentence would lose
whatever the picture shows.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn
from transformers import AutoTokenizer

from likeness.core.devices import fast_autocast
from likeness.encoders.clip_judge import squared
from likeness.metrics.relations import RELATIONS as GROUPS
from likeness.metrics.relations import rivals
from likeness.metrics.triplets import Triplet, phrase
from likeness.pretrain.autoencoder import to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.contrastive import blur, load_clip, pooled, save_preprocessing
from likeness.pretrain.optim import train_encoder
from likeness.pretrain.vae import on_device
from likeness.world.actions import ACTIONS
from likeness.world.identity import ATTRIBUTES, sample_identity
from likeness.world.relations import RELATIONS, Relation, relation_of, triplets_of
from likeness.world.render import render_image, set_stage
from likeness.world.scenario import OPEN_SCENES, STANDING, Scenario, pair_split
from likeness.world.scenes import SCENES
from likeness.world.stage import FLOOR

GROUP = 4
"""Pictures of a batch that show the same species, so that only the relation and the roles tell them apart."""
SWAPPED_SHARE = 0.5
"""Of the groups of pairs: how many begin with an asymmetric relation and the same with exchanged roles."""
PART_SHARE = 0.4
"""Of the pictures: how many are cut to the part around everybody, which the judge of RFS-G is shown."""
SMALL_SHARE = 0.1
FIRST_LOG_SCALE, LOG_SCALE = 3.0, 4.59375
"""At the beginning, and in the end: the bfloat16 nearest to ln 100."""
RISING_SHARE = 0.5
"""Of the training: how long the scale rises."""
FIRST_THRESHOLD = 0.35
GREY = (128, 128, 128)
WORLD_WORDS = frozenset(relation.relation for relation in RELATIONS.values())


@dataclass(frozen=True)
class RelationBatch:
    """B pictures and T texts; `holds[b, t]` says whether text t is true of picture b. `choices` has the places of K
    sets of rivals among the texts."""

    pictures: UInt8[np.ndarray, "B S S 3"]
    texts: list[str]
    holds: Bool[np.ndarray, "B T"]
    choices: Int[np.ndarray, "K 9"]


# -- what is true ----------------------------------------------------------------------------------------------
def synonyms(relation: str) -> list[str]:
    """The relation and the others of its group in metrics/relations.py, without those that the world draws apart.

    "juggling" is as good as "holding", but "kissing" is drawn and is not "hugging".
    """
    same = next((group for group in GROUPS if relation in group), ())
    return [relation, *(word for word in same if word not in WORLD_WORDS)]


def stated(action: str, names: Sequence[str]) -> list[Triplet]:
    """The triplets that hold of subjects of these class names, the one of the sentence first: a symmetric relation
    holds both ways."""
    found = [Triplet(*words) for words in triplets_of(action, names)]
    relation = relation_of(action)
    if found and relation and relation.symmetric and len(names) == 2:
        found.append(exchanged(found[0]))
    return found


def exchanged(triplet: Triplet) -> Triplet:
    """The triplet with subject and object in each other's place."""
    return Triplet(triplet.object, triplet.relation, triplet.subject)


def true_texts(action: str, names: Sequence[str]) -> frozenset[str]:
    """Every sentence in question that holds in the picture: triplets, predicate and relation, with synonyms."""
    relation = relation_of(action)
    if relation is None:
        return frozenset()
    words = synonyms(relation.relation)
    phrases = (phrase(triplet._replace(relation=word)) for triplet in stated(action, names) for word in words)
    return frozenset([relation.predicate, *words, *phrases])


def truth_table(scenarios: Iterable[Scenario], texts: Sequence[str]) -> Bool[np.ndarray, "B T"]:
    """Whether each text holds in each picture."""
    known = [true_texts(scenario.action, _names(scenario)) for scenario in scenarios]
    return np.array([[text in true for text in texts] for true in known])


def _names(scenario: Scenario) -> list[str]:
    return [who.class_name for who in scenario.identities]


# -- what is asked ---------------------------------------------------------------------------------------------
@cache
def relations_for(count: int) -> tuple[Relation, ...]:
    """The world's relations for `count` subjects."""
    return tuple(
        RELATIONS[name] for name, action in ACTIONS.items() if count in action.num_subjects and name in RELATIONS
    )


def asked_triplet(scenario: Scenario, *, rng: random.Random) -> Triplet:
    """The stated triplet, or one that does not hold where the picture states none."""
    names = _names(scenario)
    if found := stated(scenario.action, names):
        return found[0]
    related = [each for each in relations_for(len(names)) if each.object or len(names) > 1]
    other = rng.choice(related)
    return Triplet(names[0], other.relation, other.object or names[1])


def hard_texts(asked: Triplet, scenario: Scenario, *, rng: random.Random) -> list[str]:
    """Sentences near the asked one: exchanged roles, another subject or object, the world's other relations, and
    relations by their words alone."""
    known = relations_for(len(scenario.identities))
    own = relation_of(scenario.action)
    others, bare = rng.sample(known, 4), rng.sample(known, 3)
    species = rng.sample(ATTRIBUTES["species"], 2)
    things = rng.sample([each.object for each in known if each.object] or list(species), 2)
    near = [asked._replace(subject=species[0]), asked._replace(object=things[0]), asked._replace(object=things[1])]
    near += [asked._replace(relation=each.relation) for each in others]
    near += [asked._replace(relation=each.relation, object=each.object) for each in others if each.object]
    near += [exchanged(asked)] if len(scenario.identities) == 2 else []
    near += [asked._replace(relation=rng.choice(synonyms(asked.relation)))]
    alone = [each for relation in (*bare, *([own] if own else [])) for each in (relation.predicate, relation.relation)]
    return [*map(phrase, near), *alone, rng.choice(synonyms(asked.relation))]


# -- what is drawn ---------------------------------------------------------------------------------------------
@cache
def _places(action: str) -> tuple[str, ...]:
    fitting = [scene for scene in SCENES if action in STANDING or scene not in OPEN_SCENES]
    return tuple(scene for scene in fitting if pair_split(action, scene) == "train")


def _scenario(action: str, species: Sequence[str], *, rng: random.Random) -> Scenario:
    people = tuple(sample_identity(rng, split="train", species=name) for name in species)
    zoom = rng.uniform(0.6, 0.75) if rng.random() < SMALL_SHARE else 1.0
    return Scenario(action, rng.choice(_places(action)), people, rng.getrandbits(40), zoom=zoom)


def group_of_scenarios(rng: random.Random) -> list[Scenario]:
    """GROUP training scenarios of the same one or two species in either order, every action equally often."""
    count = rng.choice((1, 2))
    species = [rng.choice(ATTRIBUTES["species"]) for _ in range(count)]
    actions = rng.sample([name for name, action in ACTIONS.items() if count in action.num_subjects], GROUP)
    orders = [rng.sample(species, count) for _ in range(GROUP)]
    if count == 2 and rng.random() < SWAPPED_SHARE:
        uneven = [n for n, each in RELATIONS.items() if not each.symmetric and 2 in ACTIONS[n].num_subjects]
        actions[0] = actions[1] = rng.choice(uneven)
        orders[:2] = [species, species[::-1]]
    return [_scenario(action, names, rng=rng) for action, names in zip(actions, orders, strict=True)]


def extent(scenario: Scenario) -> tuple[float, float, float, float]:
    """About where everybody and, for a single subject, every thing stands, in shares of the side."""
    stage = set_stage(scenario)
    points = [actor.at(x, y) for actor in stage.actors.values() for x in (-0.3, 0.3) for y in (0.0, -1.0)]
    for prop in (*stage.behind, *stage.front) if len(stage.actors) == 1 else ():
        points += [(prop.x + sign * prop.size / 2, prop.y + sign * prop.size / 2) for sign in (-1, 1)]
    x, y = np.array(points).T
    x, y = 0.5 + (x - 0.5) * scenario.zoom, FLOOR + (y - FLOOR) * scenario.zoom
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def part_of(
    picture: UInt8[np.ndarray, "S S 3"], scenario: Scenario, *, rng: random.Random
) -> UInt8[np.ndarray, "S S 3"]:
    """The part of the picture around everybody, with up to a fifth of its sides more on every side, in a square."""
    side = len(picture)
    x0, y0, x1, y1 = extent(scenario)
    wide, high = x1 - x0, y1 - y0
    edges = (x0 - _room(rng) * wide, y0 - _room(rng) * high, x1 + _room(rng) * wide, y1 + _room(rng) * high)
    left, top, right, bottom = (round(side * min(1.0, max(0.0, edge))) for edge in edges)
    part = Image.fromarray(picture).crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return np.asarray(squared(part, side=side, color=GREY))


def _room(rng: random.Random) -> float:
    return rng.uniform(0.0, 0.2)


def relation_batch(first: int, count: int, *, size: int) -> RelationBatch:
    """Training pictures first .. first + count - 1, in groups of the same species, with texts that hold or do not."""
    rng = random.Random(f"relations/{first}")
    scenarios: list[Scenario] = []
    while len(scenarios) < count:
        scenarios += group_of_scenarios(rng)
    scenarios = scenarios[:count]
    pictures = [render_image(scenario, size=size) for scenario in scenarios]
    shown = [
        part_of(picture, scenario, rng=rng) if rng.random() < PART_SHARE else picture
        for picture, scenario in zip(pictures, scenarios, strict=True)
    ]
    asked = [asked_triplet(scenario, rng=rng) for scenario in scenarios]
    sets = [[phrase(rival) for rival in rivals(triplet)] for triplet in asked]
    hard = [hard_texts(triplet, scenario, rng=rng) for triplet, scenario in zip(asked, scenarios, strict=True)]
    texts = list(dict.fromkeys(text for some in (*sets, *hard) for text in some))
    place = {text: index for index, text in enumerate(texts)}
    choices = np.array([[place[text] for text in rival_texts] for rival_texts in sets])
    return RelationBatch(np.stack(shown), texts, truth_table(scenarios, texts), choices)


# -- training --------------------------------------------------------------------------------------------------
def sigmoid_loss(logits: Float[Tensor, "B T"], holds: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """The sum over texts of -log of the chance given to what is the case; the mean over pictures of that."""
    return -F.logsigmoid(torch.where(holds, logits, -logits)).sum(1).mean()


def choice_loss(
    logits: Float[Tensor, "B T"], holds: Bool[Tensor, "B T"], choices: Int[Tensor, "K R"]
) -> Float[Tensor, ""]:
    """Cross entropy of the rivals' softmax with the one that holds, or with equal shares where none does; pictures
    and sets of either kind count together as much as those of the other."""
    chances = logits[:, choices].log_softmax(-1)
    wanted = holds[:, choices].float()
    some = wanted.sum(-1) > 0
    wanted = torch.where(some[..., None], wanted / wanted.sum(-1, keepdim=True).clamp(min=1), 1 / choices.shape[1])
    losses = -(wanted * chances).sum(-1)
    return torch.stack([losses[kind].mean() for kind in (some, ~some) if bool(kind.any())]).sum()


def log_scale_at(seen: int, *, total: int) -> float:
    """The logarithm of the logit scale after `seen` of `total` images: it rises evenly, then stays."""
    return FIRST_LOG_SCALE + (LOG_SCALE - FIRST_LOG_SCALE) * min(1.0, seen / (RISING_SHARE * total))


def train_relations(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the CLIP of relations and exports it to `<work>/relations`."""
    torch.manual_seed(config.seed)
    clip = on_device(load_clip(config.work / "clip", stage="relations"), device)
    clip.set_attn_implementation("eager")  # under autocast on a CPU twice as fast as sdpa
    tokenizer = AutoTokenizer.from_pretrained(config.work / "clip")
    longest = clip.text_model.config.max_position_embeddings
    nn.init.constant_(clip.logit_scale, LOG_SCALE).requires_grad_(False)
    threshold = nn.Parameter(torch.tensor(FIRST_THRESHOLD, device=device))
    network = nn.ModuleDict({"clip": clip, "threshold": nn.ParameterList([threshold])})

    def loss_of(first: int, batch: RelationBatch) -> Tensor:
        pixels = blur(to_pixels(batch.pictures), random.Random(f"blur/{first}")).to(device)
        tokens = tokenizer(batch.texts, padding="longest", truncation=True, max_length=longest, return_tensors="pt")
        with fast_autocast(device):
            seen = pooled(clip.get_image_features(pixel_values=pixels)).float()
            read = pooled(clip.get_text_features(input_ids=tokens.input_ids.to(device))).float()
        scale = math.exp(log_scale_at(first, total=config.relations.total_images))
        logits = scale * (F.normalize(seen, dim=-1) @ F.normalize(read, dim=-1).T - threshold)
        holds, choices = (torch.from_numpy(each).to(device) for each in (batch.holds, batch.choices))
        return sigmoid_loss(logits, holds) + choice_loss(logits, holds, choices)

    draw = partial(relation_batch, count=config.relations.batch_size, size=config.size)
    train_encoder(
        network, loss_of, draw=draw, workers=config.workers, name="relations", table=config.relations, config=config
    )
    folder = config.work / "relations"
    clip.config.logit_bias = -math.exp(LOG_SCALE) * threshold.item()
    clip.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_preprocessing(folder, edge=config.size, size=config.size)
