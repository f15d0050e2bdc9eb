"""Which pairs a step sees, and their noise and times: functions of the seed and the step alone.

So a resumed run needs no random state, and neither accumulation nor the number of processes changes a pair's noise.
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.flux.tokens import schedule_shift, time_shift
from likeness.core.rng import seed_for

T_MIN, T_MAX = 1e-3, 1 - 1e-3
UNO_ENTRIES = 1000
"""Length of UNO's list of times; entries 1 to 998 are drawn, since the first is pure noise and the last the picture."""


class Draw(NamedTuple):
    """Noise (C, h, w) and time in [0.001, 0.999] of one pair, shared by its preferred and its rejected picture."""

    eps: Float[Tensor, "C h w"]
    t: float


class PairOrder:
    """Batches of pairs of one shape; every pair comes at least once an epoch, a short last batch is filled up.

    `shapes[i]` is what must agree within a batch (the network has no attention mask, so it cannot pad).
    """

    def __init__(self, shapes: Sequence[Hashable], *, batch_size: int, seed: int) -> None:
        groups: dict[Hashable, list[int]] = {}
        for index, shape in enumerate(shapes):
            groups.setdefault(shape, []).append(index)
        self._groups, self._size, self._seed = list(groups.values()), batch_size, seed
        self.num_batches = sum(-(-len(group) // batch_size) for group in self._groups)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def batch(self, step: int) -> list[int]:
        """The pairs of training step `step` (counted from 0), all of one shape."""
        epoch, index = divmod(step, self.num_batches)
        return self._epoch(epoch)[index]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng(seed_for(self._seed, "order", epoch))
        batches: list[list[int]] = []
        for group in self._groups:
            shuffled = [group[i] for i in rng.permutation(len(group))]
            starts = range(0, len(shuffled), self._size)
            batches += [[shuffled[(s + i) % len(shuffled)] for i in range(self._size)] for s in starts]
        return [batches[i] for i in rng.permutation(len(batches))]


def draw_pair(
    *, seed: int, step: int, position: int, shape: tuple[int, int, int], sampler: str, shift: dict[str, float]
) -> Draw:
    """Noise and time of the pair at `position` of the whole batch of `step`.

    `shape` is (C, h, w); `shift` holds the scheduler's numbers for "uno_shift".
    """
    generator = torch.Generator().manual_seed(seed_for(seed, "train", step, position))
    t = draw_time(generator, sampler=sampler, num_tokens=shape[1] * shape[2] // 4, shift=shift)
    return Draw(torch.randn(shape, generator=generator), t)


def draw_time(generator: torch.Generator, *, sampler: str, num_tokens: int, shift: dict[str, float]) -> float:
    """One time: UNO's shifted list without its ends, or uniform, or the sigmoid of a normal number.

    Source: UNO's training script (note section 1.4); logit-normal as in Stable Diffusion 3 (arXiv:2403.03206).
    """
    if sampler == "uno_shift":
        entry = torch.randint(1, UNO_ENTRIES - 1, (), generator=generator)
        plain = 1 - entry.double() / (UNO_ENTRIES - 1)
        t = time_shift(plain, mu=schedule_shift(num_tokens, **shift))  # pyright: ignore[reportArgumentType] counts are whole numbers
    elif sampler == "uniform":
        t = torch.rand((), generator=generator, dtype=torch.float64)
    else:
        t = torch.sigmoid(torch.randn((), generator=generator, dtype=torch.float64))
    return min(max(float(t), T_MIN), T_MAX)
