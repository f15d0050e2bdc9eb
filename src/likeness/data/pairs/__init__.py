"""Preference pairs made: dip.py the recipe of the drawn world, photos.py that of photographs.

The choices of the recipe stand here, where reading them imports nothing heavy.
"""

from typing import Literal

from likeness.core.kinds import SUBSETS, Subset

__all__ = ["LOSERS", "PHOTO_LOSERS", "SUBSETS_IN_TURN", "LoserSource"]

LoserSource = Literal["drawn", "regenerated"]
LOSERS: dict[str, tuple[LoserSource, ...]] = {
    "drawn": ("drawn",),
    "regenerated": ("regenerated",),
    "mixed": ("drawn", "regenerated"),
}
"""How rejected pictures are made, by turns."""

PHOTO_LOSERS: dict[str, tuple[str, ...]] = {
    "disrupted": ("disrupted",),
    "regenerated": ("regenerated",),
    "mixed": ("disrupted", "regenerated"),
}
"""The same from photographs: by the built-in disruptor or by a model."""

SUBSETS_IN_TURN: dict[str, tuple[Subset, ...]] = {**{name: (name,) for name in SUBSETS}, "both": SUBSETS}
"""How many subjects pairs have, by turns."""
