"""Recipes: the committed one is valid, and every mistake is told with file and key."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from likeness.core.errors import ConfigError
from likeness.pretrain.config import read_config
from likeness.pretrain.latents import COUNT_CYCLE
from likeness.pretrain.run import run

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("world_*.toml"))
Write = Callable[[Path], Path]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_committed_recipes_are_valid(path: Path) -> None:
    config = read_config(path)
    factor = 2 ** len(config.block_out_channels)  # 8 for the latents and 2 for the patch
    assert config.size % factor == config.reference_size_single % factor == config.reference_size_multi % factor == 0
    assert config.reference_size_multi <= config.reference_size_single


def test_a_recipe_is_frozen(tmp_path: Path, write_recipe: Write) -> None:
    config = read_config(write_recipe(tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 4
    assert config.block_out_channels == (8, 8, 8, 8)
    assert config.decoder.freeze_encoder
    assert not config.autoencoder.freeze_encoder


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed = 3", "seed = 3\nsead = 4", "sead"),
        ("seed = 3", "", "seed"),
        ("seed = 3", 'seed = "three"', "seed"),
        ("kl_weight = 1e-5", "kl_wieght = 1e-5", "autoencoder.kl_wieght"),
        ("kl_weight = 1e-5", "kl_weight = -1", "autoencoder.kl_weight"),
        ('device = "cpu"', 'device = "tpu"', "device"),
        ("num_layers = 1", "num_layers = 0", "transformer.num_layers"),
        ("num_layers = 1", "num_layers = 1.5", "transformer.num_layers"),
        ("condition_dropout = 0.5", "condition_dropout = 1.0", "transformer.condition_dropout"),
        ("snr_gamma = 5.0", "snr_gamma = 0", "unet.snr_gamma"),
        ("block_out_channels = [8, 8, 8, 8]", "block_out_channels = 8", "block_out_channels"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, write_recipe: Write, old: str, new: str, told: str) -> None:
    path = write_recipe(tmp_path)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert f"  {told}: " in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path, write_recipe: Write) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text().replace("seed = 3", "sead = 3"))
    with pytest.raises(ConfigError, match=r"2 wrong setting\(s\)"):
        read_config(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "no file"), (b"seed = ", "expected TOML"), (b"seed = '\xff'", "expected TOML"), ("folder", "irectory")],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes | str | None, told: str) -> None:
    path = tmp_path / "recipe.toml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    with pytest.raises(ConfigError, match=told) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_an_unknown_stage_is_refused_before_any_work(tmp_path: Path, write_recipe: Write) -> None:
    with pytest.raises(ConfigError, match=r"--stage: expected one of autoencoder.*'watercolour'"):
        run(write_recipe(tmp_path), stage="watercolour")
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.toml"]


def test_the_cpu_and_the_gpu_recipe_make_the_same_networks() -> None:
    """Only who trains, how long and with which batches may differ; the weights fit the same package."""
    configs = Path(__file__).parents[2] / "configs"
    cpu, gpu = (read_config(configs / f"world_{name}.toml") for name in ("cpu", "gpu"))
    shared = ("seed", "export", "size", "reference_size_single", "reference_size_multi", "block_out_channels")
    assert all(getattr(cpu, name) == getattr(gpu, name) for name in shared)
    layers = ("num_layers", "num_single_layers")
    assert all(getattr(cpu.transformer, name) == getattr(gpu.transformer, name) for name in layers)
    layers = ("block_out_channels", "transformer_layers_per_block")
    assert all(getattr(cpu.unet, name) == getattr(gpu.unet, name) for name in layers)
    assert gpu.workers > 0
    assert gpu.work != cpu.work
    assert gpu.latents.num_samples // gpu.latents.shard_size >= len(COUNT_CYCLE)  # every subject count occurs
