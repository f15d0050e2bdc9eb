"""Every objective of the table: what its class says of itself is what its loss does."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from scripts import child_environment
from torch import Tensor

from likeness.core.errors import DataError
from likeness.objectives import OBJECTIVES, objective_of
from likeness.objectives.base import Objective, PairSeen, PatchWeights

KINDS = list(OBJECTIVES)
SHAPE, L = (2, 4, 4, 4), 4
WEIGHTS = torch.tensor([[1.0, 0.5, 0.25, 0.75]] * 2)


def seen_by(objective: Objective, *, same: bool = False) -> PairSeen:
    """What the objective says it needs, and nothing else; with `same` the policy is the reference policy."""
    draw = torch.Generator().manual_seed(0)
    policy, target, ref = ([torch.randn(SHAPE, generator=draw) for _ in range(2)] for _ in range(3))
    given: dict[str, Any] = {"policy_preferred": policy[0].requires_grad_(), "target_preferred": target[0]}
    if objective.needs_rejected:
        given |= {"policy_rejected": policy[1].requires_grad_(), "target_rejected": target[1]}
    if objective.needs_ref_policy:
        frozen = [each.detach().clone() for each in policy] if same else ref
        given |= {"ref_preferred": frozen[0].requires_grad_(), "ref_rejected": frozen[1].requires_grad_()}
    weights: dict[str | None, dict[str, Any]] = {
        "focus": {"focus": WEIGHTS},
        "patch": {"patches": PatchWeights(WEIGHTS, 1 - WEIGHTS)},
    }
    return PairSeen(torch.tensor([0.3, 0.8]), **given, **weights.get(objective.weights, {}))


def objective(key: str, /, **options: Any) -> Objective:
    return objective_of(key).model_validate(options)


def test_the_order_of_the_table() -> None:
    assert KINDS == ["sft", "dpo", "patch_dpo", "focus_dpo"]
    assert [objective_of(kind).label for kind in KINDS] == ["SFT", "DPO", "PatchDPO", "FocusDPO"]


@pytest.mark.parametrize("kind", KINDS)
def test_options_go_round_under_their_own_kind(kind: str) -> None:
    made = objective(kind)
    assert made.kind == kind
    assert OBJECTIVES[kind] == f"likeness.objectives.{kind}:{type(made).__name__}"
    assert type(made).model_validate(made.model_dump()) == made
    with pytest.raises(ValueError, match="kind"):
        objective(kind, kind="another")


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_says_it_needs_is_enough_and_gradient_goes_to_the_policy_alone(kind: str) -> None:
    made = objective(kind)
    seen = seen_by(made)
    found = made.loss(seen)
    assert found.loss.shape == (2,)
    found.loss.mean().backward()
    policy = [seen.policy_preferred, *([seen.policy_rejected] if made.needs_rejected else [])]
    assert all(isinstance(each, Tensor) and bool(each.grad.any()) for each in policy)  # pyright: ignore[reportOptionalMemberAccess] fails if None
    others = [seen.ref_preferred, seen.ref_rejected, seen.target_preferred, seen.target_rejected]
    assert all(each.grad is None for each in others if each is not None)
    assert (found.inside is not None) == made.needs_ref_policy
    assert set(found.logged or {}) == set(made.columns)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if objective_of(kind).needs_ref_policy])
def test_a_policy_like_its_reference_has_ln_2(kind: str) -> None:
    found = objective(kind).loss(seen_by(objective(kind), same=True))
    torch.testing.assert_close(found.loss, torch.full((2,), math.log(2)))
    assert found.inside is not None
    assert found.inside.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if objective_of(kind).weights in ("patch", "focus")])
def test_a_missing_map_is_told(kind: str) -> None:
    with pytest.raises(DataError, match="got none"):
        objective(kind).loss(seen_by(objective(kind))._replace(focus=None, patches=None))


def test_reading_the_table_imports_no_torch() -> None:
    program = "import sys, likeness.objectives; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, env=child_environment()).returncode == 0
