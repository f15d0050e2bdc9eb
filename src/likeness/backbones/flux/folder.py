"""Opens a stock FluxPipeline folder part by part, so that every refusal names the file or part at fault."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.core.errors import WeightsError
from likeness.core.weights import require_configs

if TYPE_CHECKING:
    import torch
    from transformers import CLIPTextModel, T5EncoderModel

_PARTS = {
    "transformer": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "text_encoder_2": "config.json",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
_WITH_WEIGHTS = ("transformer", "vae", "text_encoder", "text_encoder_2")
ADAPTER_TARGETS = (
    r"(.*transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    r"|single_transformer_blocks\.\d+\.proj_out)"
)
"""The layers that UNO's LoRA sits on: attention of every block, and proj_out of single blocks.

A bare "proj_out" would also hit the output layer of the whole network.
"""
_LOADING_FAILURES = (OSError, ValueError, RuntimeError, KeyError, TypeError)


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
class FluxParts:
    """The seven parts of a FluxPipeline folder, in evaluation mode, its settings and the folder itself."""

    # Any: the annotations of diffusers and transformers refuse correct use (configs typed as dicts, results as tuples)
    transformer: Any  # FluxTransformer2DModel
    vae: Any  # AutoencoderKL
    text_encoder: CLIPTextModel
    text_encoder_2: T5EncoderModel
    tokenizer: Any  # CLIPTokenizer
    tokenizer_2: Any  # T5Tokenizer
    scheduler: Any  # FlowMatchEulerDiscreteScheduler
    settings: FluxSettings
    folder: Path


def read_settings(folder: Path) -> FluxSettings:
    """The folder's settings, defaults where `likeness.json` is silent or absent. Raises: WeightsError."""
    path = folder / "likeness.json"
    if not path.exists():
        return FluxSettings()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: expected a JSON object, got {error}; restore or delete it.") from error
    kinds: dict[str, type[Any]] = {field.name: type(field.default) for field in fields(FluxSettings)}
    if not isinstance(values, dict) or not values.keys() <= kinds.keys():
        got = sorted(set(values) - kinds.keys())
        raise WeightsError(f"{path}: expected keys among {', '.join(kinds)}, got {got}; correct it.")
    wrong = [name for name, value in values.items() if not _fits(value, kinds[name])]
    if wrong:
        wanted = ", ".join(f"{name}: {kinds[name].__name__}" for name in wrong)
        raise WeightsError(f"{path}: expected {wanted}, got {[values[name] for name in wrong]}; correct it.")
    given = {name: kinds[name](value) for name, value in values.items()}
    one_scale = {"default_reference_cfg_scale": given.get("default_cfg_scale", FluxSettings.default_cfg_scale)}
    return FluxSettings(**(one_scale | given))


def _fits(value: object, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    allowed = (int, float) if kind is float else (int,)
    return isinstance(value, allowed) and not isinstance(value, bool) and value > 0


def check_flux_folder(folder: Path) -> None:
    """The folder has every part of a FLUX pipeline. Raises: WeightsError listing what is missing."""
    index = folder / "model_index.json"
    missing = [] if index.is_file() else ["model_index.json"]
    missing += [f"{part}/{name}" for part, name in _PARTS.items() if not (folder / part / name).is_file()]
    missing += [f"{part}/*.safetensors" for part in _WITH_WEIGHTS if not any((folder / part).glob("*.safetensors"))]
    if missing:
        wanted = f"{folder}: expected a diffusers FluxPipeline folder, got one without {', '.join(missing)}"
        raise WeightsError(f"{wanted}; download it whole, or name another folder.")
    for part in ("", *_PARTS):
        require_configs(folder / part)
    for part, wanted in (("transformer", "FluxTransformer2DModel"), ("vae", "AutoencoderKL")):
        path = folder / part / "config.json"
        try:
            name = json.loads(path.read_text(encoding="utf-8")).get("_class_name")
        except (OSError, ValueError, AttributeError) as error:
            raise WeightsError(f"{path}: expected a model config, got {error}; download it again.") from error
        if name != wanted:
            raise WeightsError(f"{path}: expected {wanted}, got {name}; name a FLUX.1 folder.")


def empty_transformer(folder: Path) -> Any:  # FluxTransformer2DModel
    """The transformer of the folder without its weights, to look at its layers. Raises: WeightsError."""
    import torch
    from diffusers import FluxTransformer2DModel

    check_flux_folder(folder)
    path = folder / "transformer" / "config.json"
    with _telling(path, "the config of a FluxTransformer2DModel", todo="download it again"), torch.device("meta"):
        return FluxTransformer2DModel.from_config(json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def _telling(path: Path, wanted: str, *, todo: str) -> Generator[None, None, None]:
    """Raises: WeightsError with the first line of what a library cannot do within it."""
    try:
        yield
    except _LOADING_FAILURES as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(f"{path}: expected {wanted}, got {reason}; {todo}.") from error


# Any: the stock classes have no common type; each is used as itself in FluxParts
def _load_model(cls: Any, path: Path, *, dtype: torch.dtype, dtype_name: str) -> Any:
    """The model with all its weights from the files. Raises: WeightsError naming the part."""
    options = {dtype_name: dtype, "local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    with _telling(path, f"weights of {cls.__name__}", todo="download it again"):
        model, info = cls.from_pretrained(path, **options)
    missing = sorted(info["missing_keys"])
    if missing:
        got = f"{len(missing)} tensors missing, first {missing[0]}"
        raise WeightsError(f"{path}: expected all weights of {cls.__name__}, got {got}; download it again.")
    return model.eval().requires_grad_(False)


def load_flux_parts(folder: Path, *, device: str, dtype: torch.dtype) -> FluxParts:
    """All parts of the folder on `device`, frozen. Raises: WeightsError."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

    check_flux_folder(folder)
    settings = read_settings(folder)

    def model(cls: Any, part: str, *, dtype_name: str = "dtype") -> Any:
        return _load_model(cls, folder / part, dtype=dtype, dtype_name=dtype_name).to(device)

    def plain(cls: Any, part: str) -> Any:
        with _telling(folder / part, f"a {cls.__name__}", todo="download it again"):
            return cls.from_pretrained(folder / part, local_files_only=True)

    with _no_progress_bars():
        return FluxParts(
            transformer=model(FluxTransformer2DModel, "transformer", dtype_name="torch_dtype"),
            vae=model(AutoencoderKL, "vae", dtype_name="torch_dtype"),
            text_encoder=model(CLIPTextModel, "text_encoder"),
            text_encoder_2=model(T5EncoderModel, "text_encoder_2"),
            tokenizer=plain(CLIPTokenizer, "tokenizer"),
            tokenizer_2=plain(T5Tokenizer, "tokenizer_2"),
            scheduler=plain(FlowMatchEulerDiscreteScheduler, "scheduler"),
            settings=settings,
            folder=folder,
        )


@contextmanager
def _no_progress_bars() -> Generator[None, None, None]:
    """Within it, transformers draws no bar per part; afterwards it does what it did before."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
