"""Memory and time of preference steps with reference pictures at published sizes, measured on a GPU beside the plan.

    python benchmarks/perf/dpo_memory.py             # FLUX.1-dev, FLUX.2-klein-base-4B, SDXL
    python benchmarks/perf/dpo_memory.py --plan-only # what the plan counts, for which no GPU is needed

The networks have the published shapes and random weights in bf16: memory and time do not depend on values. A step is
that of `likeness train` from encoded pairs: the reference policy's pass, the policy's, loss, backward, clipping, AdamW
on a LoRA of rank 32; one pair of `size` px with references of 512 px when alone and 320 px otherwise, as UNO has them.
FLUX carries UNO's frozen adapter of rank 512. `peak` is what torch's allocator gave out at most, CUDA's own memory not
counted; `planned` is what `likeness train --plan` counts for the same step. Prints one JSON object per row.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.append(str(Path(__file__).parents[2] / "tests" / "helpers"))
from published_configs import write_configs

from likeness.backbones.lora import add_adapter, layer_shapes
from likeness.backbones.open import backbone_class
from likeness.core.devices import describe_devices, pick_device
from likeness.objectives import objective_of
from likeness.train.optimizer import make_optimizer
from likeness.train.pairs.cache import CachedPair
from likeness.train.pairs.step import collect_batch, compute_step
from likeness.train.plan.memory import GIB, Choice, Counts, count_base, training_memory
from likeness.train.plan.step import FROZEN, PairShape, StepSettings, cached_pair, step_cost
from likeness.train.task import Draw
from likeness.train.trainable.lora import LoraAdapter

RANK, WARM, TIMED = 32, 2, 5


class Model(NamedTuple):
    """What is measured: the folder's pipeline, and the rank of the adapter that it carries frozen."""

    name: str
    pipeline: str
    frozen_rank: int


class Row(NamedTuple):
    """One line of the table."""

    model: Model
    objective: str
    size: int
    references: int
    checkpointing: bool

    def shape(self) -> PairShape:
        """The pair."""
        side = 512 if self.references == 1 else 320
        return PairShape((self.size, self.size), ((side, side),) * self.references)


FLUX = Model("FLUX.1-dev + UNO", "FluxPipeline", 512)
KLEIN = Model("FLUX.2-klein-base-4B", "Flux2KleinPipeline", 0)
SDXL = Model("SDXL + IP-Adapter-Plus", "StableDiffusionXLPipeline", 0)


def rows() -> Iterator[Row]:
    """The table, the smallest model first."""
    for model in (SDXL, KLEIN, FLUX):
        yield Row(model, "sft", 512, 2, checkpointing=True)
        yield from (Row(model, "dpo", 512, count, checkpointing=True) for count in (0, 1, 2))
        yield Row(model, "focus_dpo", 512, 2, checkpointing=True)
        yield Row(model, "dpo", 512, 2, checkpointing=False)
        yield Row(model, "focus_dpo", 512, 2, checkpointing=False)
        yield Row(model, "focus_dpo", 1024, 2, checkpointing=True)


def opened(model: Model, folder: Path, *, device: str) -> Any:  # a Backbone
    """The backbone with random weights on the device, and its frozen adapter."""
    backbone: Any = backbone_class(folder).sketch(folder, dtype=torch.bfloat16)
    if model.frozen_rank:
        rank = model.frozen_rank
        add_adapter(backbone.network, facts=backbone.facts, rank=rank, alpha=float(rank), name=FROZEN)
    backbone.network.to_empty(device=device)
    backbone.network.to(torch.bfloat16)
    for name, parameter in backbone.network.named_parameters():
        parameter.requires_grad_(False)
        torch.nn.init.ones_(parameter) if "norm" in name else torch.nn.init.normal_(parameter, std=0.02)
    backbone.runs_on(torch.device(device))
    return backbone


def random_pair(backbone: Any, shape: PairShape, generator: torch.Generator) -> CachedPair:
    """A pair as it lies in the cache, of noise; the upper half of the picture is the first subject's."""
    pair = cached_pair(backbone, shape)

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator).to(like.dtype)

    shares = torch.zeros_like(pair.subject_shares)
    shares[:, : shares.shape[-1] // 2] = 1
    condition = {name: noise(tensor) for name, tensor in pair.condition.items()}
    latents = {"preferred": noise(pair.preferred), "rejected": noise(pair.rejected)}
    complexity = torch.rand(pair.complexity.shape, generator=generator)
    return replace(pair, condition=condition, subject_shares=shares, complexity=complexity, **latents)


def planned(row: Row, folder: Path) -> float:
    """GiB that the plan counts for the step."""
    sketch = lambda: backbone_class(folder).sketch(folder, dtype=torch.bfloat16)  # noqa: E731
    objective: Any = objective_of(row.objective).model_validate({"kind": row.objective})
    settings = StepSettings(objective, RANK, row.model.frozen_rank, torch.bfloat16, 1, row.checkpointing)
    cost = step_cost(sketch, row.shape(), settings)
    backbone: Any = sketch()
    base, in_blocks, largest = count_base(backbone.network)
    sides = [side for side, _ in _tuned(backbone)]
    frozen = row.model.frozen_rank * sum(sides)
    counts = Counts(base, in_blocks, largest, frozen, tuple(RANK * side for side in sides))
    choice = Choice(1, 1, row.checkpointing, "adamw")
    return sum(training_memory(counts, cost, choice, precision=torch.bfloat16, averages=0).values()) / GIB


def _tuned(backbone: Any) -> list[tuple[int, str]]:
    import re

    layers = layer_shapes(backbone.network)
    return [
        (side, name)
        for name, shape in layers.items()
        if re.fullmatch(backbone.facts.adapter_targets, name)
        for side in shape
    ]


def measure(row: Row, folder: Path, *, device: str) -> dict[str, Any]:
    """Seconds of a step, the median of TIMED, and the peak in GiB where the device tells."""
    backbone = opened(row.model, folder, device=device)
    trainable = LoraAdapter(backbone, rank=RANK, alpha=float(RANK), init_seed=0)
    parameters = [parameter for _, parameter in trainable.named]
    if row.checkpointing:
        backbone.network.enable_gradient_checkpointing()
    backbone.network.train()
    optimizer = make_optimizer("adamw", parameters, rate=1e-5, weight_decay=0.0, shared=False)
    objective: Any = objective_of(row.objective).model_validate({"kind": row.objective})
    generator = torch.Generator().manual_seed(0)
    pair = random_pair(backbone, row.shape(), generator)
    draw = Draw(torch.randn(pair.preferred.shape, generator=generator), 0.5)
    seconds: list[float] = []
    is_cuda = device.startswith("cuda")
    for _ in range(WARM + TIMED):
        if is_cuda:
            torch.cuda.synchronize()
        begun = time.perf_counter()
        batch = collect_batch([pair], [draw], backbone=backbone, guidance=1.0)
        found, _ = compute_step(backbone, batch, objective=objective, trainable=trainable, precision=torch.bfloat16)
        found.loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() / GIB if is_cuda else float("nan")
    return {"seconds": round(statistics.median(seconds[WARM:]), 4), "peak": round(peak, 2), "n": TIMED}


def main() -> None:
    """Prints a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="store_true", help="also count each row as `likeness train --plan` does")
    parser.add_argument("--plan-only", action="store_true")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no new row is begun after so many")
    given = parser.parse_args()
    device = pick_device()
    print(json.dumps({"device": describe_devices()[0].description, "torch": torch.__version__}), flush=True)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        for row in rows():
            if time.perf_counter() - begun > given.seconds:
                print(json.dumps({"stopped": "time is over"}))
                return
            folder = Path(place) / row.model.pipeline
            if not folder.is_dir():
                write_configs(folder, row.model.pipeline)
            told: dict[str, Any] = {**row._asdict(), "model": row.model.name}
            if not given.plan_only:
                if device == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                told |= measure(row, folder, device=device)
            if given.plan or given.plan_only:
                told["planned"] = round(planned(row, folder), 2)
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
