"""DINOv2, subject fidelity: mean cosine of the whole picture and whole photos of the subject, by DINOv2's CLS feature.

Source: Oquab et al., "DINOv2" (arXiv:2304.07193), ViT-B/14. Its numbers stand apart from those of DINO v1, which the
DreamBench tables report.
"""

from likeness.metrics.base import photo_metrics

DINOV2 = photo_metrics(
    "dinov2",
    "DINOv2",
    "Is the subject the same individual as in its photos, to DINOv2?",
    encoder="dinov2",
    protocol="as clip_i, with the CLS feature of DINOv2",
)
