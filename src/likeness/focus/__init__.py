"""The focus maps of FocusDPO: where in a picture a preference is learnt, as a function of noise level and detail.

Pure torch; nothing here knows a backbone, a trainer or a file. In the order of a training step: `token_shares` brings
masks to the token grid, `FieldCollector` watches a forward pass, `complexity` measures detail, `focus_maps` fuses.
"""

from likeness.focus.complexity import KINDS, complexity, entropy, token_complexity
from likeness.focus.field import FieldCollector
from likeness.focus.fusion import MODES, FocusMaps, focus_maps, needs_scores
from likeness.focus.masks import covered_tokens, dilated, resolve_overlaps, token_mask, token_shares
from likeness.focus.options import FocusOptions

__all__ = [
    "KINDS",
    "MODES",
    "FieldCollector",
    "FocusMaps",
    "FocusOptions",
    "complexity",
    "covered_tokens",
    "dilated",
    "entropy",
    "focus_maps",
    "needs_scores",
    "resolve_overlaps",
    "token_complexity",
    "token_mask",
    "token_shares",
]
