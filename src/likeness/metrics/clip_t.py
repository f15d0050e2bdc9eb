"""CLIP-T, prompt fidelity: cosine of the picture and the exact prompt in CLIP's space.

Source: DreamBooth (arXiv:2208.12242), section 4.1. Differs: raw, neither floored at 0 nor scaled (MIP-Adapter's script
multiplies by 2.5), so that values compare with the DreamBench tables.
"""

import numpy as np
from jaxtyping import Float

from likeness.metrics.base import Facts, Value, cosine

FACTS = Facts(name="clip_t", range=(-1.0, 1.0), higher_is_better=True, unit="cosine", needs=("clip",))


def clip_t(
    *, image_feature: Float[np.ndarray, " D"], prompt_feature: Float[np.ndarray, " D"], truncated: bool = False
) -> Value:
    """The raw cosine; noted when CLIP did not read the end of the prompt (`truncated`)."""
    return Value(cosine(image_feature, prompt_feature), "prompt cut to CLIP's length" if truncated else "")
