"""What a preference model answers about a picture and a text, as plain data that needs no torch."""

from typing import NamedTuple


class PairScore(NamedTuple):
    """The score of a picture for a text, and whether the text has more tokens than the model reads."""

    score: float
    truncated: bool
