"""Opens a stock StableDiffusionXLPipeline folder that holds an IP-Adapter-Plus as well.

    model_index.json  unet  vae  text_encoder  text_encoder_2  tokenizer  tokenizer_2  scheduler    as published
    image_encoder     the adapter's CLIP vision model, where the stock pipeline keeps it too
    ip_adapter        one file, in the published format
    feature_extractor how CLIP sees pictures; without it as `load_ip_adapter` does it

All lies in one folder so that its hash, which runs and pictures carry, names all that decides a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from likeness.backbones.folder import (
    CONFIG,
    SCHEDULER,
    TOKENIZER,
    FolderFacts,
    check_folder,
    empty_model,
    load_model,
    load_plain,
    no_progress_bars,
)
from likeness.backbones.sdxl.adapter import adapter_file, attach, read_shapes, read_tensors, require_fit
from likeness.backbones.sdxl.settings import SdxlSettings, read_settings
from likeness.core.errors import WeightsError
from likeness.core.files import read_json

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

FOLDER = FolderFacts(
    pipeline="StableDiffusionXLPipeline",
    family="Stable Diffusion XL",
    parts={
        "unet": CONFIG,
        "vae": CONFIG,
        "text_encoder": CONFIG,
        "text_encoder_2": CONFIG,
        "image_encoder": CONFIG,
        "tokenizer": TOKENIZER,
        "tokenizer_2": TOKENIZER,
        "scheduler": SCHEDULER,
    },
    weights=("unet", "vae", "text_encoder", "text_encoder_2", "image_encoder"),
    classes={"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
)
ADAPTER_TARGETS = r".*(attn[12]\.(to_[qkv]|to_out\.0)|attn2\.processor\.to_[kv]_ip\.0)"
"""Self- and cross-attention of every block, its image attention included."""
SCHEDULERS = (
    *("EulerDiscreteScheduler", "DDIMScheduler"),
    *("DPMSolverMultistepScheduler", "UniPCMultistepScheduler"),
)
"""Those that draw no noise of their own, so that a seed fixes the picture."""


@dataclass(frozen=True)
class SdxlParts:
    """The parts of a folder, in evaluation mode and frozen, its settings and the folder itself.

    `unet` has the image attention, and `resampler` makes the tokens it reads. `zeros_for_empty`: an empty negative
    prompt is a tensor of zeros, not what the text encoders make of "".
    """

    # Any: the annotations of diffusers and transformers refuse correct use (configs typed as dicts, results as tuples)
    unet: Any  # UNet2DConditionModel
    vae: Any  # AutoencoderKL
    text_encoder: CLIPTextModel
    text_encoder_2: CLIPTextModelWithProjection
    tokenizer: Any  # CLIPTokenizer
    tokenizer_2: Any  # CLIPTokenizer
    image_encoder: Any  # CLIPVisionModelWithProjection
    image_processor: Any  # CLIPImageProcessor
    resampler: Any  # IPAdapterPlusImageProjection
    scheduler: Any  # one of SCHEDULERS
    settings: SdxlSettings
    zeros_for_empty: bool
    folder: Path


def _require_image_width(folder: Path) -> int:
    """The width of the image encoder's features. Raises: WeightsError."""
    path = folder / "image_encoder" / CONFIG
    width = read_json(path).get("hidden_size")
    if not isinstance(width, int):
        raise WeightsError(f"{path}: expected a CLIP vision model's config, got no hidden_size; download it again.")
    return width


def empty_unet(folder: Path) -> Any:  # UNet2DConditionModel
    """The U-Net of the folder with its image attention, without weights. Raises: WeightsError."""
    from diffusers import UNet2DConditionModel

    check_folder(folder, FOLDER)
    unet, path = empty_model(UNet2DConditionModel, folder / "unet" / CONFIG), adapter_file(folder)
    shapes = read_shapes(path)
    require_fit(shapes, unet=unet, image_width=_require_image_width(folder), path=path)
    with torch.device("meta"):
        attach(unet, {name: torch.empty(shape) for name, shape in shapes.items()})
    return unet


def load_sdxl_parts(folder: Path, *, device: str, dtype: torch.dtype) -> SdxlParts:
    """All parts of the folder on `device`, frozen. Raises: WeightsError."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import (
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

    check_folder(folder, FOLDER)
    path = adapter_file(folder)

    def model(cls: Any, part: str, *, dtype_name: str = "dtype", precision: torch.dtype = dtype) -> Any:
        return load_model(cls, folder / part, dtype=precision, dtype_name=dtype_name)

    with no_progress_bars():
        unet = model(UNet2DConditionModel, "unet", dtype_name="torch_dtype")
        require_fit(read_shapes(path), unet=unet, image_width=_require_image_width(folder), path=path)
        resampler = attach(unet, read_tensors(path))
        vae = model(AutoencoderKL, "vae", dtype_name="torch_dtype", precision=_vae_precision(folder, dtype))
        image_encoder = model(CLIPVisionModelWithProjection, "image_encoder").to(device)
        return SdxlParts(
            unet=unet.to(device),
            vae=vae.to(device),
            text_encoder=model(CLIPTextModel, "text_encoder").to(device),
            text_encoder_2=model(CLIPTextModelWithProjection, "text_encoder_2").to(device),
            tokenizer=load_plain(CLIPTokenizer, folder / "tokenizer"),
            tokenizer_2=load_plain(CLIPTokenizer, folder / "tokenizer_2"),
            image_encoder=image_encoder,
            image_processor=_image_processor(folder, size=image_encoder.config.image_size),
            resampler=resampler.to(device),
            scheduler=_scheduler(folder),
            settings=read_settings(folder),
            zeros_for_empty=bool(read_json(folder / "model_index.json").get("force_zeros_for_empty_prompt", True)),
            folder=folder,
        )


def _vae_precision(folder: Path, dtype: torch.dtype) -> torch.dtype:
    """fp32 for the published VAE in fp16, in which it overflows. Raises: WeightsError for statistics per channel."""
    path = folder / "vae" / CONFIG
    config = read_json(path)
    if config.get("latents_mean") is not None:
        raise WeightsError(f"{path}: expected one scaling_factor, got latents_mean per channel; use SDXL's own VAE.")
    return torch.float32 if dtype == torch.float16 and config.get("force_upcast", True) else dtype


def _image_processor(folder: Path, *, size: int) -> Any:
    from transformers import CLIPImageProcessor

    if (folder / "feature_extractor").is_dir():
        return load_plain(CLIPImageProcessor, folder / "feature_extractor")
    return CLIPImageProcessor(size=size, crop_size=size)  # pyright: ignore[reportArgumentType] the short side


def _scheduler(folder: Path) -> Any:
    """The folder's scheduler. Raises: WeightsError for one that draws noise, and for a model that predicts no noise."""
    import diffusers

    path = folder / "scheduler" / SCHEDULER
    config = read_json(path)
    name, kind = config.get("_class_name"), config.get("prediction_type", "epsilon")
    if name not in SCHEDULERS or "sde" in config.get("algorithm_type", ""):
        wanted = f"{path}: expected one of {', '.join(SCHEDULERS)} without noise of its own"
        raise WeightsError(f"{wanted}, got {name}; put the config of one of them there.")
    if kind != "epsilon":
        raise WeightsError(f"{path}: expected a model that predicts epsilon, got {kind}; name another folder.")
    return load_plain(getattr(diffusers, name), folder / "scheduler")
