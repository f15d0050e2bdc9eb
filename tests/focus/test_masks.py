"""Masks on the token grid, against counting by hand."""

import pytest
import torch

from likeness.core.errors import ConfigError, DataError
from likeness.focus import covered_tokens, dilated, resolve_overlaps, token_mask, token_shares


def test_half_covered_tokens_are_in_and_the_rest_out() -> None:
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[:2, :4] = True  # 8 of 16 px of the left token
    mask[0, 4:] = True
    mask[1, 4:7] = True  # 7 of 16 px of the right token
    assert token_mask(mask, (1, 2)).tolist() == [True, False]


def test_against_a_loop_over_tokens() -> None:
    masks = torch.rand(5, 3, 32, 48, generator=torch.Generator().manual_seed(0)) < 0.5
    tokens = token_mask(masks.to(torch.uint8) * 255, grid=(2, 3))
    assert tokens.shape == (5, 3, 6)
    for index in torch.cartesian_prod(torch.arange(5), torch.arange(3), torch.arange(6)).tolist():
        b, r, token = index
        row, column = divmod(token, 3)
        square = masks[b, r, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        assert tokens[b, r, token].item() == (2 * int(square.sum()) >= square.numel())


def test_a_small_subject_keeps_the_tokens_it_touches() -> None:
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[0, 15:17, 3] = True  # one pixel in each of two tokens
    assert token_mask(mask, (2, 2)).tolist() == [[True, False, True, False], [False] * 4]  # empty stays empty


def test_a_mask_without_sides_is_refused() -> None:
    with pytest.raises(DataError, match=r"token_mask: expected a mask \(\.\.\., H, W\), got shape \(0, 7\)"):
        token_mask(torch.ones(0, 7), (1, 1))


def test_overlap_goes_to_the_smaller_area() -> None:
    dog, hat = [1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0]
    masks = torch.tensor([[dog, hat]], dtype=torch.bool)
    assert resolve_overlaps(masks).int().tolist() == [[[1, 1, 1, 0, 0, 0], hat]]
    assert resolve_overlaps(masks.flip(1)).int().tolist() == [[hat, [1, 1, 1, 0, 0, 0]]]


def test_equal_areas_leave_the_token_to_the_first_and_the_union_as_it_was() -> None:
    masks = torch.tensor([[[1, 1, 0], [0, 1, 1], [0, 0, 0]]], dtype=torch.bool)
    assert resolve_overlaps(masks).int().tolist() == [[[1, 1, 0], [0, 0, 1], [0, 0, 0]]]
    random = torch.rand(9, 4, 50, generator=torch.Generator().manual_seed(1)) < 0.3
    resolved = resolve_overlaps(random)
    assert torch.equal(resolved.any(1), random.any(1))
    assert resolved.sum(1).max() == 1


def test_shares_are_counted_pixel_by_pixel() -> None:
    masks = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) < 0.3
    shares = token_shares(masks, (2, 3))
    assert shares.shape == (2, 3, 6)
    for index in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(6)).tolist():
        b, r, token = index
        row, column = divmod(token, 3)
        square = masks[b, r, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        assert shares[b, r, token].item() == pytest.approx(int(square.sum()) / 256)


def test_coverage_by_hand() -> None:
    shares = torch.tensor([[0.0, 0.01, 0.49, 0.5, 1.0], [0.0, 0.2, 0.0, 0.0, 0.1], [0.0] * 5])
    assert covered_tokens(shares).int().tolist() == [[0, 0, 0, 1, 1], [0, 1, 0, 0, 1], [0] * 5]
    for coverage in ("any", "soft"):
        assert covered_tokens(shares, coverage=coverage).int().tolist() == [[0, 1, 1, 1, 1], [0, 1, 0, 0, 1], [0] * 5]
    with pytest.raises(ConfigError, match="coverage: expected one of any, half, soft, got 'full'"):
        covered_tokens(shares, coverage="full")


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_dilation_takes_the_largest_share_within_reach(tokens: int) -> None:
    shares = torch.rand(2, 3, 20, generator=torch.Generator().manual_seed(1)) * 0.9
    grown = dilated(shares, grid=(4, 5), tokens=tokens)
    for row in range(4):
        for column in range(5):
            near = [
                r * 5 + c
                for r in range(max(0, row - tokens), min(4, row + tokens + 1))
                for c in range(max(0, column - tokens), min(5, column + tokens + 1))
            ]
            assert torch.equal(grown[..., row * 5 + column], shares[..., near].amax(-1))
