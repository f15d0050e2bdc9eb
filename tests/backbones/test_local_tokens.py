"""The three injections of local tokens: shapes, parameter counts, what they start as, and where each token goes."""

import pytest
import torch

from likeness.backbones.local_tokens import INJECTIONS, LocalTokens, at_patches
from likeness.core.errors import ConfigError, DataError

WIDTH = 6


def tokens(count: int, width: int = WIDTH, rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, count, width, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize(
    ("name", "length", "parameters"),
    [("concatenation", 257 + 16, 0), ("linear", 257, WIDTH * WIDTH + WIDTH), ("addition", 257, 0)],
)
def test_shapes_and_parameters(name: str, length: int, parameters: int) -> None:
    made = LocalTokens(name, width=WIDTH, local_width=WIDTH)
    assert made(tokens(257), tokens(16)).shape == (2, length, WIDTH)
    assert sum(p.numel() for p in made.parameters()) == parameters
    widened = LocalTokens(name, width=WIDTH, local_width=4)
    assert widened(tokens(257), tokens(16, 4)).shape == (2, length, WIDTH)
    assert sum(p.numel() for p in widened.parameters()) == parameters + 4 * WIDTH


def test_concatenation_keeps_both() -> None:
    image, local = tokens(10), tokens(4)
    found = INJECTIONS["concatenation"](WIDTH)(image, local)
    assert torch.equal(found[:, :10], image)
    assert torch.equal(found[:, 10:], local)


def test_local_tokens_lie_at_their_patches() -> None:
    """3 x 3 cells on 7 x 7 patches, by loops: patch (r, c) has cell (3 r // 7, 3 c // 7)."""
    local = tokens(9)
    found = at_patches(local, count=50)
    torch.testing.assert_close(found[:, 0], local.mean(1))
    for r in range(7):
        for c in range(7):
            assert torch.equal(found[:, 1 + 7 * r + c], local[:, 3 * (3 * r // 7) + 3 * c // 7])


def test_addition_adds_the_token_of_the_place() -> None:
    image, local = tokens(17), tokens(4)
    found = INJECTIONS["addition"](WIDTH)(image, local)
    torch.testing.assert_close(found, image + at_patches(local, count=17))


def test_the_linear_projection_starts_as_nothing_and_learns() -> None:
    made, image, local = INJECTIONS["linear"](WIDTH), tokens(17), tokens(4)
    assert torch.equal(made(image, local), image)
    made(image, local).square().sum().backward()
    weight = next(iter(made.parameters()))
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0
    with torch.no_grad():
        weight.copy_(torch.eye(WIDTH))
    torch.testing.assert_close(made(image, local), image + at_patches(local, count=17))


def test_narrow_tokens_are_padded_with_zeros_at_first() -> None:
    found = LocalTokens("concatenation", width=WIDTH, local_width=4)(tokens(10), tokens(4, 4)).detach()
    assert torch.equal(found[:, 10:, :4], tokens(4, 4))
    assert float(found[:, 10:, 4:].abs().max()) == 0


def test_legacy_cannot_train_with_local_tokens() -> None:
    legacy = LocalTokens("concatenation", width=WIDTH, local_width=WIDTH, legacy=True)
    with pytest.raises(ConfigError, match="no training with them under legacy"):
        legacy.train()(tokens(10), tokens(4))
    assert legacy.eval()(tokens(10), tokens(4)).shape == (2, 14, WIDTH)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="injection: expected one of concatenation, linear, addition, got 'sum'"):
        LocalTokens("sum", width=WIDTH, local_width=WIDTH)
    for name in INJECTIONS:
        with pytest.raises(DataError, match="of width 6"):
            INJECTIONS[name](WIDTH)(tokens(10), tokens(4, 5))
        with pytest.raises(DataError, match="as many rows"):
            INJECTIONS[name](WIDTH)(tokens(10), tokens(4, rows=3))
    with pytest.raises(DataError, match=r"got 5 and 17"):
        INJECTIONS["addition"](WIDTH)(tokens(17), tokens(5))
    with pytest.raises(DataError, match=r"got 4 and 16"):
        INJECTIONS["linear"](WIDTH)(tokens(16), tokens(4))
