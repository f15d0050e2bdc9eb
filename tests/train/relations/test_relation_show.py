"""What is shown beside a relation training, against loops over cells and joints; and the figure made of it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_sdxl import build_tiny_sdxl

from likeness.backbones.base import TokenGrid
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.core.errors import DataError
from likeness.core.rng import seed_for
from likeness.data.relations.read import read_relations
from likeness.data.relations.world import make_world_relations
from likeness.report.relations_figure import COLORS, relation_figures
from likeness.train.config import read_train_config
from likeness.train.relations.show import cosine_map, mean_attention
from likeness.train.relations.task import RelationTask
from likeness.train.task import Draw

SIZE = 64


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RelationTask, SdxlIpAdapter]:
    """A folder with what a task shows at step 7, the task and its model."""
    root = tmp_path_factory.mktemp("relations")
    make_world_relations(2, out=root / "set", actions=["hug"], size=96)
    sdxl = SdxlIpAdapter.load(build_tiny_sdxl(root / "sdxl"))
    (root / "relation.toml").write_text(
        f'task = "relations"\n[model]\nbase = {json.dumps(str(root / "sdxl"))}\n'
        f'[data]\nrelations = {json.dumps(str(root / "set"))}\nsize = {SIZE}\n[objective]\nkind = "relation"\n'
    )
    task = RelationTask.find(read_train_config(root / "relation.toml"), model=root / "sdxl", precision=torch.float32)
    task.prepare(sdxl, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
    task.show(root / "run", step=7, backbone=sdxl)
    return root, task, sdxl


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_cosines_are_those_of_each_cell() -> None:
    rng = np.random.default_rng(0)
    clean, latents = rng.normal(size=(4, 3, 5)), rng.normal(size=4)
    found = cosine_map(torch.from_numpy(clean), torch.from_numpy(latents))
    expected = [[cosine(clean[:, i, j], latents) for j in range(5)] for i in range(3)]
    assert np.allclose(found, expected, atol=1e-6)


def test_attention_is_the_mean_of_the_layers_each_as_large_as_the_grid() -> None:
    fine, coarse = torch.arange(8.0).reshape(1, 2, 4), torch.tensor([[[10.0, 20.0]]])
    found = mean_attention([fine, coarse], grid=(2, 4))
    assert found.tolist() == [[5.0, 5.5, 11.0, 11.5], [7.0, 7.5, 13.0, 13.5]]


def test_the_file_has_joints_attention_and_cosines_of_the_prediction(
    shown: tuple[Path, RelationTask, SdxlIpAdapter],
) -> None:
    root, task, sdxl = shown
    example = read_relations(root / "set").examples[0]
    row = json.loads((root / "run" / "relations" / "000007.json").read_text())["examples"][0]
    noise = torch.Generator().manual_seed(seed_for(42, "shown", example.id))
    eps, t = torch.randn(4, 8, 8, generator=noise)[None], torch.tensor([0.25])
    batch = task.batch([0], [Draw(eps[0], 0.25)], backbone=sdxl)
    assert batch.words is not None
    with torch.no_grad(), sdxl.text_attention(batch.words, grid=TokenGrid(8, 8)) as seen:
        x_t = sdxl.noise(batch.target, eps, t)
        clean = sdxl.clean(x_t, sdxl.predict(x_t, t, batch.condition), t)[0].numpy()
    attention = np.mean(
        [each[0].repeat_interleave(8 // each.shape[1], 0).repeat_interleave(8 // each.shape[2], 1).numpy()
         for each in seen.maps()],
        axis=0,
    )  # fmt: skip
    assert np.allclose(row["attention"], attention, atol=2e-6)
    for number, subject in enumerate(example.subjects):
        told = row["subjects"][number]
        assert np.allclose(told["points"], subject.keypoints.points, atol=1e-3)
        both = zip(subject.keypoints.valid, subject.reference.keypoints.valid, strict=True)
        joint = [all(each) for each in both].index(True)
        assert told["joint"]["cell"] == [int(subject.keypoints.points[joint][axis] * 8) for axis in (1, 0)]
        latents = batch.shown[0, number, joint].numpy()
        expected = [[cosine(clean[:, i, j], latents) for j in range(8)] for i in range(8)]
        assert np.allclose(told["cosine"], expected, atol=1e-5)


def test_what_is_there_already_is_left(shown: tuple[Path, RelationTask, SdxlIpAdapter]) -> None:
    root, task, sdxl = shown
    path = root / "run" / "relations" / "000007.json"
    before = path.stat().st_mtime_ns
    task.show(root / "run", step=7, backbone=sdxl)
    assert path.stat().st_mtime_ns == before


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_the_figure_colours_the_cells_of_each_subject(shown: tuple[Path, RelationTask, SdxlIpAdapter]) -> None:
    root = shown[0]
    row = json.loads((root / "run" / "relations" / "000007.json").read_text())["examples"][0]
    figure = relation_figures(root / "run")[0]
    grid = pixels(figure.panels[0][2].uri)
    assert grid.shape == (8, 8, 4)
    last = row["subjects"][1]
    cells = {tuple(cell) for cell, counts in zip(last["cells"], last["valid"], strict=True) if counts}
    assert cells
    assert all(tuple(grid[cell][:3]) == COLORS[1] for cell in cells)
    assert [name for name, _, _ in figure.panels] == ["latent grid", "attention", "cosine", "cosine"]
    heat = pixels(figure.panels[1][2].uri)[..., 3]
    assert np.abs(heat - 0.88 * 255 * np.array(row["attention"]) / np.max(row["attention"])).max() <= 0.5 + 1e-6
    assert figure.told.endswith(f"{sum(last['valid'])} of 17")


@pytest.mark.parametrize("change", [{"attention": [[1.0], [float("inf")]]}, {"grid": None}, {"subjects": [{}]}])
def test_a_damaged_file_is_told(
    shown: tuple[Path, RelationTask, SdxlIpAdapter], tmp_path: Path, change: dict[str, Any]
) -> None:
    content = json.loads((shown[0] / "run" / "relations" / "000007.json").read_text())
    content["examples"][0] |= change
    (tmp_path / "relations").mkdir()
    (tmp_path / "relations" / "000007.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="expected joints and maps of version 1"):
        relation_figures(tmp_path)


def test_a_run_without_them_has_no_figure(tmp_path: Path) -> None:
    assert relation_figures(tmp_path) == []
