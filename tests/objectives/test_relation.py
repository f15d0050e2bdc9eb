"""The relation losses against loops in float64, and against what must hold whatever the numbers are."""

import numpy as np
import pytest
import torch
from torch import Tensor

from likeness.core.errors import DataError
from likeness.data.relations.grid import cells, legacy_cells
from likeness.objectives.relation import keypoint_matching_loss, latents_at, predicate_attention_loss

B, R, K, C = 3, 2, 5, 4
GRID, REFERENCE_GRID = (6, 8), (7, 5)  # neither square nor alike


def drawn(seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)

    def places(grid: tuple[int, int]) -> Tensor:
        return torch.stack([torch.randint(side, (B, R, K), generator=draw) for side in grid], dim=-1)

    return {
        "clean": torch.randn(B, C, *GRID, generator=draw, dtype=torch.float64),
        "references": torch.randn(B, R, C, *REFERENCE_GRID, generator=draw, dtype=torch.float64),
        "target_cells": places(GRID),
        "reference_cells": places(REFERENCE_GRID),
        "valid": torch.rand(B, R, K, generator=draw) < 0.6,
        "gate": torch.tensor([True, False, True]),
    }


def loss(given: dict[str, Tensor]) -> Tensor:
    shown = latents_at(given["references"], given["reference_cells"])
    told = {name: given[name] for name in ("valid", "gate")}
    return keypoint_matching_loss(given["clean"], shown, cells=given["target_cells"], **told)


def test_the_keypoint_loss_is_the_mean_over_valid_joints_of_open_pictures() -> None:
    given = drawn()
    found = loss(given)
    for b in range(B):
        terms = list[float]()
        for i in range(R):
            for k in range(K):
                if not (given["valid"][b, i, k] and given["gate"][b]):
                    continue
                row, column = given["target_cells"][b, i, k].tolist()
                their_row, their_column = given["reference_cells"][b, i, k].tolist()
                for c in range(C):
                    difference = (
                        given["clean"][b, c, row, column] - given["references"][b, i, c, their_row, their_column]
                    )
                    terms.append(float(difference) ** 2)
        assert float(found[b]) == pytest.approx(sum(terms) / max(len(terms), 1), abs=1e-6)
    assert found[1] == 0


def test_an_estimate_that_carries_the_references_joints_costs_nothing() -> None:
    given = drawn()
    given["target_cells"][:] = torch.stack(  # no two joints in one cell
        [torch.arange(R * K) // GRID[1], torch.arange(R * K) % GRID[1]], dim=-1
    ).reshape(R, K, 2)
    for b in range(B):
        for i in range(R):
            for k in range(K):
                row, column = given["target_cells"][b, i, k]
                their_row, their_column = given["reference_cells"][b, i, k]
                given["clean"][b, :, row, column] = given["references"][b, i, :, their_row, their_column]
    given["gate"][:] = True
    assert loss(given).tolist() == [0, 0, 0]


def test_joints_that_are_not_valid_change_nothing_and_none_at_all_is_zero() -> None:
    given = drawn()
    before = loss(given)
    moved = given["target_cells"].clone()
    moved[~given["valid"]] = 0
    assert torch.equal(loss({**given, "target_cells": moved}), before)
    assert loss({**given, "valid": torch.zeros_like(given["valid"])}).tolist() == [0, 0, 0]


def test_the_gradient_flows_through_the_estimate_alone() -> None:
    given = drawn()
    given["clean"].requires_grad_()
    given["references"].requires_grad_()
    loss(given).sum().backward()
    assert given["references"].grad is None
    gradient = given["clean"].grad
    assert gradient is not None
    assert gradient[1].abs().sum() == 0  # its gate is shut
    hit = torch.zeros(B, *GRID, dtype=torch.bool)
    for b, i, k in given["valid"].nonzero().tolist():
        row, column = given["target_cells"][b, i, k].tolist()
        hit[b, row, column] = True
    assert gradient[0].abs().sum(0)[~hit[0]].sum() == 0
    assert (gradient[0].abs().sum(0)[hit[0]] > 0).all()


def test_points_at_the_edge_are_clamped_and_cells_outside_refused() -> None:
    edge = cells(np.ones((B, R, K, 2)), grid=GRID)
    given = drawn() | {"target_cells": torch.from_numpy(edge)}
    assert loss(given).isfinite().all()
    outside = given["target_cells"].clone()
    outside[0, 0, 0, 1] = GRID[1]
    with pytest.raises(DataError, match="expected rows and columns of a grid of 6 x 8, got one outside"):
        loss(given | {"target_cells": outside})


def test_the_published_index_reads_every_reference_from_its_top_left_corner() -> None:
    points = np.random.default_rng(0).uniform(0, 0.999, (B, R, K, 2))
    legacy = torch.from_numpy(legacy_cells(points, last_axis=C))
    right = torch.from_numpy(cells(points, grid=REFERENCE_GRID))
    assert legacy.max() < C
    given = drawn() | {"valid": torch.ones(B, R, K, dtype=torch.bool)}
    far = given["references"].clone()
    far[..., C:, :] += 100  # what lies below the corner
    far[..., :, C:] += 100
    changed = given | {"references": far}
    assert torch.equal(loss(given | {"reference_cells": legacy}), loss(changed | {"reference_cells": legacy}))
    assert not torch.equal(loss(given | {"reference_cells": right}), loss(changed | {"reference_cells": right}))


def test_the_attention_loss_is_background_minus_objects_layer_by_layer() -> None:
    draw = torch.Generator().manual_seed(1)
    objects = torch.rand(2, 8, 8, generator=draw) < 0.4
    layers = [torch.rand(2, side, side, generator=draw, dtype=torch.float64) for side in (8, 4)]
    found = predicate_attention_loss(layers, objects)
    for b in range(2):
        terms = list[float]()
        for seen in layers:
            step = 8 // seen.shape[-1]
            inside = objects[b, ::step, ::step].numpy()
            values = seen[b].numpy()
            outside = values[~inside].sum() / ((~inside).sum() + 1e-5)
            terms.append(outside - values[inside].sum() / (inside.sum() + 1e-5))
        assert float(found[b]) == pytest.approx(sum(terms) / 2, abs=1e-6)


def test_attention_everywhere_alike_is_zero_on_the_objects_negative_and_absent_zero() -> None:
    objects = torch.zeros(1, 16, 16, dtype=torch.bool)
    objects[:, 4:12, 4:12] = True
    even = torch.full((1, 16, 16), 0.01)
    assert float(predicate_attention_loss([even, even[:, ::2, ::2]], objects)) == pytest.approx(0, abs=1e-7)
    assert float(predicate_attention_loss([objects.float() * 0.01], objects)) < -0.009
    assert float(predicate_attention_loss([torch.zeros(1, 8, 8)], objects)) == 0
    with pytest.raises(DataError, match="expected a layer, got none"):
        predicate_attention_loss([], objects)
