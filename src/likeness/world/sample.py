"""`likeness world sample`: labelled pictures on disk."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.core.files import write_jsonl
from likeness.core.images import save_png
from likeness.core.jobs import Progress, always, run_jobs, unseen
from likeness.core.kinds import Split
from likeness.core.runs import hold_run, open_run, package_versions
from likeness.core.skeletons import AP10K
from likeness.world.render import Rendering, render
from likeness.world.scenario import sample_scenario

SHEET_NAME, SHEET_COLUMNS, SHEET_CELLS = "contact_sheet.png", 8, 64
_VERSIONED = ("numpy", "pillow", "skia-python")
AHEAD = 32  # pictures per worker that may wait for an earlier one


def write_samples(
    n: int, *, out: Path, split: Split, size: int, seed: int, workers: int, progress: Progress = unseen
) -> Path:
    """Writes images/, labels.jsonl and contact_sheet.png under `out` and returns the label file.

    Rendering i of a seed has the same bytes whatever `n` and `workers` are. Pictures already there are kept: `out` is
    new or of the same call, which run.json tells.
    Raises: OutputError when `out` is of another call, holds other files or cannot be written.
    """
    facts = {"n": n, "split": split, "size": size, "seed": seed, "versions": package_versions(*_VERSIONED)}
    open_run(out, identity={"kind": "world_sample", **facts})
    with hold_run(out):
        finished = [out / "labels.jsonl", out / SHEET_NAME, *(out / _image_name(i, seed=seed) for i in range(n))]
        if all(path.is_file() for path in finished):
            progress(n, n)
            return out / "labels.jsonl"
        draw = partial(_draw, out=out, split=split, size=size, seed=seed)
        rows = _draw_all(n, draw, workers=workers, progress=progress)
        save_png(_sheet(out, rows[:SHEET_CELLS], size=size), out / SHEET_NAME)
        write_jsonl(out / "labels.jsonl", rows)
    return out / "labels.jsonl"


def _draw_all(
    n: int, draw: Callable[[int], dict[str, object]], *, workers: int, progress: Progress
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    progress(0, n)
    for _, row in run_jobs(range(n), load=always(draw), workers=workers, ahead=AHEAD, in_order=True):
        rows.append(row)
        progress(len(rows), n)
    return rows


def _image_name(index: int, *, seed: int) -> str:
    return f"images/{seed}-{index:06d}.png"


def _draw(index: int, *, out: Path, split: Split, size: int, seed: int) -> dict[str, object]:
    picture = render(sample_scenario(seed * 1_000_003 + index, split=split), size=size)
    name = _image_name(index, seed=seed)
    if not (out / name).is_file():
        save_png(Image.fromarray(picture.image), out / name)
    return label_row(picture, image=name)


def label_row(picture: Rendering, *, image: str) -> dict[str, object]:
    """One line of labels.jsonl. Boxes, heads and keypoints are shares of the side; masks are COCO run lengths."""
    labels = picture.labels
    return {
        "image": image,
        "caption": labels.caption,
        "action": labels.action,
        "scene": labels.scene,
        "objects": list(labels.objects),
        "triplets": [list(triplet) for triplet in labels.triplets],
        "subjects": [
            {
                "id": subject.id,
                "class_name": subject.class_name,
                "attributes": subject.attributes,
                "box": [round(float(v), 5) for v in subject.box],
                "head": [round(float(v), 5) for v in subject.head],
                "keypoints": {
                    name: [round(float(v), 5) for v in row] for name, row in zip(AP10K, subject.keypoints, strict=True)
                },
                "visible_mask": run_lengths(subject.visible_mask),
                "full_mask": run_lengths(subject.full_mask),
            }
            for subject in labels.subjects
        ],
    }


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Uncompressed COCO run-length encoding: column by column, starting with the number of zeros."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate(([0], changes, [flat.size]))
    counts = np.diff(edges).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def _sheet(out: Path, rows: list[dict[str, object]], *, size: int) -> Image.Image:
    """The first pictures side by side."""
    lines = -(-len(rows) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (size * min(SHEET_COLUMNS, len(rows)), size * lines), "white")
    for i, row in enumerate(rows):
        with Image.open(out / str(row["image"])) as picture:
            sheet.paste(picture, (i % SHEET_COLUMNS * size, i // SHEET_COLUMNS * size))
    return sheet
