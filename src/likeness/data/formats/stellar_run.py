"""A run of `likeness generate` in Stellar's layout of a method, for tools that read that.

    OUT/NNN-I-PP.png with NNN-I-PP.json, nothing else

The case's id ends in NNN-I-PP, as those of the benchmarks `stellar` and `stellar-world` do.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from likeness.core.errors import DataError, OutputError
from likeness.core.files import atomic_write_bytes, read_jsonl, remove_stale_temporaries, write_json
from likeness.core.images import load_image
from likeness.core.records import Case, read_cases
from likeness.core.rows import LeftOut, readable_mistakes
from likeness.data.formats.stellar_files import NO_YES, PERSON, SLOT, picture_name

__all__ = ["RunExport", "export_run"]


class RunExport(NamedTuple):
    """What was written, and the pictures of the run that were left out."""

    out: Path
    num_pictures: int
    left_out: tuple[LeftOut, ...]


class _Row(BaseModel):
    """What is needed of a row of manifest.jsonl."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str
    case_id: str
    image: str
    seed: int
    model: dict[str, Any]
    k: int = Field(default=0, ge=0)
    settings: dict[str, Any] = Field(default_factory=dict[str, Any])
    settings_in_force: dict[str, Any] = Field(default_factory=dict[str, Any])


def export_run(run: Path, out: Path) -> RunExport:
    """The pictures of the folder `run` with their JSON in `out`; a second export writes the same bytes.

    `guidance_scale` is the classifier-free guidance where there is any, else the distilled one.

    `generation_datetime` is when the run's file was written, `attributes` are those answered with yes or no, and
    `aux_metadata` holds all settings. Pictures that have no place in the layout are left out with their reason.
    Raises: DataError for a folder that is no run, or of which no picture has a place; OutputError when `out` holds
    other files or cannot be written.
    """
    cases = {case.id: case for case in read_cases(run / "cases.jsonl").cases}
    rows = read_jsonl(run / "manifest.jsonl")
    _require_own(out)
    left_out: list[LeftOut] = []
    for number, row in enumerate(rows):
        try:
            _write(_row(row), run=run, out=out, cases=cases, index=number)
        except DataError as error:
            left_out.append(LeftOut.at(f"{run / 'manifest.jsonl'}:{number + 1}", error))
    if len(left_out) == len(rows):
        first = left_out[0].reason if left_out else "the manifest has no row"
        raise DataError(f"{run}: expected pictures of stellar or stellar-world, got none; first: {first}")
    return RunExport(out, len(rows) - len(left_out), tuple(left_out))


def _require_own(out: Path) -> None:
    """Raises: OutputError when the folder holds anything but an earlier export."""
    if not out.exists():
        return
    if out.is_dir():
        remove_stale_temporaries(out)
    others = (
        [p.name for p in out.iterdir() if not re.fullmatch(r"\d{3}-\d+-\d+\.(png|json)", p.name)]
        if out.is_dir()
        else [out.name]
    )
    if others:
        raise OutputError(f"{out}: expected an empty folder, got {sorted(others)[0]!r} in it; choose a new folder.")


def _row(row: Any) -> _Row:
    try:
        return _Row.model_validate(row)
    except ValidationError as error:
        raise DataError(readable_mistakes(error)) from None


def _write(row: _Row, *, run: Path, out: Path, cases: Mapping[str, Case], index: int) -> None:
    """One picture and its JSON. Raises: DataError saying why it has no place."""
    name, case = picture_name(row.case_id), cases.get(row.case_id)
    if name is None or case is None:
        raise DataError(f"expected a case whose id ends in NNN-I-PP, got {row.case_id}; the layout has no other.")
    if row.k:
        raise DataError(f"expected one picture per case, got picture {row.k} of {row.case_id} too; it is left out.")
    image = run / row.image
    if not image.resolve().is_relative_to(run.resolve()):
        raise DataError(f"image: expected a file of the run, got {row.image}; repeat `likeness generate`.")
    load_image(image)
    stem = f"{name.person}-{name.photo}-{name.prompt}"
    facts = _facts(row, case=case, image=image) | {"index": index, "save_name": stem}
    facts["image_path"] = f"{name.person}/{name.photo}.jpg"
    atomic_write_bytes(out / f"{stem}.png", image.read_bytes())
    write_json(out / f"{stem}.json", {key: facts[key] for key in KEYS})


KEYS = (
    *("index", "generation_datetime", "prompt", "attributes", "detectables", "image_path", "save_name"),
    *("model_name", "steps", "guidance_scale", "model_seed", "aux_metadata"),
)


def _facts(row: _Row, *, case: Case, image: Path) -> dict[str, Any]:
    prompt = re.sub(rf"\b{PERSON}\b", SLOT, case.prompt, count=1)
    if SLOT not in prompt:
        raise DataError(f"prompt: expected the words {PERSON!r} for the slot, got {case.prompt[:80]!r}.")
    numbers = {answer: number for number, answer in NO_YES.items()}
    attributes = (case.subjects[0].attributes if case.subjects else None) or {}
    settings = row.settings | row.settings_in_force
    cfg_scale = settings.get("cfg_scale") or 0.0
    return {
        "generation_datetime": f"{datetime.fromtimestamp(image.stat().st_mtime, UTC):%Y%m%d_%H%M%S}",
        "prompt": prompt,
        "attributes": {name: numbers[answer] for name, answer in attributes.items() if answer in numbers},
        "detectables": list(case.labels.detectables),
        "model_name": row.model.get("id"),
        "steps": settings.get("steps"),
        "guidance_scale": cfg_scale if cfg_scale > 1 else settings.get("guidance"),
        "model_seed": row.seed,
        "aux_metadata": settings,
    }
