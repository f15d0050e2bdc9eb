"""Training objectives as pure functions of tensors: errors or predictions in, one value per pair (B,) out.

The preference objectives share one loss, `pair.preference_loss`; they differ in the weight map under which errors are
measured. A new objective is one file, one line below and one test file. Reading the table imports no torch.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ObjectiveFacts:
    """What a trainer needs to know of an objective.

    `focus` names the weight map its errors are measured under: none, 1 everywhere, patch qualities, or M of FocusDPO.
    `function` is "module:function".
    """

    name: str
    needs_rejected: bool
    needs_ref_policy: bool
    focus: Literal["none", "uniform", "patch", "focus"]
    function: str
    summary: str


# Every objective, in the order in which tables show them.
OBJECTIVES: dict[str, ObjectiveFacts] = {
    "sft": ObjectiveFacts(
        name="sft",
        needs_rejected=False,
        needs_ref_policy=False,
        focus="none",
        function="likeness.objectives.sft:sft_loss",
        summary="squared error on the preferred picture",
    ),
    "dpo": ObjectiveFacts(
        name="dpo",
        needs_rejected=True,
        needs_ref_policy=True,
        focus="uniform",
        function="likeness.objectives.dpo:dpo_loss",
        summary="preference loss over all tokens alike",
    ),
    "patch_dpo": ObjectiveFacts(
        name="patch_dpo",
        needs_rejected=True,
        needs_ref_policy=False,
        focus="patch",
        function="likeness.objectives.patch_dpo:patch_dpo_loss",
        summary="squared error weighted by patch quality, on both pictures; no preference term (re-implementation)",
    ),
    "focus_dpo": ObjectiveFacts(
        name="focus_dpo",
        needs_rejected=True,
        needs_ref_policy=True,
        focus="focus",
        function="likeness.objectives.focus_dpo:focus_dpo_loss",
        summary="preference loss over the tokens of the focus map",
    ),
}
