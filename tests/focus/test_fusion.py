"""M', M_s, A and M against brute-force loops and hand-made cases."""

import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from likeness.core.errors import ConfigError, DataError, MeasurementError
from likeness.focus import MODES, FocusMaps, focus_maps, needs_scores


class Case(NamedTuple):
    """Random inputs of `focus_maps`."""

    scores: Tensor
    masks: Tensor
    disrupted: Tensor
    complexity: Tensor


def random_case(seed: int, *, pairs: int = 6, subjects: int = 3, tokens: int = 40) -> Case:
    draw = torch.Generator().manual_seed(seed)
    return Case(
        torch.randn(pairs, subjects, tokens, generator=draw),
        torch.rand(pairs, subjects, tokens, generator=draw) < 0.25,
        torch.rand(pairs, subjects, generator=draw) < 0.7,
        torch.rand(pairs, tokens, generator=draw),
    )


def loop_maps(case: Case, pair: int, *, tau: float, gamma: float, per_subject: bool) -> dict[str, object]:
    """The same maps by lists and sets."""
    num_subjects, num_tokens = case.masks.shape[1:]
    active = [r for r in range(num_subjects) if case.disrupted[pair, r]]
    sets = {r: {p for p in range(num_tokens) if case.masks[pair, r, p]} for r in active}
    area = {r: len(tokens) for r, tokens in sets.items()}
    own: dict[int, set[int]] = {r: set() for r in active}
    for p in range(num_tokens):
        holders = [r for r in active if p in sets[r]]
        if holders:
            own[min(holders, key=lambda r: (area[r], r))].add(p)
    prior = set().union(*own.values())
    matched = {
        r: set(sorted(range(num_tokens), key=lambda p: -case.scores[pair, r, p].item())[: len(own[r])]) for r in active
    }
    if per_subject:
        field = set().union(*(own[r] - matched[r] for r in active))
    else:
        field = prior - set().union(*matched.values())
    share = len(field) / len(prior) if prior else math.nan
    weight = [0.0] * num_tokens
    for p in prior:
        detail = case.complexity[pair, p].item()
        fused = gamma * (p in field) + (1 - gamma) * detail
        weight[p] = float(p in field) if share > tau else fused
    return {"prior": prior, "matched": matched, "field": field, "share": share, "weight": weight}


@pytest.mark.parametrize("per_subject", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_maps_equal_a_brute_force_loop(seed: int, *, per_subject: bool) -> None:
    case = random_case(seed)
    tau, gamma = 0.75, 0.3
    maps = focus_maps(*case, mode="full", tau=tau, gamma=gamma, per_subject=per_subject)
    for pair in range(6):
        expected = loop_maps(case, pair, tau=tau, gamma=gamma, per_subject=per_subject)
        assert set(maps.prior[pair].nonzero().flatten().tolist()) == expected["prior"]
        assert set(maps.field[pair].nonzero().flatten().tolist()) == expected["field"]
        got = {
            r: set(row.nonzero().flatten().tolist())
            for r, row in enumerate(maps.matched[pair])
            if case.disrupted[pair, r]
        }
        assert got == expected["matched"]
        torch.testing.assert_close(maps.focus_share[pair].item(), expected["share"], equal_nan=True)
        torch.testing.assert_close(maps.weight[pair], torch.tensor(expected["weight"]))
        assert maps.valid[pair].item() == bool(expected["prior"])


def test_both_branches_were_met_above() -> None:
    fused = torch.cat([focus_maps(*random_case(seed), tau=0.75, gamma=0.3).fused for seed in range(5)])
    assert fused.any()
    assert not fused.all()


def _swapped() -> Case:
    """Tokens 0-1 show the dog, 2-3 the cat; each reference finds the other's tokens."""
    masks = torch.tensor([[[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]], dtype=torch.bool)
    scores = torch.tensor([[[0.0, 0, 9, 8, 1, 1], [9.0, 8, 0, 0, 1, 1]]])
    return Case(scores, masks, torch.ones(1, 2, dtype=torch.bool), torch.full((1, 6), 0.5))


def test_only_the_field_per_subject_sees_swapped_identities() -> None:
    seen, unseen = (focus_maps(*_swapped(), per_subject=flag) for flag in (True, False))
    assert seen.field.int().tolist() == [[1, 1, 1, 1, 0, 0]]
    assert seen.focus_share.tolist() == [1.0]
    assert unseen.field.int().tolist() == [[0] * 6]
    assert unseen.focus_share.tolist() == [0.0]


def test_for_one_subject_the_two_fields_agree() -> None:
    case = random_case(3, subjects=1)
    first, second = (focus_maps(*case, per_subject=flag) for flag in (True, False))
    assert torch.equal(first.weight, second.weight)


def test_competing_tokens_count_for_their_best_reference_only() -> None:
    masks = torch.tensor([[[1, 1, 0, 0], [0, 0, 1, 1]]], dtype=torch.bool)
    scores = torch.tensor([[[3.0, 2.0, 2.5, 0.0], [0.0, 0.0, 4.0, 1.0]]])
    both = torch.ones(1, 2, dtype=torch.bool)
    free, exclusive = (focus_maps(scores, masks, both, torch.ones(1, 4), exclusive=flag) for flag in (False, True))
    assert free.matched.int().tolist() == [[[1, 0, 1, 0], [0, 0, 1, 1]]]
    assert exclusive.matched.int().tolist() == [[[1, 1, 0, 0], [0, 0, 1, 1]]]
    few = focus_maps(scores - torch.tensor([[[0.0], [-9.0]]]), masks, both, torch.ones(1, 4), exclusive=True)
    assert few.matched.sum(-1).tolist() == [[0, 2]]  # the first reference wins nowhere


def _one_of_ten(num_missed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Subject = tokens 0-9 of 20; the reference finds all but `num_missed` of them."""
    scores = torch.zeros(1, 1, 20)
    scores[..., num_missed : 10 + num_missed] = 1
    masks = torch.zeros(1, 1, 20, dtype=torch.bool)
    masks[..., :10] = True
    return scores, masks, torch.ones(1, 1, dtype=torch.bool), torch.linspace(0, 1, 20)[None]


@pytest.mark.parametrize(("num_missed", "tau"), [(1, 0.1), (3, 0.3), (7, 0.7), (0, 0.0), (10, 1.0)])
def test_a_share_of_exactly_tau_uses_the_fusion(num_missed: int, tau: float) -> None:
    at, below = (focus_maps(*_one_of_ten(num_missed), tau=t) for t in (tau, max(tau - 0.01, 0.0)))
    assert at.fused.tolist() == [True]
    assert below.fused.tolist() == [tau == 0]
    field, detail = at.field.float(), at.complexity * at.prior
    torch.testing.assert_close(at.weight, 0.3 * field + 0.7 * detail)
    if tau:
        assert torch.equal(below.weight, field)


def test_gamma_weighs_field_against_detail() -> None:
    case = _one_of_ten(1)
    for gamma in (0.0, 1.0):
        maps = focus_maps(*case, gamma=gamma)
        assert torch.equal(maps.weight, maps.field.float() if gamma else maps.complexity * maps.prior)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_what_its_name_says(mode: str) -> None:
    for case, fused in ((_one_of_ten(1), True), (_one_of_ten(5), False)):
        maps = focus_maps(*case, mode=mode)
        prior, field, detail = maps.prior.float(), maps.field.float(), maps.complexity
        expected = {
            "full": 0.3 * field + 0.7 * detail * prior if fused else field,
            "prior": prior,
            "md": detail,
            "no_prior": 0.3 * field + 0.7 * detail if fused else field,
            "no_ms": detail * prior,
            "no_ms_literal": 0.7 * detail * prior,
            "no_md": field,
            "uniform": torch.ones(1, 20),
        }
        torch.testing.assert_close(maps.weight, expected[mode])
        assert maps.fused.tolist() == [fused and mode in {"full", "no_prior"}]


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_prior_gives_weight_0_in_every_mode(mode: str) -> None:
    case = random_case(0)
    case.masks[1] = False
    case.disrupted[2] = False
    maps = focus_maps(*case, mode=mode)
    assert maps.valid[1:3].tolist() == [False, False]
    assert maps.weight[1:3].abs().sum() == 0
    assert not maps.fused[1:3].any()
    assert maps.focus_share[1:3].isnan().all()
    assert maps.weight.isfinite().all()
    assert maps.weight[0].sum() > 0


def test_undisrupted_subjects_do_not_count() -> None:
    case = _swapped()
    case.disrupted[0, 1] = False
    maps = focus_maps(*case)
    assert maps.prior.int().tolist() == [[1, 1, 0, 0, 0, 0]]
    assert maps.matched[0, 1].sum() == 0


def test_shares_lie_between_0_and_1() -> None:
    for seed in range(20):
        share = focus_maps(*random_case(seed, pairs=20)).focus_share
        share = share[~share.isnan()]
        assert share.min() >= 0
        assert share.max() <= 1


def test_oracle_scores_find_every_subject_and_choose_the_fusion() -> None:
    case = random_case(4)
    apart = case.masks & (case.masks.cumsum(1) == 1)  # where masks overlap even an oracle disputes tokens
    oracle = focus_maps(apart.float(), apart, case.disrupted, case.complexity)
    assert oracle.focus_share[oracle.valid].max() == 0
    assert torch.equal(oracle.fused, oracle.valid)
    alone = focus_maps(case.masks[:, :1].float(), case.masks[:, :1], case.disrupted[:, :1] | True, case.complexity)
    assert alone.focus_share.tolist() == [0.0] * 6
    assert alone.fused.all()


def test_random_scores_leave_the_share_that_chance_leaves() -> None:
    draw = torch.Generator().manual_seed(0)
    masks = torch.zeros(2000, 1, 64, dtype=torch.bool)
    masks[..., :16] = True
    scores = torch.randn(2000, 1, 64, generator=draw)
    share = focus_maps(scores, masks, torch.ones(2000, 1, dtype=torch.bool), torch.ones(2000, 64)).focus_share
    error = share.std() / 2000**0.5
    assert abs(share.mean() - (1 - 16 / 64)) < 4 * error
    assert error < 0.003


def test_without_scores_the_share_is_not_measured() -> None:
    _, *rest = random_case(0)
    maps = focus_maps(None, *rest, mode="prior")
    assert maps.focus_share.isnan().all()
    assert not maps.field.any()
    assert torch.equal(maps.weight, maps.prior.float())


def test_nothing_carries_a_gradient() -> None:
    case = random_case(0)
    maps = focus_maps(case.scores.requires_grad_(), case.masks, case.disrupted, case.complexity.requires_grad_())
    assert not any(tensor.requires_grad for tensor in maps if tensor is not maps.complexity)
    assert maps.weight.grad_fn is None


def test_maps_do_not_depend_on_the_batch() -> None:
    case = random_case(7)
    together = focus_maps(*case)
    shuffled = focus_maps(*(tensor[[4, 0, 2]] for tensor in case))
    for pair in range(6):
        alone = focus_maps(*(tensor[pair : pair + 1] for tensor in case))
        assert all(_same(a[0], b[pair]) for a, b in zip(alone, together, strict=True))
    assert all(_same(a, b[[4, 0, 2]]) for a, b in zip(shuffled, together, strict=True))


def _same(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.nan_to_num(-1.0), second.nan_to_num(-1.0))


def test_maps_are_a_named_tuple_of_the_documented_kinds() -> None:
    maps = focus_maps(*random_case(0))
    assert FocusMaps._fields == (
        "prior", "matched", "field", "complexity", "weight", "focus_share", "fused", "valid",
    )  # fmt: skip
    kinds = [tensor.dtype for tensor in maps]
    assert kinds == [torch.bool] * 3 + [torch.float32] * 3 + [torch.bool] * 2


def test_scores_are_needed_where_the_field_is() -> None:
    assert [mode for mode in MODES if needs_scores(mode)] == ["full", "no_prior", "no_md"]
    _, *rest = random_case(0)
    with pytest.raises(MeasurementError, match="expected scores for mode 'no_md', got None"):
        focus_maps(None, *rest, mode="no_md")


@pytest.mark.parametrize(("name", "number"), [("tau", -0.1), ("tau", 1.5), ("gamma", 2.0), ("gamma", math.nan)])
def test_numbers_out_of_range_are_refused(name: str, number: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: expected a number in \[0, 1\]"):
        focus_maps(*random_case(0), **{name: number})


def test_unknown_modes_and_unequal_shapes_are_refused(unchecked: None) -> None:
    case = random_case(0)
    with pytest.raises(ConfigError, match=r"expected one of full, prior, .*, got 'ful'"):
        focus_maps(*case, mode="ful")
    with pytest.raises(DataError, match="one reference per subject"):
        focus_maps(case.scores[:, :1], case.masks, case.disrupted, case.complexity)


@pytest.mark.parametrize("k", [0.3, 1.0, 2.5, 40.0])
def test_k_tokens_are_matched_for_each_subject(k: float) -> None:
    case = random_case(3)
    maps, plain = focus_maps(*case, k=k), focus_maps(*case)
    for pair in range(6):
        for subject in range(3):
            own = int(plain.matched[pair, subject].sum())  # K is the subject's own number of tokens
            wanted = min(40, max(1, round(k * own))) if own else 0
            found = {p for p in range(40) if maps.matched[pair, subject, p]}
            best = sorted(range(40), key=lambda p: -case.scores[pair, subject, p].item())[:wanted]
            assert found == set(best)


def test_a_larger_k_never_raises_the_share_that_is_left() -> None:
    case = random_case(4)
    shares = [focus_maps(*case, k=k).focus_share.nan_to_num() for k in (1.0, 2.0, 3.0)]
    assert bool((shares[1] <= shares[0]).all())
    assert bool((shares[2] <= shares[1]).all())
    assert float(shares[2].mean()) < float(shares[0].mean())


def test_k_may_be_the_number_of_reference_tokens() -> None:
    case = random_case(5)
    counts = torch.randint(1, 12, (6, 3), generator=torch.Generator().manual_seed(0))
    maps, plain = focus_maps(*case, k="reference", num_reference_tokens=counts), focus_maps(*case)
    wanted = torch.where(plain.matched.any(-1), counts, 0)
    assert torch.equal(maps.matched.sum(-1), wanted)
    with pytest.raises(MeasurementError, match="expected the references' numbers of tokens"):
        focus_maps(*case, k="reference")
    for wrong in (0.0, -1.0, "subject"):
        with pytest.raises(ConfigError, match="k: expected a number above 0 or 'reference'"):
            focus_maps(*case, k=wrong)


@pytest.mark.parametrize("mode", MODES)
def test_soft_shares_weigh_the_prior_and_the_field_and_nothing_else(mode: str) -> None:
    case = random_case(6)
    shares = torch.rand(6, 3, 40, generator=torch.Generator().manual_seed(1)) * case.masks
    soft, hard = focus_maps(*case, mode=mode, shares=shares), focus_maps(*case, mode=mode)
    largest = torch.zeros(6, 40)
    for pair in range(6):
        for subject in range(3):
            if case.disrupted[pair, subject]:
                largest[pair] = torch.maximum(largest[pair], shares[pair, subject])
    prior, field, detail = hard.prior * largest, hard.field * largest, hard.complexity
    taken = hard.fused[:, None]
    expected = {
        "full": torch.where(taken, 0.3 * field + 0.7 * detail * prior, field),
        "prior": prior,
        "md": detail,
        "no_prior": torch.where(taken, 0.3 * field + 0.7 * detail, field),
        "no_ms": detail * prior,
        "no_ms_literal": 0.7 * detail * prior,
        "no_md": field,
        "uniform": torch.ones(6, 40),
    }
    torch.testing.assert_close(soft.weight, expected[mode] * hard.valid[:, None])
    assert torch.equal(soft.field, hard.field)
