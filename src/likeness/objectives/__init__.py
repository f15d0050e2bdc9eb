"""Training objectives: pure functions of tensors, and the options that a recipe may set for each.

The preference objectives share one loss, `pair.preference_loss`; they differ in the weight map under which errors are
measured. A new objective is one file, one line below and one test file. Reading the table imports no torch.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from likeness.objectives.base import Objective

# Every objective by the `kind` of its table, as "module:Class", in the order in which tables show them.
OBJECTIVES: dict[str, str] = {
    "sft": "likeness.objectives.sft:Sft",
    "dpo": "likeness.objectives.dpo:Dpo",
    "patch_dpo": "likeness.objectives.patch_dpo:PatchDpo",
    "focus_dpo": "likeness.objectives.focus_dpo:FocusDpo",
}


def objective_of(kind: str) -> "type[Objective]":
    """The class of a kind of OBJECTIVES."""
    return resolve_name(OBJECTIVES[kind])
