"""Each stage says which one to run before it, and a finished one leaves alone what others made of its result."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from likeness.core.errors import ConfigError
from likeness.pretrain import autoencoder
from likeness.pretrain.autoencoder import train_autoencoder, train_decoder
from likeness.pretrain.config import PretrainConfig, read_config
from likeness.pretrain.export import LOG_ROWS, _copy, _thinned
from likeness.pretrain.latents import cache_folder
from likeness.pretrain.run import run, start_from
from likeness.pretrain.transformer import TransformerTraining
from likeness.pretrain.vae import WEIGHTS, require_vae

Write = Callable[[Path], Path]
Copy = Callable[[str], PretrainConfig]


def weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, copied: load_file maps the file, which is about to be overwritten."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


@pytest.fixture(autouse=True)
def no_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "validation_psnrs", lambda vae, *, size: [0.0])


@pytest.mark.parametrize("stage", ["decoder", "probe", "transformer"])
@pytest.mark.parametrize("half", [False, True], ids=["no autoencoder", "half an autoencoder"])
def test_stages_that_need_the_autoencoder_name_it(tmp_path: Path, write_recipe: Write, stage: str, half: bool) -> None:
    recipe = write_recipe(tmp_path)
    if half:
        (tmp_path / "vae").mkdir()
        (tmp_path / "vae" / "config.json").write_text("{}")
        (tmp_path / "vae" / WEIGHTS).write_bytes(b"\x40")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=rf'stage "{stage}": .*run stage "autoencoder" first') as caught:
        run(recipe, stage)
    assert str(tmp_path / "vae") in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_latents_need_the_autoencoder(tmp_path: Path, write_recipe: Write) -> None:
    with pytest.raises(ConfigError, match=r'stage "latents": .*"autoencoder" first'):
        cache_folder(read_config(write_recipe(tmp_path)))


def test_calibration_needs_exported_checkpoints(tmp_path: Path, write_recipe: Write) -> None:
    with pytest.raises(ConfigError, match=r'stage "calibrate": .*run stage "export" first'):
        run(write_recipe(tmp_path), "calibrate")


def test_export_needs_something_to_export(tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(tmp_path)
    with pytest.raises(ConfigError, match=r'stage "export": expected one of flux, clip, dino, probe'):
        run(recipe, "export")
    (tmp_path / "flux").mkdir()
    with pytest.raises(ConfigError, match=r'stage "export": .*run stage "autoencoder" first'):
        run(recipe, "export")
    assert not (tmp_path / "export").exists()


def test_old_torch_without_muon_is_told_of(
    tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(write_recipe(tmp_path))
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ConfigError, match=r"torch >= 2\.9 .*got torch .*pip install"):
        TransformerTraining(config, device="cpu")


def test_a_finished_autoencoder_keeps_the_decoder_trained_since(work_copy: Copy) -> None:
    config = work_copy("kept")
    train_decoder(config, device="cpu")
    path = require_vae(config, stage="decoder") / WEIGHTS
    better, log = path.read_bytes(), (config.work / "autoencoder.jsonl").read_bytes()
    train_autoencoder(config, device="cpu")
    assert path.read_bytes() == better
    assert (config.work / "autoencoder.jsonl").read_bytes() == log


def test_an_autoencoder_finished_but_not_exported_is_exported(work_copy: Copy) -> None:
    config = work_copy("exported")
    path = config.work / "vae" / WEIGHTS
    whole = weights(path)
    path.write_bytes(path.read_bytes()[:-8])
    train_autoencoder(config, device="cpu")
    again = weights(path)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_longer_autoencoder_replaces_the_export_and_refuses_the_old_decoder(work_copy: Copy) -> None:
    config = work_copy("longer")
    train_decoder(config, device="cpu")
    path = config.work / "vae" / WEIGHTS
    before = weights(path)
    table = config.autoencoder.model_copy(update={"total_images": 24})
    train_autoencoder(config.model_copy(update={"autoencoder": table}), device="cpu")
    after = weights(path)
    assert not torch.equal(before["encoder.conv_in.weight"], after["encoder.conv_in.weight"])
    with pytest.raises(ConfigError, match=r"decoder\.state: .*delete the folder"):
        train_decoder(config, device="cpu")


@pytest.mark.parametrize("rows", [0, 1, 99, 100, 101, 250])
def test_long_logs_are_thinned_evenly_and_end_where_they_end(rows: int) -> None:
    log = [f"{i}\n" for i in range(rows)]
    kept = _thinned("".join(log)).splitlines(keepends=True)
    assert kept[-1:] == log[-1:]
    assert len(kept) <= LOG_ROWS
    assert len(kept) >= min(rows, LOG_ROWS // 2)
    steps = {int(b) - int(a) for a, b in itertools.pairwise(kept)}
    assert len(steps) <= 1


def test_exported_configs_name_no_path_and_keep_their_order(tmp_path: Path) -> None:
    """The order of a probe's label lists is that of its weights."""
    (tmp_path / "net").mkdir()
    plain = '{"species": ["cat"], "age": ["adult"]}'
    (tmp_path / "net" / "config.json").write_text('{"z": 1, "_name_or_path": "/home/me/net", "a": {"d": 2, "c": 3}}')
    _copy(tmp_path / "net", tmp_path / "out")
    written = (tmp_path / "out" / "config.json").read_text()
    assert list(json.loads(written).items()) == [("z", 1), ("a", {"d": 2, "c": 3})]
    assert "/home" not in written
    (tmp_path / "net" / "config.json").write_text(plain)
    _copy(tmp_path / "net", tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_text() == plain


def test_training_goes_on_from_exported_checkpoints(
    tmp_path: Path, write_recipe: Write, prepared: PretrainConfig
) -> None:
    """What the work folder lacks is copied, the autoencoder out of the pipeline; what it has stays."""
    exported = tmp_path / "exported"
    shutil.copytree(prepared.work / "flux", exported / "flux")
    config = read_config(write_recipe(tmp_path / "work"))
    start_from(exported, config)
    for part in ("flux/transformer", "vae"):
        source = prepared.work / ("flux/vae" if part == "vae" else part) / WEIGHTS
        assert (config.work / part / WEIGHTS).read_bytes() == source.read_bytes()
    (config.work / "vae" / WEIGHTS).write_bytes(b"trained since")
    start_from(exported, config)
    assert (config.work / "vae" / WEIGHTS).read_bytes() == b"trained since"
    with pytest.raises(ConfigError, match=r"--from: expected exported checkpoints .*, got none in .*nothing"):
        start_from(tmp_path / "nothing", config)
