"""Boxed attention against the explicit form with dummy tokens, layer by layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from ms_reference import ReferenceAttention
from torch import Tensor

from likeness.backbones.base import TokenGrid
from likeness.backbones.sdxl.boxed_attention import Boxed, BoxedAttention

GRID, TEXT, TOKENS, DUMMIES, WIDTH, CONTEXT = TokenGrid(4, 6), 7, 3, 4, 32, 24
BOXES = [[0.0, 0.2, 0.55, 0.85], [0.45, 0.26, 0.95, 0.9], [0.4, 0.0, 0.7, 0.5], [0.1, 0.6, 0.3, 0.7]]
OTHER = [[0.5, 0.0, 0.9, 0.4], [0.0, 0.5, 0.2, 1.0], [0.3, 0.3, 0.8, 0.6], [0.0, 0.0, 0.3, 0.2]]


def layer() -> Attention:
    torch.manual_seed(0)
    made: Any = Attention(WIDTH, cross_attention_dim=CONTEXT, heads=2, dim_head=16)
    return made.double().eval().requires_grad_(False)


def weights() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    names = ("to_k_ip.weight", "to_v_ip.weight")
    return {name: torch.randn(WIDTH, CONTEXT, generator=draw, dtype=torch.float64) / CONTEXT**0.5 for name in names}


def ours(own: dict[str, Tensor]) -> BoxedAttention:
    made = BoxedAttention(WIDTH, CONTEXT).double()
    made.load_state_dict({name.replace(".weight", ".0.weight"): tensor for name, tensor in own.items()})
    return made


def inputs(num: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, rows of tokens and boxes of two pictures."""
    draw = torch.Generator().manual_seed(2)
    tokens = TEXT + DUMMIES + num * TOKENS
    hidden = 2 * torch.randn(2, GRID.rows * GRID.columns, WIDTH, generator=draw, dtype=torch.float64)
    row = 2 * torch.randn(2, tokens, CONTEXT, generator=draw, dtype=torch.float64)
    return hidden, row, torch.tensor([BOXES[:num], OTHER[:num]])


def boxed(boxes: Tensor, *, scales: list[float] | None = None, legacy: bool = False) -> Boxed:
    each = torch.tensor(scales or [0.6] * boxes.shape[1]).expand(boxes.shape[:2])
    return Boxed(boxes, each, GRID, TOKENS, DUMMIES, legacy)


def run(processor: Any, hidden: Tensor, row: Tensor, **more: Any) -> Tensor:
    attention = layer()
    attention.set_processor(processor)
    with torch.no_grad():
        return attention(hidden, encoder_hidden_states=row, **more)


CELLS = {GRID.rows * GRID.columns: (GRID.rows, GRID.columns)}


@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_equals_the_explicit_form(num: int) -> None:
    """Two pictures with boxes of their own, which overlap, on a grid that is not square."""
    own, (hidden, row, boxes) = weights(), inputs(num)
    reference = ReferenceAttention(own, num_tokens=TOKENS)
    expected = run(reference, hidden, row, boxes=boxes, cells=CELLS, image_scale=0.6)
    found = run(ours(own), hidden, row, images=boxed(boxes))
    # -10000 is finite, so that the explicit form leaves e^-10000 = 0 exactly; what is left is the order of sums,
    # and the scale, 0.6 in fp32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    plain = run(AttnProcessor2_0(), hidden, row[:, :TEXT])
    assert (found - plain).abs().max() > 0.1


def test_scales_of_each_subject_equal_the_explicit_form() -> None:
    own, (hidden, row, boxes) = weights(), inputs(3)
    scales = [0.25, 1.0, 0.0]
    reference = ReferenceAttention(own, num_tokens=TOKENS)
    expected = run(reference, hidden, row, boxes=boxes, cells=CELLS, subject_scales=scales)
    torch.testing.assert_close(
        run(ours(own), hidden, row, images=boxed(boxes, scales=scales)), expected, rtol=0, atol=1e-6
    )


def test_legacy_equals_the_form_that_forgets_the_background() -> None:
    own, (hidden, row, boxes) = weights(), inputs(2)
    reference = ReferenceAttention(own, num_tokens=TOKENS)
    reference.forgets = True
    expected = run(reference, hidden, row, boxes=boxes, cells=CELLS, image_scale=0.6)
    found = run(ours(own), hidden, row, images=boxed(boxes, legacy=True))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (found - run(ours(own), hidden, row, images=boxed(boxes))).abs().max() > 0.1


def test_dummies_have_no_effect_outside_legacy() -> None:
    """Note, check 3."""
    own, (hidden, row, boxes) = weights(), inputs(2)
    other = row.clone()
    other[:, TEXT : TEXT + DUMMIES] = 100.0
    assert torch.equal(*(run(ours(own), hidden, each, images=boxed(boxes)) for each in (row, other)))
    legacy = [run(ours(own), hidden, each, images=boxed(boxes, legacy=True)) for each in (row, other)]
    assert (legacy[0] - legacy[1]).abs().max() > 1


def test_boxes_without_area_leave_the_text_alone() -> None:
    """Note, check 3."""
    own, (hidden, row, boxes) = weights(), inputs(2)
    plain = run(AttnProcessor2_0(), hidden, row[:, :TEXT])
    assert torch.equal(run(ours(own), hidden, row, images=boxed(torch.zeros_like(boxes))), plain)
    assert torch.equal(run(ours(own), hidden, row[:, :TEXT]), plain)


def test_queries_outside_every_box_equal_text_alone() -> None:
    """Note, check 3."""
    own, (hidden, row, _) = weights(), inputs(1)
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5]]]).expand(2, 1, 4)
    plain, found = run(AttnProcessor2_0(), hidden, row[:, :TEXT]), run(ours(own), hidden, row, images=boxed(boxes))
    outside = torch.ones(GRID.rows, GRID.columns, dtype=torch.bool)
    outside[:2, :3] = False
    outside = outside.flatten()
    assert torch.equal(found[:, outside], plain[:, outside])
    assert ((found - plain)[:, ~outside].abs().amax(dim=-1) > 1e-3).all()


def test_only_the_own_reference_is_read_where_boxes_do_not_overlap() -> None:
    own, (hidden, row, _) = weights(), inputs(2)
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]]).expand(2, 2, 4)
    other = row.clone()
    other[:, -TOKENS:] += 1.0
    change = run(ours(own), hidden, other, images=boxed(boxes)) - run(ours(own), hidden, row, images=boxed(boxes))
    by_cell = change.abs().amax(dim=(0, 2)).reshape(GRID)
    assert by_cell[:, :3].max() == 0
    assert by_cell[:, 3:].min() > 1e-3
