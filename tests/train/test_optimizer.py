"""Eight-bit AdamW: what it needs, what it takes, and that a run goes on exactly."""

from importlib import util
from pathlib import Path

import pytest
import torch
from preference_runs import same, train

from likeness.core.errors import ConfigError
from likeness.train import optimizer as optimizers
from likeness.train.optimizer import check_optimizer, make_optimizer, state_bytes

needs_bitsandbytes = pytest.mark.skipif(
    util.find_spec("bitsandbytes") is None, reason="the extra quantise is not installed"
)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        return None

    monkeypatch.setattr(optimizers, "find_spec", nothing)
    check_optimizer("adamw", device="cpu")
    with pytest.raises(ConfigError, match=r"train.optimizer adamw_8bit: expected the package bitsandbytes.*quantise"):
        check_optimizer("adamw_8bit", device="cpu")
    monkeypatch.undo()


def test_eight_bits_are_not_shared_out() -> None:
    with pytest.raises(ConfigError, match="expected adamw where ZeRO shares out the averages, got adamw_8bit; set"):
        check_optimizer("adamw_8bit", device="cpu", shared=True)


@needs_bitsandbytes
def test_pages_need_cuda() -> None:
    with pytest.raises(ConfigError, match="paged_adamw_8bit: expected a CUDA device"):
        check_optimizer("paged_adamw_8bit", device="cpu")


@pytest.mark.parametrize("kind", ["adamw", pytest.param("adamw_8bit", marks=needs_bitsandbytes)])
def test_states_take_what_is_planned(kind: str) -> None:
    shapes = [(64, 64), (300, 70), (8, 8)]
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    made = make_optimizer(kind, parameters, rate=1e-3, weight_decay=0.0)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    made.step()
    tensors = [
        value for state in made.state.values() for value in state.values() if torch.is_tensor(value) and value.ndim
    ]
    taken = sum(tensor.nbytes for tensor in tensors)
    assert taken == state_bytes(kind, [parameter.numel() for parameter in parameters])


@needs_bitsandbytes
def test_eight_bits_go_on_exactly_and_nearly_as_thirty_two(recipe: Path, tmp_path: Path) -> None:
    wide = ("model.rank=128", "train.optimizer=adamw_8bit")  # matrices of 4,096 entries, so that eight bits are used
    train(recipe, tmp_path / "whole", *wide)
    train(recipe, tmp_path / "parts", *wide, "train.steps=2")
    train(recipe, tmp_path / "parts", *wide)
    assert same(tmp_path / "whole", tmp_path / "parts", but=frozenset({"maps/000002.json"}))  # shown where a run ends
    full = train(recipe, tmp_path / "full", "model.rank=128")
    eight = train(recipe, tmp_path / "whole", *wide)
    assert eight.last["loss"] != full.last["loss"]
    assert eight.last["loss"] == pytest.approx(full.last["loss"], rel=0.05)
