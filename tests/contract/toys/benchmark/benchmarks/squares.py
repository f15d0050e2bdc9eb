"""Squares, a toy benchmark: two prompts, each with one coloured square as its subject."""

from pathlib import Path

from PIL import Image

from likeness.core.files import write_jsonl
from likeness.core.images import save_png
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import CasesFile, read_cases

COLOURS = ("red", "blue")


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """The cases, as written to `folder`/cases.jsonl with their squares."""
    rows: list[dict[str, object]] = []
    for colour in COLOURS[:limit]:
        save_png(Image.new("RGB", (32, 32), colour), folder / f"{colour}.png")
        subject = {"id": colour, "class_name": "square", "reference_image": f"{colour}.png"}
        rows.append({"id": f"square-{colour}", "prompt": f"a {colour} square", "subjects": [subject]})
        progress(len(rows), len(COLOURS))
    write_jsonl(folder / "cases.jsonl", rows)
    return read_cases(folder / "cases.jsonl")
