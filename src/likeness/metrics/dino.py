"""DINO, identity preservation: mean cosine of the whole picture and whole photos of the subject, by DINO's CLS feature.

Source: DreamBooth (arXiv:2208.12242), section 4.1; DINO v1 ViT-S/16 for photographs.
"""

from likeness.metrics.base import photo_metrics

DINO = photo_metrics(
    "dino",
    "DINO",
    "Is the subject the same individual as in its photos?",
    encoder="dino",
    protocol="as clip_i, with the CLS feature",
    headline=3,
    ranks=1,
)
