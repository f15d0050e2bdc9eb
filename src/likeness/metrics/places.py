"""Where each subject of a case is to be: by the case's layout, else where it is in the true picture."""

import re

from likeness.core.records import Case
from likeness.metrics.base import Evidence, Value
from likeness.metrics.slots import Slots

Point = tuple[float, float]


def layout_places(case: Case) -> list[Point] | None:
    """The middle of each subject's box, in shares of the sides; None without a layout that has a box for each.

    A subject's box is the one whose phrase is its id, else the first that is free and whose phrase has its class name.
    """
    if case.layout is None:
        return None
    free = dict(enumerate(case.layout.phrases))
    chosen: list[int] = []
    for subject in case.subjects:
        named = [i for i, phrase in free.items() if phrase == subject.id]
        named += [i for i, phrase in free.items() if _has_word(phrase, subject.class_name)]
        if not named:
            return None
        chosen.append(named[0])
        del free[named[0]]
    boxes = [case.layout.boxes[i] for i in chosen]
    return [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]


def _has_word(phrase: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", phrase, re.IGNORECASE) is not None


def places_of(evidence: Evidence, truth: Slots | Value) -> list[Point] | Value:
    """The place of each subject; or why neither a layout nor the true picture tells."""
    places = layout_places(evidence.case)
    if places is not None:
        return places
    if isinstance(truth, Value):
        return truth
    subjects = [truth.of(i) for i in range(len(evidence.subjects))]
    return [each.centre for each in subjects if each is not None]
