"""What is to be made: one record per picture, and the proof inside each PNG that it is the picture asked for."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: the rows below are JSON

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import canonical_json
from likeness.core.images import png_text, save_png
from likeness.core.records import Case

__all__ = ["Sample", "read_notes", "sample_row", "samples_of", "write_sample"]


class Sample(NamedTuple):
    """Picture number `k` of a case; `proof` is the canonical JSON its PNG must carry."""

    case: Case
    k: int
    proof: str

    @property
    def id(self) -> str:
        """The id of the sample in every table."""
        return f"{self.case.id}-{self.k}"

    @property
    def seed(self) -> int:
        """The seed of this picture: the case's seed plus k."""
        return self.case.seed + self.k

    @property
    def file(self) -> Path:
        """Its PNG, relative to the run folder."""
        return Path("images") / f"{self.id}.png"


def samples_of(
    cases: Sequence[Case], *, num_images: int, digests: dict[Path, str], provenance: dict[str, Any]
) -> list[Sample]:
    """Every picture of a run, case by case; `provenance` (model, settings) goes into each proof."""
    samples: list[Sample] = []
    for case in cases:
        shown = [digests[subject.reference_image] for subject in case.subjects]
        for k in range(num_images):
            facts = {"case_id": case.id, "k": k, "prompt": case.prompt, "seed": case.seed + k, "references": shown}
            samples.append(Sample(case, k, canonical_json({**facts, **provenance})))
    return samples


def write_sample(image: Image.Image, sample: Sample, *, folder: Path, notes: Sequence[str]) -> None:
    """The sample's PNG is whole and carries its proof and notes. Raises: OutputError."""
    text = {"likeness": sample.proof, "notes": json.dumps(list(notes), ensure_ascii=False)}
    save_png(image, folder / sample.file, text=text)


def read_notes(sample: Sample, *, folder: Path) -> list[str] | None:
    """The notes in the sample's PNG, or None when there is no whole PNG with the right proof."""
    try:
        text = png_text(folder / sample.file)
        notes = json.loads(text["notes"])
    except (DataError, KeyError, ValueError):
        return None
    return notes if text.get("likeness") == sample.proof else None


def sample_row(
    sample: Sample, *, notes: list[str], digests: dict[Path, str], identity: dict[str, Any]
) -> dict[str, Any]:
    """The sample's row of manifest.jsonl; `sha256` of a reference is the hash of its pixels."""
    references = [
        {
            "subject_id": subject.id,
            "file": subject.reference_image.as_posix(),
            "sha256": digests[subject.reference_image],
        }
        for subject in sample.case.subjects
    ]
    return {
        "id": sample.id,
        "case_id": sample.case.id,
        "k": sample.k,
        "image": sample.file.as_posix(),
        "prompt": sample.case.prompt,
        "seed": sample.seed,
        "references": references,
        "model": identity["model"],
        "settings": identity["settings"],
        "versions": identity["versions"],
        "notes": notes,
    }
