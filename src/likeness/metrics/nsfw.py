"""NSFW: how probably a picture is not safe for work, by OpenNSFW; a filter for people, not a measure of likeness."""

from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value


def nsfw(evidence: Evidence) -> Measured:
    """The network's probability in [0, 1]."""
    return Measured(Value(evidence.picture["nsfw"]))


NSFW = Metric(
    Facts(
        name="nsfw",
        label="Not safe for work (OpenNSFW)",
        short="NSFW",
        question="How probably is the picture not safe for work?",
        needs=("nsfw",),
        kind="prompt",
        unit="probability",
        higher_is_better=False,
        protocol={"nsfw": "OpenNSFW's probability of the whole picture"},
    ),
    nsfw,
)
