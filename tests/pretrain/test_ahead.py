"""Drawing ahead changes nothing but who draws."""

from typing import Any

import pytest

from likeness.pretrain.ahead import drawn_ahead


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order_whoever_draws(workers: int) -> None:
    assert list(drawn_ahead(hex, range(25), workers=workers)) == [hex(i) for i in range(25)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_reaches_the_caller_after_what_was_drawn_before(workers: int) -> None:
    found: list[float] = []
    with pytest.raises(RuntimeError if workers else ZeroDivisionError, match="division by zero"):
        found.extend(drawn_ahead((1.0).__truediv__, [1.0, 2.0, 0.0, 4.0], workers=workers))
    assert found == [1.0, 0.5]
    drawing: Any = drawn_ahead((1.0).__truediv__, [1.0, 2.0, 0.0, 4.0], workers=workers)
    assert [next(drawing), next(drawing)] == [1.0, 0.5]
    drawing.close()
