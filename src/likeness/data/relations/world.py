"""Relation examples drawn on the world: exact masks, boxes and keypoints, in any number.

Example i of a seed depends on the seed, i and the actions alone. Actions take turns; subjects, scene and the poses of
the references are drawn from named seeds, all of one split.
Source: the data of DreamRelation (arXiv:2410.23280): five examples of a relation, each a target and its references.
Differs: drawn, so that nothing is detected and nobody is guessed.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from likeness.core.errors import ConfigError, DataError
from likeness.core.jobs import Progress, unseen
from likeness.core.kinds import Split
from likeness.core.rng import seed_for
from likeness.core.runs import package_versions
from likeness.data.relations.keypoints import on_mask
from likeness.data.relations.making import Drawn, Outcome, RelationSummary, Shown, make_set, written
from likeness.data.relations.records import Keypoints
from likeness.world.actions import ACTIONS
from likeness.world.identity import Identity, sample_identity
from likeness.world.relations import RELATIONS
from likeness.world.render import SubjectLabel, reference_keypoints, reference_mask, render, render_reference
from likeness.world.scenario import OPEN_SCENES, Scenario, pair_split
from likeness.world.scenes import SCENES

__all__ = ["TWO_SUBJECT_ACTIONS", "WorldRelations", "draw_example", "make_world_relations"]

VERSION = 1
"""Of the recipe: raised whenever equal settings would give other examples."""
CHUNK = 24
SMALLEST, FEWEST_VALID = 0.01, 4
"""Share of the picture that a subject must show, and keypoints of it that must be valid; others are drawn again."""
MAX_ATTEMPTS = 50

TWO_SUBJECT_ACTIONS = tuple(name for name in RELATIONS if ACTIONS[name].num_subjects == (2,))
"""The default: each relation of two subjects."""

DRAWN = "drawn"


@dataclass(frozen=True)
class WorldRelations:
    """Everything that decides what the examples are. Sides in px."""

    seed: int = 0
    split: Split = "train"
    actions: tuple[str, ...] = TWO_SUBJECT_ACTIONS
    size: int = 128


def make_world_relations(
    n: int,
    *,
    out: Path | str,
    seed: int = 0,
    split: Split = "train",
    actions: Sequence[str] = (),
    size: int = 128,
    workers: int = 1,
    progress: Progress = unseen,
) -> RelationSummary:
    """The folder `out` holds `n` examples of the `actions` in turn (default: every relation of two subjects).

    Raises: ConfigError for wrong settings; OutputError when `out` belongs to another run.
    """
    for name, value, least in (("n", n, 1), ("workers", workers, 1), ("size", size, 32)):
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}; raise it.")
    recipe = WorldRelations(seed, split, tuple(actions) or TWO_SUBJECT_ACTIONS, size)
    for action in recipe.actions:
        require_relation(action)
        _scenes(action, split=split)
    facts = asdict(recipe) | {"actions": list(recipe.actions)}
    versions = package_versions("numpy", "pillow", "skia-python")
    identity = {"kind": "relations", "version": VERSION, "source": "world", "n": n, **facts, "versions": versions}
    load = partial(_load, recipe)
    return make_set(n, out=Path(out), load=load, identity=identity, chunk=CHUNK, workers=workers, progress=progress)


def require_relation(action: str) -> None:
    """Raises: ConfigError for a name that is no action, or one without a verb."""
    if action not in RELATIONS:
        raise ConfigError(f"action: expected one of {', '.join(RELATIONS)}, got {action!r}; correct the name.")


def _scenes(action: str, *, split: Split) -> tuple[str, ...]:
    """Scenes in which the action belongs to the split. Raises: ConfigError where there is none."""
    scenes = tuple(name for name in SCENES if name not in OPEN_SCENES and pair_split(action, name) == split)
    if not scenes:
        raise ConfigError(f"action: expected one with a scene of the {split} split, got {action!r}; choose another.")
    return scenes


def _load(recipe: WorldRelations, _: int) -> Callable[[int], Outcome]:
    return partial(draw_example, recipe=recipe)


def draw_example(index: int, *, recipe: WorldRelations) -> Outcome:
    """Example `index`: the first attempt in which every subject is seen well enough.

    Raises: DataError when none of MAX_ATTEMPTS is.
    """
    for attempt in range(MAX_ATTEMPTS):
        scenario = _scenario(index, attempt=attempt, recipe=recipe)
        picture = render(scenario, size=recipe.size)
        if all(_is_seen(subject) for subject in picture.labels.subjects):
            break
    else:
        wanted = f"every subject on {SMALLEST:.0%} of the picture with {FEWEST_VALID} keypoints in sight"
        raise DataError(f"example {index}: expected {wanted}, got it in none of {MAX_ATTEMPTS} draws; raise --size.")
    name = f"{scenario.action.replace('_', '-')}-{recipe.split}-{recipe.seed}-{index:06d}"
    photos = [_seed(recipe, "reference", index, place) for place in range(len(scenario.identities))]
    people = zip(scenario.identities, picture.labels.subjects, photos, strict=True)
    subjects = [_subject(who, label, photo=photo, size=recipe.size) for who, label, photo in people]
    facts = {
        "prompt": picture.labels.caption,
        "predicate": RELATIONS[scenario.action].predicate,
        "action": scenario.action,
        "split": recipe.split,
        "seeds": {"scenario": scenario.seed, "attempt": attempt},
        "sources": dict.fromkeys(("target", "references", "masks", "boxes", "keypoints"), DRAWN)
        | {"prompt": "the action's sentence", "predicate": "the action's sentence", "order": "the action's sentence"},
    }
    return written(name, target=picture.image, subjects=subjects, facts=facts)


def _seed(recipe: WorldRelations, *names: str | int) -> int:
    return seed_for("relations", recipe.split, recipe.seed, *names)


def _scenario(index: int, *, attempt: int, recipe: WorldRelations) -> Scenario:
    action = recipe.actions[index % len(recipe.actions)]
    seed = _seed(recipe, "scenario", index, attempt)
    rng = random.Random(f"relation/{seed}")
    counts = ACTIONS[action].num_subjects
    people: list[Identity] = []
    while len(people) < counts[index // len(recipe.actions) % len(counts)]:
        who = sample_identity(rng, split=recipe.split)
        if who.species not in [other.species for other in people]:
            people.append(who)  # words that tell them apart in the prompt
    return Scenario(action, rng.choice(_scenes(action, split=recipe.split)), tuple(people), seed)


def _is_seen(subject: SubjectLabel) -> bool:
    return float(subject.visible_mask.mean()) >= SMALLEST and int(subject.keypoints[:, 2].sum()) >= FEWEST_VALID


def _subject(who: Identity, label: SubjectLabel, *, photo: int, size: int) -> Drawn:
    points, mask = reference_keypoints(who, seed=photo), reference_mask(who, seed=photo, size=size)
    alone = Keypoints.of(points.astype(np.float64), on_mask(points.astype(np.float64), mask), skeleton="ap10k")
    seen = label.keypoints.astype(np.float64)
    together = Keypoints.of(seen[:, :2], seen[:, 2] > 0, skeleton="ap10k")
    picture = render_reference(who, seed=photo, size=size)
    return Drawn(who.class_name, who.id, picture, Shown(mask, alone), Shown(label.visible_mask, together))
