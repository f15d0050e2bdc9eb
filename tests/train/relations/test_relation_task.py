"""The relation task: what is encoded, what a step minimises, and a run from the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import preference_runs as runs
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_ms import build_tiny_ms
from tiny_sdxl import build_tiny_sdxl
from tiny_ssr import NUM_LAYERS, build_tiny_ssr
from typer.testing import CliRunner

from likeness.backbones.base import TokenGrid
from likeness.backbones.pixels import to_pixels
from likeness.backbones.sd15.ssr_encoder import Sd15SsrEncoder
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.backbones.sdxl.options import MsOptions
from likeness.cli import app
from likeness.core.errors import ConfigError, DataError
from likeness.core.images import fit_reference, load_image
from likeness.core.records import Layout
from likeness.data.relations.read import read_relations
from likeness.data.relations.records import RelationExample
from likeness.data.relations.world import make_world_relations
from likeness.objectives.relation import keypoint_matching_loss, predicate_attention_loss
from likeness.train.config import TrainConfig, read_train_config
from likeness.train.relations.encode import encode_example
from likeness.train.relations.task import RelationTask
from likeness.train.run import tune
from likeness.train.task import Draw
from likeness.train.trainable.lora import LoraAdapter

SIZE = 64


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("relations") / "set"
    make_world_relations(3, out=out, actions=["hug"], size=96)
    return out


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl")


@pytest.fixture(scope="module")
def sdxl(sdxl_folder: Path) -> SdxlIpAdapter:
    return SdxlIpAdapter.load(sdxl_folder)


@pytest.fixture(scope="module")
def example(examples: Path) -> RelationExample:
    return read_relations(examples).examples[0]


def recipe(folder: Path, *, model: Path, examples: Path) -> Path:
    """Four steps of two examples."""
    path = folder / "relation.toml"
    path.write_text(
        f'task = "relations"\n[model]\nbase = {json.dumps(str(model))}\nrank = 2\nalpha = 2.0\n'
        f"[data]\nrelations = {json.dumps(str(examples))}\nsize = {SIZE}\n"
        '[objective]\nkind = "relation"\n'
        '[train]\nsteps = 4\nbatch_size = 2\nlearning_rate = 1e-3\nsave_every = 2\nprecision = "fp32"\n'
    )
    return path


def config_of(folder: Path, *, model: Path, examples: Path, changes: Sequence[str] = ()) -> TrainConfig:
    return read_train_config(recipe(folder, model=model, examples=examples), changes=changes)


def cell(x: float, y: float, *, height: int, width: int) -> list[int]:
    """Row and column of a point, by hand."""
    return [min(max(math.floor(y * height), 0), height - 1), min(max(math.floor(x * width), 0), width - 1)]


# what is encoded -----------------------------------------------------------------------------------------------------


def test_joints_are_read_from_the_cells_that_hold_them(sdxl: SdxlIpAdapter, example: RelationExample) -> None:
    row = encode_example(sdxl, example, size=SIZE, legacy=False)
    channels, height, width = row["target"].shape
    assert row["shown"].shape == (2, 17, channels)
    for number, subject in enumerate(example.subjects):
        fitted = fit_reference(load_image(subject.reference.image), long_side=SIZE, multiple=8)
        with torch.no_grad():
            latents = sdxl.encode(to_pixels([fitted]))[0]
        for k, (x, y) in enumerate(subject.keypoints.points):
            assert row["cells"][number, k].tolist() == cell(x, y, height=height, width=width)
        for k, (x, y) in enumerate(subject.reference.keypoints.points):
            i, j = cell(x, y, height=latents.shape[1], width=latents.shape[2])
            torch.testing.assert_close(row["shown"][number, k], latents[:, i, j], rtol=0, atol=1e-5)
        both = subject.keypoints.seen & subject.reference.keypoints.seen
        assert row["valid"][number].tolist() == both.tolist()


def test_the_published_index_reads_the_top_left_corner(sdxl: SdxlIpAdapter, example: RelationExample) -> None:
    row = encode_example(sdxl, example, size=SIZE, legacy=True)
    assert row["valid"].all()
    channels = row["target"].shape[0]
    for number, subject in enumerate(example.subjects):
        fitted = fit_reference(load_image(subject.reference.image), long_side=SIZE, multiple=8)
        with torch.no_grad():
            latents = sdxl.encode(to_pixels([fitted]))[0]
        for k, (x, y) in enumerate(subject.reference.keypoints.points):
            corner = latents[:, min(int(y * channels), 7), min(int(x * channels), 7)]
            torch.testing.assert_close(row["shown"][number, k], corner, rtol=0, atol=1e-5)


def test_joints_and_masks_go_with_a_picture_that_is_not_square(
    sdxl: SdxlIpAdapter, example: RelationExample, tmp_path: Path
) -> None:
    """The target on a canvas twice as wide: joints lie at the same pixels, so at half the share."""
    wide = Image.new("RGB", (192, 96), "white")
    wide.paste(load_image(example.target), (0, 0))
    wide.save(tmp_path / "wide.png")
    subjects = []
    for number, subject in enumerate(example.subjects):
        mask = Image.new("L", (192, 96))
        mask.paste(Image.open(subject.mask), (0, 0))
        mask.save(tmp_path / f"mask{number}.png")
        points = tuple((x / 2, y) for x, y in subject.keypoints.points)
        keypoints = subject.keypoints.model_copy(update={"points": points})
        subjects.append(subject.model_copy(update={"mask": tmp_path / f"mask{number}.png", "keypoints": keypoints}))
    changes = {"target": tmp_path / "wide.png", "size": (192, 96), "subjects": tuple(subjects)}
    moved = encode_example(sdxl, example.model_copy(update=changes), size=2 * SIZE, legacy=False)
    plain = encode_example(sdxl, example, size=SIZE, legacy=False)
    assert moved["target"].shape[1:] == (8, 16)
    assert torch.equal(moved["cells"], plain["cells"])
    assert torch.equal(moved["objects"][:, :8], plain["objects"])
    assert not moved["objects"][:, 8:].any()


# a step --------------------------------------------------------------------------------------------------------------


def prepared(config: TrainConfig, backbone: Any, *, folder: Path) -> RelationTask:
    task = RelationTask.find(config, model=folder, precision=torch.float32)
    task.prepare(backbone, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
    return task


def tuned(folder: Path) -> tuple[SdxlIpAdapter, LoraAdapter]:
    """A model of its own with a fresh adapter, which changes nothing yet."""
    backbone = SdxlIpAdapter.load(folder)
    return backbone, LoraAdapter(backbone, rank=2, alpha=2.0, init_seed=0)


def draws(times: Sequence[float], shape: torch.Size) -> list[Draw]:
    draw = torch.Generator().manual_seed(3)
    return [Draw(torch.randn(shape, generator=draw), t) for t in times]


def test_a_step_is_the_sum_of_its_three_losses(sdxl_folder: Path, examples: Path, tmp_path: Path) -> None:
    """One picture below the threshold and one above."""
    sdxl, adapter = tuned(sdxl_folder)
    changes = ["objective.keypoint_weight=0.3", "objective.attention_weight=2.0"]
    config = config_of(tmp_path, model=sdxl_folder, examples=examples, changes=changes)
    task = prepared(config, sdxl, folder=sdxl_folder)
    shape = torch.Size(task.shapes[0][0])
    batch = task.batch([0, 1], draws([0.2, 0.7], shape), backbone=sdxl)
    step = task.step(batch, backbone=sdxl, trainable=adapter)
    assert batch.words is not None
    with torch.no_grad(), sdxl.text_attention(batch.words, grid=TokenGrid(shape[1], shape[2])) as seen:
        x_t = sdxl.noise(batch.target, batch.eps, batch.t)
        prediction = sdxl.predict(x_t, batch.t, batch.condition)
    error = (prediction - batch.eps).square().mean(dim=(1, 2, 3))
    clean = sdxl.clean(x_t, prediction, batch.t)
    joints = keypoint_matching_loss(
        clean, batch.shown, cells=batch.cells, valid=batch.valid, gate=torch.tensor([True, False])
    )
    looking = predicate_attention_loss(seen.maps(), batch.objects)
    expected = error + 0.3 * joints + 2.0 * looking
    torch.testing.assert_close(step.loss.detach(), expected.mean())
    torch.testing.assert_close(step.logged["loss"], expected)
    assert step.logged["keypoint"].isnan().tolist() == [False, True]
    assert float(joints[0]) > 0
    assert not step.logged["attention"].isnan().any()


def test_joints_act_up_to_step_333_as_in_the_published_code(sdxl_folder: Path, examples: Path, tmp_path: Path) -> None:
    """A step k is drawn as t = (k + 1/2) / 1000."""
    sdxl, adapter = tuned(sdxl_folder)
    task = prepared(config_of(tmp_path, model=sdxl_folder, examples=examples), sdxl, folder=sdxl_folder)
    batch = task.batch([0, 1], draws([0.3335, 0.3345], torch.Size(task.shapes[0][0])), backbone=sdxl)
    step = task.step(batch, backbone=sdxl, trainable=adapter)
    assert step.logged["keypoint"].isnan().tolist() == [False, True]


def test_losses_of_weight_zero_are_neither_computed_nor_logged(
    sdxl_folder: Path, examples: Path, tmp_path: Path
) -> None:
    sdxl, adapter = tuned(sdxl_folder)
    changes = ["objective.keypoint_weight=0", "objective.attention_weight=0"]
    config = config_of(tmp_path, model=sdxl_folder, examples=examples, changes=changes)
    task = prepared(config, sdxl, folder=sdxl_folder)
    batch = task.batch([0], draws([0.2], torch.Size(task.shapes[0][0])), backbone=sdxl)
    step = task.step(batch, backbone=sdxl, trainable=adapter)
    assert set(step.logged) == {"loss", "error", "t"}
    assert torch.equal(step.logged["loss"], step.logged["error"])


# a run ---------------------------------------------------------------------------------------------------------------


def test_a_run_in_two_sittings_ends_with_the_same_bytes(sdxl_folder: Path, examples: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, model=sdxl_folder, examples=examples)
    tune(path, out=tmp_path / "whole", device="cpu")
    tune(path, out=tmp_path / "parts", changes=["train.steps=2"], device="cpu")
    tune(path, out=tmp_path / "parts", device="cpu")
    lora = "lora/pytorch_lora_weights.safetensors"
    assert (tmp_path / "whole" / lora).read_bytes() == (tmp_path / "parts" / lora).read_bytes()


def test_boxes_of_the_targets_reach_ms_diffusion(examples: Path, example: RelationExample, tmp_path: Path) -> None:
    """A wider target: its boxes are told, and its LoRA is DreamRelation's."""
    folder = build_tiny_ms(tmp_path / "ms")
    row = encode_example(SdxlMsDiffusion.load(folder), example, size=SIZE, legacy=False)
    told = torch.tensor([subject.box for subject in example.subjects])
    torch.testing.assert_close(row["boxes"], told, rtol=0, atol=1e-5)
    tune(
        recipe(tmp_path, model=folder, examples=examples), out=tmp_path / "run", changes=["train.steps=1"], device="cpu"
    )
    assert (tmp_path / "run" / "lora").is_dir()


def test_phrases_of_the_subjects_reach_ssr_encoder(examples: Path, example: RelationExample, tmp_path: Path) -> None:
    """DreamRelation's second base: the phrases are the queries, and the predicate's attention is seen."""
    folder = build_tiny_ssr(tmp_path / "ssr")
    ssr = Sd15SsrEncoder.load(folder)
    row = encode_example(ssr, example, size=SIZE, legacy=False)
    shown = [load_image(subject.reference.image) for subject in example.subjects]
    phrases = tuple(subject.phrase for subject in example.subjects)
    told = ssr.prepare(example.prompt, shown, layout=Layout(boxes=((0.0, 0.0, 1.0, 1.0),) * 2, phrases=phrases))
    for number in range(2):
        torch.testing.assert_close(row[f"reference{number}"], told[f"reference{number}"], rtol=0, atol=1e-5)
    assert row["words"].any()
    changes = ["train.steps=1", "objective.attention_weight=0.1"]
    tune(recipe(tmp_path, model=folder, examples=examples), out=tmp_path / "run", changes=changes, device="cpu")
    (step,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert step["error"] > 0
    assert step["attention"] is not None
    lora = load_file(tmp_path / "run" / "lora" / "pytorch_lora_weights.safetensors")
    assert len(lora) == 2 * 4 * NUM_LAYERS


def test_local_tokens_are_trained_with(examples: Path, example: RelationExample, tmp_path: Path) -> None:
    """The same first noise with and without them: another error, and the pictures beside the run have them, too."""
    folder = build_tiny_ms(tmp_path / "ms")
    tiny.write_clip(folder / "local_encoder")
    errors: list[float] = []
    for asked in ("false", "true"):
        changes = ["train.steps=1", "samples.every=1", "samples.limit=1", f"data.local_tokens={asked}"]
        out = tmp_path / asked
        tune(recipe(tmp_path, model=folder, examples=examples), out=out, changes=changes, device="cpu")
        errors.append(json.loads((out / "log.jsonl").read_text().splitlines()[0])["error"])
        shown = [load_image(subject.reference.image) for subject in example.subjects]
        layout = Layout(
            boxes=tuple(subject.box for subject in example.subjects),
            phrases=tuple(subject.phrase for subject in example.subjects),
        )
        options = MsOptions(local_tokens=asked == "true")
        row = SdxlMsDiffusion.load(folder).prepare(example.prompt, shown, layout=layout, options=options)
        kept = load_file(out / "samples" / "conditions.safetensors")
        for number in range(2):
            torch.testing.assert_close(kept[f"0/row/reference{number}"], row[f"reference{number}"], rtol=0, atol=1e-5)
    assert errors[0] != errors[1]


def test_from_the_command_line_to_a_picture(sdxl_folder: Path, examples: Path, tmp_path: Path) -> None:
    path, out = recipe(tmp_path, model=sdxl_folder, examples=examples), tmp_path / "run"
    sets = ["samples.every=2", "samples.limit=1"]
    arguments = ["train", str(path), "--out", str(out), "--device", "cpu", *(w for s in sets for w in ("--set", s))]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "4 steps on 3 examples" in result.stdout
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "Relation LoRA" in html
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert all(row["error"] > 0 and row["attention"] is not None for row in rows)
    assert len(list(out.glob("samples/0*/*.png"))) == 3
    shown = json.loads((out / "relations" / "000004.json").read_text())
    assert [row["id"] for row in shown["examples"]] == [each.id for each in read_relations(examples).examples[:2]]
    assert "Inside the model" in html
    assert "of the words &#39;hugging&#39;, mean over layers" in html


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["data.relations=nowhere"], "make one with `likeness data relations`"),
        (["data.split=test"], "data.split: expected examples of test, got only train"),
        (["data.local_tokens=true"], "data.local_tokens: expected sdxl_ms_diffusion, got SdxlIpAdapter"),
        (["train.gradient_checkpointing=true"], "expected false beside objective.attention_weight"),
    ],
)
def test_what_cannot_be_trained_is_told_first(
    sdxl_folder: Path, examples: Path, tmp_path: Path, changes: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        tune(
            recipe(tmp_path, model=sdxl_folder, examples=examples), out=tmp_path / "run", changes=changes, device="cpu"
        )
    assert not (tmp_path / "run").exists()


def test_a_model_without_text_attention_is_told(examples: Path, tmp_path: Path) -> None:
    flux = runs.write_model(tmp_path / "flux")
    path = recipe(tmp_path, model=flux, examples=examples)
    with pytest.raises(ConfigError, match="has no cross-attention with the text"):
        tune(path, out=tmp_path / "run", device="cpu")


def test_a_damaged_file_is_named(sdxl_folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    make_world_relations(2, out=own, actions=["hug"], size=96)
    target = read_relations(own).examples[0].target
    target.write_bytes(b"no picture")
    with pytest.raises(DataError, match=target.name):
        tune(recipe(tmp_path, model=sdxl_folder, examples=own), out=tmp_path / "run", device="cpu")
