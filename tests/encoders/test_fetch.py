"""`fetch`: tiny files of the published layouts become folders that encoders find by name; the others are refused."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from published_dreamsim import HEADS, write_release, zipped
from published_files import as_image_reward, as_open_clip, linear_layers, named_layers
from safetensors.torch import save_file

from likeness.core.errors import ConfigError, WeightsError
from likeness.core.hashing import file_sha256, folder_sha256
from likeness.encoders import blip, dreamsim_convert, hps, load_encoder
from likeness.encoders import fetch as fetching
from likeness.encoders.checkpoint import read_checkpoint
from likeness.encoders.fetch import fetch
from likeness.encoders.fetchable import FETCHABLE
from likeness.encoders.open_clip import ClipHeads


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, tiny heads, and no pinned hashes: the files here are not the published ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hps, "VIT_L_14", ClipHeads(2, 2, "quick_gelu"))
    monkeypatch.setattr(hps, "VIT_H_14", ClipHeads(2, 2, "gelu"))
    monkeypatch.setattr(blip, "IMAGE_REWARD", blip.BlipHeads(2, 2))
    monkeypatch.setattr(dreamsim_convert, "HEADS", HEADS)
    unpinned = {name: facts._replace(sha256=None, url=None) for name, facts in FETCHABLE.items()}
    monkeypatch.setattr(fetching, "FETCHABLE", unpinned)
    return tmp_path / "cache" / "likeness" / "weights"


def write_hps(path: Path) -> Path:
    """As HPS_v2_compressed.pt: tensors below "state_dict"."""
    torch.save({"state_dict": as_open_clip(tiny.tiny_clip())}, path)
    return path


def write_hpc(path: Path) -> Path:
    """As hpc.pt, saved by training on several devices."""
    state = {f"module.{name}": tensor for name, tensor in as_open_clip(tiny.tiny_clip()).items()}
    torch.save({"iterations": 4000, "state_dict": state}, path)
    return path


def write_reward(path: Path) -> Path:
    """As ImageReward.pt: tensors at the top."""
    torch.save(as_image_reward(*tiny.tiny_blip()) | named_layers(linear_layers(16), prefix="mlp.layers."), path)
    return path


def write_head(path: Path) -> Path:
    """As sac+logos+ava1-l14-linearMSE.pth."""
    torch.save(named_layers(linear_layers(12), prefix="layers."), path)
    return path


def write_ensemble(path: Path) -> Path:
    """As dreamsim_ensemble_checkpoint.zip."""
    write_release(path.parent / "models")
    return zipped(path.parent / "models", path)


def write_dino(folder: Path) -> Path:
    """As torch.hub keeps DINO's weights."""
    write_release(folder)
    return folder / "checkpoints"


FILES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Path]]] = {
    "hps_v1": (write_hpc, tiny.write_clip),
    "hps_v2": (write_hps, tiny.write_clip),
    "hps_v21": (write_hps, tiny.write_clip),
    "image_reward": (write_reward, tiny.write_image_reward),
    "aesthetic": (write_head, tiny.write_aesthetic),
    "dreamsim": (write_ensemble, write_dino),
}
"""Who writes a file of the layout, and a folder of what it lacks."""


def test_every_line_of_the_table_has_a_file_here() -> None:
    """Of encoders, which all lack something; a backbone's adapter lacks nothing, and is tested with its backbone."""
    assert FILES.keys() == {name for name, facts in FETCHABLE.items() if facts.base}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_published_file_becomes_an_encoder(name: str, cache: Path, tmp_path: Path, images: list[Image.Image]) -> None:
    write_file, write_base = FILES[name]
    file, base = write_file(tmp_path / "published.pt"), write_base(tmp_path / "base")
    found = fetch(name, source=file, base=str(base))
    assert found == (cache / name, False)
    assert not list(found.folder.rglob("*.pt")) + list(found.folder.rglob("*.bin"))
    assert list(found.folder.rglob("*.safetensors"))
    encoder = load_encoder(name, name)
    assert f" {name}@" in encoder.id
    assert str(tmp_path) not in encoder.id
    if hasattr(encoder, "look"):
        assert np.isfinite(np.asarray(encoder.look(images[:1]))).all()
    else:
        assert np.isfinite(encoder.ask(images[:1], ["a cat"])[0].score)


def test_the_aesthetic_score_is_the_heads_of_the_clips_feature(tmp_path: Path, images: list[Image.Image]) -> None:
    base = tiny.write_aesthetic(tmp_path / "base")
    fetch("aesthetic", source=write_head(tmp_path / "head.pth"), base=str(base))
    encoder = load_encoder("aesthetic", "aesthetic")
    for image, score in zip(images, encoder.look(images), strict=True):
        pixels = torch.from_numpy(encoder.pixel_values(image))[None]
        with torch.inference_mode():
            feature = encoder.model(pixel_values=pixels).image_embeds[0].double().numpy()
        x = feature / np.linalg.norm(feature)
        for weight, bias in linear_layers(12):
            x = weight @ x + bias
        assert score == pytest.approx(x[0], abs=1e-5)


def test_again_it_is_there_and_equal_files_make_equal_folders(cache: Path, tmp_path: Path) -> None:
    file, base = write_hps(tmp_path / "a.pt"), str(tiny.write_clip(tmp_path / "base"))
    fetch("hps_v2", source=file, base=base)
    first = folder_sha256(cache / "hps_v2")
    assert fetch("hps_v2") == (cache / "hps_v2", True)
    assert fetch("hps_v2", source=file).was_there
    assert not fetch("hps_v2", source=file, base=base).was_there
    assert folder_sha256(cache / "hps_v2") == first


def test_an_interrupted_conversion_leaves_the_old_weights(cache: Path, tmp_path: Path) -> None:
    file, base = write_hps(tmp_path / "a.pt"), str(tiny.write_clip(tmp_path / "base"))
    fetch("hps_v2", source=file, base=base)
    first = folder_sha256(cache / "hps_v2")
    with pytest.raises(WeightsError, match=r"other\.pth: CLIP weights: expected a tensor .*, got 10 others"):
        fetch("hps_v2", source=write_head(tmp_path / "other.pth"), base=base)
    assert folder_sha256(cache / "hps_v2") == first
    os.replace(cache / "hps_v2", cache / "hps_v2.old")  # a kill between the two renames
    assert fetch("hps_v2").was_there
    assert folder_sha256(cache / "hps_v2") == first


def test_another_file_than_the_published_one_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, base = write_hps(tmp_path / "a.pt"), str(tiny.write_clip(tmp_path / "base"))
    pinned = {"hps_v2": FETCHABLE["hps_v2"]._replace(sha256=file_sha256(file))}
    monkeypatch.setattr(fetching, "FETCHABLE", pinned)
    assert not fetch("hps_v2", source=file, base=base).was_there
    with file.open("ab") as longer:
        longer.write(b"!")
    with pytest.raises(WeightsError, match=r"a\.pt: expected the published file with SHA-256 .*, got \d+ bytes with"):
        fetch("hps_v2", source=file, base=base)


def test_the_pinned_hash_of_the_aesthetic_head_is_the_published_one() -> None:
    facts = FETCHABLE["aesthetic"]
    assert facts.sha256 == "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"
    assert facts.num_bytes == 3714759


class Runs:
    """A pickle of it runs a command when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_by_name_and_does_not_run(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": Runs()}}, "code.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"code\.pt: expected tensors only, got a pickle that names \w+\.mkdir"):
        fetch("hps_v2", source=Path("code.pt"))
    assert not Path("ran").exists()


def test_a_pickle_of_a_module_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(WeightsError, match=r"a pickle that names torch\.nn\.modules\.linear\.Linear, which could run"):
        fetch("hps_v2", source=tmp_path / "module.pt")


@pytest.mark.parametrize("size", [0, 1, 100, 5000])
def test_a_cut_file_is_damage(size: int, tmp_path: Path) -> None:
    whole = write_hps(tmp_path / "a.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:size])
    with pytest.raises(WeightsError, match=r"cut\.pt: expected (a whole file|tensors only).*, got "):
        fetch("hps_v2", source=tmp_path / "cut.pt")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([1, 2], "got list"),
        ({}, "got dict"),
        ({"state_dict": {"a": 3}}, "got 'a' with int"),
        ({"a": torch.tensor([float("nan")])}, "got others in a"),
    ],
)
def test_what_is_no_set_of_tensors_is_told(value: Any, told: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=rf"odd\.pt: expected .*, {re.escape(told)}"):
        read_checkpoint(tmp_path / "odd.pt")


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0)}
    save_file(tensors, tmp_path / "a.safetensors")
    assert torch.equal(read_checkpoint(tmp_path / "a.safetensors")["a"], tensors["a"])
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"b\.safetensors: expected a whole safetensors file"):
        read_checkpoint(tmp_path / "b.safetensors")


def test_without_a_file_it_says_where_to_get_one(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"hps_v1: .* by hand \(https://\S+\), then run `likeness fetch hps_v1 --from"
    ):
        fetch("hps_v1")
    with pytest.raises(WeightsError, match=r"nowhere\.pt: expected a file of weights, got none"):
        fetch("hps_v1", source=tmp_path / "nowhere.pt")
    with pytest.raises(ConfigError, match=r"NAME: expected one of hps_v1, .*, got 'hps_v3'; did you mean hps_v"):
        fetch("hps_v3")
    with pytest.raises(
        WeightsError, match=rf"hps_v1: expected converted weights in {re.escape(str(cache))}/hps_v1, got"
    ):
        load_encoder("hps_v1", "hps_v1")


def test_offline_one_message_names_all(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    offline = {"hps_v2": FETCHABLE["hps_v2"]._replace(url="http://127.0.0.1:9/HPS.pt")}  # nobody listens there
    monkeypatch.setattr(fetching, "FETCHABLE", offline)
    with pytest.raises(WeightsError) as caught:
        fetch("hps_v2")
    told = str(caught.value)
    for part in ("http://127.0.0.1:9/HPS.pt: expected a file, got ", "hps_v2", "--from FILE", str(cache / "hps_v2")):
        assert part in told


def test_a_base_that_cannot_be_had_is_told_with_its_flag(tmp_path: Path) -> None:
    file = write_hps(tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"got 'nowhere at all'; correct the name: --base FOLDER\.$"):
        fetch("hps_v2", source=file, base="nowhere at all")
