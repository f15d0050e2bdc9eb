"""A small pair set drawn from the world without any model, for the tests of formats, layouts and lint."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from likeness.core.files import write_jsonl
from likeness.world.identity import Identity, sample_identity
from likeness.world.render import Rendering, render, render_reference
from likeness.world.scenario import sample_scenario

SIZE, DILATION = 128, 3


def disrupted(who: Identity, rng: random.Random, *, difficulty: int) -> Identity:
    """Somebody else: of any kind (0), of the same species (1), or of the same species and body colour (2)."""
    while True:
        species = who.species if difficulty else None
        other = sample_identity(rng, split="train", species=species, like=who if difficulty == 2 else None)
        if sum(a != b for a, b in zip(who.attributes().values(), other.attributes().values(), strict=True)) >= 3:
            return other


def reference_mask(who: Identity, photo: NDArray[np.uint8], seed: int) -> NDArray[np.bool_]:
    """Where the photo is not its backdrop: the backdrop is one colour, seen in the corner."""
    return np.abs(photo.astype(int) - photo[0, 0].astype(int)).max(-1) > 6


def draw_pair(index: int, *, seed: int, folder: Path) -> dict[str, Any]:
    rng = random.Random(f"pair/{seed}/{index}")
    count = 1 + index % 2
    scenario = sample_scenario(seed * 100_003 + index, split="train", num_subjects=count, dressed=False)
    picture = render(scenario, size=SIZE)
    losers = rng.sample(range(count), rng.randint(1, count))
    changed = tuple(
        disrupted(who, rng, difficulty=(index // 2) % 3) if i in losers else who
        for i, who in enumerate(scenario.identities)
    )
    masks = [subject.visible_mask for subject in picture.labels.subjects]
    prior = np.any([masks[i] for i in losers], axis=0)
    near = binary_dilation(prior, iterations=DILATION)
    other = render(replace(scenario, identities=changed), size=SIZE).image
    loser = np.where(near[..., None], other, picture.image)
    return _written(folder, f"pair-{index:05d}", picture, loser, prior, losers, scenario.identities)


def _written(
    folder: Path,
    name: str,
    picture: Rendering,
    loser: NDArray[np.uint8],
    prior: NDArray[np.bool_],
    losers: list[int],
    people: tuple[Identity, ...],
) -> dict[str, Any]:
    def save(pixels: NDArray[Any], path: str) -> str:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels).save(folder / path)
        return path

    references: list[dict[str, Any]] = []
    subjects: list[dict[str, Any]] = []
    for i, (who, label) in enumerate(zip(people, picture.labels.subjects, strict=True)):
        photo = render_reference(who, seed=7 * i + len(name), size=96)
        mask = reference_mask(who, photo, i)
        shared = {"phrase": who.class_name, "id": who.id}
        references.append(
            shared
            | {"category": who.category, "class_name": who.class_name}
            | {"image": save(photo, f"references/{name}-{i}.png"), "mask": save(mask, f"masks/{name}-ref-{i}.png")}
        )
        rows, cols = np.flatnonzero(label.visible_mask.any(1)), np.flatnonzero(label.visible_mask.any(0))
        box = [cols[0] / SIZE, rows[0] / SIZE, (cols[-1] + 1) / SIZE, (rows[-1] + 1) / SIZE]
        subjects.append(
            shared
            | {"reference_index": i, "mask": save(label.visible_mask, f"masks/{name}-{i}.png"), "box": box}
            | {"disrupted": i in losers}
        )
    return {
        "id": name,
        "subset": "single" if len(people) == 1 else "multi",
        "category": people[losers[0]].category,
        "prompt": picture.labels.caption,
        "references": references,
        "preferred": save(picture.image, f"preferred/{name}.png"),
        "rejected": save(loser, f"rejected/{name}.png"),
        "subjects": subjects,
        "prior_mask": save(prior, f"masks/{name}.png"),
        "size": [SIZE, SIZE],
        "split": ("train", "validation", "test")[len(people) % 2],
    }


def has_four_tokens(row: dict[str, Any], folder: Path) -> bool:
    """Whether each mask covers half of at least four cells of 16 x 16 px, as pairs must."""
    for path in (row["prior_mask"], *(subject["mask"] for subject in row["subjects"] if subject["disrupted"])):
        mask = np.asarray(Image.open(folder / path)) > 127
        if (mask.reshape(SIZE // 16, 16, SIZE // 16, 16).mean((1, 3)) >= 0.5).sum() < 4:
            return False
    return True


def write_world_pairs(folder: Path, n: int, *, seed: int = 0) -> Path:
    """`folder` holds n clean pairs in pairs.jsonl."""
    rows: list[dict[str, Any]] = []
    index = 0
    while len(rows) < n:
        row = draw_pair(index, seed=seed, folder=folder)
        if has_four_tokens(row, folder):
            rows.append(row)
        index += 1
    write_jsonl(folder / "pairs.jsonl", rows)
    return folder


@pytest.fixture
def world_pairs() -> Callable[..., Path]:
    """The writer of clean pair sets: world_pairs(folder, n, seed=0)."""
    return write_world_pairs


@pytest.fixture(scope="session")
def clean_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clean pairs; tests copy the folder before they change it."""
    return write_world_pairs(tmp_path_factory.mktemp("clean"), 12)


@pytest.fixture(scope="session")
def write_set() -> Callable[..., Path]:
    """As `world_pairs`, for fixtures that live longer than a test."""
    return write_world_pairs
