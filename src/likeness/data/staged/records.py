"""What is asked of record number i: subjects, scene, prompts, and who is to be disrupted.

It depends on the recipe's seed, its subjects and scenes, and i, never on how many records there are. Categories take
turns, and within a category its subjects.
"""

import random
from collections.abc import Sequence
from typing import Any

from likeness.core.kinds import CATEGORIES
from likeness.core.rng import seed_for
from likeness.data.pairs import SUBSETS_IN_TURN
from likeness.data.pairs.photo_folder import with_article
from likeness.data.staged.recipe import ModelRecipe, SubjectTable
from likeness.data.staged.stage import Asked

__all__ = ["asked_of", "record_id"]


def record_id(recipe: ModelRecipe, index: int) -> str:
    """Also the id of its pair; all seeds of a record follow from it."""
    return f"models-{recipe.seed}-{index:06d}"


def asked_of(recipe: ModelRecipe, index: int) -> Asked:
    """The record at `index`."""
    name, table = record_id(recipe, index), recipe.records
    subsets = SUBSETS_IN_TURN[table.subset]
    turn, which = divmod(index, len(subsets))
    rng = random.Random(seed_for("models", name, "asked"))
    shown = _subjects(recipe, turn, count=1 if subsets[which] == "single" else 2, rng=rng)
    disrupted = _disrupted(len(shown), rng=rng)
    scene = rng.choice(table.scenes)
    target = table.target_single if len(shown) == 1 else table.target_multi
    pair = table.pair_single if len(shown) == 1 else table.pair_multi
    subjects: list[dict[str, Any]] = [
        {
            "id": f"{recipe.subjects.index(subject):04d}-{subject.class_name.replace(' ', '-')}",
            **subject.model_dump(),
            "reference_prompt": table.reference.format(subject=subject.phrase, class_name=subject.class_name),
            "disrupted": place in disrupted,
        }
        for place, subject in enumerate(shown)
    ]
    facts = {
        "subset": subsets[which],
        "split": recipe.split,
        "scene": scene,
        "subjects": subjects,
        "target_prompt": _worded(target, shown, scene=scene),
        "prompt": _worded(pair, shown, scene=scene),
    }
    return Asked(name, facts)


def _subjects(recipe: ModelRecipe, turn: int, *, count: int, rng: random.Random) -> list[SubjectTable]:
    """One subject by turns over categories; a second one of another class, at random."""
    present = [name for name in CATEGORIES if any(subject.category == name for subject in recipe.subjects)]
    rounds, which = divmod(turn, len(present))
    own = [subject for subject in recipe.subjects if subject.category == present[which]]
    first = own[rounds % len(own)]
    others = [subject for subject in recipe.subjects if subject.class_name != first.class_name]
    return [first] if count == 1 else [first, rng.choice(others)]


def _disrupted(count: int, *, rng: random.Random) -> set[int]:
    """A part of the subjects that is not empty, each such part equally often."""
    parts = [part for part in range(1, 2**count)]
    part = rng.choice(parts)
    return {place for place in range(count) if part >> place & 1}


def _worded(prompt: str, shown: Sequence[SubjectTable], *, scene: str) -> str:
    words = {"scene": scene}
    if len(shown) == 1:
        words |= {"subject": shown[0].phrase, "class_name": shown[0].class_name}
    else:
        words |= {"subjects": _listed([subject.phrase for subject in shown])}
        words |= {"class_names": _listed([with_article(subject.class_name) for subject in shown])}
    return prompt.format(**words)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
