"""Textual inversion, DreamBooth, Custom Diffusion and ED-LoRA: photos, the loss of a step, what moves, and runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import preference_runs as runs
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_sdxl import build_tiny_sdxl
from typer.testing import CliRunner

from likeness.backbones.open import open_backbone
from likeness.cli import app
from likeness.core.errors import ConfigError
from likeness.core.rng import seed_for
from likeness.train.config import config_toml, read_train_config
from likeness.train.run import tune
from likeness.train.subjects.photos import world_subject
from likeness.train.subjects.textual_inversion import TEMPLATES
from likeness.train.task import Draw, task_of
from likeness.world.render import render_reference

SIZE = 64
TASKS = ("textual_inversion", "dreambooth", "custom_diffusion", "ed_lora")
TOKENS = {"textual_inversion": "<rex>", "dreambooth": "blurry", "custom_diffusion": "<new1>", "ed_lora": "<rex>"}
WITHOUT_PRIOR = ("textual_inversion", "ed_lora")


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl")


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Class pictures of these tests lie nowhere else, and are drawn once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos that are not square, with masks."""
    folder, rng = tmp_path_factory.mktemp("photos") / "rex", np.random.default_rng(0)
    folder.mkdir()
    for number in range(3):
        coarse = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(folder / f"{number}.png")
        mask = np.zeros((80, 96), np.uint8)
        mask[:, 8:48] = 255  # the left half of the middle square
        Image.fromarray(mask).save(folder / f"{number}.mask.png")
    return folder


def recipe(path: Path, *, task: str, model: Path, photos: Path, steps: int = 4) -> Path:
    """Four steps of two photos."""
    classes = "" if task in WITHOUT_PRIOR else "num_class_pictures = 2\n"
    path.write_text(
        f'task = "{task}"\n[model]\nbase = {json.dumps(str(model))}\n'
        f'[data]\nphotos = {json.dumps(str(photos))}\nclass_words = "cat"\ntokens = "{TOKENS[task]}"\nsize = {SIZE}\n'
        f'{classes}[objective]\nkind = "{task}"\n[train]\nsteps = {steps}\nbatch_size = 2\nlearning_rate = 1e-2\n'
        'warmup = 0\nsave_every = 2\nprecision = "fp32"\n'
    )
    return path


def prepared(folder: Path, *, task: str, model: Path, photos: Path, changes: Sequence[str] = ()) -> tuple[Any, Any]:
    """A task with its photos encoded, and its own model."""
    config = read_train_config(recipe(folder / "run.toml", task=task, model=model, photos=photos), changes=changes)
    made = task_of(task).find(config, model=model, precision=torch.float32)
    backbone = made.open_network(model, device="cpu", precision=torch.float32)
    made.prepare(backbone, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
    return made, backbone


def draws(shape: Sequence[int], *, count: int = 2) -> list[Draw]:
    draw = torch.Generator().manual_seed(3)
    return [Draw(torch.randn(*shape, generator=draw), 0.2 + 0.3 * number, seed=number + 7) for number in range(count)]


# photos --------------------------------------------------------------------------------------------------------------


def test_photos_are_cut_to_their_middle_and_masks_with_them(sdxl_folder: Path, photos: Path, tmp_path: Path) -> None:
    made, _ = prepared(
        tmp_path, task="textual_inversion", model=sdxl_folder, photos=photos, changes=["objective.masked=true"]
    )
    assert len(made) == 3
    weight = made._rows[0].weight
    assert weight.shape == made.shapes[0][0][1:]
    np.testing.assert_allclose(weight.numpy(), np.repeat([[1.0, 1, 1, 1, 0, 0, 0, 0]], 8, axis=0))


def test_masks_are_wanted_of_all_photos_or_of_none(sdxl_folder: Path, photos: Path, tmp_path: Path) -> None:
    some = tmp_path / "some"
    shutil.copytree(photos, some)
    (some / "1.mask.png").unlink()
    given: Any = {"task": "textual_inversion", "model": sdxl_folder, "photos": some}
    with pytest.raises(ConfigError, match=r"beside all photos, got some without; add them, or set it to false\."):
        prepared(tmp_path, **given, changes=["objective.masked=true"])
    made, _ = prepared(tmp_path, **given, changes=["objective.masked=false"])
    assert [row.weight for row in made._rows] == [None] * 3


def test_photos_of_the_world_are_those_of_the_benchmark(sdxl_folder: Path, tmp_path: Path) -> None:
    made, _ = prepared(
        tmp_path,
        task="textual_inversion",
        model=sdxl_folder,
        photos=Path("world:dog-319494a8"),
        changes=["data.limit=2"],
    )
    who = world_subject("dog-319494a8")
    assert (who.id, len(made)) == ("dog-319494a8", 2)
    for number, photo in enumerate(made.subjects[0].photos):
        expected = render_reference(who, seed=seed_for("photo", who.id, number), size=SIZE)
        np.testing.assert_array_equal(np.asarray(photo.image), expected)
        assert photo.mask is not None
        assert 0.05 < (np.asarray(photo.mask) > 0).mean() < 0.9


def test_each_photo_gets_one_of_the_paper_s_texts(sdxl_folder: Path, photos: Path, tmp_path: Path) -> None:
    made, _ = prepared(tmp_path, task="textual_inversion", model=sdxl_folder, photos=photos)
    assert len(set(TEMPLATES)) == 27
    said = {made.prompt(made.subjects[0], seed=seed) for seed in range(400)}
    assert said == {template.format("<rex>") for template in TEMPLATES}


# a step --------------------------------------------------------------------------------------------------------------


def errors_by_hand(backbone: Any, noised: Any) -> torch.Tensor:
    """||eps_hat - eps||^2 in float64, with the path written out, one picture at a time."""
    alphas, found = backbone.parts.scheduler.alphas_cumprod.double(), []
    for x0, eps, t, prompt in zip(noised.x0, noised.eps, noised.t, noised.prompts, strict=True):
        step = int(float(t) * len(alphas))
        x_t = alphas[step].sqrt() * x0.double() + (1 - alphas[step]).sqrt() * eps.double()
        condition: Any = backbone.collate([backbone.prepare(prompt)])
        with torch.no_grad():
            answer = backbone.answer(x_t[None].float(), torch.tensor(step), condition)[0]
        found.append((answer.double() - eps.double()).square().mean())
    return torch.stack(found)


@pytest.mark.parametrize("task", TASKS)
def test_a_step_is_the_subject_s_error_and_lambda_times_the_prior(
    sdxl_folder: Path, photos: Path, tmp_path: Path, task: str
) -> None:
    changes = [] if task in WITHOUT_PRIOR else ["objective.prior_weight=0.3"]
    made, backbone = prepared(tmp_path, task=task, model=sdxl_folder, photos=photos, changes=changes)
    trainable = made.make_trainable(backbone)
    batch = made.batch([0, 2], draws(made.shapes[0][0]), backbone=backbone)
    step = made.step(batch, backbone=backbone, trainable=trainable)
    expected = errors_by_hand(backbone, batch.photos)
    assert all(TOKENS[task] in prompt for prompt in batch.photos.prompts)
    if task not in WITHOUT_PRIOR:
        assert all(TOKENS[task] not in prompt and "cat" in prompt for prompt in batch.prior.prompts)
        assert not torch.equal(batch.prior.eps, batch.photos.eps)
        expected = expected + 0.3 * errors_by_hand(backbone, batch.prior)
    torch.testing.assert_close(step.logged["loss"].double(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step.loss.double(), expected.mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", ["dreambooth", "custom_diffusion"])
def test_lambda_of_zero_is_plain_tuning(sdxl_folder: Path, photos: Path, tmp_path: Path, task: str) -> None:
    """No class picture is drawn, and loss and gradient are those of the photos alone."""
    found: list[tuple[torch.Tensor, list[torch.Tensor]]] = []
    for weight in ("0.0", "1e-30"):
        changes = [f"objective.prior_weight={weight}"]
        made, backbone = prepared(tmp_path, task=task, model=sdxl_folder, photos=photos, changes=changes)
        trainable = made.make_trainable(backbone)
        batch = made.batch([0, 1], draws(made.shapes[0][0]), backbone=backbone)
        assert (batch.prior is None) == (weight == "0.0")
        step = made.step(batch, backbone=backbone, trainable=trainable)
        step.loss.backward()
        found.append((step.loss.detach(), [p.grad for _, p in trainable.named if p.grad is not None]))
    assert torch.equal(found[0][0], found[1][0])
    for plain, vanishing in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(plain, vanishing, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("task", "change", "moving"),
    [
        ("textual_inversion", "model.num_vectors=2", ("<rex>/",)),
        ("dreambooth", "model.tune=lora", (".lora_A.", ".lora_B.")),
        ("dreambooth", "model.tune=unet", ("down_blocks", "mid_block", "up_blocks", "conv_", "time_", "add_")),
        ("ed_lora", "model.rank=2", ("<rex>/", ".lora_A.", ".lora_B.")),
        ("custom_diffusion", "objective.masked=true", ("<new1>/", "attn2.to_k.weight", "attn2.to_v.weight")),
    ],
)
def test_only_what_a_method_trains_moves(
    sdxl_folder: Path, photos: Path, tmp_path: Path, task: str, change: str, moving: tuple[str, ...]
) -> None:
    made, backbone = prepared(tmp_path, task=task, model=sdxl_folder, photos=photos, changes=[change])
    trainable = made.make_trainable(backbone)
    mine = {id(parameter): name for name, parameter in trainable.named}
    assert all(any(mark in name for mark in moving) for name in mine.values())
    networks = [backbone.network, *(backbone.parts.stored.get(f"text_encoder{n}") for n in ("", "_2"))]
    others = [(n, p, p.detach().clone()) for net in networks for n, p in net.named_parameters() if id(p) not in mine]
    before = {name: parameter.detach().clone() for name, parameter in trainable.named}
    optimizer = torch.optim.SGD([parameter for _, parameter in trainable.named], lr=1.0)
    for _ in range(2):  # B of a LoRA is 0 at first
        batch = made.batch([0, 1], draws(made.shapes[0][0]), backbone=backbone)
        made.step(batch, backbone=backbone, trainable=trainable).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(torch.equal(p, old) and p.grad is None for _, p, old in others)
    moved = {name for name, parameter in trainable.named if not torch.equal(parameter, before[name])}
    assert moved == set(before)
    if task != "dreambooth" or "unet" in change:
        with trainable.off():
            assert all(torch.equal(parameter, before[name]) for name, parameter in trainable.named)


# runs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_run_in_two_sittings_ends_with_the_same_bytes(
    sdxl_folder: Path, photos: Path, tmp_path: Path, task: str
) -> None:
    path = recipe(tmp_path / "run.toml", task=task, model=sdxl_folder, photos=photos)
    tune(path, out=tmp_path / "whole", device="cpu")
    tune(path, out=tmp_path / "parts", changes=["train.steps=2"], device="cpu")
    tune(path, out=tmp_path / "parts", device="cpu")
    assert runs.same(tmp_path / "whole", tmp_path / "parts")


def test_a_killed_run_ends_with_the_same_bytes(sdxl_folder: Path, photos: Path, tmp_path: Path) -> None:
    killed(sdxl_folder, photos, tmp_path, task="textual_inversion", count=1)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_ten_killed_runs_end_with_the_same_bytes(sdxl_folder: Path, photos: Path, tmp_path: Path, task: str) -> None:
    killed(sdxl_folder, photos, tmp_path, task=task, count=10)


def killed(model: Path, photos: Path, folder: Path, *, task: str, count: int) -> None:
    """Saves after every step, so that many kills fall into a save."""
    path = recipe(folder / "run.toml", task=task, model=model, photos=photos, steps=12)
    path.write_text(path.read_text().replace("save_every = 2", "save_every = 1"))
    runs.kill_runs(path, folder, count=count, seed=0)


def drawn(folder: Path, *, prompt: str, model: str, lora: Path | None) -> bytes:
    options = [] if lora is None else ["--lora", str(lora)]
    arguments = ["generate", "--model", model, "--prompt", prompt, "--out", str(folder), "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, *options, "--steps", "1", "--seed", "3"])
    assert result.exit_code == 0, result.output
    (file,) = (folder / "images").glob("*.png")
    return Image.open(file).tobytes()


@pytest.mark.parametrize("task", TASKS)
def test_from_the_command_line_to_a_picture(sdxl_folder: Path, photos: Path, tmp_path: Path, task: str) -> None:
    path, out = recipe(tmp_path / "run.toml", task=task, model=sdxl_folder, photos=photos), tmp_path / "run"
    result = CliRunner().invoke(app, ["train", str(path), "--out", str(out), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "4 steps on 3 photos" in result.stdout
    assert f"--lora {out / 'lora'}" in result.stdout
    assert "rex" not in (out / "run.json").read_text().replace("<rex>", "").replace('"rex"', "")  # places stay private
    prompt = f"a {TOKENS[task]} cat hugs a dog"
    tuned = drawn(tmp_path / "tuned", prompt=prompt, model=str(sdxl_folder), lora=out / "lora")
    assert tuned != drawn(tmp_path / "base", prompt=prompt, model=str(sdxl_folder), lora=None)


def test_a_whole_unet_is_a_model_of_its_own(sdxl_folder: Path, photos: Path, tmp_path: Path) -> None:
    """Stock diffusers opens it, and so does `--model FILE+PARTS`."""
    from diffusers import UNet2DConditionModel

    path, out = recipe(tmp_path / "run.toml", task="dreambooth", model=sdxl_folder, photos=photos), tmp_path / "run"
    change = ["--set", "model.tune=unet", "--set", "train.steps=1"]
    result = CliRunner().invoke(app, ["train", str(path), "--out", str(out), "--device", "cpu", *change])
    assert result.exit_code == 0, result.output
    file = out / "unet" / "diffusion_pytorch_model.safetensors"
    assert f"--model {file}+{sdxl_folder}" in result.stdout
    stock: Any = UNet2DConditionModel.from_pretrained(out / "unet")
    ours: Any = open_backbone(f"{file}+{sdxl_folder}", device="cpu", dtype="float32")
    tensors = load_file(file)
    assert set(tensors) == set(stock.state_dict())
    assert all(torch.equal(ours.network.state_dict()[name], tensor) for name, tensor in tensors.items())


def test_several_subjects_are_learnt_together(sdxl_folder: Path, photos: Path, tmp_path: Path) -> None:
    path, out = recipe(tmp_path / "r.toml", task="custom_diffusion", model=sdxl_folder, photos=photos), tmp_path / "r"
    places = [str(photos), "world:dog-319494a8"]
    changes = [
        f"data.photos={json.dumps(places)}",
        'data.class_words=["cat", "dog"]',
        'data.tokens=["<new1>", "<new2>"]',
    ]
    config = read_train_config(path, changes=changes)
    again = tmp_path / "again.toml"
    again.write_text(config_toml(config))
    assert read_train_config(again) == config
    tune(path, out=out, changes=[*changes, "train.steps=2"], device="cpu")
    ours: Any = open_backbone(sdxl_folder, device="cpu", dtype="float32", loras=[out / "lora"])
    assert list(ours.words.rows) == ["<new1>", "<new2>"]


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("dreambooth", ["data.photos=nowhere"], "data.photos: expected a folder of pictures, got none in nowhere"),
        ("dreambooth", ["data.photos=world:cat-0"], "expected the id of a subject of world-single, got 'cat-0'"),
        ("dreambooth", ['data.tokens=["a", "b"]'], "expected one for each of photos"),
        ("dreambooth", ["objective.prompt=a cat"], "expected a text with one {}"),
        ("textual_inversion", ["samples.every=2"], "samples.every: expected 0"),
        ("textual_inversion", ["data.size=60"], "size: expected multiples of 8"),
        ("textual_inversion", ["model.initial_word=xylophone"], "expected one token of tokenizer"),
        ("ed_lora", ["samples.every=2"], "samples.every: expected 0"),
        ("custom_diffusion", ['model.initial_words=["cat", "dog"]'], "expected one for each of 1 subjects, got 2"),
        ("custom_diffusion", ["data.class_pictures=nowhere"], "data.class_pictures: expected a folder"),
    ],
)
def test_what_cannot_be_trained_is_told(
    sdxl_folder: Path, photos: Path, tmp_path: Path, task: str, changes: list[str], said: str
) -> None:
    path = recipe(tmp_path / "run.toml", task=task, model=sdxl_folder, photos=photos)
    with pytest.raises(ConfigError) as caught:
        tune(path, out=tmp_path / "run", changes=changes, device="cpu")
    assert said in str(caught.value)


def test_another_model_is_told(photos: Path, tmp_path: Path) -> None:
    flux = runs.write_model(tmp_path / "flux")
    path = recipe(tmp_path / "run.toml", task="dreambooth", model=flux, photos=photos)
    with pytest.raises(ConfigError, match="expected SDXL"):
        tune(path, out=tmp_path / "run", device="cpu")
