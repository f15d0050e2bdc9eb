"""Opens a stock FluxPipeline folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    settings_given,
)

if TYPE_CHECKING:
    import torch

FOLDER = FolderFacts(
    pipeline="FluxPipeline",
    family="FLUX.1",
    parts={
        "transformer": CONFIG,
        "vae": CONFIG,
        "text_encoder": CONFIG,
        "text_encoder_2": CONFIG,
        "tokenizer": TOKENIZER,
        "tokenizer_2": TOKENIZER,
        "scheduler": SCHEDULER,
    },
    weights=("transformer", "vae", "text_encoder", "text_encoder_2"),
    classes={"transformer": "FluxTransformer2DModel", "vae": "AutoencoderKL"},
)
ADAPTER_TARGETS = (
    r"(.*transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    r"|single_transformer_blocks\.\d+\.proj_out)"
)
"""The layers that UNO's LoRA sits on: attention of every block, and proj_out of single blocks.

A bare "proj_out" would also hit the output layer of the whole network.
"""


@dataclass(frozen=True)
class FluxSettings:
    """How a folder wants to be used; from its optional `likeness.json`, else as FLUX.1-dev with UNO is used.

    Sizes are px on the long side, `max_sequence_length` counts T5 tokens. A file without `default_reference_cfg_scale`
    means its `default_cfg_scale`. `word_vocabulary` says that T5 knows whole words only, so that a split word is an
    unknown one.
    Source: UNO inference script (512 px, references 512 or 320, 25 steps, guidance 4, no classifier-free guidance).
    """

    max_sequence_length: int = 512
    size: int = 512
    reference_size_single: int = 512
    reference_size_multi: int = 320
    default_steps: int = 25
    default_cfg_scale: float = 1.0
    default_reference_cfg_scale: float = 1.0
    guidance: float = 4.0
    word_vocabulary: bool = False


@dataclass(frozen=True)
class FluxParts(StoredParts):
    """The seven parts of a FluxPipeline folder, in evaluation mode, its settings and the folder itself.

    Those with weights (FluxTransformer2DModel, AutoencoderKL, CLIPTextModel and T5EncoderModel)
    are `stored` in the folder until they are asked for. `cell_px`: pixels along a latent cell.
    """

    # Any: the annotations of diffusers and transformers refuse correct use (configs typed as dicts, results as tuples)
    stored: PartsOnDemand
    tokenizer: Any  # CLIPTokenizer
    tokenizer_2: Any  # T5Tokenizer
    scheduler: Any  # FlowMatchEulerDiscreteScheduler
    settings: FluxSettings
    folder: Path
    cell_px: int
    device: torch.device
    dtype: torch.dtype


def read_settings(folder: Path) -> FluxSettings:
    """The folder's settings, defaults where `likeness.json` is silent or absent. Raises: WeightsError."""
    given = settings_given(folder, FluxSettings)
    one_scale = {"default_reference_cfg_scale": given.get("default_cfg_scale", FluxSettings.default_cfg_scale)}
    return FluxSettings(**(one_scale | given))


def empty_transformer(folder: Path) -> Any:  # FluxTransformer2DModel
    """The transformer of the folder without its weights, to look at its layers. Raises: WeightsError."""
    from diffusers import FluxTransformer2DModel

    check_folder(folder, FOLDER)
    return empty_model(FluxTransformer2DModel, folder / "transformer" / CONFIG)


def _transformer(folder: Path, *, dtype: torch.dtype) -> Any:
    """The frozen transformer, whichever of the two layouts its weights have."""
    from diffusers import FluxTransformer2DModel

    from likeness.backbones.flux.original import original_file, read_original

    if (path := original_file(folder)) is not None:
        return read_original(FluxTransformer2DModel, path, dtype=dtype)
    return load_model(FluxTransformer2DModel, folder, dtype=dtype, dtype_name="torch_dtype")


def load_flux_parts(folder: Path, *, device: str, dtype: torch.dtype) -> FluxParts:
    """All parts of the folder, frozen, which are read onto `device` when asked for. Raises: WeightsError."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

    check_folder(folder, FOLDER)

    def model(cls: Any, part: str, *, dtype_name: str = "dtype") -> Any:
        return load_model(cls, folder / part, dtype=dtype, dtype_name=dtype_name).to(device)

    readers = {
        "transformer": lambda: _transformer(folder / "transformer", dtype=dtype).to(device),
        "vae": partial(model, AutoencoderKL, "vae", dtype_name="torch_dtype"),
        "text_encoder": partial(model, CLIPTextModel, "text_encoder"),
        "text_encoder_2": partial(model, T5EncoderModel, "text_encoder_2"),
    }
    return FluxParts(
        stored=PartsOnDemand(readers),
        tokenizer=load_plain(CLIPTokenizer, folder / "tokenizer"),
        tokenizer_2=load_plain(T5Tokenizer, folder / "tokenizer_2"),
        scheduler=load_plain(FlowMatchEulerDiscreteScheduler, folder / "scheduler"),
        settings=read_settings(folder),
        folder=folder,
        cell_px=picture_scale(folder),
        device=torch.device(device),
        dtype=dtype,
    )


def sketch_flux_parts(folder: Path, *, dtype: torch.dtype) -> FluxParts:
    """The parts by the configs of those with weights, on the meta device. Raises: WeightsError."""
    import torch
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5EncoderModel

    check_folder(folder, FOLDER, configs_only=True)
    classes = {
        "transformer": FluxTransformer2DModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
    }
    readers = {part: partial(empty_part, cls, folder / part, dtype=dtype) for part, cls in classes.items()}
    return FluxParts(
        stored=PartsOnDemand(readers),
        tokenizer=None,
        tokenizer_2=None,
        scheduler=None,
        settings=read_settings(folder),
        folder=folder,
        cell_px=picture_scale(folder),
        device=torch.device("cpu"),
        dtype=dtype,
    )
