"""DINO, identity preservation: mean cosine of the whole picture and whole photos of the subject, by DINO's CLS feature.

Source: DreamBooth (arXiv:2208.12242), section 4.1; DINO v1 ViT-S/16 for photographs.
"""

from likeness.metrics.base import Facts, photo_metrics

DINO = photo_metrics(
    Facts(
        name="dino",
        label="Subject fidelity (DINO)",
        short="DINO",
        question="Is the subject the same individual as in its photos?",
        unit="cosine",
        range=(-1.0, 1.0),
        needs=("dino",),
        kind="subject",
        protocol={"dino": "as clip_i, with the CLS feature"},
        headline=3,
        ranks=1,
        compared=3,
        per_subject=True,
    )
)
