"""The training itself: steps, their numbers for the log, and a state from which a run goes on bit by bit.

Nothing here depends on when it runs: the pairs, noise and times of a step follow from the seed and the step.
Several processes (accelerate) take their share of each batch; only the adapter's gradients travel between them.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple  # Any: nested optimizer state, JSON rows

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.lora import adapter_parameters
from likeness.core.errors import WeightsError
from likeness.objectives.pair import implicit_accuracy
from likeness.train.config import TrainConfig
from likeness.train.draws import PairOrder, draw_pair
from likeness.train.guard import SpikeGuard
from likeness.train.pairs.cache import PairCache
from likeness.train.pairs.step import ADAPTER, Batch, StepOutcome, collect_batch, compute_step
from likeness.train.schedule import Ema

__all__ = ["PreferenceTraining"]

BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
_SHIFT_NAMES = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
_ERRORS = ("policy_preferred", "policy_rejected", "ref_preferred", "ref_rejected")
_COLUMNS = ("loss", "anchor", "inside", *_ERRORS, "focus_share", "fused", "valid", "t")
NUM_DECILES = 10


class _Share(NamedTuple):
    """Which positions of the whole batch this process computes: `batches` micro-batches of `size` pairs."""

    size: int
    batches: int
    process: int
    processes: int

    @property
    def whole(self) -> int:
        """Pairs of one training step over all processes."""
        return self.size * self.batches * self.processes

    def positions(self, batch: int) -> range:
        """Those of micro-batch number `batch`."""
        first = (batch * self.processes + self.process) * self.size
        return range(first, first + self.size)


class PreferenceTraining:
    """A run in memory: the backbone with its adapter, the optimizer, the step it is at."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        backbone: FluxUno,
        cache: PairCache,
        accelerator: Accelerator,
        precision: torch.dtype,
    ) -> None:
        table = config.train
        self.config, self.backbone, self.cache, self.precision = config, backbone, cache, precision
        self.accelerator, self.step = accelerator, 0
        self.named = list(adapter_parameters(backbone.network, ADAPTER).items())
        self._parameters = [parameter for _, parameter in self.named]
        self._share = _Share(table.batch_size, table.accumulation, accelerator.process_index, accelerator.num_processes)
        self._order = PairOrder(cache.shapes, batch_size=self._share.whole, seed=table.seed)
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=table.rate, betas=BETAS, eps=ADAM_EPS, weight_decay=table.weight_decay, fused=True
        )
        self.ema = None if table.ema is None else Ema(self.named, decay=table.ema)
        self.guard = SpikeGuard(factor=table.spike_factor)
        stock = backbone.parts.scheduler.config
        self._shift = {name: stock[name] for name in _SHIFT_NAMES if name in stock}

    # one step --------------------------------------------------------------------------------------------------------

    def train_step(self, *, checkpoint: str) -> dict[str, Any]:
        """One update; returns its row of the log. `checkpoint` is named when the guard stops the run.

        Raises: DivergenceError before the update, so that the adapter is still that of the step before.
        """
        began = time.perf_counter()
        chosen = self._order.batch(self.step)
        tables: list[Tensor] = []
        for number in range(self._share.batches):
            batch = self.batch_of(chosen, self._share.positions(number))
            outcome = self.compute(batch)
            (outcome.total / self._share.batches).backward()
            tables.append(_table(batch, outcome))
        self._average_gradients()
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self.config.train.clip))
        pairs: Tensor = self.accelerator.gather(torch.cat(tables))  # pyright: ignore[reportAssignmentType] any tree
        row = _summary(pairs)
        watched = {"loss": row["loss"] + (row["anchor"] or 0.0), "gradient norm": norm}
        self.guard.check(self.step + 1, watched, checkpoint=checkpoint)
        rate = self._update()
        self.step += 1
        place = {"step": self.step, "num_pairs_seen": self.step * self._share.whole}
        timing = {"gradient_norm": norm, "learning_rate": rate, "seconds": round(time.perf_counter() - began, 4)}
        return {**place, **row, **timing}

    def batch_of(self, chosen: Sequence[int], positions: Sequence[int]) -> Batch:
        """The pairs at `positions` of a step's batch `chosen`, with the noise and times of those positions."""
        table = self.config.train
        pairs = [self.cache[chosen[position]] for position in positions]
        draws = [
            draw_pair(
                seed=table.seed,
                step=self.step,
                position=position,
                shape=(pair.preferred.shape[0], pair.preferred.shape[1], pair.preferred.shape[2]),
                sampler=table.t_sampler,
                shift=self._shift,
            )
            for pair, position in zip(pairs, positions, strict=True)
        ]
        return collect_batch(pairs, draws, backbone=self.backbone, guidance=table.guidance)

    def compute(self, batch: Batch) -> StepOutcome:
        """The loss of a micro-batch under this run's objective."""
        config = self.config
        return compute_step(
            self.backbone, batch, objective=config.objective, focus=config.focus, precision=self.precision
        )

    def _average_gradients(self) -> None:
        """Mean over processes; one process has nothing to do."""
        if self._share.processes == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters]
        flat: Tensor = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")  # pyright: ignore[reportAssignmentType] any tree
        for parameter, part in zip(self._parameters, flat.split([g.numel() for g in gradients]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def _update(self) -> float:
        """Applies the gradients and returns the learning rate used."""
        table = self.config.train
        rate = table.rate * min(1.0, (self.step + 1) / max(table.warmup, 1))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.named)
        return rate

    # state -----------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened; the random state is kept though nothing reads it."""
        return {
            "adapter": {name: parameter.detach() for name, parameter in self.named},
            "optimizer": self._optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.state(),
            "guard": self.guard.state(),
            "rng": torch.get_rng_state(),
            "step": self.step,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any], *, where: str) -> None:
        """Goes on from a saved state. Raises: WeightsError when it belongs to another adapter."""
        saved = state["adapter"]
        wrong = [n for n, p in self.named if n not in saved or saved[n].shape != p.shape]
        if wrong or len(saved) != len(self.named) or (state["ema"] is None) != (self.ema is None):
            got = f"one that differs in {wrong[0]}" if wrong else "one of another adapter"
            raise WeightsError(f"{where}: expected a state of this run, got {got}; use a new run folder.")
        for name, parameter in self.named:
            parameter.copy_(saved[name])
        self._optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.restore(state["ema"])
        self.guard.restore(state["guard"])
        torch.set_rng_state(state["rng"])
        self.step = state["step"]


# numbers of a step ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def _table(batch: Batch, outcome: StepOutcome) -> Float[Tensor, "B columns"]:
    """One row per pair; what the objective does not have is NaN."""
    maps = outcome.maps
    columns: dict[str, Tensor] = {"loss": outcome.loss.detach().expand(batch.size), "t": batch.t, **outcome.errors}
    if outcome.anchor is not None:
        columns["anchor"] = outcome.anchor.detach().expand(batch.size)
    if outcome.inside is not None:
        columns["inside"] = outcome.inside
    if maps is not None:
        columns |= {"focus_share": maps.focus_share, "fused": maps.fused, "valid": maps.valid}
    nothing = torch.full((batch.size,), torch.nan, device=batch.t.device)
    return torch.stack([columns.get(name, nothing).float() for name in _COLUMNS], dim=1)


def _summary(pairs: Float[Tensor, "pairs columns"]) -> dict[str, Any]:
    """Means over pairs for the log; null where nothing was measured."""
    columns = dict(zip(_COLUMNS, pairs.double().cpu().unbind(1), strict=True))
    inside = columns["inside"]
    row: dict[str, Any] = {"loss": float(columns["loss"].mean()), "anchor": _mean(columns["anchor"])}
    row["inside"] = _mean(inside)
    row["accuracy"] = None if bool(inside.isnan().all()) else float(implicit_accuracy(inside).mean())
    row["errors"] = {name: _mean(columns[name]) for name in _ERRORS}
    row["focus_share"] = _mean(columns["focus_share"])
    row["focus_share_by_t"] = _by_decile(columns["t"], columns["focus_share"])
    return {**row, "fused": _mean(columns["fused"]), "valid": _mean(columns["valid"]), "t": float(columns["t"].mean())}


def _mean(values: Float[Tensor, " pairs"]) -> float | None:
    kept = values[~values.isnan()]
    return float(kept.mean()) if len(kept) else None


def _by_decile(t: Float[Tensor, " pairs"], values: Float[Tensor, " pairs"]) -> dict[str, list[float]] | None:
    """Sums and counts for t in [0, 0.1), [0.1, 0.2) ... so that any stretch of the log can be averaged."""
    kept = ~values.isnan()
    if not bool(kept.any()):
        return None
    decile = (t[kept] * NUM_DECILES).long().clamp(0, NUM_DECILES - 1)
    empty = torch.zeros(NUM_DECILES, dtype=torch.float64)
    sums = empty.index_add(0, decile, values[kept])
    counts = empty.index_add(0, decile, torch.ones_like(values[kept]))
    return {"sum": sums.tolist(), "count": counts.tolist()}
