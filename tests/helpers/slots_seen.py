"""Hand-made evidence of several subjects: identities as vectors, places as points."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likeness.core.records import Case, Labels, Layout, Subject
from likeness.encoders.subjects_seen import SubjectSeen, SubjectsSeen
from likeness.metrics.base import Evidence, Seen, SubjectEvidence

ALIKE = 0.6


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, dtype=np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


A, B, C = unit(1, 0, 0, 0), unit(0, 1, 0, 0), unit(0, 0, 1, 0)
"""Three who are nothing like each other."""


def seen(*found: tuple[float, np.ndarray], small: np.ndarray | None = None) -> SubjectsSeen:
    """A picture in which subjects stand side by side: (x of the middle, identity) of each."""
    subjects = tuple(SubjectSeen((x - 0.1, 0.3, x + 0.1, 0.7), 0.9, "", identity) for x, identity in found)
    return SubjectsSeen(subjects, ALIKE, np.zeros((96, 96, 3), np.uint8) if small is None else small)


def photo(identity: np.ndarray | None, **more: Any) -> Seen:
    return {"subjects": seen(*(() if identity is None else ((0.5, identity),)), **more)}


def evidence(
    picture: SubjectsSeen,
    photos: Sequence[Sequence[np.ndarray | None]],
    *,
    truth: SubjectsSeen | None = None,
    action: str | None = "chase",
    layout: Layout | None = None,
) -> Evidence:
    """The first photo of each subject is the conditioning one."""
    subjects = tuple(
        Subject(id=f"s{i}", class_name=("cat", "dog", "fox", "pig")[i], reference_image=Path("x.png"))
        for i in range(len(photos))
    )
    case = Case(id="a", prompt="a", subjects=subjects, labels=Labels(action=action), layout=layout)
    shown = [tuple(photo(each) for each in some) for some in photos]
    return Evidence(
        case,
        {"subjects": picture},
        {},
        tuple(SubjectEvidence(subject, some, some[0]) for subject, some in zip(subjects, shown, strict=True)),
        truth={"subjects": truth} if truth else None,
    )
