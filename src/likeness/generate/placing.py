"""Where the subjects of a picture are to be: where its case says, where a proposal puts them, or nowhere."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple  # Any: run.json

from likeness.backbones import BACKBONES
from likeness.core.errors import ConfigError
from likeness.core.kinds import LayoutMode
from likeness.core.layouts import box_numbers, layout_of
from likeness.core.records import Case, Layout
from likeness.data.relations.layout import is_known, propose_layout
from likeness.data.relations.predicate import in_order_of, predicate_between

__all__ = ["ATTENDED", "Placed", "Placing", "layout_mode", "placing_of"]

GIVEN, NOWHERE, ATTENDED = "given", "none", "text attention"


class Placed(NamedTuple):
    """A picture's layout and where it comes from: GIVEN, NOWHERE, what `propose_layout` says, or ATTENDED.

    With ATTENDED the layout has no boxes yet: the model that draws finds them by `attended_layout`.
    """

    layout: Layout | None
    source: str


class Placing(NamedTuple):
    """How the cases of a run are placed; `aspect` is width over height of its pictures.

    `finds_boxes`: its model finds boxes itself.
    """

    mode: LayoutMode
    aspect: float
    finds_boxes: bool = True

    def __call__(self, case: Case) -> Placed:
        """The case's own layout unless the mode is "none"; else, where the mode asks for it, a proposal.

        A known action (the case's, or what the prompt says between its first two subjects) stands where its subjects
        stand on average; of others the model's text attention says it, if it can be asked and the prompt has a word of
        its own for every subject; else they stand side by side.
        """
        own = layout_of(case) if box_numbers(case) is not None else None
        if not case.subjects or self.mode == "none" or (own is None and self.mode == "given"):
            return Placed(None, NOWHERE)
        if own is not None:
            return Placed(own, GIVEN)
        names = tuple(subject.class_name.strip() or "subject" for subject in case.subjects)
        action, count = _action(case, names), len(names)
        if self.finds_boxes and not is_known(action, count) and _are_told_apart(case.prompt, names):
            return Placed(None, ATTENDED)
        proposed = propose_layout(action, count, aspect=self.aspect)
        boxes = tuple(proposed.boxes[rank] for rank in _ranks(case.prompt, names))
        return Placed(Layout(boxes=boxes, phrases=names), proposed.source)


def _action(case: Case, names: tuple[str, ...]) -> str | None:
    return case.action or case.labels.predicate or predicate_between(case.prompt, names)


def _ranks(prompt: str, names: tuple[str, ...]) -> list[int]:
    """The place of each subject in the sentence; as they stand where two have one name, or it does not name them."""
    if not _are_told_apart(prompt, names):
        return list(range(len(names)))
    told = in_order_of(prompt, names)
    return [told.index(name) for name in names]


def _are_told_apart(prompt: str, names: tuple[str, ...]) -> bool:
    """Whether the prompt has a word of its own for each."""
    return len(set(names)) == len(names) and all(_has_words(prompt, name) for name in names)


def _has_words(prompt: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", prompt, re.IGNORECASE) is not None


def layout_mode(asked: LayoutMode | None, *, kind: str) -> LayoutMode | None:
    """The mode of a run with a backbone of that kind; None where it reads no layout, or is a maker of one's own.

    Raises: ConfigError for a mode that was asked of such a model.
    """
    entry = BACKBONES.get(kind)
    if entry is not None and entry.reads_layout:
        return asked or "proposed"
    if asked is not None:
        readers = ", ".join(name for name, known in BACKBONES.items() if known.reads_layout)
        raise ConfigError(f"--layout: expected a model that reads one ({readers}), got {kind}; leave it out.")
    return None


def placing_of(record: Mapping[str, Any]) -> Placing | None:
    """How the cases of a run with that run.json are placed; None where nothing is said of it."""
    mode, sides = record["settings"].get("layout"), record.get("settings_in_force") or {}
    if mode is None:
        return None
    entry = BACKBONES.get(record["settings"].get("maker"))
    finds_boxes = entry is None or entry.finds_boxes
    return Placing(mode, aspect=float(sides["width"]) / float(sides["size"]), finds_boxes=finds_boxes)
