"""PickScore: a CLIP ViT-H/14 tuned on which of two pictures people picked for their own prompt.

Source: Kirstain et al., "Pick-a-Pic" (arXiv:2305.01569), yuvalkirstain/PickScore_v1.
Differs: float32; texts one at a time, without padding.
"""

from pathlib import Path

from likeness.core.weights import resolve_processing
from likeness.encoders.clip import ClipEncoder

PROCESSING = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K@1c2b8495b28150b8a4922ee1c8edee224c284c0c"


class PickScoreEncoder(ClipEncoder):
    """A frozen PickScore in float32."""

    wanted = ("PickScore encoder", "a CLIPModel as safetensors")

    def processing_folder(self, folder: Path) -> Path:
        """Beside the model where it is complete; as published it is not, and names the CLIP that it was tuned from."""
        return folder if (folder / "preprocessor_config.json").is_file() else resolve_processing(PROCESSING)
