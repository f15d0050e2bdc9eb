"""What is to be made: one record per picture, and the proof inside each PNG that it is the picture asked for."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: the rows below are JSON

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import canonical_json
from likeness.core.images import png_text, save_png
from likeness.core.records import Case, Subject
from likeness.generate.placing import GIVEN, NOWHERE, Placed, Placing

__all__ = ["PictureJob", "jobs_of", "manifest_row", "read_notes", "write_picture"]


class PictureJob(NamedTuple):
    """Picture number `k` of a case; `proof` is the canonical JSON its PNG must carry.

    `placed` says where its subjects are to be; None leaves that to the maker.
    """

    case: Case
    k: int
    proof: str
    placed: Placed | None = None

    @property
    def id(self) -> str:
        """The id of the job in every table."""
        return f"{self.case.id}-{self.k}"

    @property
    def seed(self) -> int:
        """The seed of this picture: the case's seed plus k."""
        return self.case.seed + self.k

    @property
    def file(self) -> Path:
        """Its PNG, relative to the run folder."""
        return Path("images") / f"{self.id}.png"


def jobs_of(
    cases: Sequence[Case],
    *,
    num_images: int,
    digests: dict[Path, str],
    provenance: dict[str, Any],
    placing: Placing | None = None,
) -> list[PictureJob]:
    """Every picture of a run, case by case; `provenance` (model, settings) goes into each proof, as a layout does."""
    jobs: list[PictureJob] = []
    for case in cases:
        shown = [_digests_of(subject, digests) for subject in case.subjects]
        placed = None if placing is None else placing(case)
        told = _told(placed, case)
        for k in range(num_images):
            facts = {"case_id": case.id, "k": k, "prompt": case.prompt, "seed": case.seed + k, "references": shown}
            jobs.append(PictureJob(case, k, canonical_json({**facts, **told, **provenance}), placed))
    return jobs


def _told(placed: Placed | None, case: Case) -> dict[str, Any]:
    """The layout of a picture, and of one that was not given where it comes from."""
    layout = case.layout if placed is None else placed.layout
    shown = {} if layout is None else {"layout": layout.model_dump(mode="json")}
    return shown if placed is None or placed.source in (GIVEN, NOWHERE) else {**shown, "layout_source": placed.source}


def _digests_of(subject: Subject, digests: dict[Path, str]) -> str | list[str]:
    """The hash of the reference image, with that of its mask where there is one."""
    found = digests[subject.reference_image]
    return found if subject.mask is None else [found, digests[subject.mask]]


def write_picture(image: Image.Image, job: PictureJob, *, folder: Path, notes: Sequence[str]) -> None:
    """The job's PNG is whole and carries its proof and notes. Raises: OutputError."""
    text = {"likeness": job.proof, "notes": json.dumps(list(notes), ensure_ascii=False)}
    save_png(image, folder / job.file, text=text)


def read_notes(job: PictureJob, *, folder: Path) -> list[str] | None:
    """The notes in the job's PNG, or None when there is no whole PNG with the right proof."""
    try:
        text = png_text(folder / job.file)
        notes = json.loads(text["notes"])
    except (DataError, KeyError, ValueError):
        return None
    return notes if text.get("likeness") == job.proof else None


def manifest_row(
    job: PictureJob, *, notes: list[str], digests: dict[Path, str], identity: dict[str, Any]
) -> dict[str, Any]:
    """The job's row of manifest.jsonl; `sha256` and `mask_sha256` of a reference are the hashes of pixels."""

    def shown(subject: Subject) -> dict[str, str]:
        file, mask = subject.reference_image, subject.mask
        row = {"subject_id": subject.id, "file": file.as_posix(), "sha256": digests[file]}
        return row if mask is None else {**row, "mask": mask.as_posix(), "mask_sha256": digests[mask]}

    return {
        "id": job.id,
        "case_id": job.case.id,
        "k": job.k,
        "image": job.file.as_posix(),
        "prompt": job.case.prompt,
        "seed": job.seed,
        "references": [shown(subject) for subject in job.case.subjects],
        **{key: identity[key] for key in ("model", "settings", "settings_in_force", "versions")},
        **_placed_row(job.placed),
        "notes": notes,
    }


def _placed_row(placed: Placed | None) -> dict[str, Any]:
    if placed is None:
        return {}
    boxes = {} if placed.layout is None else placed.layout.model_dump(mode="json")
    return {"layout": {**boxes, "source": placed.source}}
