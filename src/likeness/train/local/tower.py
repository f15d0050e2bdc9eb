"""The vision tower of a CLIP in the place where other runs have a generator: what the loop asks for, and no more."""

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.errors import WeightsError
from likeness.encoders.base import short_reason
from likeness.encoders.dense import dense_features, global_feature, load_vision_tower


class TowerFacts(NamedTuple):
    """A row's noise is as large as it says: no latents share a token."""

    latents_per_token: int = 1


class Tower:
    """A vision tower in float32; `autocast` in bf16 where the precision is.

    Raises: WeightsError when the folder holds no CLIP with its preprocessing.
    """

    time_laws: ClassVar[tuple[str, ...]] = ("uniform",)
    facts = TowerFacts()

    def __init__(self, folder: Path, *, device: str, precision: torch.dtype) -> None:
        try:
            self.network: CLIPVisionModelWithProjection = load_vision_tower(folder, device=device)
            self.processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            what = f"model.base: expected a CLIP as safetensors with preprocessor_config.json in {folder}"
            raise WeightsError(f"{what}, got {short_reason(error)}; name another folder.") from error
        config: Any = self.network.config  # sizes are annotated as a number or a pair
        self.patch: int = config.patch_size
        self.device, self._precision = torch.device(device), precision

    def draw_t(self, generator: torch.Generator, *, grid: tuple[int, int], law: str) -> float:
        """A number in (0, 1), all alike: here it chooses a grid."""
        return float(torch.rand((), generator=generator))

    def global_feature(self, pixels: Float[Tensor, "R 3 S S"]) -> Float[Tensor, "R P"]:
        """As `encoders.dense.global_feature`."""
        with self._autocast():
            return global_feature(self.network, pixels)

    def dense_features(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B h w P"]:
        """As `encoders.dense.dense_features`, in the shared space."""
        with self._autocast():
            return dense_features(self.network, pixels, project=True)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._precision, enabled=self._precision != torch.float32)

    def encode_exactly(self) -> None:
        """Nothing is encoded before training."""

    def put_encoders_away(self) -> None:
        """There is no other encoder."""
