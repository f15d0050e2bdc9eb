"""Opens a stock StableDiffusionXLPipeline folder that holds an adapter for reference images as well.

    model_index.json  unet  vae  text_encoder  text_encoder_2  tokenizer  tokenizer_2  scheduler    as published
    image_encoder     the adapter's CLIP vision model, where the stock pipeline keeps it too
    ip_adapter        one file, an IP-Adapter-Plus in the published format; or
    ms_adapter        one file, MS-Diffusion's in the published format
    local_encoder     beside ms_adapter, optional: see local_encoder.py
    feature_extractor how CLIP sees pictures; without it as `load_ip_adapter` does it

All lies in one folder so that its hash, which runs and pictures carry, names all that decides a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from likeness.backbones.folder import (
    CONFIG,
    SCHEDULER,
    TOKENIZER,
    FolderFacts,
    PartsOnDemand,
    StoredParts,
    check_folder,
    empty_model,
    empty_part,
    load_model,
    load_plain,
    picture_scale,
    telling,
)
from likeness.backbones.sdxl import adapter, ms_adapter
from likeness.backbones.sdxl.adapter import Shape, Surroundings, adapter_file, read_shapes, read_tensors
from likeness.backbones.sdxl.local_encoder import load_local_encoder, sketch_local_encoder
from likeness.backbones.sdxl.local_settings import has_local_encoder
from likeness.backbones.sdxl.settings import (
    DrawingSettings,
    MsSettings,
    SdxlSettings,
    read_ms_settings,
    read_settings,
)
from likeness.core.errors import WeightsError
from likeness.core.files import read_json

DrawingT = TypeVar("DrawingT", bound=DrawingSettings)

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
class AdapterKind(Generic[DrawingT]):
    """A kind of adapter: the subfolder with its file, and what becomes of the tensors in it.

    `require_fit` raises a WeightsError for tensors that have no place, and places that have no tensor; `published` are
    the shapes of the published file. `attach` gives the U-Net its image attention, `make_resampler` what makes
    `num_tokens` tokens of a reference.
    """

    place: str
    require_fit: Callable[[Mapping[str, Shape], Surroundings, Path], None]
    published: Callable[[Surroundings], dict[str, Shape]]
    attach: Callable[[Any, Mapping[str, torch.Tensor]], None]
    make_resampler: Callable[[Mapping[str, torch.Tensor]], Any]
    num_tokens: Callable[[Mapping[str, Shape]], int]
    settings: Callable[[Path], DrawingT]
    advice: str


IP_ADAPTER: AdapterKind[SdxlSettings] = AdapterKind(
    place=adapter.FOLDER_NAME,
    require_fit=lambda shapes, around, path: adapter.require_fit(
        shapes, unet=around.unet, image_width=around.image_width, path=path
    ),
    published=adapter.published_shapes,
    attach=adapter.attach_attention,
    make_resampler=adapter.make_resampler,
    num_tokens=lambda shapes: shapes["image_proj.latents"][1],
    settings=read_settings,
    advice=f"copy {adapter.PUBLISHED} into it "
    "(`likeness fetch ip_adapter_plus_sdxl`; docs/backbones/sdxl-ip-adapter.md)",
)
MS_ADAPTER: AdapterKind[MsSettings] = AdapterKind(
    place=ms_adapter.FOLDER_NAME,
    require_fit=ms_adapter.require_fit,
    published=ms_adapter.published_shapes,
    attach=ms_adapter.attach_attention,
    make_resampler=ms_adapter.make_resampler,
    num_tokens=lambda shapes: shapes["image_proj.grounding_latents"][1],
    settings=read_ms_settings,
    advice="copy what `likeness fetch ms_diffusion` made into it (docs/backbones/sdxl-ms-diffusion.md)",
)


@dataclass(frozen=True)
class SdxlParts(StoredParts, Generic[DrawingT]):
    """The parts of a folder, in evaluation mode and frozen, its settings and the folder itself.

    Those with weights (UNet2DConditionModel, AutoencoderKL, CLIPTextModel, CLIPTextModelWithProjection and below) are
    `stored` in the folder until they are asked for. `zeros_for_empty`: an empty negative prompt
    is a tensor of zeros, not what the text encoders make of "". `cell_px`: pixels along a latent cell; `text_tokens`
    and `image_tokens`: of a prompt, and of a reference; `image_px`: the side that the image encoder reads.
    """

    # Any: the annotations of diffusers and transformers refuse correct use (configs typed as dicts, results as tuples)
    stored: PartsOnDemand
    tokenizer: Any  # CLIPTokenizer
    tokenizer_2: Any  # CLIPTokenizer
    image_processor: Any  # CLIPImageProcessorPil: what it gives does not depend on torchvision
    scheduler: Any  # one of SCHEDULERS
    settings: DrawingT
    zeros_for_empty: bool
    folder: Path
    cell_px: int
    text_tokens: int
    image_tokens: int
    image_px: int
    device: torch.device
    dtype: torch.dtype

    @property
    def unet(self) -> Any:
        """UNet2DConditionModel with the image attention."""
        return self.stored.get("unet")

    @property
    def image_encoder(self) -> Any:
        """CLIPVisionModelWithProjection."""
        return self.stored.get("image_encoder")

    @property
    def resampler(self) -> Any:
        """What makes the tokens that the image attention reads: IPAdapterPlusImageProjection or GroundingResampler."""
        return self.stored.get("resampler")

    @property
    def local_encoder(self) -> Any:
        """LocalEncoder, where the folder has one."""
        return self.stored.get("local_encoder")


def vision_config(folder: Path) -> Any:  # CLIPVisionConfig
    """The config of the image encoder, which may be that of a whole CLIP. Raises: WeightsError."""
    from transformers import CLIPVisionConfig

    path = folder / "image_encoder" / CONFIG
    config = read_json(path)
    if not isinstance(config.get("vision_config", config).get("hidden_size"), int):
        raise WeightsError(f"{path}: expected a CLIP vision model's config, got no hidden_size; download it again.")
    with telling(path, "a CLIP vision model's config", todo="download it again"):
        return CLIPVisionConfig.from_pretrained(path.parent, local_files_only=True)


def _around(folder: Path, unet: Any) -> Surroundings:
    """What the adapter of the folder must fit. Raises: WeightsError."""
    path = folder / "text_encoder" / CONFIG
    width = read_json(path).get("hidden_size")
    if not isinstance(width, int):
        raise WeightsError(f"{path}: expected a CLIP text model's config, got no hidden_size; download it again.")
    return Surroundings(unet, image_width=vision_config(folder).hidden_size, phrase_width=width)


def empty_unet(folder: Path, kind: AdapterKind[Any]) -> Any:  # UNet2DConditionModel
    """The U-Net of the folder with its image attention, without weights. Raises: WeightsError."""
    check_folder(folder, FOLDER)
    return _with_attention(unet := bare_unet(folder), kind, _file_shapes(folder, kind, unet))


def _file_shapes(folder: Path, kind: AdapterKind[Any], unet: Any) -> dict[str, Shape]:
    """Of the tensors of the folder's adapter, which fit. Raises: WeightsError."""
    path = adapter_file(folder / kind.place, advice=kind.advice)
    shapes = read_shapes(path)
    kind.require_fit(shapes, _around(folder, unet), path)
    return shapes


def bare_unet(folder: Path) -> Any:
    """The folder's U-Net without weights and without image attention. Raises: WeightsError."""
    from diffusers import UNet2DConditionModel

    return empty_model(UNet2DConditionModel, folder / "unet" / CONFIG)


def _with_attention(unet: Any, kind: AdapterKind[Any], shapes: Mapping[str, Shape]) -> Any:
    with torch.device("meta"):
        kind.attach(unet, {name: torch.empty(shape) for name, shape in shapes.items()})
    return unet


def load_parts(folder: Path, kind: AdapterKind[DrawingT], *, device: str, dtype: torch.dtype) -> SdxlParts[DrawingT]:
    """All parts of the folder, frozen, which are read onto `device` when asked for. Raises: WeightsError."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import (
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

    check_folder(folder, FOLDER)
    shapes = _file_shapes(folder, kind, bare_unet(folder))  # it fits, which is said before anything is read
    path, precise = adapter_file(folder / kind.place, advice=kind.advice), vae_precision(folder, dtype)

    def model(cls: Any, part: str, *, dtype_name: str = "dtype", precision: torch.dtype = dtype) -> Any:
        return load_model(cls, folder / part, dtype=precision, dtype_name=dtype_name).to(device)

    def unet() -> Any:
        made = model(UNet2DConditionModel, "unet", dtype_name="torch_dtype")
        kind.attach(made, read_tensors(path))
        return made

    readers = {
        "unet": unet,
        "vae": partial(model, AutoencoderKL, "vae", dtype_name="torch_dtype", precision=precise),
        "text_encoder": partial(model, CLIPTextModel, "text_encoder"),
        "text_encoder_2": partial(model, CLIPTextModelWithProjection, "text_encoder_2"),
        "image_encoder": partial(model, CLIPVisionModelWithProjection, "image_encoder"),
        "resampler": lambda: kind.make_resampler(read_tensors(path)).to(device, dtype),
    }
    tokenizer, vision = load_plain(CLIPTokenizer, folder / "tokenizer"), vision_config(folder)
    if kind is MS_ADAPTER and has_local_encoder(folder):
        readers["local_encoder"] = partial(load_local_encoder, folder, width=vision.hidden_size, device=device)
    return SdxlParts(
        stored=PartsOnDemand(readers),
        tokenizer=tokenizer,
        tokenizer_2=load_plain(CLIPTokenizer, folder / "tokenizer_2"),
        image_processor=image_processor(folder, size=vision.image_size),
        scheduler=noise_scheduler(folder),
        settings=kind.settings(folder),
        zeros_for_empty=_zeros_for_empty(folder),
        folder=folder,
        cell_px=picture_scale(folder),
        text_tokens=tokenizer.model_max_length,
        image_tokens=kind.num_tokens(shapes),
        image_px=vision.image_size,
        device=torch.device(device),
        dtype=dtype,
    )


def sketch_parts(folder: Path, kind: AdapterKind[DrawingT], *, dtype: torch.dtype) -> SdxlParts[DrawingT]:
    """The parts by the configs of those with weights, on the meta device. Raises: WeightsError.

    A folder without the file of the adapter is taken to get the published one.
    """
    from diffusers import AutoencoderKL, EulerDiscreteScheduler
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    check_folder(folder, FOLDER, configs_only=True)
    shapes, vision = _adapter_shapes(folder, kind), vision_config(folder)
    classes = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
        "image_encoder": CLIPVisionModelWithProjection,
    }

    def frozen(part: Any) -> Any:
        return torch.nn.Module.to(part, dtype).eval().requires_grad_(False)

    def resampler() -> Any:
        with torch.device("meta"):
            return frozen(kind.make_resampler({name: torch.empty(shape) for name, shape in shapes.items()}))

    readers = {
        "unet": lambda: frozen(_with_attention(bare_unet(folder), kind, shapes)),
        **{part: partial(empty_part, cls, folder / part, dtype=dtype) for part, cls in classes.items()},
        "resampler": resampler,
    }
    if kind is MS_ADAPTER and has_local_encoder(folder):
        readers["local_encoder"] = lambda: sketch_local_encoder(folder).eval().requires_grad_(False)
    return SdxlParts(
        stored=PartsOnDemand(readers),
        tokenizer=None,
        tokenizer_2=None,
        image_processor=None,
        scheduler=EulerDiscreteScheduler(),  # whichever: no number of it changes a shape
        settings=kind.settings(folder),
        zeros_for_empty=_zeros_for_empty(folder),
        folder=folder,
        cell_px=picture_scale(folder),
        text_tokens=read_json(folder / "text_encoder" / CONFIG).get("max_position_embeddings", 77),
        image_tokens=kind.num_tokens(shapes),
        image_px=vision.image_size,
        device=torch.device("cpu"),
        dtype=dtype,
    )


def _adapter_shapes(folder: Path, kind: AdapterKind[Any]) -> dict[str, Shape]:
    """Of the tensors of the folder's adapter, or of the published one. Raises: WeightsError."""
    unet = bare_unet(folder)
    if any((folder / kind.place).glob("*.safetensors")):
        return _file_shapes(folder, kind, unet)
    return kind.published(_around(folder, unet))


def _zeros_for_empty(folder: Path) -> bool:
    return bool(read_json(folder / "model_index.json").get("force_zeros_for_empty_prompt", True))


def vae_precision(folder: Path, dtype: torch.dtype) -> torch.dtype:
    """fp32 for the published VAE in fp16, in which it overflows. Raises: WeightsError for statistics per channel."""
    path = folder / "vae" / CONFIG
    config = read_json(path)
    if config.get("latents_mean") is not None:
        raise WeightsError(
            f"{path}: expected one scaling_factor, got latents_mean per channel; use the model's own VAE."
        )
    return torch.float32 if dtype == torch.float16 and config.get("force_upcast", True) else dtype


def image_processor(folder: Path, *, size: int) -> Any:  # CLIPImageProcessorPil
    """The folder's, or CLIP's own for pictures of `size` px. Raises: WeightsError."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    if (folder / "feature_extractor").is_dir():
        return load_plain(CLIPImageProcessorPil, folder / "feature_extractor")
    return CLIPImageProcessorPil(size=size, crop_size=size)  # pyright: ignore[reportArgumentType] the short side


def noise_scheduler(folder: Path, *, replaced: Mapping[str, str] | None = None) -> Any:
    """The folder's scheduler; one that `replaced` names becomes the other, by the same config.

    Raises: WeightsError for one that draws noise, and for a model that predicts no noise.
    """
    import diffusers

    path = folder / "scheduler" / SCHEDULER
    config = read_json(path)
    name, kind = config.get("_class_name"), config.get("prediction_type", "epsilon")
    drawn = (replaced or {}).get(name, name)
    if drawn not in SCHEDULERS or "sde" in config.get("algorithm_type", ""):
        wanted = f"{path}: expected one of {', '.join(SCHEDULERS)} without noise of its own"
        raise WeightsError(f"{wanted}, got {name}; put the config of one of them there.")
    if kind != "epsilon":
        raise WeightsError(f"{path}: expected a model that predicts epsilon, got {kind}; name another folder.")
    read = load_plain(getattr(diffusers, name), folder / "scheduler")
    return read if drawn == name else getattr(diffusers, drawn).from_config(read.config)
