"""The experiment's pairs with every rejected picture moved to another place.

DIP pairs are equal outside the disrupted subjects. Two pictures of a text-to-image model are not: their backgrounds
differ as well, and that is where a map over the subjects has something to leave out. Here the scenery behind the
rejected picture is redrawn as that of another scene. Subjects and things in front of it stay as they are, and so does
what a model has painted around a regenerated subject.
"""

import os
import random
import shutil
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from likeness.core.files import read_jsonl, write_jsonl
from likeness.core.images import save_png
from likeness.core.kinds import Split
from likeness.world.pen import Pen
from likeness.world.scenario import Scenario, sample_scenario
from likeness.world.scenes import SCENES


def move_pairs(pairs: Path, *, out: Path, split: Split, hard: bool) -> None:
    """`out` is the pair set `pairs` but for the rejected pictures; left alone where it exists."""
    if out.is_dir():
        return
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(pairs, part, copy_function=os.link, ignore=shutil.ignore_patterns("cache", "chunks"))
    rows = read_jsonl(pairs / "pairs.jsonl")
    for row in rows:
        people = len(row["subjects"])
        scenario = sample_scenario(row["seeds"]["scenario"], split=split, num_subjects=people, hard=hard, dressed=False)
        path = part / row["rejected"]
        moved = move(np.asarray(Image.open(path).convert("RGB")), scenario, seed=row["id"])
        path.unlink()  # a link to the original
        save_png(Image.fromarray(moved), path)
    write_jsonl(part / "pairs.jsonl", rows)
    part.rename(out)


def move(picture: UInt8[np.ndarray, "S S 3"], scenario: Scenario, *, seed: str) -> UInt8[np.ndarray, "S S 3"]:
    """`picture` with the scenery of another scene wherever it shows nothing but that of `scenario`."""
    rng = random.Random(f"elsewhere/{seed}")
    place = rng.choice([name for name in SCENES if name != scenario.scene])
    here, there = (_scenery(name, seed=scenario.seed, size=len(picture)) for name in (scenario.scene, place))
    return np.where((picture == here).all(axis=2, keepdims=True), there, picture)


def _scenery(scene: str, *, seed: int, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """What `render_image` paints behind everything else."""
    pen = Pen(size)
    SCENES[scene].back(pen, random.Random(f"scene/{seed}"))
    return pen.pixels()
