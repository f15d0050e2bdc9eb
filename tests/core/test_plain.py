"""Plain data survives the way to bytes and back bit for bit, and damaged bytes are told."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from jaxtyping import Float

from likeness.core.errors import DataError
from likeness.core.plain import pack, unpack


class Box(NamedTuple):
    corners: tuple[float, float, float, float]
    score: float
    label: str | None = None


@dataclass(frozen=True)
class Seen:
    boxes: tuple[Box, ...]
    vector: Float[np.ndarray, " D"]
    counts: dict[str, int]
    names: list[str]
    whole: bool


def test_floats_keep_every_bit() -> None:
    patterns = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)
    for value in patterns[np.isfinite(patterns)].tolist():
        assert unpack(pack(value), float) == value


def test_nested_data_comes_back_with_its_types() -> None:
    boxes = (Box((0.1, 1 / 3, 2.0, 1e-300), 0.5, "a cat"), Box((0, 0, 1, 1), 1))
    seen = Seen(boxes, np.arange(4, dtype=np.float32), {"é": 2}, ["x", ""], True)
    back = unpack(pack(seen), Seen)
    assert isinstance(back.boxes[0], Box)
    assert back.vector.dtype == np.float32
    np.testing.assert_array_equal(back.vector, seen.vector)
    assert (back.boxes, back.counts, back.names, back.whole) == (seen.boxes, seen.counts, seen.names, True)


@pytest.mark.parametrize("array", [np.full((), 3, np.float32), np.zeros((0, 3)), np.eye(3, dtype=np.float16).T[:, ::2]])
def test_arrays_of_every_shape(array: np.ndarray) -> None:
    back = unpack(pack(array), np.ndarray)
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_what_is_no_plain_data_is_refused() -> None:
    with pytest.raises(DataError, match="expected plain data, got object"):
        pack({"a": object()})


@pytest.mark.parametrize("kind", [str, np.ndarray, Box, dict[str, int], tuple[float, ...]])
def test_bytes_of_another_type_are_told(kind: object) -> None:
    with pytest.raises(DataError, match="got bytes that hold none"):
        unpack(pack(1.5), kind)


def test_damaged_bytes_are_told() -> None:
    whole = pack(Seen((), np.arange(4.0), {}, [], False))
    for end in range(0, len(whole), 7):
        with pytest.raises(DataError, match="got bytes that hold none"):
            unpack(whole[:end], Seen)
