"""DINO: CLS feature of a self-supervised ViT, the identity metric of the DreamBench tables.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (arXiv:2104.14294); the table metric
is DINO v1 ViT-S/16 (facebook/dino-vits16), CLS after the final norm, resize 256 bicubic, centre crop 224.
Differs: DINOv2 checkpoints load too; the resize is 256/224 of the crop, whatever size the checkpoint was trained at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from transformers import AutoConfig, Dinov2Model, ViTModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.errors import DataError, WeightsError
from likeness.core.files import read_json
from likeness.encoders.base import encoder_id, load_whole, short_reason, unit_rows, weights_folder


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


def _model(folder: Path) -> ViTModel | Dinov2Model:
    kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    if kind == "vit":
        return load_whole(ViTModel, folder, add_pooling_layer=False)
    if kind == "dinov2":
        return load_whole(Dinov2Model, folder)
    raise ValueError(f"model_type {kind} (known: vit, dinov2)")


def _crop_size(size: Any) -> int:  # configs write a number or {"height", "width"}
    return int(size["height"] if isinstance(size, dict) else size)


class VitEncoder:
    """A frozen ViT or DINOv2 in float32; D is its hidden size."""

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.model = _model(folder)
        self.model.to(device)  # pyright: ignore[reportArgumentType] transformers wraps Module.to
        settings = read_json(folder / "preprocessor_config.json")
        crop = _crop_size(settings.get("crop_size") or self.model.config.image_size)
        self.processor = dino_processor(crop=crop, mean=settings["image_mean"], std=settings["image_std"])
        self.device = device
        edge = self.processor.size["shortest_edge"]
        description = f"PIL, short side {edge}, bicubic, centre crop {crop}, checkpoint's mean and std"
        self.id = encoder_id(self.model.config.model_type, spec=spec, folder=folder, preprocessing=description)

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> Self:
        """The encoder of an embedded name, a local folder in stock transformers format, or a hub id.

        Raises: WeightsError when there is none or it is neither ViT nor DINOv2.
        """
        folder = weights_folder(spec)
        try:
            return cls(folder, device=device, spec=spec)
        except (DataError, OSError, ValueError, RuntimeError, KeyError) as error:
            raise WeightsError(
                f"ViT {spec}: expected a ViTModel or Dinov2Model as safetensors with preprocessor_config.json in "
                f"{folder}, got {short_reason(error)}; pass a folder in stock transformers format."
            ) from error

    def pixel_values(self, image: Image.Image) -> Float[np.ndarray, "3 S S"]:
        """The picture as the model sees it."""
        return np.asarray(self.processor(image.convert("RGB"))["pixel_values"][0], dtype=np.float32)

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "N D"]:
        """One unit vector per picture, independent of the other pictures: CLS after the final norm."""
        rows = []
        for image in images:
            pixels = torch.from_numpy(self.pixel_values(image))[None].to(self.device)
            rows.append(self.model(pixel_values=pixels).last_hidden_state[:, 0].cpu().numpy())
        return unit_rows(np.concatenate(rows))
