"""The failures where subjects touch, as a page shows them: shares, reasons, and the worst pictures with references.

Numbers are those of "failures" in summary.json (evaluate/failures.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from likeness.core.records import Case
from likeness.report.figures import Captioned
from likeness.report.pictures import Album
from likeness.report.tables import Json, Run, ScoredSample, number


@dataclass(frozen=True)
class WorstPicture:
    """A failed picture: the case that asked for it, its references, and its reading in words."""

    anchor: str
    prompt: str
    references: list[Captioned]
    result: Captioned


@dataclass(frozen=True)
class FailurePart:
    """One category: its row of summary.json, and its worst pictures."""

    row: Json
    worst: list[WorstPicture]

    @property
    def rule(self) -> str:
        """From where on a picture has failed, in words."""
        return f"A picture fails from {self.row['limit']:g} {self.row['unit']} on ({self.row['metric']})."

    @property
    def reasons(self) -> list[str]:
        """Why pictures do not count, each reason with its count."""
        unmeasured = [f"{count} not measured: {reason}" for reason, count in self.row["not_measured"].items()]
        return unmeasured + [f"{count} not counted: {why}" for why, count in self.row["not_applicable"].items()]


def failure_parts(run: Run, *, anchor: str, album: Album) -> list[FailurePart]:
    """The categories of a run, in their order; none where it has no relation between subjects."""
    parts: list[FailurePart] = []
    for row in run.failures:
        worst = [_picture(case, sample, told, anchor, album) for case, sample, told in _worst(run, row)]
        parts.append(FailurePart(row, worst))
    return parts


def pictures_of_failures(run: Run) -> list[Path]:
    """Every picture of `failure_parts`, as often as it is shown."""
    found = [each for row in run.failures for each in _worst(run, row)]
    return [path for case, sample, _ in found for path in (*_references(case), sample.image)]


def _worst(run: Run, row: Json) -> Iterator[tuple[Case, ScoredSample, str]]:
    """The pictures that are still in the run folder, with what was read of each."""
    cases = {case.id: case for case in run.cases}
    for each in row["worst"]:
        samples = {sample.id: sample for sample in run.samples.get(each["case_id"], ())}
        if each["case_id"] in cases and each["id"] in samples:
            yield cases[each["case_id"]], samples[each["id"]], f"{number(each['value'])} {row['unit']}"


def _references(case: Case) -> list[Path]:
    return [subject.reference_image for subject in case.subjects]


def _picture(case: Case, sample: ScoredSample, told: str, anchor: str, album: Album) -> WorstPicture:
    named = zip(_references(case), case.subjects, strict=True)
    references = [Captioned(album[path], subject.class_name) for path, subject in named]
    return WorstPicture(f"{anchor}-{case.id}", case.prompt, references, Captioned(album[sample.image], told))
