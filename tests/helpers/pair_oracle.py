"""What a pair of the drawn world should look like, from its record and the world alone."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likeness.core.pairs import PreferencePair
from likeness.world.identity import Identity
from likeness.world.render import render
from likeness.world.scenario import Scenario, sample_scenario


def scenario_of(pair: PreferencePair, *, split: Any = "train") -> Scenario:
    """The scene of the preferred picture."""
    return sample_scenario(pair.seeds["scenario"], split=split, num_subjects=len(pair.subjects), dressed=False)


def scenario_of_loser(pair: PreferencePair) -> Scenario:
    """The same scene with the impostors that the record describes."""
    scenario = scenario_of(pair)
    changes = {i: s.disruption["changed"] for i, s in enumerate(pair.subjects) if s.disruption}
    people = tuple(
        Identity(**{**who.attributes(), **{name: new for name, (_, new) in changes.get(i, {}).items()}})
        for i, who in enumerate(scenario.identities)
    )
    return replace(scenario, identities=people)


def grown(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Dilation by brute force: every pixel with a mask pixel at most `radius` away along both axes."""
    out = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        out[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = True
    return out


def may_differ(pair: PreferencePair, *, size: int, edge: int) -> NDArray[np.bool_]:
    """(size, size): where a disrupted subject or its impostor can be seen, and `edge` px around."""
    pictures = [render(scenario, size=size) for scenario in (scenario_of(pair), scenario_of_loser(pair))]
    masks = [picture.labels.subjects[i].visible_mask for picture in pictures for i in pair.disrupted]
    return grown(np.logical_or.reduce(masks), edge)
