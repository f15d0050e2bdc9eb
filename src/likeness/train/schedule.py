"""Learning-rate shape and weight averaging, both counted in images seen so that batch size does not matter."""

import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any  # states are nested

import torch


def learning_rate_factor(num_images_seen: int, *, total: int, warmup: int, decay_share: float) -> float:
    """Warm-up, a flat stretch, then a linear fall to 2% over the last `decay_share` of `total`.

    The flat stretch lets a finished run be continued: resume from before the fall with a larger total.
    """
    if num_images_seen < warmup:
        return (num_images_seen + 1) / warmup
    start = total * (1 - decay_share)
    if num_images_seen <= start:
        return 1.0
    return max(0.02, 1 - (num_images_seen - start) / max(total - start, 1))


class Ema:
    """An exponential moving average of parameters, where warmed up such that the random start is forgotten early."""

    def __init__(
        self, named: Iterable[tuple[str, torch.nn.Parameter]], *, decay: float, warmed_up: bool = True
    ) -> None:
        self.decay, self.warmed_up = decay, warmed_up
        self.averages = {name: p.detach().clone().float() for name, p in named}
        self.updates = 0

    @torch.no_grad()
    def update(self, named: Iterable[tuple[str, torch.nn.Parameter]]) -> None:
        """Moves every average towards the current parameter."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmed_up else self.decay
        names, parameters = zip(*named, strict=True)
        averages = [self.averages[name] for name in names]
        torch._foreach_lerp_(averages, [p.detach().float() for p in parameters], 1 - decay)  # pyright: ignore[reportPrivateUsage]

    @torch.no_grad()
    def copy_to(self, named: Iterable[tuple[str, torch.nn.Parameter]]) -> None:
        """Writes the averages into the parameters."""
        for name, p in named:
            p.copy_(self.averages[name])

    @contextmanager
    def applied(self, named: Sequence[tuple[str, torch.nn.Parameter]]) -> Generator[None, None, None]:
        """Within it the parameters hold the averages."""
        kept = {name: p.detach().clone() for name, p in named}
        self.copy_to(named)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, p in named:
                    p.copy_(kept[name])

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"averages": self.averages, "updates": self.updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a saved state, on the device of the parameters."""
        self.averages = {name: state["averages"][name].to(mine.device) for name, mine in self.averages.items()}
        self.updates = state["updates"]


def psnr(mse: float, *, span: float = 2.0) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error between pictures in a range of width `span`.

    Infinite for equal pictures.
    """
    return math.inf if mse == 0 else 10 * math.log10(span**2 / mse)
