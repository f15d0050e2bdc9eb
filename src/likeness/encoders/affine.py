"""Heads of scorers: linear layers without activations between them, which are one affine map of a feature.

The aesthetic head and that of ImageReward are five layers each, with dropout in training only; what they compute is
weight . feature + bias. It is stored as these numbers, in float64.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file, save_file

from likeness.core.errors import WeightsError

HEAD = "head.safetensors"
LAYERS = (0, 2, 4, 6, 7)
"""Where the linear layers stand in the public heads; between them stand dropouts."""

Arrays = Mapping[str, np.ndarray]


class Affine(NamedTuple):
    """weight . feature + bias, of features of width D."""

    weight: Float[np.ndarray, " D"]
    bias: float

    def __call__(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        """One number per feature, in float64; row by row, so that none depends on the others."""
        # plain sums, not BLAS: a matrix product there may change with the number of rows and threads
        return np.array([(row.astype(np.float64) * self.weight).sum() + self.bias for row in features])


def collapsed(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> Affine:
    """The affine map of linear layers (weight (out, in), bias (out,)), first to last, the last with one output.

    Raises: WeightsError when one does not take what the one before it gives, or several numbers come out.
    """
    weight, bias = np.eye(layers[0][0].shape[-1]), np.zeros(layers[0][0].shape[-1])
    for number, (w, b) in enumerate(layers):
        if w.ndim != 2 or w.shape[1] != len(bias) or b.shape != w.shape[:1]:
            raise _misshapen(f"layer {number} of {w.shape} and {b.shape} behind {len(bias)} numbers")
        weight, bias = w.astype(np.float64) @ weight, w.astype(np.float64) @ bias + b.astype(np.float64)
    if len(bias) != 1:
        raise _misshapen(f"{len(bias)} numbers")
    return Affine(weight[0], float(bias[0]))


def head_of(tensors: Arrays, *, prefix: str) -> Affine:
    """The affine map of the public layout, `prefix`{0,2,4,6,7}.{weight,bias}. Raises: WeightsError for another."""
    names = [(f"{prefix}{at}.weight", f"{prefix}{at}.bias") for at in LAYERS]
    if absent := [name for pair in names for name in pair if name not in tensors]:
        raise WeightsError(f"Head: expected a tensor {absent[0]}, got none of that name; give another file.")
    return collapsed([(tensors[weight], tensors[bias]) for weight, bias in names])


def write_head(head: Affine, *, folder: Path) -> None:
    """`folder`/head.safetensors holds the map."""
    save_file({"weight": head.weight, "bias": np.array([head.bias])}, folder / HEAD)


def read_head(folder: Path, *, width: int) -> Affine:
    """The map that `write_head` wrote, of features of this width. Raises: ValueError for another, OSError for none."""
    arrays = load_file(folder / HEAD)
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != {"weight": (width,), "bias": (1,)} or not all(np.isfinite(each).all() for each in arrays.values()):
        raise ValueError(f"{HEAD} with {shapes}, where finite weight ({width},) and bias (1,) belong")
    return Affine(arrays["weight"], float(arrays["bias"][0]))


def _misshapen(got: str) -> WeightsError:
    return WeightsError(f"Head: expected linear layers that end in one number, got {got}; give another file.")
