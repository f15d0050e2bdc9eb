"""Where the subjects of a case are to be: by its own layout, in the order of its subjects, or by a proposal."""

import re
from itertools import pairwise

from likeness.core.records import Case, Layout

_EDGE, _OVERLAP = 0.05, 0.05
_TOP, _BOTTOM = 0.2, 0.9


def box_numbers(case: Case) -> list[int] | None:
    """Which box of the case's layout is each subject's, in their order; None without a layout that has one for each.

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
    return chosen


def _has_word(phrase: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", phrase, re.IGNORECASE) is not None


def proposed_boxes(count: int) -> tuple[tuple[float, float, float, float], ...]:
    """Boxes for subjects whose places nobody gave: side by side from left to right, each 0.2 to 0.9 of the height.

    They share 0.05 to 0.95 of the width equally, and neighbours overlap by a tenth of the width, so that subjects can
    touch. It is a simple rule of ours; nothing was learned for it.
    """
    share = (1 - 2 * _EDGE) / max(1, count)
    edges = [_EDGE + number * share for number in range(count + 1)]
    return tuple(
        (max(_EDGE, left - _OVERLAP), _TOP, min(1 - _EDGE, right + _OVERLAP), _BOTTOM)
        for left, right in pairwise(edges)
    )


def layout_of(case: Case) -> Layout | None:
    """Boxes and phrases for the case's subjects, in order: its own layout, or `proposed_boxes` with the class names.

    A phrase that is the subject's id tells a text encoder nothing: the class name stands in its place.
    None for a case without subjects.
    """
    if not case.subjects:
        return None
    names = tuple(subject.class_name.strip() or "subject" for subject in case.subjects)
    chosen = box_numbers(case)
    if case.layout is None or chosen is None:
        return Layout(boxes=proposed_boxes(len(names)), phrases=names)
    phrases = [case.layout.phrases[i] for i in chosen]
    ids = [subject.id for subject in case.subjects]
    told = (name if phrase == own else phrase for phrase, own, name in zip(phrases, ids, names, strict=True))
    return Layout(boxes=tuple(case.layout.boxes[i] for i in chosen), phrases=tuple(told))
