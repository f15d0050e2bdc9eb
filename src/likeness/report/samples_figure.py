"""Sample pictures of a training run: a row per case, its references first, then what was drawn as the steps went on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from likeness.report import check
from likeness.report.check import read_object
from likeness.report.figures import Captioned, PagePicture, inline_picture

PICTURE_SIDE = 192
MAX_STEPS = 8  # of a page; of more steps the first, the last and some between at equal distances


@dataclass(frozen=True)
class SampleRow:
    """A case with its references and its picture at every step shown."""

    case_id: str
    prompt: str
    references: tuple[Captioned, ...]
    pictures: tuple[Captioned, ...]


def sample_rows(run: Path) -> list[SampleRow]:
    """One row per case of RUN/samples, none where there are no pictures.

    Raises: DataError when samples.json does not follow the schema of train/samples.py.
    """
    cases = read_object(run / "samples" / "samples.json", check.SAMPLES).get("cases", [])
    steps = _shown_steps(run)
    return [_row(run, case, steps=steps) for case in cases] if steps else []


def _shown_steps(run: Path) -> list[int]:
    found = sorted(int(path.name) for path in (run / "samples").glob("[0-9]*") if path.name.isdecimal())
    last = len(found) - 1
    if last < MAX_STEPS:
        return found
    return [found[round(place * last / (MAX_STEPS - 1))] for place in range(MAX_STEPS)]


def _row(run: Path, case: Mapping[str, Any], *, steps: list[int]) -> SampleRow:
    named = zip(case["references"], case["subjects"], strict=False)
    references = tuple(Captioned(_picture(run, name), f"reference: {subject}") for name, subject in named)
    pictures = tuple(
        Captioned(
            _picture(run, f"samples/{step:06d}/{case['id']}.png"),
            f"step {step}" if step else "step 0, the untuned model",
        )
        for step in steps
    )
    return SampleRow(case["id"], case["prompt"], references, pictures)


def _picture(run: Path, name: str) -> PagePicture:
    """The picture by its name in the run folder; a problem names it likewise, since the page tells no absolute path."""
    found = inline_picture(run / name, long_side=PICTURE_SIDE)
    return found if found.uri else replace(found, problem=f"{name}: no readable picture")
