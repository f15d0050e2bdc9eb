"""The aligner and the subject attention against their explicit forms in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from ssr_reference import ReferenceAttention, aligned
from torch import Tensor

from likeness.backbones.sd15.aligner import HEAD, Aligner
from likeness.backbones.sd15.subject_attention import SubjectAttention, Subjects
from likeness.backbones.sdxl.image_attention import SelfAttention

TEXT, TOKENS, WIDTH, CONTEXT = 5, 3, 32, 24


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# aligner -------------------------------------------------------------------------------------------------------------


def aligner(levels: int = 3) -> Aligner:
    torch.manual_seed(0)
    made = Aligner(levels=levels, inner=2 * HEAD, image_width=12, text_width=8).double()
    made.norm.weight.data, made.norm.bias.data = normal(8, seed=1), normal(8, seed=2)
    return made.eval().requires_grad_(False)


def published_names(made: Aligner) -> dict[str, Tensor]:
    """As the public code's state dict has them."""
    lists = {name: f"aligner.processor.{name}" for name in ("to_v.", "to_out.")}
    named = {name: f"aligner.{name}" for name in ("to_q.", "to_k.")} | lists | {"norm.": "norm."}
    return {
        named[name[: name.index(".") + 1]] + name[name.index(".") + 1 :]: tensor
        for name, tensor in made.state_dict().items()
    }


def test_tokens_are_those_of_the_loop() -> None:
    made = aligner()
    query, levels = 2 * normal(2, 4, 8, seed=3), [2 * normal(2, 6, 12, seed=4 + number) for number in range(3)]
    found = made(query, levels)
    assert found.shape == (2, 3 * 4, 8)
    for row in range(2):
        expected = aligned(query[row], [level[row] for level in levels], published_names(made))
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-10)
    assert (found[0] - found[1]).abs().max() > 0.1


def test_a_query_looks_at_the_patch_that_is_like_it() -> None:
    """W_Q and W_K copy eight numbers into the first head: logits are products of query and patch."""
    made = aligner()
    for matrix in (made.to_q.weight, made.to_k.weight):
        matrix.zero_()
        matrix[:8, :8] = torch.eye(8, dtype=torch.float64)
    patches = torch.zeros(1, 5, 12, dtype=torch.float64)
    patches[0, :, :5] = 60 * torch.eye(5, dtype=torch.float64)
    query = torch.zeros(1, 2, 8, dtype=torch.float64)
    query[0, 0, 3], query[0, 1, 1] = 1.0, 1.0
    seen = made.attention(query, patches)
    assert seen.shape == (1, 2, 2, 5)
    torch.testing.assert_close(seen.sum(dim=-1), torch.ones(1, 2, 2, dtype=torch.float64))
    assert seen[0, 0].argmax(dim=-1).tolist() == [3, 1]
    share = torch.tensor(60 / 8).double().exp() / (torch.tensor(60 / 8).double().exp() + 4)
    torch.testing.assert_close(seen[0, 0, 0, 3], share)
    torch.testing.assert_close(seen[0, 1], torch.full((2, 5), 0.2, dtype=torch.float64))


# subject attention ---------------------------------------------------------------------------------------------------


def layer() -> Attention:
    torch.manual_seed(0)
    made: Any = Attention(WIDTH, cross_attention_dim=CONTEXT, heads=2, dim_head=16)
    return made.double().eval().requires_grad_(False)


def weights() -> dict[str, Tensor]:
    names = ("to_k_SSR.weight", "to_v_SSR.weight")
    return {name: normal(WIDTH, CONTEXT, seed=5 + number) / CONTEXT**0.5 for number, name in enumerate(names)}


def ours() -> SubjectAttention:
    made = SubjectAttention(WIDTH, CONTEXT).double()
    made.load_state_dict({name.replace("_SSR.", "_ip.0."): tensor for name, tensor in weights().items()})
    return made


def subjects(*scales: list[float]) -> Subjects:
    """Scales of each picture's references."""
    return Subjects(torch.tensor(scales, dtype=torch.float64), TOKENS, some_absent=any(0 in own for own in scales))


def run(processor: Any, hidden: Tensor, row: Tensor | None, **more: Any) -> Tensor:
    attention = layer()
    attention.set_processor(processor)
    with torch.no_grad():
        return attention(hidden, encoder_hidden_states=row, **more)


@pytest.mark.parametrize(
    "scales", [([0.6], [1.2]), ([0.6, 0.9], [1.0, 0.0]), ([0.0, 0.0], [0.4, 2.0]), ([0.1, 0.0, 0.7, 0.5],) * 2]
)
def test_equals_the_explicit_form_with_scales_of_each_picture(scales: tuple[list[float], ...]) -> None:
    num = len(scales[0])
    hidden, row = 2 * normal(2, 12, WIDTH, seed=7), 2 * normal(2, TEXT + num * TOKENS, CONTEXT, seed=8)
    found = run(ours(), hidden, row, images=subjects(*scales))
    reference = ReferenceAttention(weights(), num_tokens=TOKENS)
    for picture, own in enumerate(scales):
        expected = run(reference, hidden[[picture]], row[[picture]], subject_scales=own)
        torch.testing.assert_close(found[[picture]], expected, rtol=0, atol=1e-10)


def test_a_reference_of_scale_zero_is_absent() -> None:
    hidden, row = normal(1, 12, WIDTH, seed=7), normal(1, TEXT + 2 * TOKENS, CONTEXT, seed=8)
    with_both = run(ours(), hidden, row, images=subjects([0.7, 0.0]))
    alone = run(ours(), hidden, row[:, :-TOKENS], images=subjects([0.7]))
    torch.testing.assert_close(with_both, alone, rtol=0, atol=1e-12)
    none = run(ours(), hidden, row, images=subjects([0.0, 0.0]))
    torch.testing.assert_close(none, run(AttnProcessor2_0(), hidden, row[:, :TEXT]), rtol=0, atol=1e-12)
    assert (alone - none).abs().max() > 0.01


def test_without_subjects_it_is_diffusers_own() -> None:
    hidden, row = normal(2, 12, WIDTH, seed=7), normal(2, TEXT, CONTEXT, seed=8)
    assert torch.equal(run(ours(), hidden, row), run(AttnProcessor2_0(), hidden, row))
    self_attention: Any = Attention(WIDTH, heads=2, dim_head=16).double().eval()
    self_attention.set_processor(SelfAttention())
    with torch.no_grad():
        told = self_attention(hidden, images=subjects([1.0], [1.0]))
        self_attention.set_processor(AttnProcessor2_0())
        assert torch.equal(told, self_attention(hidden))
