"""Gradient fusion: least squares against numpy, and LoRAs of two subjects put together on a model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from likeness.backbones.lora import FILE_NAME, adapter_parameters, add_adapter, save_adapters, write_tensors
from likeness.backbones.lora_file import Change
from likeness.backbones.sdxl.concept import save_words
from likeness.backbones.sdxl.fusion import (
    Drawing,
    Fused,
    Seen,
    fuse,
    fuse_loras,
    fused_change,
    mean_change,
    squared_error,
)
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.text_lora import text_targets
from likeness.cli import app
from likeness.core.errors import ConfigError, OutputError, WeightsError

OUT, IN, RANK, LAYERS, WIDTH = 5, 8, 2, 7, 32


def matrix(change: Change) -> np.ndarray:
    return (change.up.double() @ change.down.double() * (change.alpha / change.rank)).numpy()


def a_change(seed: int, *, alpha: float = 3.0) -> Change:
    draw = torch.Generator().manual_seed(seed)
    return Change(torch.randn(RANK, IN, generator=draw), torch.randn(OUT, RANK, generator=draw), alpha)


def inputs(seed: int, *, count: int, dimensions: int = IN) -> Tensor:
    """`count` inputs (count, IN) that span as many dimensions."""
    draw = torch.Generator().manual_seed(seed)
    span = torch.randn(dimensions, IN, generator=draw, dtype=torch.float64)
    return torch.randn(count, dimensions, generator=draw, dtype=torch.float64) @ span


def seen_of(changes: dict[int, Change], xs: list[Tensor]) -> Seen:
    total = torch.stack([x.T @ x for x in xs]).sum(dim=0)
    scaled = {i: change.down.double() * change.alpha / change.rank for i, change in changes.items()}
    return Seen(total, {i: down @ (xs[i].T @ xs[i]) for i, down in scaled.items()})


def error_by_hand(changes: dict[int, Change], xs: list[Tensor], made: np.ndarray) -> float:
    return sum(float((((matrix(changes[i]) if i in changes else 0.0) - made) @ x.T.numpy()) .__pow__(2).sum())
               for i, x in enumerate(xs))  # fmt: skip


@pytest.mark.parametrize("dimensions", [IN, 3])
def test_the_change_is_numpy_s_least_squares(dimensions: int) -> None:
    """Where inputs do not span everything, the solution that is closest to the mean of all changes."""
    changes = {0: a_change(1), 1: a_change(2, alpha=1.0)}
    xs = [inputs(3, count=20, dimensions=dimensions), inputs(4, count=30, dimensions=dimensions)]
    found = matrix(fused_change(changes, seen_of(changes, xs), count=2, ridge=1e-9))
    mean = (matrix(changes[0]) + matrix(changes[1])) / 2
    answers = np.concatenate([x.numpy() @ (matrix(changes[i]) - mean).T for i, x in enumerate(xs)])
    expected = mean + np.linalg.lstsq(torch.cat(xs).numpy(), answers, rcond=1e-8)[0].T
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_one_alone_stays_as_it_is() -> None:
    changes = {0: a_change(1)}
    made = fused_change(changes, seen_of(changes, [inputs(3, count=4)]), count=1, ridge=1e-3)
    np.testing.assert_allclose(matrix(made), matrix(changes[0]), atol=1e-5)


def test_disjoint_inputs_are_answered_exactly_and_the_mean_answers_none() -> None:
    changes = {0: a_change(1), 1: a_change(2)}
    xs = [
        inputs(3, count=9) * torch.tensor([1.0] * 4 + [0.0] * 4),
        inputs(4, count=9) * torch.tensor([0.0] * 4 + [1.0] * 4),
    ]
    seen = seen_of(changes, xs)
    made, mean = fused_change(changes, seen, count=2, ridge=1e-9), mean_change(changes, count=2)
    for i, x in enumerate(xs):
        np.testing.assert_allclose(matrix(made) @ x.T.numpy(), matrix(changes[i]) @ x.T.numpy(), atol=1e-4)
    everything = squared_error(changes, seen, None)
    assert squared_error(changes, seen, made) < 1e-8 * everything
    assert squared_error(changes, seen, mean) > 0.1 * everything


def test_the_error_is_that_of_the_definition_and_the_mean_is_never_better() -> None:
    for seed in range(5):
        changes = {0: a_change(seed), 2: a_change(seed + 50)}  # the second of three changes nothing here
        xs = [inputs(seed + 10 * i, count=12) for i in range(1, 4)]
        seen = seen_of(changes, xs)
        made, mean = fused_change(changes, seen, count=3), mean_change(changes, count=3)
        np.testing.assert_allclose(matrix(mean), (matrix(changes[0]) + matrix(changes[2])) / 3, atol=1e-5)
        for each in (made, mean):
            assert squared_error(changes, seen, each) == pytest.approx(
                error_by_hand(changes, xs, matrix(each)), rel=1e-5
            )
        assert squared_error(changes, seen, made) < squared_error(changes, seen, mean)
        assert squared_error(changes, seen, None) == pytest.approx(error_by_hand(changes, xs, np.zeros((OUT, IN))))
        assert made.rank == 2 * RANK


def test_a_ridge_of_zero_is_refused() -> None:
    changes = {0: a_change(1)}
    with pytest.raises(ConfigError, match="ridge: expected a number above 0, got 0"):
        fused_change(changes, seen_of(changes, [inputs(3, count=9)]), count=1, ridge=0.0)


# on a model ----------------------------------------------------------------------------------------------------------


def write_concept(folder: Path, model: Path, *, token: str, seed: int) -> Path:
    """What ED-LoRA leaves behind, but of random numbers: a layered word and LoRAs on text encoders and U-Net."""
    backbone = SdxlIpAdapter.load(model)
    networks = {
        "unet": backbone.network,
        **{n: backbone.parts.stored.get(n) for n in ("text_encoder", "text_encoder_2")},
    }
    for part, network in networks.items():
        targets = r".*attn[12]\.(to_[qkv]|to_out\.0)" if part == "unet" else text_targets(network, part=part)
        add_adapter(network, facts=replace(backbone.facts, adapter_targets=targets), rank=2, alpha=2.0, init_seed=seed)
        draw = torch.Generator().manual_seed(seed)
        for name, parameter in adapter_parameters(network, "focus").items():
            if "lora_B" in name:
                parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)
    draw = torch.Generator().manual_seed(seed)
    rows = {key: torch.randn(2 * LAYERS, WIDTH, generator=draw) for key in ("clip_l", "clip_g")}
    save_words(folder, {token: rows}, metadata={}, layers={token: LAYERS})
    save_adapters(networks, folder, name="focus")
    return folder


@pytest.fixture(scope="module")
def two(sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("two")
    return [
        write_concept(place / token.strip("<>"), sdxl_folder, token=token, seed=seed)
        for seed, token in enumerate(("<rex>", "<tom>"))
    ]


QUICK = Drawing(steps=2, size=64)


@pytest.fixture(scope="module")
def both(two: list[Path], sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fused]:
    """Both of them fused."""
    out = tmp_path_factory.mktemp("both")
    told: Any = {"drawing": QUICK, "device": "cpu", "dtype": "float32"}
    return out, fuse_loras(str(sdxl_folder), [str(each) for each in two], out=out, **told)


def test_fused_loras_know_both_words_and_lose_less_than_their_mean(both: tuple[Path, Fused], sdxl_folder: Path) -> None:
    place, made = both
    assert made.words == ("<rex>", "<tom>")
    for lost in made.lost.values():
        assert lost["fused"] < 0.8 * lost["mean"] < 0.8
    read = SdxlIpAdapter.read_lora(sdxl_folder, place)
    assert {change.rank for change in read.changes.values()} == {4}
    assert read.num_layers == len(made.changes) + 2  # and two tables of embeddings
    assert [made.lost[stage].keys() for stage in made.lost] == [{"fused", "mean"}] * 3


def test_from_the_command_line_to_a_picture_of_both(
    two: list[Path], both: tuple[Path, Fused], sdxl_folder: Path, tmp_path: Path
) -> None:
    """The command writes the same bytes as the function."""
    told = ["--model", str(sdxl_folder), "--device", "cpu", "--dtype", "float32", "--steps", "2"]
    fused = ["loras", "fuse", *map(str, two), *told, "--size", "64", "--out", str(tmp_path / "again"), "--json"]
    done = CliRunner().invoke(app, fused)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["words"] == ["<rex>", "<tom>"]
    assert facts["lost"]["keys"]["fused"] < facts["lost"]["keys"]["mean"]
    for name in ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors", "learned_embeds_1.safetensors"):
        assert (both[0] / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    drawn = ["generate", *told, "--lora", str(tmp_path / "again"), "--prompt", "a <rex> hugs a <tom>"]
    done = CliRunner().invoke(app, [*drawn, "--out", str(tmp_path / "hug"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["loras"][0]["layers"] == facts["layers"] + 2
    assert len(list((tmp_path / "hug" / "images").glob("*.png"))) == 1


@pytest.mark.slow
def test_the_model_answers_each_word_nearer_to_its_own_lora_than_the_mean_does(
    two: list[Path], both: tuple[Path, Fused], sdxl_folder: Path, tmp_path: Path
) -> None:
    """The U-Net's noise for a prompt that was drawn and one that was not; the mean is both LoRAs at half strength."""
    for place in two:
        shutil.copytree(place, tmp_path / place.name)
        tensors = load_file(place / FILE_NAME)
        halved = {name: each * (0.5 if "lora_B" in name else 1.0) for name, each in tensors.items()}
        write_tensors(tmp_path / place.name / FILE_NAME, halved, metadata={})
    fused, mean = (
        SdxlIpAdapter.load(sdxl_folder, loras=loras) for loras in ([both[0]], [tmp_path / place.name for place in two])
    )
    for place, token in zip(two, ("<rex>", "<tom>"), strict=True):
        own = SdxlIpAdapter.load(sdxl_folder, loras=[place])
        for prompt in (f"a photo of a {token}", f"a {token} hugs a dog"):
            found = {name: noise(model, prompt) for name, model in {"own": own, "fused": fused, "mean": mean}.items()}
            errors = {name: float((found[name] - found["own"]).square().mean()) for name in ("fused", "mean")}
            assert errors["fused"] < 0.9 * errors["mean"], errors


def noise(model: SdxlIpAdapter, prompt: str) -> Tensor:
    x_t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.predict(x_t, torch.tensor(0.6), model.collate([model.prepare(prompt)]))


def test_one_lora_fused_is_that_lora(two: list[Path], sdxl_folder: Path, tmp_path: Path) -> None:
    made = fuse(SdxlIpAdapter.load(sdxl_folder), two[:1], out=tmp_path, drawing=QUICK)
    own = load_file(two[0] / "pytorch_lora_weights.safetensors")
    assert len(made.changes) == len(own) / 2
    for name, change in made.changes.items():
        expected = own[f"{name}.lora_B.weight"] @ own[f"{name}.lora_A.weight"]
        torch.testing.assert_close(change.up @ change.down, expected, rtol=0, atol=1e-4)


def test_inputs_are_those_of_each_lora_s_own_pass(two: list[Path], both: tuple[Path, Fused], sdxl_folder: Path) -> None:
    """A text layer, with its inputs gathered anew in a plain loop over both models and the system solved by numpy."""
    name, totals, changes = "encoder.layers.1.self_attn.q_proj", list[np.ndarray](), list[np.ndarray]()
    for place, token in zip(two, ("<rex>", "<tom>"), strict=True):
        alone: Any = SdxlIpAdapter.load(sdxl_folder, loras=[place])
        kept: list[Tensor] = []
        layer = alone.parts.text_encoder.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0].flatten(0, -2).double()))
        for template in ("a photo of a {}", "{}"):
            alone.embed_text([template.format(token)])
        x = torch.cat(kept).numpy()
        totals.append(x.T @ x)
        changes.append(matrix(SdxlIpAdapter.read_lora(sdxl_folder, place).text["text_encoder"][name]))
    level = 0.1 * np.trace(totals[0] + totals[1]) / WIDTH * np.eye(WIDTH)
    answers = changes[0] @ (totals[0] + level / 2) + changes[1] @ (totals[1] + level / 2)
    expected = np.linalg.solve((totals[0] + totals[1] + level).T, answers.T).T
    np.testing.assert_allclose(matrix(both[1].changes[f"text_encoder.{name}"]), expected, rtol=1e-3, atol=1e-5)


def test_what_cannot_be_fused_is_told(two: list[Path], sdxl_folder: Path, tmp_path: Path) -> None:
    both, model = [str(each) for each in two], str(sdxl_folder)
    with pytest.raises(ConfigError, match="LORA: expected two or more, got 1"):
        fuse_loras(model, both[:1], out=tmp_path)
    with pytest.raises(ConfigError, match="--prompt: expected a text with one"):
        fuse_loras(model, both, out=tmp_path, drawing=Drawing(("a cat",)))
    with pytest.raises(WeightsError, match="expected a LoRA with the word of its subject"):
        fuse_loras(model, [both[0], str(two[1] / "pytorch_lora_weights.safetensors")], out=tmp_path)
    (tmp_path / "learned_embeds_2.safetensors").touch()  # of an earlier one, whose word would stay
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        fuse_loras(model, both, out=tmp_path)
    with pytest.raises(ConfigError, match="--model: expected SDXL"):
        fuse_loras("flux", both, out=tmp_path)
