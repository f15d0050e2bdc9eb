"""DINO: CLS feature of a self-supervised ViT, the identity metric of the DreamBench tables.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (arXiv:2104.14294); the table metric
is DINO v1 ViT-S/16 (facebook/dino-vits16), CLS after the final norm, resize 256 bicubic, centre crop 224.
Differs: DINOv2 checkpoints load too; the resize is 256/224 of the crop, whatever size the checkpoint was trained at.
"""

from pathlib import Path
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, Dinov2Model, ViTModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.files import read_json
from likeness.encoders.base import FeatureEncoder, encoder_id, load_whole


def dino_processor(*, crop: int, mean: list[float], std: list[float]) -> CLIPImageProcessorPil:
    """Resize the short side to 256/224 of `crop` (bicubic), centre crop, normalise.

    The class is CLIP's because it is exactly these operations in PIL; the published DINO checkpoints carry a
    preprocessor config that squashes to 224 x 224 instead, which is not what the DINO metric does.
    """
    short_side = round(crop * 256 / 224)
    return CLIPImageProcessorPil(
        size={"shortest_edge": short_side},
        crop_size={"height": crop, "width": crop},
        resample=Image.Resampling.BICUBIC,
        image_mean=mean,
        image_std=std,
    )


def vit_model(folder: Path, *, device: str) -> ViTModel | Dinov2Model:
    """The frozen model of a folder in float32. Raises: ValueError for one of another kind."""
    kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    if kind == "vit":
        return load_whole(ViTModel, folder, device=device, add_pooling_layer=False)
    if kind == "dinov2":
        return load_whole(Dinov2Model, folder, device=device)
    raise ValueError(f"model_type {kind} (known: vit, dinov2)")


class VitEncoder(FeatureEncoder):
    """A frozen ViT or DINOv2 in float32: CLS after the final norm; D is its hidden size."""

    wanted = ("ViT", "a ViTModel or Dinov2Model as safetensors with preprocessor_config.json")

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.model = vit_model(folder, device=device)
        settings = read_json(folder / "preprocessor_config.json")
        size: Any = settings.get("crop_size") or self.model.config.image_size  # a number or {"height", "width"}
        crop = int(size["height"] if isinstance(size, dict) else size)
        self.processor = dino_processor(crop=crop, mean=settings["image_mean"], std=settings["image_std"])
        self.device = device
        edge = self.processor.size["shortest_edge"]
        description = f"PIL, short side {edge}, bicubic, centre crop {crop}, checkpoint's mean and std"
        self.id = encoder_id(self.model.config.model_type, spec=spec, folder=folder, preprocessing=description)

    def _feature(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        return self.model(pixel_values=pixels).last_hidden_state[:, 0]
