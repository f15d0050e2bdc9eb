"""Videos whose first frame is a picture of a run, by CogVideoX: the hand-over of `likeness generate --video`.

RUN/videos/ID.mp4 for every picture ID of the run, RUN/videos.jsonl says what each was made from.
Source: CogVideoX (Yang et al., arXiv:2408.06072), the image-to-video models, as DreamRelation hands over.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON; the stock pipeline has no useful types

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from likeness.backbones.folder import (
    CONFIG,
    SCHEDULER,
    TOKENIZER,
    FolderFacts,
    check_folder,
    load_model,
    load_plain,
    no_progress_bars,
)
from likeness.backbones.options import Options
from likeness.core.devices import pick_device, pick_dtype
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.files import canonical_json, read_json, read_jsonl, unwritable, write_jsonl
from likeness.core.hashing import file_sha256
from likeness.core.images import load_image
from likeness.core.jobs import Progress, unseen
from likeness.core.runs import hold_run
from likeness.core.weights import resolve_weights, weights_facts

__all__ = ["VideoOptions", "VideoSummary", "check_video_model", "make_videos"]

FACTS = FolderFacts(
    pipeline="CogVideoXImageToVideoPipeline",
    family="CogVideoX image-to-video",
    parts={
        "transformer": CONFIG,
        "vae": CONFIG,
        "text_encoder": CONFIG,
        "tokenizer": TOKENIZER,
        "scheduler": SCHEDULER,
    },
    weights=("transformer", "vae", "text_encoder"),
    classes={"transformer": "CogVideoXTransformer3DModel", "vae": "AutoencoderKLCogVideoX"},
)
SCHEDULERS = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")
ROWS, FOLDER = "videos.jsonl", "videos"
MOST_CUT = 0.02
"""Share of the picture that may be lost at the edges without a word."""


class VideoOptions(Options):
    """`num_frames` of a video shown at `fps`; None: the model's own. `guidance_scale`: classifier-free guidance."""

    num_frames: int | None = Field(default=None, ge=1)
    steps: int = Field(default=50, ge=1)
    guidance_scale: float = Field(default=6.0, ge=1)
    fps: int = Field(default=8, ge=1, le=120)


class VideoSummary(NamedTuple):
    """What a run holds now: `num_videos`, of which `num_made` are new, and remarks, say on edges that were cut off."""

    num_videos: int
    num_made: int
    notes: tuple[str, ...]


def check_video_model(model: str, options: VideoOptions) -> Path:
    """The folder of an image-to-video CogVideoX that takes the options; no weights are loaded.

    Raises: WeightsError for another model, ConfigError for a number of frames that its autoencoder does not decode.
    """
    _require_writer()
    folder = resolve_weights(model)
    check_folder(folder, FACTS)
    _require_frames(options.num_frames, folder=folder)
    channels = read_json(folder / "transformer" / CONFIG).get("in_channels")
    latents = read_json(folder / "vae" / CONFIG).get("latent_channels", 0)
    scheduler = read_json(folder / "scheduler" / SCHEDULER).get("_class_name")
    if scheduler not in SCHEDULERS:
        wanted = f"{folder / 'scheduler' / SCHEDULER}: expected one of {', '.join(SCHEDULERS)}"
        raise WeightsError(f"{wanted}, got {scheduler!r}; download it again.")
    if channels != 2 * latents:
        wanted = f"{folder}: expected an image-to-video model, whose transformer takes {2 * latents} channels"
        raise WeightsError(f"{wanted}, got one that takes {channels}; name one, say THUDM/CogVideoX-5b-I2V.")
    return folder


def make_videos(
    run: Path | str,
    *,
    model: str,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress = unseen,
) -> VideoSummary:
    """Every picture of the run folder has its video, drawn with the picture's own prompt and seed.

    A picture fills the model's frame; what sticks out on two sides is cut off, which a note tells. Videos that are
    there and were made from the same picture, model and settings are kept. On a GPU weights are moved in part by
    part and the autoencoder works in tiles.
    Raises: ConfigError, DataError for a run without a manifest, WeightsError, OutputError.
    """
    run, asked = Path(run), VideoOptions(**(options or {}))
    folder = check_video_model(model, asked)
    device = pick_device(device)
    made_with = {
        "model": weights_facts(model, folder),
        "settings": {**asked.settings(), "device": device.partition(":")[0], "dtype": str(pick_dtype(device, dtype))},
    }
    rows = [_row(picture, run=run, made_with=made_with) for picture in read_jsonl(run / "manifest.jsonl")]
    with hold_run(run):
        there = {canonical_json(row) for row in _rows_there(run)}
        missing = [row for row in rows if canonical_json(row) not in there or not (run / row["video"]).is_file()]
        kept = [row for row in rows if row not in missing]
        notes: list[str] = []
        pipeline = _load(folder, device=device, dtype=dtype) if missing else None
        progress(len(kept), len(rows))
        for row in missing:
            notes += _make(pipeline, row, run=run, options=asked)
            kept.append(row)
            write_jsonl(run / ROWS, [each for each in rows if each in kept])
            progress(len(kept), len(rows))
    return VideoSummary(len(rows), len(missing), tuple(dict.fromkeys(notes)))


def _require_frames(count: int | None, *, folder: Path) -> None:
    """Raises: ConfigError for another number than the autoencoder gives: after the first, latent frames go by twos."""
    step = 2 * read_json(folder / "vae" / CONFIG).get("temporal_compression_ratio", 4)
    if count is not None and count % step != 1:
        near = max(1, count // step) * step + 1
        raise ConfigError(f"num_frames: expected a multiple of {step} and 1 more, got {count}; ask for {near}.")


def _require_writer() -> None:
    """Raises: ConfigError where the extra that writes H.264 is not installed."""
    missing = [name for name in ("imageio", "imageio_ffmpeg") if find_spec(name) is None]
    if missing:
        wanted = "--video: expected imageio and imageio-ffmpeg, which write MP4"
        raise ConfigError(f"{wanted}, got no {' and no '.join(missing)}; pip install 'likeness[video]'.")


def _row(picture: Mapping[str, Any], *, run: Path, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """What the video of a picture is made from; equal rows are equal videos."""
    return {
        "id": picture["id"],
        "video": f"{FOLDER}/{picture['id']}.mp4",
        "image": picture["image"],
        "image_sha256": file_sha256(run / picture["image"]),
        "prompt": picture["prompt"],
        "seed": picture["seed"],
        **made_with,
    }


def _rows_there(run: Path) -> list[Any]:
    return read_jsonl(run / ROWS) if (run / ROWS).is_file() else []


def _load(folder: Path, *, device: str, dtype: str) -> Any:
    """The stock pipeline with all its weights. Raises: WeightsError naming the part at fault."""
    import diffusers
    from diffusers import AutoencoderKLCogVideoX, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
    from transformers import T5EncoderModel, T5Tokenizer

    precise = pick_dtype(device, dtype)
    scheduler: Any = getattr(diffusers, read_json(folder / "scheduler" / SCHEDULER)["_class_name"])
    with no_progress_bars():
        pipeline: Any = CogVideoXImageToVideoPipeline(
            tokenizer=load_plain(T5Tokenizer, folder / "tokenizer"),
            text_encoder=load_model(T5EncoderModel, folder / "text_encoder", dtype=precise, dtype_name="dtype"),
            vae=load_model(AutoencoderKLCogVideoX, folder / "vae", dtype=precise, dtype_name="torch_dtype"),
            transformer=load_model(
                CogVideoXTransformer3DModel, folder / "transformer", dtype=precise, dtype_name="torch_dtype"
            ),
            scheduler=load_plain(scheduler, folder / "scheduler"),
        )
    pipeline.set_progress_bar_config(disable=True)
    if device != "cpu":  # the 5B model with its T5 is larger than a 24 GB card
        pipeline.enable_model_cpu_offload(device=device)
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
    return pipeline


def _make(pipeline: Any, row: Mapping[str, Any], *, run: Path, options: VideoOptions) -> list[str]:
    """The video of a row is written; returns what is to be said of it."""
    import torch

    config, scale = pipeline.transformer.config, pipeline.vae_scale_factor_spatial
    size = (config.sample_width * scale, config.sample_height * scale)
    picture = load_image(run / row["image"])
    frames = pipeline(
        image=ImageOps.fit(picture, size, Image.Resampling.LANCZOS),
        prompt=row["prompt"],
        num_frames=options.num_frames or config.sample_frames,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(row["seed"]),
        max_sequence_length=config.max_text_seq_length,
        output_type="np",
    ).frames[0]
    _write(np.rint(frames * 255).astype(np.uint8), run / row["video"], fps=options.fps)
    shapes = (picture.width / picture.height, size[0] / size[1])
    cut = 1 - min(shapes) / max(shapes)
    if cut <= MOST_CUT:
        return []
    shape = f"pictures of {picture.width} x {picture.height} px fill a frame of {size[0]} x {size[1]} px"
    return [f"{shape} after {cut:.0%} of them is cut off; draw them in that shape (--size, --option width=...)"]


def _write(frames: NDArray[np.uint8], path: Path, *, fps: int) -> None:
    """An MP4 (H.264, 4:2:0) that every browser plays, whole or not there. Raises: OutputError."""
    import imageio.v2 as imageio

    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.stem}.part.mp4")
    try:
        imageio.mimwrite(part, list(frames), fps=fps, codec="libx264", quality=8, macro_block_size=2)
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)
