"""Brightness, a toy: how light a picture is, from its mean colour.

Source: ITU-R BT.601, luma = 0.299 R + 0.587 G + 0.114 B.
"""

from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value


def brightness(evidence: Evidence) -> Measured:
    """The luma of the mean colour, in [0, 1]."""
    red, green, blue = evidence.picture["mean_colour"]
    return Measured(Value(float(0.299 * red + 0.587 * green + 0.114 * blue)))


BRIGHTNESS = Metric(
    Facts(
        name="brightness",
        label="Brightness",
        short="Bright",
        question="How light is the picture?",
        needs=("mean_colour",),
        kind="prompt",
    ),
    brightness,
)
