"""Preference pairs made: dip.py the recipe, world_pairs.py the drawn pairs, disruption.py what is broken in a loser.

The choices of the recipe stand here, where reading them imports nothing heavy.
"""

from typing import Literal

from likeness.core.kinds import SUBSETS, Subset

__all__ = ["LOSERS", "SUBSETS_IN_TURN", "LoserSource"]

LoserSource = Literal["drawn", "regenerated"]
LOSERS: dict[str, tuple[LoserSource, ...]] = {
    "drawn": ("drawn",),
    "regenerated": ("regenerated",),
    "mixed": ("drawn", "regenerated"),
}
"""How rejected pictures are made, by turns."""

SUBSETS_IN_TURN: dict[str, tuple[Subset, ...]] = {**{name: (name,) for name in SUBSETS}, "both": SUBSETS}
"""How many subjects pairs have, by turns."""
