"""A layout proposed where the user gives none: where the subjects of an action stand, on average over drawn pictures.

The means lie in layouts.json. `python -m likeness.data.relations.layout > src/likeness/data/relations/layouts.json`
computes them anew, the same bytes every time; a test compares a part of them.
Boxes are (left, top, right, bottom) in shares of the picture's sides.
"""

import random
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

import numpy as np

from likeness.core.errors import ConfigError
from likeness.core.files import read_json
from likeness.core.records import MAX_SUBJECTS, Layout
from likeness.core.rng import seed_for
from likeness.world.relations import RELATIONS

__all__ = ["ProposedLayout", "is_known", "layout_statistics", "mean_boxes", "propose_layout"]

PLACE = Path(__file__).with_name("layouts.json")
DRAWS, SIDE = 96, 64
"""Pictures for the mean of an action, and their side in px."""
FLOOR = 0.9
"""Height at which feet stand, in every drawn picture."""
STANDING = {1: "stand", 2: "together", 3: "group", 4: "group"}
"""The action whose boxes stand in where an action is unknown or takes another number of subjects."""
NARROWEST, WIDEST = 0.25, 4.0


class ProposedLayout(NamedTuple):
    """A box for each subject in the order of the sentence; `source` says in words where they come from."""

    boxes: tuple[tuple[float, float, float, float], ...]
    source: str

    def named(self, phrases: tuple[str, ...]) -> Layout:
        """The layout of a case, a phrase for each box. Raises: DataError for another number of phrases."""
        return Layout(boxes=self.boxes, phrases=phrases)


def propose_layout(action: str | None, n: int, *, aspect: float = 1.0) -> ProposedLayout:
    """Boxes for the `n` subjects of an action: a name of the world ("hug", "hugs"), or its predicate ("hugging").

    They are the mean boxes over drawn pictures. For an action that is not known, or not with `n` subjects, they are
    those of subjects who stand side by side, and `source` says so. `aspect` is the picture's width over its height:
    boxes keep their shape, in a square around the middle of a wide picture, at the floor of a tall one.
    Raises: ConfigError for `n` outside 1 to 4, or an aspect outside 1:4 to 4:1.
    """
    if not 1 <= n <= MAX_SUBJECTS:
        raise ConfigError(f"n: expected 1 to {MAX_SUBJECTS} subjects, got {n}; propose for fewer.")
    if not NARROWEST <= aspect <= WIDEST:
        raise ConfigError(f"aspect: expected {NARROWEST:g} to {WIDEST:g}, got {aspect:g}; give width / height.")
    table: dict[str, dict[str, list[list[float]]]] = _stored()["actions"]
    name = _action(action)
    boxes = table.get(name or "", {}).get(str(n))
    draws = f"mean of {_stored()['draws']} drawn pictures"
    source = f"{name}: {draws}"
    if boxes is None:
        boxes = table[STANDING[n]][str(n)]
        asked = "no action" if action is None else f"nothing is known of {action!r} with {n} subjects"
        source = f"{STANDING[n]}: {draws}; {asked}"
    return ProposedLayout(tuple(_in_aspect(box, aspect) for box in boxes), source)


def is_known(action: str | None, n: int) -> bool:
    """Whether there are boxes of the action itself with `n` subjects."""
    return str(n) in _stored()["actions"].get(_action(action) or "", {})


def _action(words: str | None) -> str | None:
    """The action of that name or predicate."""
    if words is None or words in RELATIONS or words in STANDING.values():
        return words
    told = words.strip().lower()
    for name, relation in RELATIONS.items():
        if told in (relation.predicate, relation.relation, f"{name}s", f"{name}es"):
            return name
    return None


def _in_aspect(box: list[float], aspect: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    if aspect >= 1:
        left, right = (0.5 + (edge - 0.5) / aspect for edge in (left, right))
    else:
        top, bottom = (FLOOR + (edge - FLOOR) * aspect for edge in (top, bottom))
    return (round(left, 4), round(top, 4), round(right, 4), round(bottom, 4))


@cache
def _stored() -> dict[str, Any]:
    return read_json(PLACE)


# -- the means -------------------------------------------------------------------------------------------------
def mean_boxes(action: str, n: int, *, draws: int = DRAWS) -> list[list[float]]:
    """The mean box of each subject over `draws` pictures of the action, in the order of its sentence.

    A box holds all of the subject, also what others hide, cut at the picture. Poses and places are drawn from named
    seeds, subjects from the training split; neither distance nor crowding of the scene is varied.
    """
    from likeness.world.identity import sample_identity
    from likeness.world.render import render
    from likeness.world.scenario import Scenario

    boxes = np.zeros((draws, n, 4))
    for draw in range(draws):
        seed = seed_for("layout", action, n, draw)
        rng = random.Random(f"layout/{seed}")
        people = tuple(sample_identity(rng, split="train") for _ in range(n))
        labels = render(Scenario(action, "plain", people, seed), size=SIDE).labels
        boxes[draw] = [subject.box for subject in labels.subjects]
    return [[round(float(edge), 3) for edge in box] for box in boxes.mean(axis=0)]


def layout_statistics() -> dict[str, Any]:
    """What layouts.json holds: number of draws, their side, and action -> number of subjects -> boxes."""
    from likeness.world.actions import ACTIONS

    actions = {name: {str(n): mean_boxes(name, n) for n in action.num_subjects} for name, action in ACTIONS.items()}
    return {"draws": DRAWS, "side": SIDE, "actions": actions}


def _text(statistics: dict[str, Any]) -> str:
    """JSON with an action a line, so that differences are seen."""
    import json

    lines = [f"    {json.dumps(name)}: {json.dumps(boxes)}" for name, boxes in statistics["actions"].items()]
    head = f'{{\n  "draws": {statistics["draws"]},\n  "side": {statistics["side"]},\n  "actions": {{\n'
    return head + ",\n".join(lines) + "\n  }\n}\n"


if __name__ == "__main__":
    sys.stdout.write(_text(layout_statistics()))
