"""The floor and the ceiling of each case: what the same numbers are for the wrong subject and for the true one.

Floor: the reference image of another subject (of the same class where there is one) stands in for the generated
picture; labels are read from the true picture of another case. Ceiling: the true picture of the case where the
benchmark has it, else the subject's photos other than the conditioning one, each against the photos it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from likeness.core.records import Case, Subject
from likeness.core.rng import seed_for
from likeness.evaluate.measure import (
    IMAGE_METRICS,
    Eyes,
    Measured,
    Values,
    fidelity_keys,
    joined,
    measure_labels,
    measure_picture,
    over_subjects,
    prompt_fidelity,
    similarity,
    subject_fidelity,
    unlabelled,
)
from likeness.metrics.base import mean_over_subjects, not_measured

NO_OTHER = "the benchmark has no other subject"
NO_TRUTH = "the benchmark has no true picture of this case"


@dataclass(frozen=True)
class Pool:
    """All subjects of a benchmark by id, its cases, and the true pictures by case id."""

    subjects: dict[str, Subject]
    cases: tuple[Case, ...]
    truth: dict[str, Path]


def make_pool(cases: Sequence[Case], *, truth_folder: Path | None) -> Pool:
    """The pool of a benchmark; the true picture of a case is `truth_folder`/<case_id>.png."""
    subjects = {subject.id: subject for case in cases for subject in case.subjects}
    paths = {case.id: truth_folder / f"{case.id}.png" for case in cases} if truth_folder else {}
    return Pool(subjects, tuple(cases), {name: path for name, path in paths.items() if path.is_file()})


def other_subject(subject: Subject, *, case: Case, pool: Pool) -> Subject | None:
    """A subject that is not in the case, of the same class where there is one, chosen by hash of the ids."""
    present = {s.id for s in case.subjects}
    others = [s for s in pool.subjects.values() if s.id not in present]
    same_class = [s for s in others if s.class_name == subject.class_name]
    return min(same_class or others, key=lambda s: (seed_for("floor", case.id, subject.id, s.id), s.id), default=None)


def other_truth(case: Case, *, pool: Pool) -> Path | None:
    """The true picture of a case with as many subjects, none of them shared, chosen by hash of the ids."""
    present = {s.id for s in case.subjects}
    others = [
        c.id
        for c in pool.cases
        if c.id in pool.truth and len(c.subjects) == len(present) and present.isdisjoint(s.id for s in c.subjects)
    ]
    chosen = min(others, key=lambda name: (seed_for("floor-labels", case.id, name), name), default=None)
    return None if chosen is None else pool.truth[chosen]


def measure_floor(case: Case, *, pool: Pool, eyes: Eyes, labelled: bool) -> Measured:
    """The values of pictures that show somebody else."""
    others = [other_subject(subject, case=case, pool=pool) for subject in case.subjects]
    subjects = tuple(
        _unmeasured_fidelity(NO_OTHER) if other is None else subject_fidelity(other.reference_image, subject, eyes=eyes)
        for subject, other in zip(case.subjects, others, strict=True)
    )
    texts = [
        not_measured(NO_OTHER) if other is None else prompt_fidelity(other.reference_image, case.prompt, eyes=eyes)
        for other in others
    ]
    values = {"clip_t": mean_over_subjects(texts)} | over_subjects(subjects, keys=fidelity_keys())
    if not labelled:
        return Measured(values, subjects)
    path = other_truth(case, pool=pool)
    reason = "the benchmark has no true picture of another case"
    labels = unlabelled(case, reason=reason) if path is None else measure_labels(path, case, eyes=eyes)
    return joined(Measured(values, subjects), labels)


def measure_ceiling(case: Case, *, pool: Pool, eyes: Eyes, labelled: bool) -> Measured:
    """The values of the true picture of the case, or those among the subject's own photos."""
    if case.id in pool.truth:
        return measure_picture(pool.truth[case.id], case, eyes=eyes, labelled=labelled)
    subjects = tuple(_photo_ceiling(subject, eyes=eyes) for subject in case.subjects)
    values = {"clip_t": not_measured(NO_TRUTH)} | over_subjects(subjects, keys=fidelity_keys())
    photos = Measured(values, subjects)
    return joined(photos, unlabelled(case, reason=NO_TRUTH)) if labelled else photos


def _unmeasured_fidelity(reason: str) -> Values:
    return {key: not_measured(reason) for key in fidelity_keys()}


def _photo_ceiling(subject: Subject, *, eyes: Eyes) -> Values:
    """Each photo other than the conditioning one against the photos it is not, and against the conditioning one.

    Same pixels are the same photo, whatever the file is called.
    """
    conditioning = eyes.picture(subject.reference_image).pixels
    pixels = {path: eyes.picture(path).pixels for path in subject.measured_photos}
    others = [path for path, shown in pixels.items() if shown != conditioning]
    if not others:
        return _unmeasured_fidelity("the subject has no photo besides the conditioning one")
    values: Values = {}
    for encoder, (name, _) in IMAGE_METRICS.items():
        rest = [
            similarity(path, [q for q in pixels if pixels[q] != pixels[path]], encoder=encoder, eyes=eyes)
            for path in others
        ]
        one = [similarity(path, [subject.reference_image], encoder=encoder, eyes=eyes) for path in others]
        values[name] = mean_over_subjects(rest)
        values[f"{name}_conditioning_photo"] = mean_over_subjects(one)
    return values
