"""What a picture shows, before it is drawn: action, scene, subjects, and how the sentence for it reads."""

import random
import re
from dataclasses import dataclass

from likeness.core.kinds import Split
from likeness.world.actions import ACTIONS
from likeness.world.identity import NOT_APPLICABLE, PALETTE, Identity, draw_identity, sample_identity, split_of_pair
from likeness.world.outfits import OUTFITS
from likeness.world.scenes import SCENES

FAR, CLOSE = "seen from far away", "close together"
OPEN_SCENES = ("water", "milk", "mirror", "pink_fabric", "purple_rug", "white_rug", "wooden_floor")
"""Scenes that fit only subjects who just stand there."""
STANDING = ("stand", "together", "group")


def pair_split(action: str, scene: str) -> Split:
    """The split of an (action, scene) pair: by hash, but scenes that fit so few actions are always for training."""
    return "train" if scene in OPEN_SCENES else split_of_pair(action, scene)


@dataclass(frozen=True)
class Scenario:
    """One picture to be drawn. `outfits` has a key of `OUTFITS` per subject; `zoom` < 1 shows them from far away;
    `crowd` < 1 moves them together so that they overlap."""

    action: str
    scene: str
    identities: tuple[Identity, ...]
    seed: int
    outfits: tuple[str, ...] = ()
    zoom: float = 1.0
    crowd: float = 1.0

    def outfit(self, index: int) -> str:
        """The outfit of subject `index`, "" when it wears its own."""
        return self.outfits[index] if self.outfits else ""

    def worn(self, index: int) -> Identity:
        """Subject `index` as it looks in this picture."""
        return OUTFITS[self.outfit(index)].worn_by(self.identities[index])


def caption(scenario: Scenario) -> str:
    """The sentence for a scenario; the 25 RelationBench sentences come out word for word."""
    words = [OUTFITS[scenario.outfit(i)].phrase(who.class_name) for i, who in enumerate(scenario.identities)]
    action = ACTIONS[scenario.action]
    everyone = ", a ".join(words[:-1]) + " and a " + words[-1] if len(words) > 2 else ""
    place = SCENES[scenario.scene]
    phrase = (scenario.action in STANDING and place.standing_phrase) or place.phrase
    sentence = action.template.format(*words, all=everyone, scene=phrase)
    for sign, phrase in ((scenario.zoom < 1, FAR), (scenario.crowd < 1, CLOSE)):
        if sign:
            sentence = sentence.rstrip(". ") + f", {phrase}" + ("." if sentence.rstrip().endswith(".") else "")
    sentence = re.sub(r"\s+", " ", sentence).replace(" .", ".").strip()
    return re.sub(r"\b([Aa]) (?=orange)", r"\1n ", sentence)


# -- sampling --------------------------------------------------------------------------------------------------
def _count(rng: random.Random) -> int:
    return rng.choices((1, 2, 3, 4), weights=(42, 46, 8, 4))[0]


def _action(rng: random.Random, count: int, *, hard: bool) -> str:
    names = [name for name, action in ACTIONS.items() if count in action.num_subjects]
    weights = [_weight(name, hard=hard) for name in names]
    return rng.choices(names, weights=weights)[0]


def _weight(name: str, *, hard: bool) -> float:
    action = ACTIONS[name]
    if name in STANDING:
        return 6.0
    if action.rare:
        return 4.0 if hard else 0.5
    return 1.5 if action.relation_bench else 1.0


def _pair(rng: random.Random, count: int, *, split: Split, hard: bool) -> tuple[str, str]:
    while True:
        action, scene = _action(rng, count, hard=hard), rng.choice(tuple(SCENES))
        if scene in OPEN_SCENES and action not in STANDING:
            continue
        if pair_split(action, scene) == split:
            return action, scene


def _identities(rng: random.Random, count: int, *, split: Split, hard: bool) -> tuple[Identity, ...]:
    chosen: list[Identity] = []
    while len(chosen) < count:
        like = chosen[0] if hard and chosen and rng.random() < 0.75 else None
        who = sample_identity(rng, split=split, like=like)
        if who not in chosen:
            chosen.append(who)
    return tuple(chosen)


def _outfits(rng: random.Random, count: int) -> tuple[str, ...]:
    worn = rng.choice([name for name in OUTFITS if name])
    first = rng.randrange(count)
    return tuple(worn if i == first else "" for i in range(count))


def sample_scenario(
    seed: int, *, split: Split, num_subjects: int | None = None, hard: bool = False, dressed: bool | None = None
) -> Scenario:
    """The scenario of `seed`: identities and the (action, scene) pair both belong to `split`.

    `hard` asks for same-species subjects of similar colours, rare relations, small or overlapping subjects.
    `dressed` forces (or forbids) an outfit; by default one picture in twelve has one.
    """
    rng = random.Random(f"scenario/{split}/{seed}/{num_subjects}/{hard}/{dressed}")
    count = num_subjects or _count(rng)
    people = _identities(rng, count, split=split, hard=hard)
    if dressed if dressed is not None else (not hard and rng.random() < 0.08):
        action = {1: "stand", 2: "together"}.get(count, "group")
        places = [scene for scene in SCENES if pair_split(action, scene) == split]
        return Scenario(action, rng.choice(places), people, seed, _outfits(rng, count))
    action, scene = _pair(rng, count, split=split, hard=hard)
    zoom = crowd = 1.0
    if rng.random() < (0.4 if hard else 0.05):
        zoom = rng.uniform(0.6, 0.7)
    elif action in ("together", "group", "group_dance", "group_wave") and rng.random() < (0.6 if hard else 0.06):
        crowd = rng.uniform(0.66, 0.76)
    return Scenario(action, scene, people, seed, (), zoom, crowd)


def relation_bench(identities: tuple[Identity, ...], index: int, *, seed: int) -> Scenario:
    """RelationBench prompt `index` (1..25) for these subjects, in the scene that prompt names."""
    action = next(name for name, a in ACTIONS.items() if a.relation_bench == index)
    return Scenario(action, RELATION_BENCH_SCENES[index - 1], identities, seed)


RELATION_BENCH_SCENES = (
    *("park_bench", "grand_hall", "restaurant", "moonlight", "gym", "fireplace", "alps", "palm_tree", "kitchen"),
    *("stage", "countryside", "grassland", "street", "football", "tree", "ballroom", "diving_room", "arena"),
    *("forest", "plain", "street_court", "ring", "mountain", "garden", "hilltop"),
)


def corpus() -> list[str]:
    """Sentences that together hold every word of the world's language."""
    rng = random.Random("corpus")
    sentences = [caption(sample_scenario(seed, split="train")) for seed in range(4000)]
    for action_name, action in ACTIONS.items():
        for scene in SCENES:
            people = tuple(draw_identity(rng) for _ in range(action.num_subjects[0]))
            sentences.append(caption(Scenario(action_name, scene, people, 0)))
    for outfit in OUTFITS:
        for _ in range(3):
            sentences.append(caption(Scenario("stand", "plain", (draw_identity(rng),), 0, (outfit,))))
            two = (draw_identity(rng), draw_identity(rng))
            sentences.append(caption(Scenario("together", "plain", two, 0, (outfit, ""))) + ", next to it is a cat")
    return [*sentences, *(f"a {color} hat, {FAR}, {CLOSE}" for color in PALETTE)]


def describe(identity: Identity) -> str:
    """The identity in words, such as "red cat with blue stripes wearing green top hat"."""
    parts = [f"{identity.body_color} {identity.species}"]
    if identity.pattern != NOT_APPLICABLE:
        pattern = {"plain": "paws", "patch": "belly"}.get(identity.pattern, identity.pattern)
        parts.append(f"with {identity.second_color} {pattern}")
    if identity.species == "person":
        hair = f"{identity.hair_style} {identity.hair_color} hair"
        parts.append(f"and {hair}, {identity.skin} skin, {identity.beard} {identity.age}")
    if identity.accessory != NOT_APPLICABLE:
        parts.append(f"wearing {identity.accessory_color} {identity.accessory}")
    return " ".join(parts)


def described_caption(scenario: Scenario) -> str:
    """The caption with every subject's class word replaced by its description."""
    named = caption(scenario)
    for index, who in enumerate(scenario.identities):
        named = re.sub(rf"\b{who.class_name}\b", f"@{index}", named, count=1)
    for index in range(len(scenario.identities)):
        named = named.replace(f"@{index}", describe(scenario.worn(index)))
    return re.sub(r"\b([Aa])n? (?=orange)", r"\1n ", named)
