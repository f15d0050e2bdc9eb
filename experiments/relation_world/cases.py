"""The cases of the experiment: every relation of two subjects, so many times, with the boxes that a user would get.

Subjects are of the split and of two species, so that the prompt has a word for each; scenes are any that the world
draws the relation in. Boxes are the mean boxes of the relation (`likeness generate --layout proposed`): they know
nothing of the true picture. Case i of a relation depends on the split, the relation and i alone.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple  # JSON

from PIL import Image

from likeness.core.files import write_jsonl
from likeness.core.images import save_png
from likeness.core.kinds import Split
from likeness.core.records import Box, Case, read_cases
from likeness.core.rng import seed_for
from likeness.data.relations.layout import propose_layout
from likeness.data.relations.world import TWO_SUBJECT_ACTIONS
from likeness.world.identity import Identity, sample_identity
from likeness.world.relations import labels_of
from likeness.world.render import render, render_reference
from likeness.world.scenario import OPEN_SCENES, Scenario
from likeness.world.scenes import SCENES

RELATIONS = TWO_SUBJECT_ACTIONS
SIZE = 128
NUM_PHOTOS = 3


class CaseFacts(NamedTuple):
    """What a case is alike by, the subjects and the relation, and whether its boxes overlap."""

    subjects: frozenset[str]
    relation: str
    overlaps: bool


def build_cases(folder: Path, *, per_relation: int, split: Split) -> Path:
    """`folder`/cases.jsonl with its references and true pictures, drawn once."""
    path = folder / "cases.jsonl"
    if not path.is_file():
        names = [(relation, number) for number in range(per_relation) for relation in RELATIONS]
        write_jsonl(path, [_case(*name, split=split, folder=folder) for name in names])
    return path


def case_facts(path: Path) -> dict[str, CaseFacts]:
    """Case id -> what is known of it."""
    return {case.id: _facts(case) for case in read_cases(path).cases}


def _facts(case: Case) -> CaseFacts:
    assert case.layout is not None
    assert case.action is not None
    first, second = case.layout.boxes
    return CaseFacts(frozenset(subject.id for subject in case.subjects), case.action, overlaps(first, second))


def overlaps(first: Box, second: Box) -> bool:
    """Whether the boxes share more than an edge."""
    width, height = (min(first[end + 2], second[end + 2]) - max(first[end], second[end]) for end in (0, 1))
    return width > 0 and height > 0


def scenario_of(relation: str, number: int, *, split: Split) -> Scenario:
    """Who does it and where."""
    seed = seed_for("relation-world-experiment", split, relation, number)
    rng, people = random.Random(f"case/{seed}"), list[Identity]()
    while len(people) < 2:
        who = sample_identity(rng, split=split)
        if who.species not in [other.species for other in people]:
            people.append(who)
    scenes = [name for name in SCENES if name not in OPEN_SCENES]
    return Scenario(relation, rng.choice(scenes), tuple(people), seed)


def _case(relation: str, number: int, *, split: Split, folder: Path) -> Mapping[str, Any]:
    scenario, name = scenario_of(relation, number, split=split), f"{relation.replace('_', '-')}-{split}-{number:03d}"
    picture, people = render(scenario, size=SIZE), scenario.identities
    _save(picture.image, folder / "truth" / f"{name}.png")
    ids, names = [who.id for who in people], [who.class_name for who in people]
    labels = labels_of(relation, ids=ids, class_names=names)
    boxes = propose_layout(relation, 2).boxes
    return {
        "id": name,
        "prompt": picture.labels.caption,
        "seed": seed_for("relation-world-experiment", "noise", split, relation, number) % 2**31,
        "action": relation,
        "scene": scenario.scene,
        "subjects": [
            _subject(who, label.attributes, folder) for who, label in zip(people, picture.labels.subjects, strict=True)
        ],
        "labels": labels.model_dump(mode="json", exclude={"action"}, exclude_defaults=True),
        "layout": {"boxes": [list(box) for box in boxes], "phrases": names},
    }


def _subject(who: Identity, attributes: Mapping[str, str], folder: Path) -> dict[str, Any]:
    photos = [f"references/{who.id}-{k}.png" for k in range(NUM_PHOTOS)]
    for k, photo in enumerate(photos):
        if not (folder / photo).is_file():
            _save(render_reference(who, seed=seed_for("photo", who.id, k), size=SIZE), folder / photo)
    facts = {"reference_image": photos[0], "photos": photos, "attributes": dict(attributes)}
    return {"id": who.id, "class_name": who.class_name, **facts}


def _save(pixels: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(Image.fromarray(pixels), path)
