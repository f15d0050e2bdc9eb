"""Writes relation data in the layout that DreamRelation published, with the faults of its ten released samples.

The real samples have no licence and are not here. What is known of each (design note, 3.1-d) are the votes of its key
poses for the order as it is and for the other, and what is odd about its files; both are built into synthetic copies.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

SIDE = 80
WORDS = ("tiger", "bear")


class Sample(NamedTuple):
    """Exclusive votes of the rows as they are and exchanged; `swapped` is what a person sees."""

    relation: str
    key: str
    keep: int
    swap: int
    swapped: bool


SAMPLES = (
    *(Sample("hug", str(k), *votes, k == 2) for k, votes in enumerate(((12, 2), (9, 8), (6, 16), (13, 3), (6, 2)))),
    *(Sample("shake", str(k), *votes, k < 3) for k, votes in enumerate(((0, 34), (0, 34), (1, 33), (34, 0), (28, 1)))),
)


def masks_of(relation: str) -> list[np.ndarray]:
    """Of hug two overlapping rectangles, of shake two silhouettes apart."""
    rows, columns = np.indices((SIDE, SIDE))
    if relation == "hug":
        boxes = ((4, 52), (28, 76))
        return [(columns >= left) & (columns < right) & (rows >= 10) & (rows < 70) for left, right in boxes]
    return [np.hypot((columns - centre) / 0.8, rows - 40) < 22 for centre in (20, 60)]


def poses_of(sample: Sample, masks: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(2, 17, 2) shares with exactly the sample's votes: the others lie in the overlap of both masks, or in neither."""
    alone = [masks[0] & ~masks[1], masks[1] & ~masks[0]]
    neutral = masks[0] & masks[1] if (masks[0] & masks[1]).any() else ~(masks[0] | masks[1])
    rows: list[np.ndarray] = []
    for row in range(2):
        kept, swapped = (sample.keep + 1 - row) // 2, (sample.swap + row) // 2
        areas = [alone[row]] * kept + [alone[1 - row]] * swapped
        areas += [neutral] * (17 - len(areas))
        rows.append(np.stack([_inside(area, rng) for area in areas]))
    return np.stack(rows)


def _inside(area: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    places = np.argwhere(area)
    row, column = places[rng.integers(len(places))]
    return (np.array([column, row]) + 0.5) / SIDE


def concept_poses(rng: np.random.Generator, *, cut_off: bool) -> np.ndarray:
    """(1, 17, 2); with `cut_off` the hind legs pile up at the right edge and on the mouth, as in a close-up."""
    points = np.stack([(np.arange(17) % 5 + 1) / 6, (np.arange(17) // 5 + 1) / 5.5], axis=1)
    points = points + rng.uniform(-0.01, 0.01, points.shape)
    if cut_off:
        points[11:14] = (0.998, 0.6)
        points[14:17] = (0.42, 0.41)
    return points[None]


def tensor(points: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(points.astype(np.float32))


def write_sample(folder: Path, sample: Sample) -> dict[str, Any]:
    """The sample's files below `folder`, and its row of prompts.json."""
    rng = np.random.default_rng(len(sample.relation) * 100 + int(sample.key))
    videos, places = folder / sample.relation / "videos" / sample.key, folder / sample.relation / "masks" / sample.key
    videos.mkdir(parents=True)
    places.mkdir(parents=True)
    masks = masks_of(sample.relation)
    for name in ("motion", "concept0", "concept1"):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(videos / f"{name}.png")
    for index, mask in enumerate(masks):
        Image.fromarray(mask).convert("L").save(places / f"motion{index}.png")
    poses = tensor(poses_of(sample, masks, rng))
    if (sample.relation, sample.key) == ("hug", "0"):  # a view of three rows: somebody in the background is cut off
        poses = torch.cat([poses, tensor(concept_poses(rng, cut_off=False))])[:2]
    torch.save(poses, videos / "motion_keyposes.pth")
    for name in ("one", "two"):
        cut_off = (sample.relation, sample.key) == ("shake", "4")
        torch.save(tensor(concept_poses(rng, cut_off=cut_off)), videos / f"concept_keyposes_{name}.pth")
    verb = "hugging" if sample.relation == "hug" else "shaking hands with"
    row: dict[str, Any] = {"prompt": f"A {WORDS[0]} is {verb} a {WORDS[1]} on a hill", "entities": list(WORDS)}
    return row | ({"predicate": [verb]} if sample.relation == "hug" else {})  # shake has none


def write_samples(folder: Path) -> Path:
    """All ten in the layout of the public repository."""
    rows: dict[str, dict[str, Any]] = {}
    for sample in SAMPLES:
        rows.setdefault(sample.relation, {})[sample.key] = write_sample(folder, sample)
    for relation, table in rows.items():
        (folder / relation / "prompts.json").write_text(json.dumps(table))
    return folder


def write_single(folder: Path) -> Path:
    """A relation of one subject: other names, one row everywhere."""
    rng = np.random.default_rng(7)
    videos, masks = folder / "wave" / "videos" / "0", folder / "wave" / "masks" / "0"
    videos.mkdir(parents=True)
    masks.mkdir(parents=True)
    for name in ("motion", "concept"):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(videos / f"{name}.png")
    mask = masks_of("shake")[0]
    Image.fromarray(mask).convert("L").save(masks / "motion.png")
    torch.save(tensor(np.stack([_inside(mask, rng) for _ in range(17)])[None]), videos / "motion_keyposes.pth")
    torch.save(tensor(concept_poses(rng, cut_off=False)), videos / "concept_keyposes.pth")
    row = {"prompt": "a tiger is waving", "entity": "tiger", "predicate": ["waving"]}
    (folder / "wave" / "prompts.json").write_text(json.dumps({"0": row}))
    return folder
