"""Relation examples that a generator makes: each subject alone, then together, and found again by detector and ViTPose.

Example i of a seed depends on the seed, i and the models alone. A target in which a subject is not found is drawn again
with another seed; what was tried is listed with its reason.
Source: the data engine of DreamRelation (arXiv:2410.23280), which asks DALL-E 3 for both pictures in one chat.
Differs: any model behind `Draw`; identity is held by giving the references to the model that draws the target.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.jobs import Progress, unseen
from likeness.core.rng import seed_for
from likeness.data.relations.look import Look, LooksAt
from likeness.data.relations.making import Outcome, Refused, RelationSummary, make_set
from likeness.data.relations.photos import seen_example
from likeness.data.relations.world import TWO_SUBJECT_ACTIONS, require_relation
from likeness.world.actions import ACTIONS
from likeness.world.relations import RELATIONS

__all__ = ["ANIMALS", "PLACES", "Draw", "LoadDraw", "ModelRelations", "make_model_relations"]

VERSION = 1
"""Of the recipe: raised whenever equal settings would give other examples."""
ANIMALS = ("cat", "dog", "rabbit", "bear", "fox", "pig", "lion", "tiger", "panda", "monkey")
PLACES = ("in a park", "on a beach", "in a forest", "on a street", "in the snow", "in a kitchen", "on a meadow")
ALONE = "a photo of a {0}, the whole body is seen, plain background"
"""What is asked for a reference."""
MAX_ATTEMPTS = 4


@runtime_checkable
class Draw(Protocol):
    """Makes one picture at a time; equal arguments give equal pixels, whatever was made before."""

    def __call__(self, prompt: str, references: Sequence[Image.Image] = (), *, seed: int) -> Image.Image:
        """The picture of the prompt with the likeness of the references."""
        ...


@runtime_checkable
class LoadDraw(Protocol):
    """Loads the generator in any process; it is sent there by pickle. `id` names model and settings."""

    @property
    def id(self) -> str: ...

    def __call__(self) -> Draw:
        """The loaded generator."""
        ...


@dataclass(frozen=True)
class ModelRelations:
    """What is asked for: `subjects` are class words, `actions` relations of two subjects, `places` end the prompt."""

    seed: int = 0
    subjects: tuple[str, ...] = ANIMALS
    actions: tuple[str, ...] = TWO_SUBJECT_ACTIONS
    places: tuple[str, ...] = PLACES


@dataclass(frozen=True)
class _Plan:
    """All a worker process has to know."""

    recipe: ModelRelations
    draw: LoadDraw
    look: LooksAt


def make_model_relations(
    n: int,
    *,
    out: Path | str,
    draw: LoadDraw,
    look: LooksAt,
    seed: int = 0,
    actions: Sequence[str] = (),
    subjects: Sequence[str] = (),
    workers: int = 1,
    progress: Progress = unseen,
) -> RelationSummary:
    """The folder `out` holds those of `n` examples in which all subjects were found in one of MAX_ATTEMPTS attempts.

    Raises: ConfigError for wrong settings; DataError when no example is kept; WeightsError; OutputError.
    """
    for name, value in (("n", n), ("workers", workers)):
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, got {value}; raise it.")
    recipe = ModelRelations(seed, tuple(subjects) or ANIMALS, tuple(actions) or TWO_SUBJECT_ACTIONS)
    if len(set(recipe.subjects)) < 2:
        raise ConfigError(f"subjects: expected two different words or more, got {', '.join(recipe.subjects)}; add one.")
    for action in recipe.actions:
        require_relation(action)
        if action not in TWO_SUBJECT_ACTIONS:
            raise ConfigError(f"action: expected one of {', '.join(TWO_SUBJECT_ACTIONS)}, got {action!r}; correct it.")
    plan = _Plan(recipe, draw, look)
    facts = asdict(recipe) | {name: list(getattr(recipe, name)) for name in ("subjects", "actions", "places")}
    models = {"draw": draw.id, "look": look.id}
    identity = {"kind": "relations", "version": VERSION, "source": "models", "n": n, **facts, **models}
    load = partial(_load, plan)
    return make_set(n, out=Path(out), load=load, identity=identity, chunk=1, workers=workers, progress=progress)


def _load(plan: _Plan, _: int) -> Callable[[int], Outcome]:
    return partial(_make, plan=plan, draw=plan.draw(), look=plan.look())


def _make(index: int, *, plan: _Plan, draw: Draw, look: Look) -> Outcome:
    """Example `index` or, after MAX_ATTEMPTS, nothing; with every attempt that was refused."""
    refused: list[Refused] = []
    for attempt in range(MAX_ATTEMPTS):
        try:
            made = _tried(index, attempt=attempt, plan=plan, draw=draw, look=look)
        except DataError as error:
            refused.append(Refused(f"{_name(index, plan.recipe)} attempt {attempt}", "not found", str(error)))
            continue
        return made._replace(refused=tuple(refused))
    return Outcome(None, {}, tuple(refused))


def _name(index: int, recipe: ModelRelations) -> str:
    action = recipe.actions[index % len(recipe.actions)]
    return f"{action.replace('_', '-')}-models-{recipe.seed}-{index:06d}"


def _tried(index: int, *, attempt: int, plan: _Plan, draw: Draw, look: Look) -> Outcome:
    """Raises: DataError for a subject that is not found."""
    recipe = plan.recipe
    action = recipe.actions[index % len(recipe.actions)]
    rng = random.Random(f"relation/{_seed(recipe, 'asked', index)}")
    words, place = rng.sample(sorted(set(recipe.subjects)), 2), rng.choice(recipe.places)
    prompt = ACTIONS[action].template.format(*words, scene=place)
    seeds = {word: _seed(recipe, "reference", index, attempt, word) for word in words}
    references = {word: draw(ALONE.format(word), seed=seeds[word]) for word in words}
    seed = _seed(recipe, "target", index, attempt)
    target = draw(prompt, list(references.values()), seed=seed)
    facts = {
        "prompt": prompt,
        "predicate": RELATIONS[action].predicate,
        "action": action,
        "seeds": {"target": seed, "attempt": attempt, **{f"reference {word}": seeds[word] for word in words}},
        "sources": dict(plan.look.sources)
        | dict.fromkeys(("target", "references"), plan.draw.id)
        | {"prompt": "the action's sentence", "predicate": "the action's sentence", "order": "the prompt's"},
    }
    return seen_example(_name(index, recipe), target, references, look=look, facts=facts)


def _seed(recipe: ModelRelations, *names: str | int) -> int:
    return seed_for("relations", "models", recipe.seed, *names) % 2**31
