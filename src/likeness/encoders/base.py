"""What the encoders share: finding the weights, naming them, and features of unit length."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from likeness.core.errors import MeasurementError
from likeness.core.hashing import folder_sha256, short
from likeness.core.weights import resolve_weights

EMBEDDED_PREFIX = "embedded:"


def weights_folder(spec: str | Path) -> Path:
    """The local folder of an embedded name ("clip" or "embedded:clip"), a folder, or a hub id.

    Raises: WeightsError as `resolve_weights` does.
    """
    return resolve_weights(str(spec).removeprefix(EMBEDDED_PREFIX))


def encoder_id(kind: str, *, spec: str | Path, folder: Path, preprocessing: str) -> str:
    """Kind, name, content hash and preprocessing in one line: equal ids give comparable numbers.

    A local folder goes by its last name, so that the id does not tell where somebody keeps files.
    """
    name = folder.name if Path(spec).is_dir() else str(spec)
    return f"{kind} {name}@{short(folder_sha256(folder))}; {preprocessing}"


def unit_rows(features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Rows divided by their length, in float32. Raises: MeasurementError for rows without finite length above 0."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise MeasurementError(
            "Encoder: expected finite features that are not all 0, got others; check the weights for damage."
        )
    return (features / lengths).astype(np.float32)
