"""How well a U-Net's features find the subjects, by noise level and resolution: the world's exact masks as oracle.

    python figures/unet_field.py --pictures 160 --write

Pictures of two subjects of the validation split, each with one reference. Of the K tokens most like a reference (K as
many as its subject covers), the share that lies on that subject: recall, whose chance is the subject's share of all
tokens. "all" is the mean over all layers, as training takes it; the other grids are those of the layers alone.
Written to docs/unet_field.json, and as a table into the page of the backbone.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from blocks import fill_block
from PIL import Image
from torch import Tensor

from likeness.backbones.base import Backbone
from likeness.backbones.open import open_backbone
from likeness.backbones.pixels import to_pixels
from likeness.core.files import write_json
from likeness.core.rng import seed_for
from likeness.core.stats.intervals import mean_interval
from likeness.focus import FieldCollector, resolve_overlaps, token_mask
from likeness.focus.fusion import matched_tokens
from likeness.world.render import Rendering, render, render_reference
from likeness.world.scenario import Scenario, sample_scenario

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "backbones" / "sdxl-ip-adapter.md"
TIMES = (0.95, 0.8, 0.6, 0.4, 0.2)
NUM_SUBJECTS = 2
BATCH = 16
Key = tuple[str, bool, str, float]  # features, centred, grid, t


class ByGrid:
    """A `Watch` that keeps one FieldCollector for all layers and one for the layers of each grid."""

    def __init__(self, rows: int, masks: Sequence[Tensor], *, features: str, center: bool, grid: Any) -> None:
        self.features, self.detached = features, True
        self._made = lambda: FieldCollector(rows, masks, center=center, features=features, grid=tuple(grid))
        self.collectors = {"all": self._made()}

    def __call__(self, layer: str, target: Tensor, references: Sequence[Tensor], grid: Any, /) -> None:
        name = f"{grid[0]} x {grid[1]}"
        if name not in self.collectors:
            self.collectors[name] = self._made()
        for each in (self.collectors["all"], self.collectors[name]):
            each(layer, target, references, grid)


def portraits(scenario: Scenario, *, size: int) -> list[Image.Image]:
    """One reference of each subject."""
    seeds = [(who, seed_for("reference", scenario.seed, i)) for i, who in enumerate(scenario.identities)]
    return [Image.fromarray(render_reference(who, seed=seed, size=size)) for who, seed in seeds]


def subject_masks(drawn: list[Rendering], grid: tuple[int, int]) -> Tensor:
    """(B, R, L) bool, without overlaps."""
    masks = [[torch.from_numpy(who.visible_mask) for who in each.labels.subjects] for each in drawn]
    return resolve_overlaps(torch.stack([token_mask(torch.stack(one), grid) for one in masks]))


@torch.no_grad()
def measure_batch(backbone: Backbone[Any], first: int, *, count: int, size: int) -> dict[Key, list[float]]:
    """Recall of each picture whose subjects both show, for every choice."""
    scenarios = [sample_scenario(i, split="validation", num_subjects=NUM_SUBJECTS) for i in range(first, first + count)]
    drawn = [render(each, size=size) for each in scenarios]
    fitted = [backbone.fit_references(portraits(each, size=96)) for each in scenarios]
    rows = [backbone.prepare(each.labels.caption, shown) for each, shown in zip(drawn, fitted, strict=True)]
    condition = backbone.collate(rows)
    x0 = backbone.encode(to_pixels([Image.fromarray(each.image) for each in drawn]))
    grid = tuple(side // backbone.facts.latents_per_token for side in x0.shape[-2:])
    subjects = subject_masks(drawn, (grid[0], grid[1]))
    counts = subjects.sum(-1)
    shown = counts.bool().all(1)
    reference_tokens = [row.shape[-2] for row in (rows[0][f"reference{i}"] for i in range(NUM_SUBJECTS))]
    masks = [torch.ones(count, tokens, dtype=torch.bool) for tokens in reference_tokens]
    eps = torch.stack([
        torch.randn(x0.shape[1:], generator=torch.Generator().manual_seed(seed_for("field", each.seed)))
        for each in scenarios
    ])  # fmt: skip
    found: dict[Key, list[float]] = defaultdict(list)
    for features, center, t in product(backbone.features, (False, True), TIMES):
        watch = ByGrid(count, masks, features=features, center=center, grid=grid)
        times = torch.full((count,), t)
        backbone.predict(backbone.noise(x0, eps, times), times, condition, watch)
        for name, collector in watch.collectors.items():
            matched = matched_tokens(collector.scores(), counts)
            recall = ((matched & subjects).sum(-1) / counts).mean(1)
            found[features, center, name, t] += recall[shown].tolist()
    found["chance", False, "all", 0.0] += (counts / subjects.shape[-1]).mean(1)[shown].tolist()
    return found


def as_rows(found: dict[Key, list[float]]) -> list[dict[str, object]]:
    """One row per choice and time, with a 95% interval over pictures."""
    rows: list[dict[str, object]] = []
    for (features, center, grid, t), values in found.items():
        got = mean_interval(values, [str(number) for number in range(len(values))])
        cells = {"recall": got.mean, "ci_low": got.ci_low, "ci_high": got.ci_high}
        numbers = {name: round(value, 4) for name, value in cells.items()}
        rows.append({"features": features, "center": center, "grid": grid, "t": t, **numbers, "n": got.n})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line per choice of features and grid, a column per time."""
    head = ["features", "layers of grid", *(f"t = {t}" for t in TIMES), "mean"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    cells: dict[tuple[str, bool, str], dict[float, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        cells[row["features"], row["center"], row["grid"]][row["t"]] = row
    chance = cells.pop(("chance", False, "all"))[0.0]
    means = {key: sum(each["recall"] for each in by_t.values()) / len(by_t) for key, by_t in cells.items()}
    for key in sorted(cells, key=lambda key: -means[key]):
        features, center, grid = key
        width = [f"{each['recall']:.2f} ± {(each['ci_high'] - each['ci_low']) / 2:.2f}" for each in cells[key].values()]
        name = features + (", centred" if center else "")
        lines.append("| " + " | ".join([name, grid, *width, f"{means[key]:.3f}"]) + " |")
    note = f"{chance['n']} pictures of two subjects; chance {chance['recall']:.2f}; ± is half of a 95% interval.\n\n"
    return note + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sdxl", help="an SDXL: an embedded name or a folder")
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--write", action="store_true", help="into docs/; otherwise only printed")
    given = parser.parse_args()
    backbone = open_backbone(given.model, device="cpu", dtype="float32")
    size = backbone.settings.size
    found: dict[Key, list[float]] = defaultdict(list)
    for first in range(0, given.pictures, BATCH):
        count = min(BATCH, given.pictures - first)
        for key, values in measure_batch(backbone, first, count=count, size=size).items():
            found[key] += values
        print(f"{first + count} of {given.pictures}", flush=True)
    rows = as_rows(found)
    print(table(rows))
    if given.write:
        write_json(ROOT / "docs" / "unet_field.json", rows)
        fill_block(PAGE, "field", table(rows))


if __name__ == "__main__":
    main()
