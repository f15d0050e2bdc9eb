"""Opens a stock StableDiffusionPipeline folder that holds an SSR-Encoder for reference images as well.

    model_index.json  unet  vae  text_encoder  tokenizer  scheduler    as published; the safety checker is not read
    image_encoder     CLIP ViT-L/14, whole or its vision half
    ssr_encoder       one file, made of the published ones (ssr_adapter.py)
    feature_extractor how CLIP sees pictures, as published

All lies in one folder so that its hash, which runs and pictures carry, names all that decides a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from likeness.backbones.folder import (
    CONFIG,
    SCHEDULER,
    TOKENIZER,
    FolderFacts,
    PartsOnDemand,
    StoredParts,
    check_folder,
    empty_part,
    load_model,
    load_plain,
    picture_scale,
)
from likeness.backbones.sd15.settings import SsrSettings, read_ssr_settings
from likeness.backbones.sd15.ssr_adapter import (
    FOLDER_NAME,
    Surroundings,
    attach_attention,
    make_aligner,
    num_levels,
    published_shapes,
    require_fit,
)
from likeness.backbones.sdxl.adapter import Shape, adapter_file, read_shapes, read_tensors
from likeness.backbones.sdxl.folder import bare_unet, image_processor, noise_scheduler, vae_precision, vision_config
from likeness.core.errors import WeightsError
from likeness.core.files import read_json

FOLDER = FolderFacts(
    pipeline="StableDiffusionPipeline",
    family="Stable Diffusion 1.5",
    parts={
        "unet": CONFIG,
        "vae": CONFIG,
        "text_encoder": CONFIG,
        "image_encoder": CONFIG,
        "tokenizer": TOKENIZER,
        "scheduler": SCHEDULER,
    },
    weights=("unet", "vae", "text_encoder", "image_encoder"),
    classes={"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
)
UNIPC = {"PNDMScheduler": "UniPCMultistepScheduler"}
"""The scheduler of the published base, and what SSR-Encoder's scripts put in its place, with its numbers."""
_ADVICE = "copy what `likeness fetch ssr_encoder` made into it (docs/backbones/sd15-ssr-encoder.md)"


@dataclass(frozen=True)
class SsrParts(StoredParts):
    """The parts of a folder, in evaluation mode and frozen, its settings and the folder itself.

    Those with weights (UNet2DConditionModel, AutoencoderKL, CLIPTextModel and below) are `stored` in the folder until
    they are asked for. `cell_px`: pixels along a latent cell; `text_tokens` and `image_tokens`: of a prompt, and of a
    reference; `image_px`: the side that the image encoder reads.
    """

    # Any: the annotations of diffusers and transformers refuse correct use (configs typed as dicts, results as tuples)
    stored: PartsOnDemand
    tokenizer: Any  # CLIPTokenizer
    image_processor: Any  # CLIPImageProcessorPil: what it gives does not depend on torchvision
    scheduler: Any  # one of sdxl/folder.py's SCHEDULERS
    settings: SsrSettings
    folder: Path
    cell_px: int
    text_tokens: int
    image_tokens: int
    image_px: int
    device: torch.device
    dtype: torch.dtype

    @property
    def image_encoder(self) -> Any:
        """CLIPVisionModelWithProjection."""
        return self.stored.get("image_encoder")

    @property
    def aligner(self) -> Any:
        """Aligner, which makes the tokens that the image attention reads."""
        return self.stored.get("aligner")


def _around(folder: Path, unet: Any) -> Surroundings:
    """What the adapter of the folder must fit. Raises: WeightsError."""
    path, vision = folder / "text_encoder" / CONFIG, vision_config(folder)
    width = read_json(path).get("hidden_size")
    if not isinstance(width, int):
        raise WeightsError(f"{path}: expected a CLIP text model's config, got no hidden_size; download it again.")
    return Surroundings(unet, vision.hidden_size, vision.num_hidden_layers, text_width=width)


def _file_shapes(folder: Path, unet: Any) -> dict[str, Shape]:
    """Of the tensors of the folder's adapter, which fit. Raises: WeightsError."""
    path = adapter_file(folder / FOLDER_NAME, advice=_ADVICE)
    shapes = read_shapes(path)
    require_fit(shapes, _around(folder, unet), path)
    return shapes


def _with_attention(unet: Any, shapes: Mapping[str, Shape]) -> Any:
    with torch.device("meta"):
        attach_attention(unet, {name: torch.empty(shape) for name, shape in shapes.items()})
    return unet


def empty_unet(folder: Path) -> Any:  # UNet2DConditionModel
    """The U-Net of the folder with its image attention, without weights. Raises: WeightsError."""
    check_folder(folder, FOLDER)
    return _with_attention(unet := bare_unet(folder), _file_shapes(folder, unet))


def load_parts(folder: Path, *, device: str, dtype: torch.dtype) -> SsrParts:
    """All parts of the folder, frozen, which are read onto `device` when asked for. Raises: WeightsError."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

    check_folder(folder, FOLDER)
    shapes = _file_shapes(folder, bare_unet(folder))  # it fits, which is said before anything is read
    path, precise = adapter_file(folder / FOLDER_NAME, advice=_ADVICE), vae_precision(folder, dtype)

    def model(cls: Any, part: str, *, dtype_name: str = "dtype", precision: torch.dtype = dtype) -> Any:
        return load_model(cls, folder / part, dtype=precision, dtype_name=dtype_name).to(device)

    def unet() -> Any:
        made = model(UNet2DConditionModel, "unet", dtype_name="torch_dtype")
        attach_attention(made, read_tensors(path))
        return made

    readers = {
        "unet": unet,
        "vae": partial(model, AutoencoderKL, "vae", dtype_name="torch_dtype", precision=precise),
        "text_encoder": partial(model, CLIPTextModel, "text_encoder"),
        "image_encoder": partial(model, CLIPVisionModelWithProjection, "image_encoder"),
        "aligner": lambda: make_aligner(read_tensors(path)).to(device, dtype),
    }
    tokenizer, vision = load_plain(CLIPTokenizer, folder / "tokenizer"), vision_config(folder)
    return SsrParts(
        stored=PartsOnDemand(readers),
        tokenizer=tokenizer,
        image_processor=image_processor(folder, size=vision.image_size),
        scheduler=noise_scheduler(folder, replaced=UNIPC),
        settings=read_ssr_settings(folder),
        folder=folder,
        cell_px=picture_scale(folder),
        text_tokens=tokenizer.model_max_length,
        image_tokens=num_levels(shapes) * tokenizer.model_max_length,
        image_px=vision.image_size,
        device=torch.device(device),
        dtype=dtype,
    )


def sketch_parts(folder: Path, *, dtype: torch.dtype) -> SsrParts:
    """The parts by the configs of those with weights, on the meta device. Raises: WeightsError.

    A folder without the file of the adapter is taken to get the published one.
    """
    from diffusers import AutoencoderKL, UniPCMultistepScheduler
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection

    check_folder(folder, FOLDER, configs_only=True)
    unet, vision = bare_unet(folder), vision_config(folder)
    has_file = any((folder / FOLDER_NAME).glob("*.safetensors"))
    shapes = _file_shapes(folder, unet) if has_file else published_shapes(_around(folder, unet))
    classes = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "image_encoder": CLIPVisionModelWithProjection,
    }

    def frozen(part: Any) -> Any:
        return torch.nn.Module.to(part, dtype).eval().requires_grad_(False)

    def aligner() -> Any:
        with torch.device("meta"):
            return frozen(make_aligner({name: torch.empty(shape) for name, shape in shapes.items()}))

    readers = {
        "unet": lambda: frozen(_with_attention(bare_unet(folder), shapes)),
        **{part: partial(empty_part, cls, folder / part, dtype=dtype) for part, cls in classes.items()},
        "aligner": aligner,
    }
    text_tokens = read_json(folder / "text_encoder" / CONFIG).get("max_position_embeddings", 77)
    return SsrParts(
        stored=PartsOnDemand(readers),
        tokenizer=None,
        image_processor=None,
        scheduler=UniPCMultistepScheduler(),  # whichever: no number of it changes a shape
        settings=read_ssr_settings(folder),
        folder=folder,
        cell_px=picture_scale(folder),
        text_tokens=text_tokens,
        image_tokens=num_levels(shapes) * text_tokens,
        image_px=vision.image_size,
        device=torch.device("cpu"),
        dtype=dtype,
    )
