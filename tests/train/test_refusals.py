"""What a preference run refuses before its first step: other data, models and settings, and bad pairs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from preference_runs import edit_row, repaint, train, write_model
from safetensors.torch import load_file, save_file

from likeness.core.errors import ConfigError, DataError, OutputError, WeightsError
from likeness.train.state import load_state, save_state


def test_a_changed_dataset_is_refused(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", "train.steps=2")
    repaint(tmp_path / "pairs" / "p3-rejected.png")
    with pytest.raises(OutputError, match=r"another run .*data\.sha256: .* there"):
        train(recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "said"),
    [("objective.beta=7", "config.objective.beta: 500.0 there, 7.0 here"), ("model.rank=2", "config.model.rank: 4 th")],
)
def test_other_settings_are_refused(recipe: Path, tmp_path: Path, change: str, said: str) -> None:
    train(recipe, tmp_path / "run", "train.steps=1")
    with pytest.raises(OutputError, match=said.replace(".", r"\.")):
        train(recipe, tmp_path / "run", change)


def test_the_checkpoint_of_another_model_is_refused(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", "train.steps=1")
    other = write_model(tmp_path / "other")
    weights = other / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, weights, metadata={"format": "pt"})
    with pytest.raises(OutputError, match=r"model\.sha256"):
        train(recipe, tmp_path / "run", f"model.base={other}")


def test_a_state_from_another_run_is_refused(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", "train.steps=1")
    state = load_state(tmp_path / "run" / "state")
    assert state is not None
    save_state(tmp_path / "run" / "state", {**state, "identity": "another"})
    with pytest.raises(WeightsError, match="expected the state of this run, got that of another"):
        train(recipe, tmp_path / "run")


def _without_pairs(folder: Path) -> None:
    (folder / "pairs.jsonl").unlink()


def _without_references(folder: Path) -> None:
    edit_row(folder, lambda row: row.update(references=[]))


def _without_picture(folder: Path) -> None:
    (folder / "p2-preferred.png").unlink()


def _with_small_mask(folder: Path) -> None:
    Image.new("RGB", (32, 32)).save(folder / "p2-mask0.png")


def _with_other_size(folder: Path) -> None:
    Image.new("RGB", (96, 64)).save(folder / "p2-rejected.png")


def _with_odd_size(folder: Path) -> None:
    for name in ("preferred", "rejected", "mask0"):
        Image.new("RGB", (60, 60)).save(folder / f"p2-{name}.png")
    edit_row(folder, lambda row: row.update(size=[60, 60]))


def _other_split(folder: Path) -> None:
    lines = [json.loads(line) | {"split": "test"} for line in (folder / "pairs.jsonl").read_text().splitlines()]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (_without_pairs, ConfigError, "data.pairs: expected a folder with pairs.jsonl"),
        (_without_references, DataError, "expected at least one reference picture"),
        (_without_picture, DataError, "preferred: expected a file, got nothing"),
        (_with_small_mask, DataError, "pair p2: subject mask .* expected 64 x 64 px as its picture has, got 32 x 32"),
        (_with_other_size, DataError, "pair p2: pictures: expected both of 64 x 64 px"),
        (_with_odd_size, DataError, "pair p2: .* multiples of 16 px, got 60 x 60; set data.size"),
        (_other_split, ConfigError, "data.split: expected pairs of train, got only test"),
    ],
)
def test_bad_pairs_are_refused_before_the_first_step(
    recipe: Path, tmp_path: Path, spoil: Callable[[Path], None], kind: type[Exception], said: str
) -> None:
    spoil(tmp_path / "pairs")
    with pytest.raises(kind, match=said):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_layers_that_no_block_has_are_refused_before_anything_is_written(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"names from transformer_blocks\.0 to single_transformer_blocks\.0, got 'no'"
    ):
        train(recipe, tmp_path / "run", "objective.focus.layers=no")
    assert not (tmp_path / "run").exists()
    train(recipe, tmp_path / "run", "objective.focus.layers=single_.*", "train.steps=1")


def test_a_missing_base_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        train(recipe, tmp_path / "run", "model.base=nowhere")
    with pytest.raises(WeightsError):
        train(recipe, tmp_path / "run", "model.lora=nowhere")
    assert not (tmp_path / "run").exists()


def test_a_pair_set_that_refuses_a_cache_names_the_setting_that_helps(recipe: Path, tmp_path: Path) -> None:
    """A file where the folder should be stands in for a read-only disk, which root does not know."""
    (tmp_path / "pairs" / "cache").write_text("in the way")
    with pytest.raises(OutputError, match=r"pairs/cache: expected a folder .*; set data\.cache to a folder"):
        train(recipe, tmp_path / "run")
    train(recipe, tmp_path / "run", f"data.cache={tmp_path / 'elsewhere'}", "train.steps=1")
