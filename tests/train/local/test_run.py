"""Runs of the Local Image Encoder: what is learnt and saved, going on after a stop, pictures of the user's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_local import write_recipe
from transformers import CLIPVisionModel, CLIPVisionModelWithProjection
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.encoders.dense import dense_features, load_vision_tower
from likeness.report import build_training_page
from likeness.train.local.show import show_own
from likeness.train.run import TuneSummary, tune


def train(recipe: Path, out: Path, *changes: str) -> TuneSummary:
    return tune(recipe, out=out, changes=changes, device="cpu")


def rows_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def bytes_of(run: Path) -> dict[str, bytes]:
    folders = ("encoder", "state", "features")
    return {str(p.relative_to(run)): p.read_bytes() for f in folders for p in (run / f).rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def run(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its page."""
    folder = tmp_path_factory.mktemp("local")
    made = train(write_recipe(folder / "run.toml", base=clip), folder / "run")
    assert made.trained == folder / "run" / "encoder"
    assert made.lora is None
    assert (made.steps, made.num_rows, made.noun) == (4, 6, "pictures")
    build_training_page(folder / "run")
    return folder / "run"


def test_the_log_tells_the_loss_and_the_regions(run: Path) -> None:
    rows = rows_of(run)
    assert [row["num_pictures_seen"] for row in rows] == [2, 4, 6, 8]
    assert all(1 <= row["regions"] <= 4 for row in rows)
    assert all(0 < row["loss"] < 2 for row in rows)


def test_what_is_saved_is_a_stock_tower(run: Path, clip: Path) -> None:
    folder = run / "encoder"
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["CLIPVisionModelWithProjection"]
    for kind in (CLIPVisionModel, CLIPVisionModelWithProjection):
        loaded: Any = kind.from_pretrained(folder, output_loading_info=True)  # annotated as the model alone
        assert not loaded[1]["missing_keys"]
    notes = json.loads((folder / "local_encoder.json").read_text())
    assert notes["kind"] == "local_image_encoder"
    assert (notes["blend"], notes["step"], notes["base_model"]) == (0.75, 4, "tiny-clip")
    assert notes["config"]["objective"]["kind"] == "clipself"
    assert {"base_sha256", "pictures_sha256"} <= set(notes)


def test_only_what_the_value_path_reads_is_trained_and_the_rest_blended(run: Path, clip: Path) -> None:
    from likeness.train.state import load_state

    state = load_state(run / "state")
    assert state is not None
    base, saved = (load_vision_tower(folder, device="cpu").state_dict() for folder in (clip, run / "encoder"))
    changed = {name for name in base if not torch.equal(base[name], saved[name])}
    assert changed
    for name in base:
        trained = state["adapter"].get(name.replace("vision_model.encoder.layers", "blocks"))
        if trained is None:
            assert name not in changed, name
        else:
            torch.testing.assert_close(saved[name], 0.75 * trained + 0.25 * base[name])
    last = "vision_model.encoder.layers.1"
    assert not any(name.startswith((f"{last}.self_attn.q_proj", f"{last}.self_attn.k_proj")) for name in changed)
    assert any(name.startswith("vision_model.encoder.layers.0.self_attn.q_proj") for name in changed)


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(recipe: Path, run: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", "train.steps=2")
    assert rows_of(tmp_path / "run")[-1]["step"] == 2
    train(recipe, tmp_path / "run")
    assert rows_of(tmp_path / "run") == rows_of(run)
    assert {k: v for k, v in bytes_of(tmp_path / "run").items() if "000002" not in k} == bytes_of(run)


def test_the_students_loss_falls(recipe: Path, tmp_path: Path) -> None:
    changes = ("train.steps=24", "train.batch_size=4", "train.learning_rate=5e-3", "train.save_every=40")
    train(recipe, tmp_path / "run", *changes, "train.log_maps_every=40")
    losses = [row["loss"] for row in rows_of(tmp_path / "run")]
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_gradient_checkpointing_changes_nothing(recipe: Path, run: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", "train.gradient_checkpointing=true")
    for row, other in zip(rows_of(tmp_path / "run"), rows_of(run), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_boxes_of_the_world_are_regions(clip: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "run.toml", base=clip, regions="boxes")
    train(recipe, tmp_path / "run", "train.steps=2")
    assert all(1 <= row["regions"] <= 4 for row in rows_of(tmp_path / "run"))


def coco(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        Image.effect_noise((90, 50 + number), 60).convert("RGB").save(folder / "images" / f"{number}.png")
    images = [{"id": n, "file_name": f"{n}.png", "width": 90, "height": 50 + n} for n in range(3)]
    boxes = [{"image_id": n, "bbox": [10, 5, 60, 40]} for n in range(2)]
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    return folder


def test_a_coco_folder_trains_and_tells_what_was_left_out(clip: Path, tmp_path: Path) -> None:
    data = f'source = "coco"\nfolder = "{coco(tmp_path / "coco").as_posix()}"'
    recipe = write_recipe(tmp_path / "run.toml", base=clip, regions="boxes", data=data)
    made = train(recipe, tmp_path / "run", "train.steps=1")
    assert made.num_rows == 2
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "left_out.jsonl").read_text().splitlines()]
    assert "2.png: expected a box, got none." in row["reason"]
    grid = write_recipe(tmp_path / "grid.toml", base=clip, data=data)
    assert train(grid, tmp_path / "grid", "train.steps=1").num_rows == 3


def test_the_page_shows_the_features(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "CLIPSelf on 6 pictures" in page
    assert "last 2 blocks" in page
    assert "1 minus the cosine of student and teacher." in page
    for name in ("Image tokens", "Dense, clip", "Dense, trained", "Local tokens"):
        assert f"<b>{name}</b>" in page
    assert "8 x 8, " in page
    assert "pair" not in page.split("<main>")[1].split("</main>")[0].replace("pairfig", "")


def test_own_pictures_are_shown_by_the_report(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    Image.effect_noise((120, 60), 80).convert("RGB").save(tmp_path / "mine.png")
    done = CliRunner().invoke(app, ["report", str(copy), "--picture", str(tmp_path / "mine.png")])
    assert done.exit_code == 0, done.output
    page = (copy / "report.html").read_text()
    assert "mine.png" in page
    assert "your picture" in page
    (row,) = json.loads((copy / "features" / "own.json").read_text())["pictures"]
    shapes = {found["name"]: (len(found["colors"]), len(found["colors"][0])) for found in row["maps"]}
    assert shapes == {"image tokens": (4, 8), "dense, CLIP": (4, 8), "dense, trained": (4, 8), "local tokens": (4, 4)}
    first = (copy / "features" / "own.json").read_bytes()
    show_own(copy, [tmp_path / "mine.png"])
    assert (copy / "features" / "own.json").read_bytes() == first


def test_show_own_wants_such_a_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a run of recipes/local_encoder\.toml"):
        show_own(tmp_path, [])


def test_the_features_of_the_page_are_those_of_the_saved_tower(run: Path, clip: Path) -> None:
    """At step 0 student and teacher are the same; at the end they are not."""
    first, last = (json.loads((run / "features" / f"{step:06d}.json").read_text()) for step in (0, 4))
    for row, later in zip(first["pictures"], last["pictures"], strict=True):
        maps, after = ({found["name"]: found["colors"] for found in each["maps"]} for each in (row, later))
        assert maps["dense, CLIP"] == maps["dense, trained"] == after["dense, CLIP"]
        assert after["dense, trained"] != after["dense, CLIP"]
    pixels = torch.zeros(1, 3, 64, 64)
    grids = [dense_features(load_vision_tower(f, device="cpu"), pixels, project=True) for f in (clip, run / "encoder")]
    assert not torch.equal(*grids)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("data.size=60", r"data\.size: expected a multiple of the patch of the base, 8 px, got 60"),
        ("model.unlocked=3", r"model\.unlocked: expected at most 2, the blocks of the base, got 3"),
        ("samples.every=2", r"samples\.every: expected 0, since an encoder makes no pictures, got 2"),
        ("model.rank=4", r"model\.rank=4: expected a known key, got 'rank'; known are base, unlocked, blend"),
        ("train.t_sampler=logit_normal", r"train\.t_sampler: expected one of uniform, got 'logit_normal'"),
        ("data.source=coco", r"folder: expected one for source coco and none for world, got none"),
    ],
)
def test_what_a_run_cannot_be_is_told(recipe: Path, tmp_path: Path, change: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        train(recipe, tmp_path / "run", change)


def test_a_base_that_is_no_clip_is_told(recipe: Path, tmp_path: Path) -> None:
    import tiny_encoders as tiny

    vit = tiny.write_vit(tmp_path / "vit")
    with pytest.raises(WeightsError, match=r"model\.base: expected a CLIP as safetensors"):
        train(recipe, tmp_path / "run", f"model.base={vit}")
