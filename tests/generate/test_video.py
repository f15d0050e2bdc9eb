"""Pictures of a run become first frames of videos, drawn by the stock CogVideoX pipeline."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import CogVideoXImageToVideoPipeline
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray
from PIL import Image
from tiny_cogvideox import build_tiny_cogvideox

from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.core.images import save_png
from likeness.generate import video
from likeness.generate.video import VideoOptions, check_video_model, make_videos

FEW = {"steps": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_cogvideox(tmp_path_factory.mktemp("cogvideox") / "model")


def a_run(folder: Path, *, size: tuple[int, int] = (64, 32), count: int = 2) -> Path:
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for number in range(count):
        picture = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        save_png(picture, folder / "images" / f"cat-{number}.png")
        rows.append({"id": f"cat-{number}", "image": f"images/cat-{number}.png", "prompt": "a cat", "seed": number})
    write_jsonl(folder / "manifest.jsonl", rows)
    return folder


def test_frames_are_those_of_the_stock_pipeline(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(tmp_path / "run")
    written: dict[str, NDArray[np.uint8]] = {}
    monkeypatch.setattr(video, "_write", lambda frames, path, *, fps: written.update({path.name: frames}))
    made = make_videos(run, model=str(model), options=FEW, device="cpu", dtype="float32")
    assert (made.num_videos, made.num_made, made.notes) == (2, 2, ())
    stock: Any = CogVideoXImageToVideoPipeline.from_pretrained(model)
    stock.set_progress_bar_config(disable=True)
    with Image.open(run / "images" / "cat-1.png") as picture:
        wanted = stock(
            image=picture,
            prompt="a cat",
            num_inference_steps=2,
            num_frames=9,
            guidance_scale=6.0,
            generator=torch.Generator().manual_seed(1),
            max_sequence_length=16,
            output_type="np",
        ).frames[0]
    assert wanted.shape == (9, 32, 64, 3)
    assert np.array_equal(written["cat-1.mp4"], np.rint(wanted * 255))
    assert not np.array_equal(written["cat-0.mp4"], written["cat-1.mp4"])


def test_what_is_written_can_be_played(tmp_path: Path) -> None:
    ramp = np.linspace(0, 200, 64, dtype=np.uint8)
    frames = np.stack([np.broadcast_to((ramp + 5 * number)[None, :, None], (32, 64, 3)) for number in range(9)])
    video._write(frames, tmp_path / "videos" / "ramp.mp4", fps=8)
    command = [
        get_ffmpeg_exe(),
        "-i",
        str(tmp_path / "videos" / "ramp.mp4"),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    played = subprocess.run(command, capture_output=True, check=True)
    assert b"h264" in played.stderr
    assert b"64x32" in played.stderr
    assert b"8 fps" in played.stderr
    found = np.frombuffer(played.stdout, np.uint8).reshape(frames.shape)
    assert np.abs(found.astype(float) - frames).max() < 12
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["ramp.mp4"]


def test_the_table_says_what_each_video_was_made_from(model: Path, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", count=1)
    make_videos(run, model=str(model), options=FEW, device="cpu", dtype="float32")
    (row,) = read_jsonl(run / "videos.jsonl")
    assert (row["id"], row["video"], row["prompt"], row["seed"]) == ("cat-0", "videos/cat-0.mp4", "a cat", 0)
    assert row["settings"]["steps"] == 2
    assert row["settings"]["guidance_scale"] == 6.0
    assert row["model"]["id"] == "model"
    assert len(row["image_sha256"]) == len(row["model"]["sha256"]) == 64


def test_what_is_there_is_kept_and_what_changed_is_drawn_again(model: Path, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    make_videos(run, model=str(model), options=FEW, device="cpu", dtype="float32")
    first = (run / "videos" / "cat-0.mp4").read_bytes()
    assert make_videos(run, model=str(model), options=FEW, device="cpu", dtype="float32").num_made == 0
    (run / "videos" / "cat-0.mp4").unlink()
    assert make_videos(run, model=str(model), options=FEW, device="cpu", dtype="float32").num_made == 1
    assert (run / "videos" / "cat-0.mp4").read_bytes() == first  # one seed, the same bytes
    save_png(Image.new("RGB", (64, 32), "red"), run / "images" / "cat-1.png")
    assert make_videos(run, model=str(model), options=FEW, device="cpu", dtype="float32").num_made == 1
    assert make_videos(run, model=str(model), options={"steps": 1}, device="cpu", dtype="float32").num_made == 2
    assert [row["id"] for row in read_jsonl(run / "videos.jsonl")] == ["cat-0", "cat-1"]


def test_a_picture_of_another_shape_fills_the_frame_and_it_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path / "run", size=(64, 64), count=1)
    seen: list[NDArray[np.uint8]] = []

    config = SimpleNamespace(sample_width=8, sample_height=4, sample_frames=5, max_text_seq_length=16)

    def draws(*, image: Image.Image, **_: object) -> SimpleNamespace:
        seen.append(np.array(image))
        return SimpleNamespace(frames=[np.zeros((9, 32, 64, 3))])

    pipeline: Any = draws
    pipeline.transformer, pipeline.vae_scale_factor_spatial = SimpleNamespace(config=config), 8
    monkeypatch.setattr(video, "_load", lambda *_, **__: pipeline)
    made = make_videos(run, model=str(model), device="cpu", dtype="float32")
    with Image.open(run / "images" / "cat-0.png") as picture:
        assert np.array_equal(seen[0], np.array(picture.crop((0, 16, 64, 48))))
    assert made.notes[0].startswith("pictures of 64 x 64 px fill a frame of 64 x 32 px after 50% of them is cut off")


def test_only_image_to_video_models_are_taken(model: Path, tmp_path: Path) -> None:
    assert check_video_model(str(model), VideoOptions(num_frames=17)) == model
    text_only = build_tiny_cogvideox(tmp_path / "t2v", image_to_video=False)
    with pytest.raises(
        WeightsError, match=r"expected an image-to-video model, whose transformer takes 8 channels, got .* 4"
    ):
        check_video_model(str(text_only), VideoOptions())
    with pytest.raises(WeightsError, match="expected CogVideoXTransformer3DModel, got FluxTransformer2DModel"):
        check_video_model("flux", VideoOptions())


def test_wrong_settings_and_missing_runs_are_told_before_anything_is_loaded(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="frames: expected an option among num_frames, steps"):
        make_videos(tmp_path, model=str(model), options={"frames": 5})
    with pytest.raises(ConfigError, match="num_frames: expected a multiple of 8 and 1 more, got 48; ask for 49"):
        make_videos(tmp_path, model=str(model), options={"num_frames": 48})
    with pytest.raises(DataError, match=r"manifest\.jsonl"):
        make_videos(tmp_path, model=str(model), options=FEW)


def test_damaged_weights_are_named(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "damaged"))
    config = json.loads((folder / "transformer" / "config.json").read_text())
    (folder / "transformer" / "config.json").write_text(json.dumps({**config, "num_layers": 2}))
    with pytest.raises(WeightsError, match="transformer"):
        make_videos(a_run(tmp_path / "run"), model=str(folder), options=FEW, device="cpu", dtype="float32")
