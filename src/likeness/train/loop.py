"""The training itself: steps, their numbers for the log, and a state from which a run goes on bit by bit.

Nothing here depends on when it runs: the rows, noise and times of a step follow from the seed and the step. Nothing
here knows a task: it gives batches, losses and columns. Several processes (accelerate) take their share of each batch;
only the gradients of what is trained travel between them.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any  # Any: nested optimizer state, JSON rows, batches and conditions of any kind

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from likeness.core.errors import WeightsError
from likeness.train.config import TrainConfig
from likeness.train.draws import RowOrder, draw_row
from likeness.train.guard import SpikeGuard
from likeness.train.optimizer import make_optimizer
from likeness.train.schedule import Ema
from likeness.train.shards import Shards, whole_state
from likeness.train.task import Network, Step, Task, Trainable
from likeness.train.trainable.averaged import AveragedReference

NUM_DECILES = 10


class Training:
    """A run in memory: the backbone, what is trained of it, the optimizer, the step it is at.

    Raises: ConfigError for a law of times that the backbone does not have.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        task: Task[Any],
        backbone: Network,
        trainable: Trainable,
        accelerator: Accelerator,
        shards: Shards | None = None,
    ) -> None:
        table = config.train
        decay = task.reference_decay
        self.moving = None if decay is None else AveragedReference(trainable, decay=decay)
        self.trainable = self.moving or trainable
        self.config, self.task, self.accelerator, self.step = config, task, accelerator, 0
        self.backbone: Any = backbone  # a backbone for most tasks, which know which
        self.named = trainable.named
        self._parameters = [parameter for _, parameter in self.named]
        self._rows_per_step = table.batch_size * table.accumulation * accelerator.num_processes
        self._order = RowOrder(task.shapes, batch_size=self._rows_per_step, seed=table.seed)
        shares: Mapping[str, float] = getattr(trainable, "rate_shares", {})
        self._optimizer = make_optimizer(
            table.optimizer,
            self._parameters,
            rate=table.rate,
            weight_decay=table.weight_decay,
            shared=shards is not None and shards.optimizer,
            shares=[shares[name] for name, _ in self.named] if shares else (),
        )
        self.ema = None if table.ema is None else Ema(self.named, decay=table.ema)
        self.guard = SpikeGuard(factor=table.spike_factor)

    # one step --------------------------------------------------------------------------------------------------------

    def train_step(self, *, checkpoint: str) -> dict[str, Any]:
        """One update; returns its row of the log. `checkpoint` is named when the guard stops the run.

        Raises: DivergenceError before the update, so that the adapter is still that of the step before.
        """
        began, table = time.perf_counter(), self.config.train
        chosen = self._order.batch(self.step)
        tables: list[Tensor] = []
        for number in range(table.accumulation):
            first = (number * self.accelerator.num_processes + self.accelerator.process_index) * table.batch_size
            batch = self.batch_of(chosen, range(first, first + table.batch_size))
            found = self.task.step(batch, backbone=self.backbone, trainable=self.trainable)
            (found.loss / table.accumulation).backward()
            tables.append(_table(found, columns=self.task.columns))
        self._average_gradients()
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, table.clip))
        rows: Tensor = self.accelerator.gather(torch.cat(tables))  # pyright: ignore[reportAssignmentType] any tree
        row = _summary(rows, columns=self.task.columns, by_t=self.task.by_t)
        minimised = row["loss"] + sum(row[name] or 0.0 for name in self.task.added)
        self.guard.check(self.step + 1, {"loss": minimised, "gradient norm": norm}, checkpoint=checkpoint)
        rate = self._update()
        self.step += 1
        place = {"step": self.step, f"num_{self.task.noun}_seen": self.step * self._rows_per_step}
        timing = {"gradient_norm": norm, "learning_rate": rate, "seconds": round(time.perf_counter() - began, 4)}
        return {**place, **row, **timing}

    def batch_of(self, chosen: Sequence[int], positions: Sequence[int]) -> Any:
        """The task's batch of the rows at `positions` of a step's `chosen`, with the noise and times of those."""
        table, rows = self.config.train, [chosen[position] for position in positions]
        law = table.t_sampler or self.backbone.time_laws[0]
        draw = partial(draw_row, self.backbone, seed=table.seed, step=self.step, law=law)
        shapes = [self.task.shapes[row][0] for row in rows]
        draws = [draw(position=place, shape=shape) for place, shape in zip(positions, shapes, strict=True)]
        return self.task.batch(rows, draws, backbone=self.backbone)

    def _average_gradients(self) -> None:
        """Mean over processes; one process has nothing to do."""
        if self.accelerator.num_processes == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters]
        flat: Tensor = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")  # pyright: ignore[reportAssignmentType] any tree
        for parameter, part in zip(self._parameters, flat.split([g.numel() for g in gradients]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def _update(self) -> float:
        """Applies the gradients and returns the learning rate used; a group with a share gets that of it."""
        table = self.config.train
        rate = table.rate * min(1.0, (self.step + 1) / max(table.warmup, 1))
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        for average in self._averages.values():
            average.update(self.named)
        return rate

    def averaged(self) -> AbstractContextManager[None]:
        """Within it what is trained holds its average, where train.ema is set."""
        return nullcontext() if self.ema is None else self.ema.applied(self.named)

    # state -----------------------------------------------------------------------------------------------------------

    @property
    def _averages(self) -> dict[str, Ema]:
        """The moving averages there are, as the state calls them."""
        found = {"ema": self.ema, "reference": None if self.moving is None else self.moving.average}
        return {name: average for name, average in found.items() if average is not None}

    def state(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened; steps draw from named seeds, so no random state.

        All processes must ask; the main one's answer is whole.
        """
        return {
            "adapter": {name: parameter.detach() for name, parameter in self.named},
            "optimizer": whole_state(self._optimizer, is_main=self.accelerator.is_main_process),
            **{name: average.state() for name, average in self._averages.items()},
            "guard": self.guard.state(),
            "step": self.step,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any], *, where: str) -> None:
        """Goes on from a saved state. Raises: WeightsError when it belongs to another adapter."""
        saved = state["adapter"]
        wrong = [n for n, p in self.named if n not in saved or saved[n].shape != p.shape]
        others = any((state.get(name) is None) != (name not in self._averages) for name in ("ema", "reference"))
        if wrong or len(saved) != len(self.named) or others:
            got = f"one that differs in {wrong[0]}" if wrong else "one of another adapter"
            raise WeightsError(f"{where}: expected a state of this run, got {got}; use a new run folder.")
        for name, parameter in self.named:
            parameter.copy_(saved[name])
        self._optimizer.load_state_dict(state["optimizer"])
        for name, average in self._averages.items():
            average.restore(state[name])
        self.guard.restore(state["guard"])
        self.step = state["step"]


# numbers of a step ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def _table(step: Step, *, columns: Sequence[str]) -> Float[Tensor, "B columns"]:
    """One line per row of the micro-batch; what the step does not give is NaN."""
    nothing = torch.full_like(step.logged["loss"], torch.nan)
    return torch.stack([step.logged.get(name, nothing).float() for name in columns], dim=1)


def _summary(rows: Float[Tensor, "rows columns"], *, columns: Sequence[str], by_t: Sequence[str]) -> dict[str, Any]:
    """Means over rows for the log, "a/b" as b inside a; null where nothing was measured."""
    values = dict(zip(columns, rows.double().cpu().unbind(1), strict=True))
    row: dict[str, Any] = {}
    for name, column in values.items():
        group, slash, inner = name.partition("/")
        mean = float(column.mean()) if name == "loss" else _mean(column)  # a loss of NaN must reach the guard
        (row.setdefault(group, {}) if slash else row)[inner or name] = mean
        if name in by_t:
            row[f"{name}_by_t"] = _by_decile(values["t"], column)
    return row


def _mean(values: Float[Tensor, " rows"]) -> float | None:
    kept = values[~values.isnan()]
    return float(kept.mean()) if len(kept) else None


def _by_decile(t: Float[Tensor, " rows"], values: Float[Tensor, " rows"]) -> dict[str, list[float]] | None:
    """Sums and counts for t in [0, 0.1), [0.1, 0.2) ... so that any stretch of the log can be averaged."""
    kept = ~values.isnan()
    if not bool(kept.any()):
        return None
    decile = (t[kept] * NUM_DECILES).long().clamp(0, NUM_DECILES - 1)
    sums = decile.bincount(values[kept], minlength=NUM_DECILES)
    return {"sum": sums.tolist(), "count": decile.bincount(minlength=NUM_DECILES).double().tolist()}
