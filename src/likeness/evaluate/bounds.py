"""The floor and the ceiling of each case: what the same numbers are for the wrong subject and for the true one.

Floor: the reference image of another subject (of the same class where there is one) stands in for the generated
picture; labels are read from the true picture of another case. Ceiling: the true picture of the case where the
benchmark has it, else the subject's photos other than the conditioning one, each against the photos it is not.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from likeness.core.records import Case, Subject
from likeness.core.rng import seed_for
from likeness.evaluate.measure import Panel, unmeasured
from likeness.metrics.base import Evidence, Measured, Metric, Value, mean_over_subjects, not_measured, of_subjects

NO_OTHER = not_measured("the benchmark has no other subject")
NO_OTHER_TRUTH = not_measured("the benchmark has no true picture of another case")
NO_FLOOR = not_measured("quality has no floor: nothing else is compared", status="not_applicable")
NO_TRUTH = not_measured("the benchmark has no true picture of this case")
NO_OTHER_PHOTO = not_measured("the subject has no photo besides the conditioning one")
MOST_CANDIDATES = 32
"""Stand-ins that one subject is chosen from: with more, choosing for all of a large benchmark would be quadratic."""
MOST_LOOKED_AT = 256
"""Places of a ring where they are looked for: where nearly all cases share a subject, looking further would be too."""


class Ring:
    """Names in an order by hash, closed to a ring, so that each has its own few that follow it."""

    def __init__(self, names: Iterable[str], *, order: str) -> None:
        self._names = sorted(names, key=lambda name: (seed_for(order, name), name))
        self._place = {name: index for index, name in enumerate(self._names)}

    def choose(self, name: str, *, by: Sequence[str], allowed: Callable[[str], bool]) -> str | None:
        """An allowed name by the hash of it and of `by`.

        Of more than 32 those compete that are first behind `name` (behind the last name, when it is not in the ring).
        """
        start, places = self._place.get(name, -1) + 1, range(min(len(self._names), MOST_LOOKED_AT))
        turned = (self._names[(start + place) % len(self._names)] for place in places)
        candidates = islice(filter(allowed, turned), MOST_CANDIDATES)
        return min(candidates, key=lambda other: (seed_for(*by, other), other), default=None)


@dataclass(frozen=True)
class Pool:
    """All subjects and cases of a benchmark by id, its true pictures by case id, and rings to choose stand-ins from."""

    subjects: dict[str, Subject]
    cases: dict[str, Case]
    truth: dict[str, Path]
    rings: dict[Hashable, Ring]


def make_pool(cases: Sequence[Case], *, truth_folder: Path | None) -> Pool:
    """The pool of a benchmark; the true picture of a case is `truth_folder`/<case_id>.png."""
    subjects = {subject.id: subject for case in cases for subject in case.subjects}
    paths = {case.id: truth_folder / f"{case.id}.png" for case in cases} if truth_folder else {}
    truth = {name: path for name, path in paths.items() if path.is_file()}
    groups: dict[Hashable, list[str]] = {None: list(subjects)}
    for subject in subjects.values():
        groups.setdefault(subject.class_name, []).append(subject.id)
    for case in cases:
        if case.id in truth:
            groups.setdefault(len(case.subjects), []).append(case.id)
    rings = {group: Ring(names, order="floor-order") for group, names in groups.items()}
    return Pool(subjects, {case.id: case for case in cases}, truth, rings)


def other_subject(subject: Subject, *, case: Case, pool: Pool) -> Subject | None:
    """A subject that is not in the case, of the same class where there is one, chosen by hash of the ids.

    Of more than 32 candidates those 32 compete that follow the subject on its ring.
    """
    present = {s.id for s in case.subjects}
    for group in (subject.class_name, None):
        by = ("floor", case.id, subject.id)
        if chosen := pool.rings[group].choose(subject.id, by=by, allowed=lambda name: name not in present):
            return pool.subjects[chosen]
    return None


def other_truth(case: Case, *, pool: Pool) -> Path | None:
    """The true picture of another case with as many subjects, none of them shared, chosen by hash of the ids.

    Of more than 32 candidates those 32 compete that follow the case on the ring of cases with as many subjects.
    """
    present = {s.id for s in case.subjects}

    def is_apart(name: str) -> bool:
        return name != case.id and present.isdisjoint(s.id for s in pool.cases[name].subjects)

    ring = pool.rings.get(len(present))
    chosen = ring and ring.choose(case.id, by=("floor-labels", case.id), allowed=is_apart)
    return pool.truth[chosen] if chosen else None


class BoundEvidence(NamedTuple):
    """What the floor and the ceiling of a case are measured on.

    Floor: per subject the picture that stands in for it, and another case's true picture. Ceiling: the true picture,
    or per subject each photo besides the conditioning one.
    """

    stand_ins: list[Evidence | None]
    other_truth: Evidence | None
    truth: Evidence | None
    photos: list[list[Evidence]]


def gather_bounds(case: Case, *, pool: Pool, panel: Panel) -> BoundEvidence:
    """Everything seen for the bounds of a case."""
    own, other = pool.truth.get(case.id), other_truth(case, pool=pool) if panel.is_labelled else None
    others = [other_subject(subject, case=case, pool=pool) for subject in case.subjects]
    stand_ins = [
        panel.evidence(case, picture=each.reference_image, truth=own, is_photo=True) if each else None
        for each in others
    ]
    photos = [] if own else [_other_photos(case, i, panel=panel) for i in range(len(case.subjects))]
    return BoundEvidence(
        stand_ins,
        panel.evidence(case, picture=other, truth=own) if other else None,
        panel.evidence(case, picture=own, truth=own) if own else None,
        photos,
    )


def measure_floor(case: Case, bounds: BoundEvidence, *, panel: Panel) -> dict[str, Measured]:
    """The values of pictures that show somebody else, by key."""
    found: dict[str, Measured] = {}
    for metric in panel.metrics:
        if metric.facts.kind == "quality":
            measured = unmeasured(metric, case, NO_FLOOR)
        elif metric.facts.kind == "labels":
            other = bounds.other_truth
            measured = unmeasured(metric, case, NO_OTHER_TRUTH) if other is None else panel.measure(metric, other)
        else:
            values = [_of_stand_in(metric, seen, i, panel=panel) for i, seen in enumerate(bounds.stand_ins)]
            measured = Measured(mean_over_subjects(values), tuple(values) if metric.facts.per_subject else ())
        found[metric.facts.key] = measured
    return found


def _of_stand_in(metric: Metric, seen: Evidence | None, index: int, *, panel: Panel) -> Value:
    """What the picture that stands in for a subject is worth to it."""
    if seen is None:
        return NO_OTHER
    measured = panel.measure(metric, seen)
    return measured.per_subject[index] if metric.facts.per_subject else measured.value


def measure_ceiling(case: Case, bounds: BoundEvidence, *, panel: Panel) -> dict[str, Measured]:
    """The values of the true picture of the case, or those among the subject's own photos, by key."""
    if bounds.truth is not None:
        return panel.measure_all(bounds.truth)
    return {
        metric.facts.key: of_subjects([_mean_of(metric, some, i, panel=panel) for i, some in enumerate(bounds.photos)])
        if metric.facts.kind == "subject"
        else unmeasured(metric, case, NO_TRUTH)
        for metric in panel.metrics
    }


def _mean_of(metric: Metric, photos: Sequence[Evidence], index: int, *, panel: Panel) -> Value:
    values = [panel.measure(metric, photo).per_subject[index] for photo in photos]
    return mean_over_subjects(values) if values else NO_OTHER_PHOTO


def _other_photos(case: Case, index: int, *, panel: Panel) -> list[Evidence]:
    """Each photo of a subject other than the conditioning one, to be compared with the photos it is not.

    Same pixels are the same photo, whatever the file is called.
    """
    subject = case.subjects[index]
    conditioning = panel.pixels(subject.reference_image)
    pixels = {path: panel.pixels(path) for path in subject.measured_photos}
    gathered = {path: panel.evidence(case, picture=path, is_photo=True) for path in pixels}
    found: list[Evidence] = []
    for path in (path for path, shown in pixels.items() if shown != conditioning):
        evidence = gathered[path]
        rest = tuple(panel.photo(other) for other in pixels if pixels[other] != pixels[path])
        subjects = tuple(replace(seen, photos=rest) if i == index else seen for i, seen in enumerate(evidence.subjects))
        found.append(replace(evidence, subjects=subjects))
    return found
