"""What DreamRelation's losses cost: a step with joints and the predicate's attention against the plain LoRA step.

    python benchmarks/perf/relations_step.py [STEPS] [MEMORY_STEPS]

One process, the embedded SDXL, drawn examples at 128 px, batches of four. The two kinds of steps alternate, all times
below the threshold for joints, and the ratio is the median of the ratios of neighbours, so that a busy machine slows
both alike. Then MEMORY_STEPS more steps: by how much what Python holds (tracemalloc) and the resident size grow from
half-way to the end. The published code keeps the maps of ten layers of every step. Prints one JSON object per figure.
"""

import gc
import json
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train_step import ratio

MODEL, SIZE = "sdxl", 128
EXAMPLES, BATCH, STEPS, MEMORY_STEPS = 8, 4, 30, 500
TIME = 0.2
RATIO_LIMIT = 1.15
LEFT_BEHIND = {"python": 1_000, "resident": 20_000}
"""Most bytes a step; the maps that the published code keeps are megabytes."""


def prepare(
    examples: Path, *, keypoint_weight: float, attention_weight: float, shared: dict[str, Any], batch_size: int = BATCH
) -> Any:
    """A step (forward, backward, optimizer) of a task with these weights; tasks share the model and its adapter."""
    import torch

    from likeness.core.weights import resolve_weights
    from likeness.train.config import ModelTable, TrainConfig
    from likeness.train.relations.task import DataTable, Relation, RelationTask
    from likeness.train.task import Draw

    config = TrainConfig(
        task="relations",
        model=ModelTable(base=MODEL, rank=4, alpha=4.0),
        data=DataTable(relations=str(examples), size=SIZE),
        objective=Relation(keypoint_weight=keypoint_weight, attention_weight=attention_weight),
    )
    backbone, trainable = shared["backbone"], shared["trainable"]
    task = RelationTask.find(config, model=resolve_weights(MODEL), precision=torch.float32)
    task.prepare(backbone, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
    optimizer = torch.optim.AdamW([parameter for _, parameter in trainable.named], lr=1e-6)
    noise = torch.Generator().manual_seed(0)
    shape = task.shapes[0][0]
    rows = alike(task.shapes)[:batch_size]

    def step() -> None:
        draws = [Draw(torch.randn(shape, generator=noise), TIME) for _ in rows]
        batch = task.batch(rows, draws, backbone=backbone)
        task.step(batch, backbone=backbone, trainable=trainable).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def alike(shapes: Any) -> list[int]:
    """The rows that agree in shape with the first."""
    return [row for row, shape in enumerate(shapes) if shape == shapes[0]]


def resident_bytes() -> int:
    """The resident size of this process now, on Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def growth(step: Callable[[], None], *, count: int) -> dict[str, float]:
    """Bytes that a step of the last half of `count` left behind, in Python's objects and in the resident size."""
    held: list[tuple[int, int]] = []
    tracemalloc.start()
    for number in range(1, count + 1):
        step()
        if number in (count // 2, count):
            gc.collect()
            held.append((tracemalloc.get_traced_memory()[0], resident_bytes()))
    tracemalloc.stop()
    steps = count - count // 2
    return {name: (held[1][index] - held[0][index]) / steps for index, name in enumerate(LEFT_BEHIND)}


def main(count: int, memory_steps: int) -> None:
    """Prints the figures."""
    import torch

    from likeness.backbones.open import open_backbone
    from likeness.data.relations.world import make_world_relations
    from likeness.train.trainable.lora import LoraAdapter

    torch.set_num_threads(1)
    backbone: Any = open_backbone(MODEL, device="cpu", dtype="float32")
    shared = {"backbone": backbone, "trainable": LoraAdapter(backbone, rank=4, alpha=4.0, init_seed=0)}
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder) / "relations"
        make_world_relations(EXAMPLES, out=examples, actions=["hug"], size=SIZE)
        full = prepare(examples, keypoint_weight=0.1, attention_weight=0.001, shared=shared)
        plain = prepare(examples, keypoint_weight=0.0, attention_weight=0.0, shared=shared)
        figures = [("relation step / plain LoRA step", ratio(full, plain, count=count), RATIO_LIMIT, count)]
        grown = growth(full, count=memory_steps)
    what = f"bytes left behind by a step, {memory_steps} steps"
    figures += [(f"{name} {what}", value, LEFT_BEHIND[name], 1) for name, value in grown.items()]
    for name, value, goal, n in figures:
        print(json.dumps({"name": name, "value": round(value, 4), "goal": goal, "better": "lower", "n": n}))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*given, *(STEPS, MEMORY_STEPS)[len(given) :])
