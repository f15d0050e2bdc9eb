"""Opens a stock QwenImageEditPlusPipeline folder, Qwen-Image-Edit-2509 or -2511; what may be asked of it.

Source: diffusers 0.42 `QwenImageEditPlusPipeline`.
Differs: of the processor only its tokenizer and its image processor are read, and the latter with Pillow, so that
torchvision, which the processor wants for videos, need not be there and does not change a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: JSON, and stock classes

from pydantic import Field

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
    settings_given,
)
from likeness.backbones.options import Options
from likeness.core.files import read_json

if TYPE_CHECKING:
    import torch

FOLDER = FolderFacts(
    pipeline="QwenImageEditPlusPipeline",
    family="Qwen-Image-Edit-2509 or -2511",
    parts={
        "transformer": CONFIG,
        "vae": CONFIG,
        "text_encoder": CONFIG,
        "processor": TOKENIZER,
        "scheduler": SCHEDULER,
    },
    weights=("transformer", "vae", "text_encoder"),
    classes={"transformer": "QwenImageTransformer2DModel", "vae": "AutoencoderKLQwenImage"},
)


def adapter_targets(num_layers: int) -> str:
    """The layers that a LoRA tunes: attention of every block, but for what the last one does not use.

    The network drops the text behind its last block, so that queries and output of the text there do nothing.
    """
    used = r"to_[qkv]|to_out\.0|add_[kv]_proj"
    return rf"transformer_blocks\.(\d+\.attn\.({used})|(?!{num_layers - 1}\.)\d+\.attn\.(add_q_proj|to_add_out))"


@dataclass(frozen=True)
class QwenSettings:
    """How a folder wants to be used; from its optional `likeness.json`, else as the pipeline and the model cards say.

    `size` in px. The autoencoder sees references at about `reference_area` px, the text encoder at `seen_area` px; text
    and what is seen are padded to `max_sequence_length` tokens on disk, and never cut.
    Source: diffusers 0.42 `QwenImageEditPlusPipeline`; Qwen's model cards (40 steps and guidance 4).
    """

    size: int = 1024
    reference_area: int = 1024 * 1024
    seen_area: int = 384 * 384
    max_sequence_length: int = 1024
    default_steps: int = 40
    default_cfg_scale: float = 4.0


@dataclass(frozen=True)
class QwenParts(StoredParts):
    """The parts of the folder, in evaluation mode, its settings and the folder itself.

    Those with weights (QwenImageTransformer2DModel, AutoencoderKLQwenImage and Qwen2_5_VLForConditionalGeneration)
    are `stored` in the folder until they are asked for. `template` is the chat around a prompt, of
    which the first `template_start` tokens are dropped. `num_layers`: blocks of the transformer; `cell_px`: pixels
    along a latent cell.
    """

    # Any: the annotations of diffusers and transformers refuse correct use (configs typed as dicts, results as tuples)
    stored: PartsOnDemand
    tokenizer: Any  # Qwen2Tokenizer
    image_processor: Any  # Qwen2VLImageProcessorPil
    scheduler: Any  # FlowMatchEulerDiscreteScheduler
    template: str
    template_start: int
    settings: QwenSettings
    folder: Path
    num_layers: int
    cell_px: int
    device: torch.device
    dtype: torch.dtype


class QwenOptions(Options):
    """Sizes in px, `size` the height and `width` the same by default, and how the picture is sampled.

    None is the model's own default. `cfg_scale` is classifier-free guidance of the prompt, with the references in both
    passes, as in diffusers; 1 is none.
    """

    size: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    cfg_scale: float | None = Field(default=None, ge=0)

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings with the folder's own where None stood."""
        own = read_settings(folder)
        height = own.size if self.size is None else self.size
        return {
            "size": height,
            "width": height if self.width is None else self.width,
            "steps": own.default_steps if self.steps is None else self.steps,
            "cfg_scale": self.scale(own),
        }

    def scale(self, own: QwenSettings) -> float:
        """The guidance in force: 1, none at all, up to 1, as in the pipeline."""
        return max(1.0, own.default_cfg_scale if self.cfg_scale is None else self.cfg_scale)


def read_settings(folder: Path) -> QwenSettings:
    """The folder's settings, the pipeline's where `likeness.json` is silent or absent. Raises: WeightsError."""
    return QwenSettings(**settings_given(folder, QwenSettings))


def empty_transformer(folder: Path) -> Any:  # QwenImageTransformer2DModel
    """The transformer of the folder without its weights, to look at its layers. Raises: WeightsError."""
    from diffusers import QwenImageTransformer2DModel

    check_folder(folder, FOLDER)
    return empty_model(QwenImageTransformer2DModel, folder / "transformer" / CONFIG)


def load_qwen_parts(folder: Path, *, device: str, dtype: torch.dtype) -> QwenParts:
    """All parts of the folder, frozen, which are read onto `device` when asked for. Raises: WeightsError."""
    import torch
    from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    check_folder(folder, FOLDER)
    template, start = _template()

    def model(cls: Any, part: str, *, dtype_name: str = "torch_dtype") -> Any:
        return load_model(cls, folder / part, dtype=dtype, dtype_name=dtype_name).to(device)

    readers = {
        "transformer": partial(model, QwenImageTransformer2DModel, "transformer"),
        "vae": partial(model, AutoencoderKLQwenImage, "vae"),
        "text_encoder": partial(model, Qwen2_5_VLForConditionalGeneration, "text_encoder", dtype_name="dtype"),
    }
    return QwenParts(
        stored=PartsOnDemand(readers),
        tokenizer=load_plain(AutoTokenizer, folder / "processor"),
        image_processor=load_plain(Qwen2VLImageProcessorPil, folder / "processor"),
        scheduler=load_plain(FlowMatchEulerDiscreteScheduler, folder / "scheduler"),
        template=template,
        template_start=start,
        settings=read_settings(folder),
        folder=folder,
        num_layers=_num_layers(folder),
        cell_px=_cell_px(folder),
        device=torch.device(device),
        dtype=dtype,
    )


def sketch_qwen_parts(folder: Path, *, dtype: torch.dtype) -> QwenParts:
    """The parts by the configs of those with weights, on the meta device. Raises: WeightsError."""
    import torch
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    check_folder(folder, FOLDER, configs_only=True)
    template, start = _template()
    classes = {
        "transformer": QwenImageTransformer2DModel,
        "vae": AutoencoderKLQwenImage,
        "text_encoder": Qwen2_5_VLForConditionalGeneration,
    }
    readers = {part: partial(empty_part, cls, folder / part, dtype=dtype) for part, cls in classes.items()}
    return QwenParts(
        stored=PartsOnDemand(readers),
        tokenizer=None,
        image_processor=None,
        scheduler=None,
        template=template,
        template_start=start,
        settings=read_settings(folder),
        folder=folder,
        num_layers=_num_layers(folder),
        cell_px=_cell_px(folder),
        device=torch.device("cpu"),
        dtype=dtype,
    )


def _num_layers(folder: Path) -> int:
    return read_json(folder / "transformer" / CONFIG)["num_layers"]


def _cell_px(folder: Path) -> int:
    return 2 ** len(read_json(folder / "vae" / CONFIG)["temperal_downsample"])


def _template() -> tuple[str, int]:
    """The chat around a prompt, and how many of its tokens come before what the network reads; the pipeline's own."""
    from diffusers import QwenImageEditPlusPipeline

    names = ("scheduler", "vae", "text_encoder", "tokenizer", "processor", "transformer")
    stock: Any = QwenImageEditPlusPipeline(**dict.fromkeys(names))  # pyright: ignore[reportArgumentType] has no parts
    return stock.prompt_template_encode, stock.prompt_template_encode_start_idx
