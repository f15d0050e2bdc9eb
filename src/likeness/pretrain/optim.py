"""The update of every stage, and the loop shared by the encoders: AdamW, averaged weights, resumable state."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from likeness.core.rng import seed_for
from likeness.pretrain.ahead import drawn_ahead
from likeness.pretrain.config import EncoderTable, GuidanceTable, PretrainConfig
from likeness.pretrain.log import TrainLog
from likeness.train.schedule import Ema, learning_rate_factor
from likeness.train.state import load_state, save_state

SAVE_EVERY_BATCHES = 100

Drawn = TypeVar("Drawn")
Trained = EncoderTable | GuidanceTable
Named = list[tuple[str, nn.Parameter]]
Optimizers = Sequence[tuple[torch.optim.Optimizer, float]]
"""Each with its learning rate after warm-up."""


def update(
    named: Named, optimizers: Optimizers, ema: Ema, *, table: Trained, seen: int, warmup: int, clip: float
) -> float:
    """Applies the gradients, cut to norm `clip`, with `seen` images before them; returns the factor of the rates."""
    factor = learning_rate_factor(seen, total=table.total_images, warmup=warmup, decay_share=table.decay_share)
    torch.nn.utils.clip_grad_norm_([p for _, p in named], clip)
    for optimizer, rate in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        optimizer.step()
        optimizer.zero_grad()
    ema.update(named)
    return factor


class Resumable(ABC):
    """A stage with several optimizers, and its state: what is trained, its averages and the number of images seen."""

    state_folder: Path
    named: Named
    optimizers: Optimizers
    ema: Ema
    seen: int

    @abstractmethod
    def step(self) -> Tensor:
        """One batch; returns its loss."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """What the log says of the averaged weights; the trained weights are put back."""

    def run(
        self,
        log_file: Path,
        *,
        total: int,
        save_every: int,
        export: Callable[[], None],
        export_every: int | None = None,
    ) -> None:
        """Trains until `total` images are seen, then exports.

        Log and state are written every `save_every` batches and at the end; exported is also, on the way, what is
        saved after a multiple of `export_every` images.
        """
        log = TrainLog(log_file, total=total, start=self.seen)
        losses: list[Tensor] = []
        while self.seen < total:
            losses.append(self.step())
            if len(losses) == save_every or self.seen >= total:
                log.write(self.seen, train_loss=float(torch.stack(losses).mean()), **self.validate())
                losses.clear()
                self.save()
                if export_every and self.seen < total and self.seen % export_every == 0:
                    export()
        export()

    def resume(self) -> None:
        """Goes on from the state in `state_folder`, where there is one."""
        state = load_state(self.state_folder)
        if state is None:
            return
        with torch.no_grad():
            for name, p in self.named:
                p.copy_(state["weights"][name])
        for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.ema.restore(state["ema"])
        self.seen = state["seen"]

    def save(self) -> None:
        """Writes everything needed to go on as if nothing had happened."""
        parts: dict[str, Any] = {  # Any: nested optimizer state
            "weights": {name: p.detach() for name, p in self.named},
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "ema": self.ema.state(),
            "seen": self.seen,
        }
        save_state(self.state_folder, parts)


def train_encoder(
    network: nn.Module,
    loss_of: Callable[[int, Drawn], Tensor],
    *,
    draw: Callable[[int], Drawn],
    workers: int,
    name: str,
    table: EncoderTable,
    config: PretrainConfig,
) -> None:
    """Trains `network` in place and leaves the averaged weights in it.

    The batch of training examples first .. first + batch_size - 1 is drawn by `draw(first)`, ahead by `workers`
    processes if there are any, and `loss_of(first, batch)` is its loss.
    """
    named = list(network.named_parameters())
    optimizer = torch.optim.AdamW([p for _, p in named], lr=table.learning_rate, betas=(0.9, 0.98), fused=True)
    ema, seen, folder = Ema(named, decay=0.995), 0, config.work / f"{name}.state"
    if state := load_state(folder):
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        ema.restore(state["ema"])
        seen = state["seen"]
    log = TrainLog(config.work / f"{name}.jsonl", total=table.total_images, start=seen)
    rates, losses = [(optimizer, table.learning_rate)], list[Tensor]()
    network.train()
    for batch in drawn_ahead(draw, range(seen, table.total_images, table.batch_size), workers=workers):
        torch.manual_seed(seed_for(config.seed, name, seen))
        loss = loss_of(seen, batch)
        loss.backward()
        update(named, rates, ema, table=table, seen=seen, warmup=50 * table.batch_size, clip=5.0)
        seen += table.batch_size
        losses.append(loss.detach())
        if len(losses) == SAVE_EVERY_BATCHES or seen >= table.total_images:
            log.write(seen, train_loss=float(torch.stack(losses).mean()))
            losses.clear()
            parts = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema.state()}
            save_state(folder, {**parts, "seen": seen})
    ema.copy_to(named)
    network.eval()
