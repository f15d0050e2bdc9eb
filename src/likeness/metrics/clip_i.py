"""CLIP-I, subject fidelity: mean cosine of the whole picture and whole photos of the subject in CLIP's image space.

Source: DreamBooth (arXiv:2208.12242), section 4.1; whole pictures without masks as in all public scripts.
"""

from likeness.metrics.base import Facts, photo_metrics

PROTOCOL = "cosine of whole pictures: mean over all photos of the subject, and the conditioning photo alone"

CLIP_I = photo_metrics(
    Facts(
        name="clip_i",
        label="Subject fidelity (CLIP-I)",
        short="CLIP-I",
        question="Does the picture look like the subject's photos to CLIP?",
        unit="cosine",
        range=(-1.0, 1.0),
        needs=("clip",),
        kind="subject",
        protocol={"clip_i": PROTOCOL},
        headline=4,
        ranks=2,
        compared=4,
        per_subject=True,
    )
)
