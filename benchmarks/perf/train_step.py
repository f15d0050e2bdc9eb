"""What a training step costs: FocusDPO against DPO, DPO against the bare passes, cached pairs against encoding anew.

    python benchmarks/perf/train_step.py [STEPS]

One process, the embedded generator, random pairs of two references at 128 px. Two kinds of steps alternate and each
ratio is the median of the ratios of neighbours, so that a busy machine slows both alike. Peak memory is the peak
resident size of one process per objective (on CUDA: what the allocator gave). Prints one JSON object per figure.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MODEL, SIZE, REFERENCE = "flux", 128, 80
PAIRS, BATCH, STEPS, WARM = 8, 4, 30, 3
MEMORY_STEPS = 6


def write_pairs(folder: Path) -> Path:
    """Pairs of noise pictures with two subjects, the first disrupted."""
    rng, lines = np.random.default_rng(0), []
    folder.mkdir(parents=True)

    def save(name: str, pixels: np.ndarray) -> str:
        Image.fromarray(pixels).save(folder / name)
        return name

    def noise(side: int) -> np.ndarray:
        return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)

    for index in range(PAIRS):
        references, subjects = [], []
        for number in range(2):
            mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
            mask[32:96, 64 * number : 64 * number + 64] = 255
            image = save(f"{index}-ref{number}.png", noise(REFERENCE))
            references.append({"image": image, "phrase": "a cat", "category": "animal"})
            left = 0.5 * number
            facts = {"phrase": "a cat", "reference_index": number, "box": [left, 0.25, left + 0.5, 0.75]}
            subjects.append({**facts, "mask": save(f"{index}-mask{number}.png", mask), "disrupted": number == 0})
        pictures = {name: save(f"{index}-{name}.png", noise(SIZE)) for name in ("preferred", "rejected")}
        row = {"id": f"p{index}", "subset": "multi", "category": "animal", "prompt": "a cat hugs a dog in the snow"}
        row |= {"references": references, "subjects": subjects, "prior_mask": subjects[0]["mask"]}
        lines.append(json.dumps({**row, **pictures, "size": [SIZE, SIZE]}))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return folder


def prepare(pairs: Path, *, device: str) -> Callable[[str], Any]:
    """Makes trainings by objective, which share one model, one adapter and one cache."""
    import torch
    from accelerate import Accelerator

    from likeness.backbones.open import open_backbone
    from likeness.core.weights import resolve_weights
    from likeness.objectives import objective_of
    from likeness.train.config import ModelTable, TrainConfig, TrainTable
    from likeness.train.loop import Training
    from likeness.train.pairs.task import DataTable, PairsTask
    from likeness.train.run import pick_precision
    from likeness.train.trainable.lora import LoraAdapter

    precision = pick_precision("auto", device=device)
    backbone: Any = open_backbone(MODEL, device=device, dtype=precision)
    backbone.encode_exactly()
    trainable = LoraAdapter(backbone, rank=32, alpha=32, init_seed=0)
    accelerator = Accelerator(cpu=device == "cpu")

    def training(kind: str) -> Any:
        config = TrainConfig(
            model=ModelTable(base=MODEL),
            data=DataTable(pairs=str(pairs)),
            objective=objective_of(kind)(),
            train=TrainTable(batch_size=BATCH, learning_rate=1e-6),
        )
        task = PairsTask.find(config, model=resolve_weights(MODEL), precision=precision)
        task.prepare(backbone, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
        return Training(config, task=task, backbone=backbone, trainable=trainable, accelerator=accelerator)

    del torch
    return training


def seconds(action: Callable[[], object]) -> float:
    """Wall time of the action, the device's work included."""
    import torch

    began = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def ratio(first: Callable[[], object], second: Callable[[], object], *, count: int) -> float:
    """Median over `count` neighbours of seconds of `first` / seconds of `second`; the order changes each time."""
    found: list[float] = []
    for number in range(WARM + count):
        if number % 2:
            below, above = seconds(second), seconds(first)
        else:
            above, below = seconds(first), seconds(second)
        found.append(above / below)
    return statistics.median(found[WARM:])


def bare_passes(training: Any) -> Callable[[], None]:
    """The passes DPO cannot do without, on one batch made before: reference policy, policy, backward."""
    import torch

    from likeness.train.pairs.step import autocast
    from likeness.train.run import pick_precision

    precision = pick_precision("auto", device=str(next(training.backbone.network.parameters()).device))
    backbone, batch = training.backbone, training.batch_of(list(range(BATCH)), range(BATCH))
    condition = batch.condition.select([*range(BATCH)] * 2)
    x_t, t = torch.cat([batch.preferred, batch.rejected]), batch.t.repeat(2)

    def passes() -> None:
        with autocast(backbone, precision):
            with torch.no_grad(), training.trainable.off():
                backbone.predict(x_t, t, condition)
            answer = backbone.predict(x_t, t, condition)
        answer.float().square().mean().backward()
        for _, parameter in training.named:
            parameter.grad = None

    return passes


def encoding_step(training: Any, pairs: Path) -> Callable[[], None]:
    """A DPO step that encodes its pictures and text first, as UNO's and diffusers' training scripts do."""
    from likeness.core.pairs import read_pairs
    from likeness.train.pairs.encode import EncodeSettings, encode_pair

    rows, settings = read_pairs(pairs).pairs, EncodeSettings(None, "unused", "kde32")

    def step() -> None:
        for row in rows[:BATCH]:
            encode_pair(training.backbone, row, settings=settings)
        training.train_step(checkpoint="none")

    return step


def peak_memory(objective: str, pairs: Path, *, device: str) -> float:
    """Bytes at the peak of a few steps; call it in a fresh process."""
    import torch

    training = prepare(pairs, device=device)(objective)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(MEMORY_STEPS):
        training.train_step(checkpoint="none")
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_in_process(objective: str, pairs: Path) -> float:
    """`peak_memory` of a process of its own."""
    command = [sys.executable, __file__, "--memory", objective, str(pairs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main(count: int) -> None:
    """Prints the figures."""
    from likeness.core.devices import pick_device

    device = pick_device()
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder) / "pairs")
        training = prepare(pairs, device=device)
        focus, dpo = training("focus_dpo"), training("dpo")

        def focus_step() -> None:
            focus.train_step(checkpoint="none")

        def dpo_step() -> None:
            dpo.train_step(checkpoint="none")

        lower, higher = {"better": "lower", "n": count}, {"better": "higher", "n": count}
        memory = memory_in_process("focus_dpo", pairs) / memory_in_process("dpo", pairs)
        figures = [
            ("FocusDPO step / DPO step", ratio(focus_step, dpo_step, count=count), 1.05, lower),
            ("FocusDPO peak memory / DPO peak memory", memory, 1.03, {"better": "lower", "n": 1}),
            ("DPO step / bare passes", ratio(dpo_step, bare_passes(dpo), count=count), 1.05, lower),
            ("encoding each step / cached", ratio(encoding_step(dpo, pairs), dpo_step, count=count), 1.5, higher),
        ]
    for name, value, goal, facts in figures:
        print(json.dumps({"name": name, "ratio": round(value, 4), "goal": goal, **facts}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        from likeness.core.devices import pick_device

        print(peak_memory(sys.argv[2], Path(sys.argv[3]), device=pick_device()))
    else:
        wanted = sys.argv[1] if len(sys.argv) > 1 else str(STEPS)
        if not wanted.isdigit() or int(wanted) < 1:
            sys.exit(f"train_step.py: expected a number of steps of at least 1, got {wanted!r}; try {STEPS}.")
        main(int(wanted))
