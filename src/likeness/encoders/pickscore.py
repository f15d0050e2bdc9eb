"""PickScore: a CLIP ViT-H/14 tuned on which of two pictures people picked for their own prompt.

Source: Kirstain et al., "Pick-a-Pic" (arXiv:2305.01569), yuvalkirstain/PickScore_v1.
Differs: float32; texts one at a time, without padding.
"""

from likeness.encoders.clip import ClipEncoder


class PickScoreEncoder(ClipEncoder):
    """A frozen PickScore in float32; as published it lacks a tokenizer, which comes from the CLIP it was tuned from."""

    wanted = ("PickScore encoder", "a CLIPModel as safetensors")
    processing = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K@1c2b8495b28150b8a4922ee1c8edee224c284c0c"
