"""The collector against a per-token loop over layers."""

import pytest
import torch
from torch import Tensor

from likeness.core.errors import ConfigError, DataError, MeasurementError
from likeness.focus import FieldCollector, focus_maps

LAYERS = ["transformer_blocks.0", "transformer_blocks.1", "single_transformer_blocks.0"]
Tokens = list[tuple[str, Tensor, list[Tensor]]]


def random_tokens(seed: int, *, rows: int = 4, dtype: torch.dtype = torch.float32) -> Tokens:
    draw = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> Tensor:
        return torch.randn(rows, count, 16, generator=draw).to(dtype) + 0.5

    return [(layer, tokens(12), [tokens(5), tokens(7)]) for layer in LAYERS]


def random_masks(seed: int, *, rows: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.rand(rows, count, generator=draw) < 0.5 for count in (5, 7)]


def collect(tokens: Tokens, collector: FieldCollector) -> FieldCollector:
    for each in tokens:
        collector(*each, (3, 4))
    return collector


def loop_scores(tokens: Tokens, masks: list[Tensor], *, center: bool) -> Tensor:
    """Cosines token by token in float64."""
    rows, length = masks[0].shape[0], tokens[0][1].shape[1]
    scores = torch.zeros(rows, len(masks), length, dtype=torch.float64)
    for _, target, references in tokens:
        for row in range(rows):
            mean = target[row].double().mean(0) if center else 0
            for r, mask in enumerate(masks):
                chosen = [i for i in range(mask.shape[1]) if mask[row, i]] or list(range(mask.shape[1]))
                pooled = torch.stack([references[r][row, i].double() for i in chosen]).mean(0) - mean
                for p in range(length):
                    token = target[row, p].double() - mean
                    scores[row, r, p] += (token @ pooled) / (token.norm() * pooled.norm())
    return scores / len(tokens)


@pytest.mark.parametrize("center", [False, True])
def test_scores_equal_a_loop_over_the_first_rows(*, center: bool) -> None:
    tokens, masks = random_tokens(0), random_masks(1, rows=2)
    masks[1][0] = False  # means all tokens of the reference
    collector = collect(tokens, FieldCollector(2, masks, center=center))
    assert collector.num_layers == 3
    scores = collector.scores()
    assert scores.shape == (2, 2, 12)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), loop_scores(tokens, masks, center=center), atol=1e-6, rtol=1e-5)


def test_bf16_tokens_are_compared_in_fp32_also_under_autocast() -> None:
    tokens, masks = random_tokens(0, dtype=torch.bfloat16), random_masks(1, rows=2)
    plain = collect(tokens, FieldCollector(2, masks)).scores()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = collect(tokens, FieldCollector(2, masks)).scores()
    assert torch.equal(plain, autocast)
    torch.testing.assert_close(plain.double(), loop_scores(tokens, masks, center=False), atol=1e-6, rtol=1e-5)


def test_layers_are_chosen_by_their_whole_name() -> None:
    tokens, masks = random_tokens(0), random_masks(1, rows=2)
    chosen = collect(tokens, FieldCollector(2, masks, layers=r"transformer_blocks\.\d+"))
    assert chosen.num_layers == 2
    torch.testing.assert_close(chosen.scores().double(), loop_scores(tokens[:2], masks, center=False))


def test_rows_do_not_depend_on_the_batch() -> None:
    tokens, masks = random_tokens(3), random_masks(4, rows=4)
    together = collect(tokens, FieldCollector(4, masks)).scores()
    subjects = torch.rand(4, 2, 12) < 0.3
    flags, detail = torch.ones(4, 2, dtype=torch.bool), torch.rand(4, 12)
    for row in range(4):
        one = slice(row, row + 1)
        cut = [(layer, target[one], [tokens[one] for tokens in references]) for layer, target, references in tokens]
        alone = collect(cut, FieldCollector(1, [mask[one] for mask in masks])).scores()
        assert torch.equal(alone, together[one])
        first = focus_maps(alone, subjects[one], flags[one], detail[one])
        second = focus_maps(together, subjects, flags, detail)
        assert torch.equal(first.weight[0], second.weight[row])


def test_no_graph_and_no_layer_is_kept() -> None:
    tokens, masks = random_tokens(0), random_masks(1, rows=2)
    for _, target, references in tokens:
        for each in (target, *references):
            each.requires_grad_()
    collector = collect(tokens, FieldCollector(2, masks))
    assert not collector.scores().requires_grad
    kept = [value for value in vars(collector).values() if isinstance(value, Tensor)]
    assert [tuple(tensor.shape) for tensor in kept] == [(2, 2, 12)]
    assert kept[0].grad_fn is None


def test_oracle_tokens_give_share_0_and_random_ones_what_chance_gives() -> None:
    draw = torch.Generator().manual_seed(0)
    rows, length, width = 200, 32, 64
    subject = torch.zeros(rows, 1, length, dtype=torch.bool)
    subject[..., 4:12] = True
    reference = torch.randn(rows, 6, width, generator=draw)
    inside = torch.tensor([True] * 4 + [False] * 2).expand(rows, 6)
    target = torch.randn(rows, length, width, generator=draw)
    oracle = torch.where(subject[:, 0, :, None], reference[:, :4].mean(1, keepdim=True), target)
    shares = []
    for tokens in (oracle, target):
        collector = FieldCollector(rows, [inside])
        collector("layer", tokens, [reference], (1, 32))
        maps = focus_maps(
            collector.scores(), subject, torch.ones(rows, 1, dtype=torch.bool), torch.ones(rows, length), tau=0.1
        )
        shares.append(maps.focus_share)
        assert maps.fused.all() == (tokens is oracle)
    assert shares[0].tolist() == [0.0] * rows
    assert abs(shares[1].mean() - (1 - 8 / 32)) < 4 * shares[1].std() / rows**0.5


def test_zero_tokens_score_zero() -> None:
    collector = FieldCollector(1, [torch.ones(1, 2, dtype=torch.bool)])
    collector("layer", torch.zeros(1, 3, 4), [torch.zeros(1, 2, 4)], (1, 3))
    assert collector.scores().tolist() == [[[0.0] * 3]]


def test_mistakes_are_named() -> None:
    tokens, masks = random_tokens(0), random_masks(1, rows=2)
    with pytest.raises(MeasurementError, match="expected any layer, got none"):
        FieldCollector(2, masks).scores()
    with pytest.raises(MeasurementError, match="expected a layer named 'block', got none"):
        collect(tokens, FieldCollector(2, masks, layers="block")).scores()
    with pytest.raises(MeasurementError, match=r"transformer_blocks\.0 twice"):
        collect([*tokens, tokens[0]], FieldCollector(2, masks))
    with pytest.raises(DataError, match="one mask of 3 rows per reference, got 2 masks with"):
        FieldCollector(3, masks)
    with pytest.raises(DataError, match="one mask of 3 rows per reference, got 0 masks"):
        FieldCollector(3, [])
    with pytest.raises(DataError, match=r"references of \[7, 5\] tokens, got \[5, 7\]"):
        collect(tokens, FieldCollector(2, masks[::-1]))
    with pytest.raises(ConfigError, match=r"layers: expected a regular expression, got '\('"):
        FieldCollector(2, masks, layers="(")


def test_the_printed_similarity_divides_by_the_squared_norm() -> None:
    tokens, masks = random_tokens(0), [torch.ones(2, count, dtype=torch.bool) for count in (5, 7)]
    found = collect(tokens, FieldCollector(2, masks, similarity="squared_norm")).scores()
    for row in range(2):
        for reference in range(2):
            for place in range(12):
                values = [
                    float(target[row, place].double() @ refs[reference][row].double().mean(0))
                    / float(target[row, place].double().norm() ** 2)
                    for _, target, refs in tokens
                ]
                assert float(found[row, reference, place]) == pytest.approx(sum(values) / 3, rel=1e-4, abs=1e-6)
    with pytest.raises(ConfigError, match="similarity: expected one of cosine, squared_norm, got 'dot'"):
        FieldCollector(2, masks, similarity="dot")
