"""CLIP-I, subject fidelity: mean cosine of the whole picture and whole photos of the subject in CLIP's image space.

Source: DreamBooth (arXiv:2208.12242), section 4.1; whole pictures without masks as in all public scripts.
"""

from likeness.metrics.base import photo_metrics

CLIP_I = photo_metrics(
    "clip_i",
    "CLIP-I",
    "Does the picture look like the subject's photos to CLIP?",
    encoder="clip",
    protocol="cosine of whole pictures: mean over all photos of the subject, and the conditioning photo alone",
    headline=4,
    ranks=2,
)
