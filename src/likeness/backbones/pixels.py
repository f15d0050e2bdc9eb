"""Pictures as the numbers that backbones encode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image


def to_pixels(images: Sequence[Image]) -> Float[Tensor, "B 3 H W"]:
    """RGB pictures of one size as numbers in [-1, 1]."""
    return torch.stack([torch.from_numpy(np.array(image)) for image in images]).permute(0, 3, 1, 2) / 127.5 - 1
