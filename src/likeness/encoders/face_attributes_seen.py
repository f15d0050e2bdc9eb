"""What attribute probes read of the largest face of a picture, as plain data that needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FaceAttributes:
    """by: probes, detector, embedder and licences in one line. attributes: attribute -> {value: probability} of the
    largest face, None where there is no face. labels: the values that the probes know of each attribute."""

    by: str
    attributes: dict[str, dict[str, float]] | None
    labels: dict[str, tuple[str, ...]]
