"""The error tree is one family, and the drawing in its docstring is complete."""

import pytest

from likeness.core import errors


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "LikenessError"])
def test_every_error_is_a_likeness_error_and_is_drawn(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, errors.LikenessError)
    assert name in (errors.__doc__ or "")
    assert str(error("a: expected b, got c; do d.")) == "a: expected b, got c; do d."


def test_errors_are_neither_value_nor_os_errors() -> None:
    # pydantic swallows ValueError; our errors must pass through validators unchanged
    assert not any(issubclass(getattr(errors, name), ValueError | OSError) for name in errors.__all__)
