"""The checkpoints inside the package: stock, small, and good for the whole loop, however often it is killed."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import child_environment
from stock_sdxl import stock_sdxl
from typer.testing import CliRunner

from likeness.cli import app
from likeness.cli.checks import EMBEDDED
from likeness.core.files import read_json, read_jsonl
from likeness.core.weights import embedded, embedded_folder, embedded_names
from likeness.world.identity import sample_identity
from likeness.world.render import render_reference

pytestmark = pytest.mark.skipif(
    not set(EMBEDDED) <= set(embedded_names()),
    reason="src/likeness/assets/embedded lacks its checkpoints: `git lfs pull`, or `likeness world pretrain`",
)

MEGABYTES = 65
ADDED_MEGABYTES = 12
KILLS = 20
runner = CliRunner()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cfg_scale", [1.0, 2.5])
def test_stock_pipeline_makes_the_same_picture_without_references(dtype: str, cfg_scale: float) -> None:
    from diffusers import FluxPipeline

    from likeness.backbones.flux.options import FluxOptions
    from likeness.backbones.flux.uno import FluxUno

    prompt = "A cat is hugging a duck in the forest."
    backbone = FluxUno.load("flux", dtype=getattr(torch, dtype))
    settings = backbone.settings
    pipeline: Any = FluxPipeline.from_pretrained(embedded("flux"), torch_dtype=getattr(torch, dtype))
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt,
        negative_prompt="",
        true_cfg_scale=cfg_scale,
        height=settings.size,
        width=settings.size,
        num_inference_steps=6,
        guidance_scale=settings.guidance,
        max_sequence_length=settings.max_sequence_length,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    ours = backbone.generate(prompt, seed=7, options=FluxOptions(steps=6, cfg_scale=cfg_scale))
    assert np.asarray(ours).std() > 5
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))  # exact: the same operations in the same order


def test_stock_pipeline_opens_without_being_told_a_precision() -> None:
    """`FluxPipeline.from_pretrained(folder)` alone, the first thing a stranger tries."""
    from diffusers import FluxPipeline

    from likeness.backbones.flux.options import FluxOptions
    from likeness.backbones.flux.uno import FluxUno

    backbone = FluxUno.load("flux")
    settings = backbone.settings
    pipeline: Any = FluxPipeline.from_pretrained(embedded("flux"))
    pipeline.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"height": settings.size, "width": settings.size, "num_inference_steps": 3}
    options |= {"guidance_scale": settings.guidance, "max_sequence_length": settings.max_sequence_length}
    theirs = pipeline("a dog", generator=torch.Generator("cpu").manual_seed(1), **options).images[0]
    ours = backbone.generate("a dog", seed=1, options=FluxOptions(steps=3, cfg_scale=1.0))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
def test_stock_sdxl_with_the_adapter_makes_the_same_picture(cfg_scale: float) -> None:
    from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
    from likeness.backbones.sdxl.options import SdxlOptions

    prompt = "A cat is hugging a duck in the forest."
    backbone = SdxlIpAdapter.load("sdxl")
    portrait = Image.fromarray(render_reference(sample_identity(random.Random(3), split="test"), seed=1))
    size = backbone.settings.size
    theirs = stock_sdxl(embedded("sdxl"))(
        prompt,
        ip_adapter_image=portrait,
        guidance_scale=cfg_scale,
        height=size,
        width=size,
        num_inference_steps=6,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    ours = backbone.generate(prompt, [portrait], seed=7, options=SdxlOptions(steps=6, cfg_scale=cfg_scale))
    assert np.asarray(ours).std() > 5
    differences = np.asarray(ours).astype(int) - np.asarray(theirs)
    assert np.abs(differences).max() <= (cfg_scale > 1)  # one level of 255: guided rows round otherwise in one batch


def test_embedded_files_are_small() -> None:
    folders = [embedded(name) for name in ("flux", "sdxl")]
    sizes = [sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert sum(sizes) <= MEGABYTES * 1e6, f"{[size / 1e6 for size in sizes]} MB of the two generators"


MS = pytest.mark.skipif("sdxl_ms_diffusion" not in embedded_names(), reason="no embedded MS-Diffusion")


@MS
def test_what_ms_diffusion_adds_is_small_and_its_base_is_the_embedded_sdxl() -> None:
    own = embedded_folder() / "sdxl_ms_diffusion"
    assert sum(path.stat().st_size for path in own.rglob("*") if path.is_file()) <= ADDED_MEGABYTES * 1e6
    whole, base = contents(embedded("sdxl_ms_diffusion")), contents(embedded("sdxl"))
    assert {name for name in base if whole.get(name) != base[name]} == {
        "likeness.json",
        *(name for name in base if name.startswith("ip_adapter/")),
    }


@MS
def test_ms_diffusion_draws_other_pictures_for_other_boxes() -> None:
    """Exchanged boxes change the picture; the same ones do not."""
    from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
    from likeness.backbones.sdxl.options import MsOptions
    from likeness.core.records import Layout

    backbone = SdxlMsDiffusion.load("sdxl_ms_diffusion")
    assert backbone.local_tokens
    people = [sample_identity(random.Random(seed), split="test") for seed in (3, 4)]
    shown = [Image.fromarray(render_reference(who, seed=1)) for who in people]
    boxes, phrases = ((0.05, 0.3, 0.5, 0.95), (0.5, 0.3, 0.95, 0.95)), tuple(who.class_name for who in people)
    prompt = f"A {phrases[0]} and a {phrases[1]} on the beach"
    drawn = [
        np.asarray(
            backbone.generate(
                prompt, shown, seed=1, options=MsOptions(steps=4), layout=Layout(boxes=told, phrases=phrases)
            )
        )
        for told in (boxes, boxes, boxes[::-1])
    ]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0].astype(int) - drawn[2]).mean() > 2


def test_doctor_finds_the_world_usable() -> None:
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "The embedded world can be used" in result.stdout


def test_generate_evaluate_report(tmp_path: Path) -> None:
    run = tmp_path / "run"
    generate = ["generate", "--benchmark", "world-multi", "--limit", "2", "--device", "cpu", "--out", str(run)]
    for words in (generate, ["evaluate", str(run)], ["report", str(run)]):
        result = runner.invoke(app, words)
        assert result.exit_code == 0, result.output
    rows = read_jsonl(run / "manifest.jsonl")
    assert [row["id"] for row in rows] == ["world-multi-v2-0000-0", "world-multi-v2-0001-0"]
    photos = {photo for case in read_jsonl(run / "cases.jsonl") for s in case["subjects"] for photo in s["photos"]}
    assert set(contents(run)) == {
        *("run.json", "cases.jsonl", "manifest.jsonl", "commands.json", "report.html"),
        *(f"evaluation/{name}" for name in ("scores.jsonl", "scores.parquet", "bounds.jsonl", "summary.json")),
        *(row["image"] for row in rows),
        *(f"truth/{row['case_id']}.png" for row in rows),
        *photos,
    }
    table = {
        (row["row"], row["metric"], row["column"]): row for row in read_json(run / "evaluation/summary.json")["rows"]
    }
    assert {row for row, _, _ in table} == {"generated", "floor", "ceiling"}
    assert {"clip_t", "clip_i", "dino", "attribute_accuracy", "leakage"} <= {metric for _, metric, _ in table}
    assert all(row["n"] == 2 for (kind, _, _), row in table.items() if kind == "generated")
    html = (run / "report.html").read_text(encoding="utf-8")
    assert html.count("<article") == 2
    assert 'src="http' not in html


# kill -9 -------------------------------------------------------------------------------------------------------------


def commands(folder: Path) -> list[list[str]]:
    """The two commands as a user types them in `folder`."""
    likeness, run = [sys.executable, "-m", "likeness"], "run"
    generate = ["generate", "--benchmark", "world-single", "--limit", "3", "--device", "cpu", "--out", run]
    return [[*likeness, *generate], [*likeness, "evaluate", run]]


def attempt(folder: Path, *, seconds: float) -> str:
    """Runs generate and evaluate; which of them was killed when the time was up, "" when both had ended well."""
    folder.mkdir(exist_ok=True)
    deadline = time.monotonic() + seconds
    for words in commands(folder):
        process = subprocess.Popen(
            words, cwd=folder, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            said, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return words[3]
        assert process.returncode == 0, said.decode()
    return ""


@pytest.mark.slow
def test_twenty_kills_of_the_real_commands_change_no_byte(tmp_path: Path) -> None:
    start = time.monotonic()
    assert attempt(tmp_path / "whole", seconds=3600) == ""
    whole = time.monotonic() - start
    rng, killed = random.Random(0), []
    while len(killed) < KILLS:
        name = attempt(tmp_path / "killed", seconds=rng.uniform(0, 0.8 * whole))
        if name:
            killed.append(name)
            continue
        require_same(tmp_path / "killed", tmp_path / "whole")  # ended before the kill: anew, so that kills meet work
        shutil.rmtree(tmp_path / "killed")
    assert set(killed) == {"generate", "evaluate"}
    assert attempt(tmp_path / "killed", seconds=3600) == ""
    require_same(tmp_path / "killed", tmp_path / "whole")


def require_same(folder: Path, whole: Path) -> None:
    """Both folders hold the same files with the same bytes, those of a finished run among them."""
    one, other = contents(whole), contents(folder)
    assert sorted(other) == sorted(one)
    assert [name for name in one if one[name] != other[name]] == []
    assert {"run/manifest.jsonl", "run/evaluation/summary.json"} <= set(one)
