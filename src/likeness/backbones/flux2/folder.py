"""Opens a stock Flux2KleinPipeline folder: FLUX.2-klein, base or step-distilled, 4B or 9B."""

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
from likeness.core.files import read_json

if TYPE_CHECKING:
    import torch

FOLDER = FolderFacts(
    pipeline="Flux2KleinPipeline",
    family="FLUX.2-klein",
    parts={
        "transformer": CONFIG,
        "vae": CONFIG,
        "text_encoder": CONFIG,
        "tokenizer": TOKENIZER,
        "scheduler": SCHEDULER,
    },
    weights=("transformer", "vae", "text_encoder"),
    classes={"transformer": "Flux2Transformer2DModel", "vae": "AutoencoderKLFlux2"},
)
ADAPTER_TARGETS = (
    r"(transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out))"
)
"""Attention of every block; single blocks have one matrix for attention and MLP together on either side."""


@dataclass(frozen=True)
class KleinSettings:
    """How a folder wants to be used; from its optional `likeness.json`, else as klein's pipeline uses the base model.

    `size` in px; references of more than `reference_area` px are made smaller; `max_sequence_length` counts tokens of
    the text encoder, `text_layers` are those whose hidden states the transformer reads. A step-distilled folder has
    `distilled_steps` and no guidance.
    Source: diffusers 0.42 `Flux2KleinPipeline`; Black Forest Labs' model cards (50 steps and guidance 4, or 4 steps).
    """

    max_sequence_length: int = 512
    text_layers: tuple[int, ...] = (9, 18, 27)
    size: int = 1024
    reference_area: int = 1024 * 1024
    default_steps: int = 50
    default_cfg_scale: float = 4.0


DISTILLED: dict[str, Any] = {"default_steps": 4, "default_cfg_scale": 1.0}


@dataclass(frozen=True)
class KleinParts(StoredParts):
    """The five parts of a Flux2KleinPipeline folder, in evaluation mode, its settings and the folder itself.

    Those with weights (Flux2Transformer2DModel, AutoencoderKLFlux2 and Qwen3ForCausalLM)
    are `stored` in the folder until they are asked for. `cell_px`: pixels along a latent cell.
    """

    # Any: the annotations of diffusers and transformers refuse correct use (configs typed as dicts, results as tuples)
    stored: PartsOnDemand
    tokenizer: Any  # Qwen2TokenizerFast
    scheduler: Any  # FlowMatchEulerDiscreteScheduler
    settings: KleinSettings
    is_distilled: bool
    folder: Path
    cell_px: int
    device: torch.device
    dtype: torch.dtype


def is_distilled(folder: Path) -> bool:
    """What the folder's index says; a step-distilled model is drawn without guidance. Raises: DataError."""
    return bool(read_json(folder / "model_index.json").get("is_distilled", False))


def read_settings(folder: Path) -> KleinSettings:
    """The folder's settings, the pipeline's where `likeness.json` is silent or absent. Raises: WeightsError."""
    return KleinSettings(**{**(DISTILLED if is_distilled(folder) else {}), **settings_given(folder, KleinSettings)})


def empty_transformer(folder: Path) -> Any:  # Flux2Transformer2DModel
    """The transformer of the folder without its weights, to look at its layers. Raises: WeightsError."""
    from diffusers import Flux2Transformer2DModel

    check_folder(folder, FOLDER)
    return empty_model(Flux2Transformer2DModel, folder / "transformer" / CONFIG)


def load_klein_parts(folder: Path, *, device: str, dtype: torch.dtype) -> KleinParts:
    """All parts of the folder, frozen, which are read onto `device` when asked for. Raises: WeightsError."""
    import torch
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import AutoTokenizer, Qwen3ForCausalLM

    check_folder(folder, FOLDER)

    def model(cls: Any, part: str, *, dtype_name: str = "torch_dtype") -> Any:
        return load_model(cls, folder / part, dtype=dtype, dtype_name=dtype_name).to(device)

    readers = {
        "transformer": partial(model, Flux2Transformer2DModel, "transformer"),
        "vae": partial(model, AutoencoderKLFlux2, "vae"),
        "text_encoder": partial(model, Qwen3ForCausalLM, "text_encoder", dtype_name="dtype"),
    }
    return KleinParts(
        stored=PartsOnDemand(readers),
        tokenizer=load_plain(AutoTokenizer, folder / "tokenizer"),
        scheduler=load_plain(FlowMatchEulerDiscreteScheduler, folder / "scheduler"),
        settings=read_settings(folder),
        is_distilled=is_distilled(folder),
        folder=folder,
        cell_px=picture_scale(folder),
        device=torch.device(device),
        dtype=dtype,
    )


def sketch_klein_parts(folder: Path, *, dtype: torch.dtype) -> KleinParts:
    """The parts by the configs of those with weights, on the meta device. Raises: WeightsError."""
    import torch
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from transformers import Qwen3ForCausalLM

    check_folder(folder, FOLDER, configs_only=True)
    classes = {"transformer": Flux2Transformer2DModel, "vae": AutoencoderKLFlux2, "text_encoder": Qwen3ForCausalLM}
    readers = {part: partial(empty_part, cls, folder / part, dtype=dtype) for part, cls in classes.items()}
    return KleinParts(
        stored=PartsOnDemand(readers),
        tokenizer=None,
        scheduler=None,
        settings=read_settings(folder),
        is_distilled=is_distilled(folder),
        folder=folder,
        cell_px=picture_scale(folder),
        device=torch.device("cpu"),
        dtype=dtype,
    )
