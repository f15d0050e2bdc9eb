"""Which rows a step sees, and their noise and times: functions of the seed and the step alone.

So a resumed run needs no random state, and neither accumulation nor the number of processes changes a row's noise.
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np
import torch

from likeness.core.rng import seed_for
from likeness.train.task import Draw, Network


class RowOrder:
    """Batches of rows of one shape; every row comes at least once an epoch, a short last batch is filled up.

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
        """The rows of training step `step` (counted from 0), all of one shape."""
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


def draw_row(backbone: Network, *, seed: int, step: int, position: int, shape: tuple[int, ...], law: str) -> Draw:
    """Noise and time of the row at `position` of the whole batch of `step`; `shape` is (C, h, w) of its latents."""
    own = seed_for(seed, "train", step, position)
    generator = torch.Generator().manual_seed(own)
    side = backbone.facts.latents_per_token
    t = backbone.draw_t(generator, grid=(shape[1] // side, shape[2] // side), law=law)
    return Draw(torch.randn(shape, generator=generator), t, own)
