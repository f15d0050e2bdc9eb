"""DreamSim's release becomes a folder that computes what the release does; what is not the release is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any  # JSON, tensors by name

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from published_dreamsim import HEADS, Ensemble, write_release, zipped
from safetensors.torch import load_file, save_file
from transformers import ViTConfig, ViTModel

from likeness.core.errors import WeightsError
from likeness.encoders import dreamsim_convert, load_encoder
from likeness.encoders.dreamsim import DreamSimEncoder
from likeness.encoders.dreamsim_convert import convert_dreamsim
from likeness.encoders.fetch import fetch
from likeness.encoders.fetchable import FETCHABLE
from likeness.metrics.dreamsim import distance


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dreamsim_convert, "HEADS", HEADS)
    return tmp_path / "cache" / "likeness" / "weights"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ensemble]:
    folder = tmp_path_factory.mktemp("release") / "models"
    return folder, write_release(folder)


@pytest.fixture
def copy(release: tuple[Path, Ensemble], tmp_path: Path) -> Path:
    """One to change."""
    return Path(shutil.copytree(release[0], tmp_path / "copy"))


def assert_equal(encoder: DreamSimEncoder, ensemble: Ensemble, images: list[Image.Image]) -> None:
    expected = np.stack([ensemble.embed(image) for image in images])
    seen = np.asarray(encoder.look(images))
    np.testing.assert_allclose(seen, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    centred = expected - expected.mean(axis=1, keepdims=True)
    a, b = centred[:2] / np.linalg.norm(centred[:2], axis=1, keepdims=True)
    assert distance(seen[0], seen[1]) == pytest.approx(1 - a @ b, abs=1e-5)


@pytest.mark.parametrize("is_zip", [True, False])
def test_the_folder_computes_what_the_release_does(
    is_zip: bool, release: tuple[Path, Ensemble], cache: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    folder, ensemble = release
    source = zipped(folder, tmp_path / "dreamsim_ensemble_checkpoint.zip") if is_zip else folder
    base = str(folder / "checkpoints")
    assert fetch("dreamsim", source=source, base=base) == (cache / "dreamsim", False)
    assert_equal(load_encoder("dreamsim", "dreamsim"), ensemble, images)
    record = json.loads((cache / "dreamsim" / "fetched.json").read_text())
    assert (record["name"], record["base"]) == ("dreamsim", "checkpoints")
    assert {path.suffix for path in (cache / "dreamsim").rglob("*") if path.is_file()} == {".json", ".safetensors"}
    assert fetch("dreamsim", source=source) == (cache / "dreamsim", True)
    assert not (cache / ".downloads" / "dreamsim" / "parts").exists()


def test_the_adapter_counts(release: tuple[Path, Ensemble], tmp_path: Path, images: list[Image.Image]) -> None:
    """Halving alpha changes every one of the three features: the test above would not pass without the adapter."""
    folder, ensemble = release
    shutil.copytree(folder, tmp_path / "half")
    file = tmp_path / "half" / "ensemble_lora" / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"lora_alpha": settings["lora_alpha"] / 2}))
    convert_dreamsim(tmp_path / "half", tmp_path / "made", str(folder / "checkpoints"))
    seen, expected = DreamSimEncoder.load(tmp_path / "made").look(images[:1])[0], ensemble.embed(images[0])
    expected = expected / np.linalg.norm(expected)
    for start, end in ((0, 16), (16, 28), (28, 40)):
        assert np.abs(seen[start:end] - expected[start:end]).max() > 1e-3


def test_a_stock_dino_and_a_pickled_adapter_will_do(
    release: tuple[Path, Ensemble], copy: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    stock = _stock_dino(torch.load(copy / "checkpoints" / "dino_vitbase16_pretrain.pth", weights_only=True))
    stock.save_pretrained(tmp_path / "stock")
    adapter = copy / "ensemble_lora" / "adapter_model.safetensors"
    torch.save(load_file(adapter), adapter.with_suffix(".bin"))
    adapter.unlink()
    convert_dreamsim(copy, tmp_path / "made", str(tmp_path / "stock"))
    assert_equal(DreamSimEncoder.load(tmp_path / "made"), release[1], images)


def _stock_dino(weights: dict[str, torch.Tensor]) -> Any:
    """The names written out once more, and the eps of 1e-12 that the copy on the hub has."""
    config = ViTConfig(**tiny.SMALL, image_size=32, patch_size=8, layer_norm_eps=1e-12)
    model: Any = ViTModel(config, add_pooling_layer=False)
    with torch.no_grad():
        model.embeddings.cls_token.copy_(weights["cls_token"])
        model.embeddings.position_embeddings.copy_(weights["pos_embed"])
        model.embeddings.patch_embeddings.projection.weight.copy_(weights["patch_embed.proj.weight"])
        model.embeddings.patch_embeddings.projection.bias.copy_(weights["patch_embed.proj.bias"])
        for kind in ("weight", "bias"):
            getattr(model.layernorm, kind).copy_(weights[f"norm.{kind}"])
            for number, layer in enumerate(model.layers):
                fused = weights[f"blocks.{number}.attn.qkv.{kind}"]
                mine = layer.attention
                for place, each in enumerate((mine.q_proj, mine.k_proj, mine.v_proj)):
                    getattr(each, kind).copy_(fused[16 * place : 16 * place + 16])
                pairs = {"attn.proj": mine.o_proj, "norm1": layer.layernorm_before, "norm2": layer.layernorm_after}
                for name, each in (pairs | {"mlp.fc1": layer.mlp.fc1, "mlp.fc2": layer.mlp.fc2}).items():
                    getattr(each, kind).copy_(weights[f"blocks.{number}.{name}.{kind}"])
    return model


# -- what is not the release ---------------------------------------------------------------------------------------
def changed_tensors(file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Who changes the tensors in a file of the release."""

    def apply(folder: Path) -> None:
        path = folder / file
        if path.suffix == ".safetensors":
            tensors = load_file(path)
            change(tensors)
            save_file(tensors, path)
        else:
            loaded = torch.load(path, weights_only=True)
            change(loaded.get("state_dict", loaded))
            torch.save(loaded, path)

    return apply


def changed_settings(**settings: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "ensemble_lora" / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return apply


def removed(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


CLIP, OPEN_CLIP = "clip_vitb16_pretrain.pth.tar", "open_clip_vitb16_pretrain.pth.tar"
ADAPTER, DINO = "ensemble_lora/adapter_model.safetensors", "checkpoints/dino_vitbase16_pretrain.pth"
CHANGE = "base_model.model.extractor_list.{}.model.blocks.{}.attn.qkv.lora_{}.weight"
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a tensor too many": (changed_tensors(CLIP, lambda t: t.update(head=torch.ones(1))), r"got a tensor head;"),
    "of a block": (
        changed_tensors(DINO, lambda t: t.update({"blocks.0.ls1.weight": torch.ones(1)})),
        r"got a tensor blocks\.0\.ls1\.weight",
    ),
    "a tensor too few": (changed_tensors(OPEN_CLIP, lambda t: t.pop("norm.bias")), r"post_layernorm\.bias"),
    "no projection": (changed_tensors(CLIP, lambda t: t.pop("proj")), r"expected a tensor proj, got none"),
    "no query": (
        changed_tensors(CLIP, lambda t: t.pop("blocks.1.attn.qkv.weight")),
        r"expected a tensor vision_model\.encoder\.layers\.1\.self_attn\.q_proj\.weight, got none",
    ),
    "no bias of the query": (changed_tensors(DINO, lambda t: t.pop("blocks.1.attn.qkv.bias")), r"q_proj\.bias"),
    "another change": (
        changed_tensors(ADAPTER, lambda t: t.update({"base_model.model.mlp.lora_A.weight": torch.ones(4, 4)})),
        r"got a tensor base_model\.model\.mlp\.lora_A\.weight",
    ),
    "of a fourth network": (
        changed_tensors(ADAPTER, lambda t: t.update({CHANGE.format(3, 0, "A"): torch.ones(4, 16)})),
        r"changes of attn\.qkv in the 3 networks, got a tensor .*extractor_list\.3",
    ),
    "half a change": (
        changed_tensors(ADAPTER, lambda t: t.pop(CHANGE.format(1, 1, "B"))),
        r"clip 1: expected lora_A and lora_B of rank 4, got lora_A \(4, 16\);",
    ),
    "no change": (
        changed_tensors(ADAPTER, lambda t: [t.pop(CHANGE.format(2, 0, half)) for half in "AB"]),
        r"a change for each block of open_clip, got none for \[0\] and some for \[\]",
    ),
    "a change of a block that is not there": (
        changed_tensors(
            ADAPTER, lambda t: t.update({CHANGE.format(0, 7, h): t[CHANGE.format(0, 1, h)].clone() for h in "AB"})
        ),
        r"each block of dino, got none for \[\] and some for \[7\]",
    ),
    "a narrower change": (
        changed_tensors(ADAPTER, lambda t: t.update({CHANGE.format(0, 0, "A"): torch.ones(4, 8)})),
        r"dino 0: expected changes of \(16, 16\), got \(16, 8\)",
    ),
    "another rank": (changed_settings(r=8), r"of rank 8, got lora_A \(4, 16\) and lora_B \(48, 4\)"),
    "rank-stabilised": (changed_settings(use_rslora=True), r"expected a plain LoRA .*'use_rslora': True"),
    "merged linear of peft 0.1": (changed_settings(enable_lora=[True, False, True]), r"'enable_lora': \[True"),
    "with biases": (changed_settings(bias="all"), r"'bias': 'all'"),
    "no alpha": (changed_settings(lora_alpha=None), r"'lora_alpha': None"),
    "not finite": (changed_settings(lora_alpha=float("inf")), r"'lora_alpha': inf"),
    "no settings": (removed("ensemble_lora/adapter_config.json"), r"adapter_config\.json: expected it in the archive"),
    "no adapter": (removed(ADAPTER), r"adapter_model\.safetensors: expected it in the archive, got none"),
    "no clip": (removed(OPEN_CLIP), r"open_clip_vitb16_pretrain\.pth\.tar: expected it in the archive, got none"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_the_release_is_told_by_name(fault: str, copy: Path, cache: Path) -> None:
    change, told = FAULTS[fault]
    change(copy)
    with pytest.raises(WeightsError, match=told):
        fetch("dreamsim", source=copy, base=str(copy / "checkpoints"))
    assert not (cache / "dreamsim").exists()


def test_another_dino_is_told(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"expected DINO ViT-B/16 as safetensors .* or dino_vitbase16_pretrain\.pth"):
        fetch("dreamsim", source=copy, base=str(tmp_path / "empty"))
    config = ViTConfig(**tiny.SMALL, image_size=32, patch_size=4)
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "small_patches")
    with pytest.raises(WeightsError, match=r"patches of one size, got dino with 4, clip with 8, open_clip with 8 px"):
        fetch("dreamsim", source=copy, base=str(tmp_path / "small_patches"))


def test_code_in_a_part_is_refused_and_does_not_run(copy: Path, cache: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": torch.nn.Linear(2, 2)}, copy / CLIP)
    archive = zipped(copy, tmp_path / "ensemble.zip")
    with pytest.raises(WeightsError, match=r"a pickle that names torch\.nn\.modules\.linear\.Linear, which could run"):
        fetch("dreamsim", source=archive, base=str(copy / "checkpoints"))
    assert not (cache / ".downloads" / "dreamsim" / "parts").exists()


def test_the_table_names_the_files_that_are_read(release: tuple[Path, Ensemble]) -> None:
    parts = FETCHABLE["dreamsim"].parts
    assert {part for part in parts if (release[0] / part).is_file()} == {
        CLIP,
        OPEN_CLIP,
        ADAPTER,
        "ensemble_lora/adapter_config.json",
    }
    assert set(parts) - {"ensemble_lora/adapter_model.bin"} <= {
        str(path.relative_to(release[0])) for path in release[0].rglob("*")
    }
