"""Where each subject of a case is to be: by the case's layout, else where it is in the true picture."""

from likeness.core.layouts import box_numbers
from likeness.core.records import Case
from likeness.metrics.base import Evidence, Value
from likeness.metrics.slots import Slots

Point = tuple[float, float]


def layout_places(case: Case) -> list[Point] | None:
    """The middle of each subject's box, in shares of the sides; None without a layout that has a box for each.

    Which box is whose, `core.layouts.box_numbers` says.
    """
    chosen = box_numbers(case)
    if case.layout is None or chosen is None:
        return None
    boxes = [case.layout.boxes[i] for i in chosen]
    return [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]


def places_of(evidence: Evidence, truth: Slots | Value) -> list[Point] | Value:
    """The place of each subject; or why neither a layout nor the true picture tells."""
    places = layout_places(evidence.case)
    if places is not None:
        return places
    if isinstance(truth, Value):
        return truth
    subjects = [truth.of(i) for i in range(len(evidence.subjects))]
    return [each.centre for each in subjects if each is not None]
