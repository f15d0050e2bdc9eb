"""What joins local tokens to the image tokens, trained beside a relation LoRA: what moves, is saved, who reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_encoders as tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_ms import build_tiny_ms
from tiny_sdxl import IMAGE_WIDTH, build_tiny_sdxl

from likeness.backbones.open import lora_facts
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.hashing import folder_sha256
from likeness.core.images import load_image
from likeness.core.records import Layout
from likeness.data.relations.read import read_relations
from likeness.data.relations.records import RelationExample
from likeness.data.relations.world import make_world_relations
from likeness.train.config import read_train_config
from likeness.train.relations.task import RelationTask
from likeness.train.run import tune
from likeness.train.task import Draw
from likeness.train.trainable.lora import LoraAdapter

SIZE = 64
INJECTION, LORA = "injection.safetensors", "pytorch_lora_weights.safetensors"
ASKED = ["data.local_tokens=true", "data.train_injection=true"]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("relations") / "set"
    make_world_relations(2, out=out, actions=["hug"], size=SIZE)
    return out


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose linear injection has yet to be trained."""
    return with_encoder(build_tiny_ms(tmp_path_factory.mktemp("ms") / "ms"), injection="linear")


@pytest.fixture(scope="module")
def run(linear: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    tune(recipe(out, model=linear, examples=examples), out=out / "run", changes=ASKED, device="cpu")
    return out / "run"


def with_encoder(folder: Path, **settings: Any) -> Path:
    tiny.write_clip(folder / "local_encoder")
    (folder / "local_encoder" / "local_tokens.json").write_text(json.dumps({"side": 64, **settings}))
    return folder


def recipe(folder: Path, *, model: Path, examples: Path) -> Path:
    """Four steps of two examples."""
    path = folder / "relation.toml"
    path.write_text(
        f'task = "relations"\n[model]\nbase = {json.dumps(str(model))}\nrank = 2\nalpha = 2.0\n'
        f"[data]\nrelations = {json.dumps(str(examples))}\nsize = {SIZE}\n"
        '[objective]\nkind = "relation"\n'
        '[train]\nsteps = 4\nbatch_size = 2\nlearning_rate = 1e-2\nsave_every = 2\nprecision = "fp32"\n'
    )
    return path


def prepared(backbone: SdxlMsDiffusion, path: Path, *, model: Path) -> RelationTask:
    task = RelationTask.find(read_train_config(path, changes=ASKED), model=model, precision=torch.float32)
    task.prepare(backbone, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
    return task


def row_of(backbone: Any, example: RelationExample) -> dict[str, torch.Tensor]:
    layout = Layout(
        boxes=tuple(subject.box for subject in example.subjects),
        phrases=tuple(subject.phrase for subject in example.subjects),
    )
    shown = [load_image(subject.reference.image) for subject in example.subjects]
    return backbone.prepare(example.prompt, shown, layout=layout)


def test_the_lora_and_the_injection_get_the_gradient_and_nothing_else(
    linear: Path, examples: Path, tmp_path: Path
) -> None:
    backbone = SdxlMsDiffusion.load(linear)
    task = prepared(backbone, recipe(tmp_path, model=linear, examples=examples), model=linear)
    backbone.put_encoders_away()
    trainable = task.with_more(LoraAdapter(backbone, rank=2, alpha=2.0, init_seed=0))
    names = [name for name, _ in trainable.named if name.startswith("injection.")]
    config: Any = tiny.tiny_clip(seed=0, hidden_act="gelu").config
    wide = [] if config.vision_config.hidden_size == IMAGE_WIDTH else ["widen.weight"]
    assert sorted(names) == sorted(f"injection.{n}" for n in [*wide, "inject.project.weight", "inject.project.bias"])
    draw = torch.Generator().manual_seed(3)
    draws = [Draw(torch.randn(task.shapes[0][0], generator=draw), t) for t in (0.2, 0.7)]
    batch = task.batch([0, 1], draws, backbone=backbone)
    task.step(batch, backbone=backbone, trainable=trainable).loss.backward()
    moved = {id(parameter) for _, parameter in trainable.named}
    others = [backbone.network, backbone._reader, *backbone.parts.stored.present().values()]
    assert all(
        parameter.grad is None for other in others for parameter in other.parameters() if id(parameter) not in moved
    )
    gradients = {name: parameter.grad for name, parameter in trainable.named if name.startswith("injection.inject")}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients.values())


def test_off_is_the_model_before_training(linear: Path, examples: Path, tmp_path: Path) -> None:
    backbone = SdxlMsDiffusion.load(linear)
    task = prepared(backbone, recipe(tmp_path, model=linear, examples=examples), model=linear)
    trainable = task.with_more(LoraAdapter(backbone, rank=2, alpha=2.0, init_seed=0))
    first = backbone.collate([task._rows[0]]).references[0]
    with torch.no_grad():
        for _, parameter in trainable.named:
            parameter.add_(0.1)
    assert (backbone.collate([task._rows[0]]).references[0] - first).abs().max() > 1e-3
    with trainable.off():
        assert torch.equal(backbone.collate([task._rows[0]]).references[0], first)


def test_a_batch_has_the_tokens_that_the_saved_injection_gives(
    linear: Path, run: Path, examples: Path, tmp_path: Path
) -> None:
    """In training, beside the LoRA, and in the model's folder: the same tokens of both references."""
    folder = tmp_path / "ms"
    shutil.copytree(linear, folder)
    shutil.copyfile(run / "lora" / INJECTION, folder / "local_encoder" / INJECTION)
    found = read_relations(examples).examples
    inside, beside = SdxlMsDiffusion.load(folder), SdxlMsDiffusion.load(linear, loras=[run / "lora"])
    tuned = SdxlMsDiffusion.load(linear)
    task = prepared(tuned, recipe(tmp_path, model=linear, examples=examples), model=linear)
    with pytest.raises(AssertionError):
        require_equal(tuned.collate(task._rows).references, [row_of(inside, each) for each in found])
    tuned.tune_injection().load_state_dict(load_file(run / "lora" / INJECTION))
    for one in (inside, beside):
        rows = [row_of(one, each) for each in found]
        assert "features" not in rows[0]
        assert not one.network.training  # opening it reads the LoRA once more
        require_equal(tuned.collate(task._rows).references, rows)


def require_equal(slots: Sequence[torch.Tensor], rows: Sequence[dict[str, torch.Tensor]]) -> None:
    for number, slot in enumerate(slots):
        expected = torch.stack([row[f"reference{number}"] for row in rows])
        torch.testing.assert_close(slot.detach(), expected, rtol=0, atol=1e-5)


def test_a_run_in_two_sittings_ends_with_the_same_bytes(
    linear: Path, run: Path, examples: Path, tmp_path: Path
) -> None:
    path = recipe(tmp_path, model=linear, examples=examples)
    tune(path, out=tmp_path / "parts", changes=[*ASKED, "train.steps=2"], device="cpu")
    half = (tmp_path / "parts" / "lora" / INJECTION).read_bytes()
    tune(path, out=tmp_path / "parts", changes=ASKED, device="cpu")
    for file in (LORA, INJECTION):
        assert (tmp_path / "parts" / "lora" / file).read_bytes() == (run / "lora" / file).read_bytes()
    assert half != (run / "lora" / INJECTION).read_bytes()


def test_its_file_says_whose_it_is_and_counts_in_the_hash_of_the_lora(linear: Path, run: Path, tmp_path: Path) -> None:
    with safe_open(run / "lora" / INJECTION, framework="pt") as file:
        header = file.metadata()
    assert header["likeness.base_sha256"] == folder_sha256(linear)
    assert json.loads((run / "run.json").read_text())["data"]["train_injection"] is True
    other = tmp_path / "other"
    shutil.copytree(run / "lora", other)
    tensors = load_file(other / INJECTION)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, other / INJECTION)
    facts = [lora_facts(str(place), place, base=linear) for place in (run / "lora", other)]
    assert facts[0]["sha256"] == folder_sha256(run / "lora")
    assert facts[0]["sha256"] != facts[1]["sha256"]


def test_rows_of_pictures_beside_the_run_keep_what_the_injection_reads(
    linear: Path, examples: Path, tmp_path: Path
) -> None:
    changes = [*ASKED, "train.steps=2", "samples.every=1", "samples.limit=1", "train.precision=bf16"]
    tune(recipe(tmp_path, model=linear, examples=examples), out=tmp_path / "run", changes=changes, device="cpu")
    kept = load_file(tmp_path / "run" / "samples" / "conditions.safetensors")
    assert {"0/row/features", "0/row/local", "0/row/phrases"} <= kept.keys()


def test_an_injection_has_one_place(linear: Path, run: Path, tmp_path: Path) -> None:
    bare = build_tiny_ms(tmp_path / "bare")
    with pytest.raises(WeightsError, match=r"injection.safetensors: expected a model with local_encoder.*none in bare"):
        SdxlMsDiffusion.load(bare, loras=[run / "lora"])
    with pytest.raises(WeightsError, match="expected a model with local_encoder"):
        SdxlIpAdapter.load(build_tiny_sdxl(tmp_path / "ip"), loras=[run / "lora"])
    SdxlMsDiffusion.load(bare, loras=[run / "lora" / LORA])
    shutil.copytree(run / "lora", tmp_path / "copy")
    with pytest.raises(WeightsError, match="expected one LoRA with an injection"):
        SdxlMsDiffusion.load(linear, loras=[run / "lora", tmp_path / "copy"])
    with pytest.raises(WeightsError, match="expected each LoRA once"):
        SdxlMsDiffusion.load(linear, loras=[run / "lora", run / "lora"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["data.train_injection=true"], "train_injection: expected local_tokens beside it, got false"),
        (ASKED, "data.train_injection: expected an injection with parameters .* got concatenation"),
    ],
)
def test_an_injection_without_parameters_is_refused(
    examples: Path, tmp_path: Path, changes: list[str], said: str
) -> None:
    folder = build_tiny_ms(tmp_path / "ms")
    shutil.copytree(folder / "image_encoder", folder / "local_encoder")
    with pytest.raises(ConfigError, match=said):
        tune(recipe(tmp_path, model=folder, examples=examples), out=tmp_path / "run", changes=changes, device="cpu")
    assert not (tmp_path / "run").exists()
