"""A LoRA at another strength: what it does to each layer, in every layout that is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from likeness.backbones.lora_file import Target, read_lora
from likeness.backbones.lora_scale import scale_lora
from likeness.cli import app
from likeness.core.errors import ConfigError, OutputError, WeightsError

LAYERS = {"blocks.0.to_q": (6, 4), "blocks.0.to_k": (5, 4)}


def written(place: Path, *, before: str, down: str, up: str, alpha: float | None, dtype: torch.dtype) -> Path:
    """Random matrices of rank 3."""
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for layer, (out, into) in LAYERS.items():
        name = before + (layer.replace(".", "_") if before.endswith("_") else layer)
        tensors |= {f"{name}.{down}.weight": torch.randn(3, into), f"{name}.{up}.weight": torch.randn(out, 3)}
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    place.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.to(dtype) for name, tensor in tensors.items()}, place, metadata={"format": "pt", "by": "me"}
    )
    return place


def changed(spec: Path) -> dict[str, Tensor]:
    """alpha / rank * up @ down of every layer, in float64."""
    flat = {layer.replace(".", "_"): layer for layer in LAYERS}
    read = read_lora(spec, layers=LAYERS, find=lambda name: [Target(flat.get(name, name))])
    return {
        layer: change.alpha / change.rank * change.up.double() @ change.down.double()
        for layer, change in read.changes.items()
    }


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("pytorch_lora_weights", {"before": "transformer.", "down": "lora_A", "up": "lora_B", "alpha": None}),
        ("adapter_model", {"before": "base_model.model.", "down": "lora_A", "up": "lora_B", "alpha": None}),
        ("style", {"before": "lora_unet_", "down": "lora_down", "up": "lora_up", "alpha": 1.5}),
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_every_layer_changes_that_much_more(
    tmp_path: Path, name: str, layout: dict[str, object], dtype: torch.dtype, tolerance: float
) -> None:
    path = written(tmp_path / "lora" / f"{name}.safetensors", **layout, dtype=dtype)  # pyright: ignore[reportArgumentType]
    if name == "adapter_model":
        settings = {"peft_type": "LORA", "r": 3, "lora_alpha": 6}
        path.with_name("adapter_config.json").write_text(json.dumps(settings))
    before = changed(path)
    for place, spec in (("folder", path.parent), ("file", path)):
        made = scale_lora(spec, strength=0.3, out=tmp_path / place)
        assert (made.matrices, made.strength) == (2, 0.3)
        after = changed(tmp_path / place)
        assert after.keys() == LAYERS.keys()
        for layer, change in before.items():
            torch.testing.assert_close(after[layer], 0.3 * change, rtol=tolerance, atol=tolerance)
        assert {tensor.dtype for tensor in load_file(made.file).values()} == {dtype}


def test_strengths_multiply_and_the_header_says_so(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a" / "x.safetensors", before="", down="lora_A", up="lora_B", alpha=None, dtype=torch.float32
    )
    half = scale_lora(path, strength=0.5, out=tmp_path / "half")
    whole = scale_lora(tmp_path / "half", strength=2.0, out=tmp_path / "whole")
    assert whole.strength == 1.0
    for name, tensor in load_file(path).items():
        assert torch.equal(load_file(whole.file)[name], tensor)
    with safe_open(half.file, framework="pt") as file:
        header = file.metadata()
    assert (header["likeness.strength"], header["by"]) == ("0.5", "me")


def test_text_encoders_are_scaled_and_what_lies_beside_is_copied(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a" / "x.safetensors",
        before="text_encoder.",
        down="lora_A",
        up="lora_B",
        alpha=None,
        dtype=torch.float32,
    )
    (tmp_path / "a" / "words.json").write_text("{}")
    (tmp_path / "a" / "more").mkdir()
    (tmp_path / "a" / "more" / "note.txt").write_text("kept")
    made = scale_lora(tmp_path / "a", strength=2, out=tmp_path / "b")
    old, new = load_file(path), load_file(made.file)
    for name in old:
        assert torch.equal(new[name], old[name] * (2 if "lora_B" in name else 1)), name
    assert (tmp_path / "b" / "words.json").read_text() == "{}"
    assert (tmp_path / "b" / "more" / "note.txt").read_text() == "kept"


def test_what_cannot_be_scaled_is_told(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a" / "x.safetensors", before="", down="lora_A", up="lora_B", alpha=None, dtype=torch.float16
    )
    for wrong in (0.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="expected a number other than 0"):
            scale_lora(path, strength=wrong, out=tmp_path / "b")
    with pytest.raises(WeightsError, match="to fit in float16, got infinity"):
        scale_lora(path, strength=1e6, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        scale_lora(path, strength=2, out=tmp_path / "a")
    with pytest.raises(OutputError, match="outside of the LoRA's own"):
        scale_lora(tmp_path / "a", strength=2, out=tmp_path / "a" / "half")
    assert scale_lora(
        path, strength=2, out=tmp_path / "a" / "beside"
    ).file.is_file()  # of a file alone nothing is copied
    save_file({"weight": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="expected pairs of LoRA matrices"):
        scale_lora(tmp_path / "model.safetensors", strength=2, out=tmp_path / "b")


def test_the_command_says_what_comes_next(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a" / "x.safetensors", before="", down="lora_A", up="lora_B", alpha=None, dtype=torch.float32
    )
    run = CliRunner().invoke(app, ["loras", "scale", str(path), "0.75", "--out", str(tmp_path / "b")])
    assert run.exit_code == 0, run.output
    assert "2 matrices times 0.75. Next: likeness generate --lora" in run.output.replace("\n", " ")
    told = CliRunner().invoke(app, ["loras", "scale", str(tmp_path / "b"), "2", "--out", str(tmp_path / "c"), "--json"])
    assert json.loads(told.output)["strength"] == 1.5
