"""CLIP-I, subject fidelity: mean cosine of the whole picture and whole photos of the subject in CLIP's image space.

Source: DreamBooth (arXiv:2208.12242), section 4.1; whole pictures without masks as in all public scripts.
"""

import numpy as np
from jaxtyping import Float

from likeness.metrics.base import Facts, Value, mean_cosine

FACTS = Facts(name="clip_i", range=(-1.0, 1.0), higher_is_better=True, unit="cosine", needs=("clip",))


def clip_i(*, image_feature: Float[np.ndarray, " D"], photo_features: Float[np.ndarray, "P D"]) -> Value:
    """The mean over photos; not measured without photos."""
    return mean_cosine(image_feature, photo_features)
