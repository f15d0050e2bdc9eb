"""The closed sets of names that rooms and the command line share; importing them imports nothing else."""

from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""Parts of the world, and of pair sets; no test subject is ever seen in training."""

Subset = Literal["single", "multi"]
SUBSETS: tuple[Subset, ...] = get_args(Subset)
"""Pairs of one subject, and of several."""

Category = Literal["object", "animal", "human"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""What a subject is; each has its own questions."""

LayoutMode = Literal["none", "proposed", "given"]
LAYOUT_MODES: tuple[LayoutMode, ...] = get_args(LayoutMode)
"""Where the subjects of a picture are to be: nowhere, where the case says or a proposal, only where the case says."""
