"""Training on a base that holds UNO's adapter inside, or keeps fewer bits."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from flux_original import uno_lora
from preference_runs import train
from safetensors.torch import load_file, save_file

from likeness.core.errors import ConfigError

LORA = "lora/pytorch_lora_weights.safetensors"


@pytest.fixture
def uno(tmp_path: Path) -> Path:
    save_file(uno_lora(width=32, num_double=1, num_single=1, rank=4, scale=0.2), tmp_path / "dit_lora.safetensors")
    return tmp_path / "dit_lora.safetensors"


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_merged_adapter_trains_to_the_same_numbers(recipe: Path, tmp_path: Path, uno: Path) -> None:
    runs = {name: tmp_path / name for name in ("none", "beside", "merged")}
    train(recipe, runs["none"])
    train(recipe, runs["beside"], f"model.lora={uno}")
    train(recipe, runs["merged"], f"model.lora={uno}", "model.merge_lora=true")
    none, beside, merged = (rows(run) for run in runs.values())
    assert merged[0]["loss"] == beside[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for one, other in zip(beside, merged, strict=True):
        for name, error in one["errors"].items():
            assert other["errors"][name] == pytest.approx(error, rel=1e-5)
    assert none[0]["errors"] != beside[0]["errors"]
    files = [load_file(runs[name] / LORA) for name in ("beside", "merged")]
    assert files[0].keys() == files[1].keys()  # ours alone, on the same layers
    for name, tensor in files[0].items():
        torch.testing.assert_close(files[1][name], tensor, atol=2e-3, rtol=0)  # two of Adam's steps of 1e-3
    assert json.loads((runs["merged"] / "run.json").read_text())["config"]["model"]["merge_lora"] is True


@pytest.mark.parametrize(("kind", "package"), [("nf4", "bitsandbytes"), ("int8", "torchao"), ("fp8", "torchao")])
def test_a_quantised_base_trains_near_the_exact_one(
    recipe: Path, tmp_path: Path, uno: Path, kind: str, package: str
) -> None:
    pytest.importorskip(package, exc_type=ImportError)
    exact, fewer = tmp_path / "exact", tmp_path / "fewer"
    train(recipe, exact, f"model.lora={uno}")
    train(recipe, fewer, f"model.lora={uno}", f"model.quantise={kind}", "train.steps=2")
    train(recipe, fewer, f"model.lora={uno}", f"model.quantise={kind}")  # goes on from its state
    assert rows(fewer)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for one, other in zip(rows(exact), rows(fewer), strict=True):
        assert other["errors"]["ref_preferred"] == pytest.approx(one["errors"]["ref_preferred"], rel=0.1)
        assert other["errors"]["ref_preferred"] != one["errors"]["ref_preferred"]
    assert load_file(fewer / LORA).keys() == load_file(exact / LORA).keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["model.merge_lora=true"], r"merge_lora: expected model\.lora beside it, got none"),
        (["model.quantise=int4"], r"model\.quantise=int4: expected 'none', 'nf4', 'int8' or 'fp8', got 'int4'"),
        (["model.quantise=nf4"], r"quantise nf4: expected the package bitsandbytes, got none; pip install"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], said: str
) -> None:
    monkeypatch.setattr("likeness.backbones.memory.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=said):
        train(recipe, tmp_path / "run", *changes)
    assert not (tmp_path / "run").exists()
