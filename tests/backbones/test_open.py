"""A folder opens as the backbone that the table names for its pipeline; options are the backbone's own."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_backbone
from PIL import Image
from scripts import child_environment
from typer.testing import CliRunner

from likeness.backbones import BACKBONES
from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.open import kind_of, open_backbone, options_of
from likeness.cli import app
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.files import read_json

runner = CliRunner()


def test_the_table_names_what_there_is(tiny_folder: Path) -> None:
    assert kind_of(tiny_folder) == "flux_uno"
    assert options_of("flux_uno") is FluxOptions
    backbone = open_backbone(tiny_folder, device="cpu", dtype="bfloat16")
    assert isinstance(backbone, FluxUno)
    assert (backbone.device.type, backbone.dtype) == ("cpu", torch.bfloat16)
    again = open_backbone(str(tiny_folder), device="cpu", dtype=torch.float32)
    assert next(again.network.parameters()).dtype == torch.float32
    assert len({(entry.pipeline, entry.holds) for entry in BACKBONES.values()}) == len(BACKBONES)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (
            None,
            r"folder: expected a diffusers FluxPipeline or .* folder, got one without model_index\.json; download it",
        ),
        ("[]", "expected a diffusers FluxPipeline or .* folder, got one that names no pipeline"),
        (
            '{"_class_name": "WanPipeline"}',
            r"or Flux2KleinPipeline or .* folder, got WanPipeline; name another",
        ),
    ],
)
def test_other_folders_are_refused_with_the_known_pipelines(tmp_path: Path, index: str | None, said: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if index is not None:
        (folder / "model_index.json").write_text(index)
    with pytest.raises(WeightsError, match=said):
        kind_of(folder)


def test_a_damaged_index_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    (copy / "model_index.json").write_text("{")
    with pytest.raises(DataError, match=r"copy/model_index\.json:1:2: expected JSON"):
        open_backbone(copy, device="cpu")


def test_no_class_is_found_by_chance(tiny_folder: Path, tmp_path: Path) -> None:
    """The index decides, not what else lies in the folder."""
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    (copy / "model_index.json").write_text(json.dumps({"_class_name": "KolorsPipeline"}))
    with pytest.raises(WeightsError, match="got KolorsPipeline"):
        open_backbone(copy, device="cpu")


def test_kinds_and_options_are_known_without_torch() -> None:
    program = """
import sys
from likeness.backbones import BACKBONES
from likeness.backbones.open import options_of
for kind in BACKBONES:
    options_of(kind)()
print(sorted({"torch", "diffusers", "transformers", "peft"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=child_environment())
    assert done.stdout.strip() == "[]"


# options -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 0}, r"^steps: expected at least 1, got 0; raise it\.$"),
        ({"cfg_scale": -0.5}, r"^cfg_scale: expected at least 0, got -0\.5; raise it\.$"),
        ({"guidance": float("nan")}, r"^guidance: expected a finite number, got nan; correct it\.$"),
        ({"size": "big"}, r"^size: expected a valid integer, .*, got 'big'; correct it\.$"),
        ({"reference_cfg": 2.0}, r"^reference_cfg: expected an option among .*; did you mean reference_cfg_scale\.$"),
        ({"zzz": 2.0}, r"^zzz: expected an option among size, .*, got 'zzz'; correct the name or leave it out\.$"),
    ],
)
def test_what_cannot_be_asked_is_said(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FluxOptions(**values)


def test_options_travel_and_keep_their_record() -> None:
    options = FluxOptions.model_validate({"steps": "4", "cfg_scale": 2})  # as a command line gives them
    assert pickle.loads(pickle.dumps(options)) == options == FluxOptions(steps=4, cfg_scale=2.0)
    record = {"size": None, "steps": 4, "guidance": None, "cfg_scale": 2.0, "reference_cfg_scale": None}
    assert list(options.settings().items()) == list(record.items())
    assert FluxOptions(width=96).settings()["width"] == 96


# a new kind ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a kind of its own: one file and one line in the table."""
    monkeypatch.setitem(BACKBONES, "toy", toy_backbone.ENTRY)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "model_index.json").write_text('{"_class_name": "ToyPipeline"}')
    return tmp_path / "toy"


def generate(model: Path, *words: str) -> tuple[int, str]:
    fixed = ["--prompt", "a cat", "--model", str(model), "--device", "cpu", "--dtype", "float32"]
    result = runner.invoke(app, ["generate", *fixed, "--out", str(model.parent / "run"), *words])
    return result.exit_code, result.stderr


def test_a_new_kind_is_generated_with_and_has_its_own_options(toy: Path) -> None:
    assert generate(toy, "--option", "hue=85")[0] == 0
    run = toy.parent / "run"
    with Image.open(run / "images" / "prompt-0.png") as image:
        assert image.getpixel((0, 0)) == (0, 255, 0)
    settings = read_json(run / "run.json")["settings"]
    assert settings == {"hue": 85, "device": "cpu", "dtype": "float32", "maker": "toy"}
    assert "--option hue=85" in read_json(run / "commands.json")["generate"]


def test_an_option_of_another_kind_is_refused(toy: Path) -> None:
    code, said = generate(toy, "--steps", "4")
    assert code == 2
    assert "steps" in said
    assert "an option among hue, got 'steps'" in said
    assert not (toy.parent / "run").exists()


def test_a_kind_is_listed_where_a_folder_is_none(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(WeightsError, match=r"expected a diffusers FluxPipeline or .* or ToyPipeline folder"):
        kind_of(tmp_path / "other")
