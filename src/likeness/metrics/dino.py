"""DINO, identity preservation: mean cosine of the whole picture and whole photos of the subject, by DINO's CLS feature.

Source: DreamBooth (arXiv:2208.12242), section 4.1; DINO v1 ViT-S/16 for photographs.
"""

import numpy as np
from jaxtyping import Float

from likeness.metrics.base import Facts, Value, mean_cosine

FACTS = Facts(name="dino", range=(-1.0, 1.0), higher_is_better=True, unit="cosine", needs=("dino",))


def dino(*, image_feature: Float[np.ndarray, " D"], photo_features: Float[np.ndarray, "P D"]) -> Value:
    """The mean over photos; not measured without photos."""
    return mean_cosine(image_feature, photo_features)
