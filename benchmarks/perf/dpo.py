"""A DPO step on SDXL against the step of diffusers' public script, and a FocusDPO step against a DPO step.

    python benchmarks/perf/dpo.py [STEPS] [fp32|bf16]

The model is a random SDXL at a fifth of its width (U-Net 64, 128, 256 channels with SDXL's 70 transformer blocks, VAE
25, 50, 100, 100), with an IP-Adapter-Plus; pictures of 256 px, one pair with one reference a step. Their step is
tests/helpers/public_dpo.py, which says what it does and leaves out; ours is `likeness train`'s, from its cache. Both
train the same LoRA by the same AdamW on the same U-Net, each side's loaded from the folder, in one process, on as many
threads. In bf16 U-Net and text encoders are bf16 under autocast and the VAE is fp32, as the script keeps it for mixed
precision, which its README asks for; losses then differ by what bf16 rounds, times beta, and are not compared.

"as it works": pictures are read, and pictures and prompts encoded, at every step. "pre-encoded": latents and text lie
in memory, ours on disk. In fp32 both first take the same steps from the same noise, and losses are compared. Then
kinds of steps alternate, and each ratio is the median of the ratios of neighbours, of processor time on a CPU, so that
other work on the machine changes it little. Prints one JSON object per figure. The last one says that encoding is no
dearer here, beside a pass of the U-Net, than in SDXL, where it is 0.70 at 512 px (counted on the meta device).
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

sys.path.append(str(Path(__file__).parents[2] / "tests" / "helpers"))
from public_dpo import Encoded, EncodedPairs, PairFiles, Pictures, PublicDpo
from tiny_sdxl import build_tiny_sdxl

from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.core.devices import pick_device
from likeness.core.pairs import read_pairs
from likeness.objectives import objective_of
from likeness.train.config import ModelTable, TrainConfig, TrainTable
from likeness.train.draws import RowOrder
from likeness.train.loop import Training
from likeness.train.pairs.step import Batch, collect_batch
from likeness.train.pairs.task import DataTable, PairsTask
from likeness.train.task import Draw
from likeness.train.trainable.lora import ADAPTER, LoraAdapter

SIZE, REFERENCE, PAIRS, BATCH = 256, 64, 8, 1
RANK, BETA, RATE = 8, 5000.0, 1e-5
STEPS, WARM, COMPARED = 20, 2, 3
UNET: dict[str, Any] = {
    "block_out_channels": (64, 128, 256), "layers_per_block": 2, "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (1, 2, 4), "norm_num_groups": 16,
}  # fmt: skip
VAE: dict[str, Any] = {
    "block_out_channels": (25, 50, 100, 100), "layers_per_block": 2, "norm_num_groups": 25,
    "mid_block_add_attention": True, "sample_size": SIZE,
}  # fmt: skip
ENCODER_SHARE = 0.70
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Step = Callable[[], object]


def write_pairs(folder: Path) -> Path:
    """Pairs of noise pictures with one subject in the middle, which is another one in the rejected picture."""
    rng, lines = np.random.default_rng(0), list[str]()
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = 255

    def save(name: str, pixels: np.ndarray) -> str:
        Image.fromarray(pixels).save(folder / name)
        return name

    folder.mkdir(parents=True)
    facts = {"phrase": "a cat", "category": "animal"}
    for index in range(PAIRS):
        preferred = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        rejected = np.where(mask[..., None] > 0, rng.integers(0, 256, preferred.shape, dtype=np.uint8), preferred)
        reference = save(f"{index}-ref.png", rng.integers(0, 256, (REFERENCE, REFERENCE, 3), dtype=np.uint8))
        subject = {"phrase": "a cat", "reference_index": 0, "box": [0.25, 0.25, 0.75, 0.75], "disrupted": True}
        prior = save(f"{index}-mask.png", mask)
        row = {"id": f"p{index}", "subset": "single", "category": "animal", "prompt": "a red fox waves on the beach"}
        row |= {"references": [{"image": reference, **facts}], "subjects": [{**subject, "mask": prior}]}
        row |= {"preferred": save(f"{index}-w.png", preferred), "rejected": save(f"{index}-l.png", rejected)}
        lines.append(json.dumps({**row, "prior_mask": prior, "size": [SIZE, SIZE]}))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return folder


class Sides:
    """Both sides on one model: our trainings by objective, which share an adapter, and the script's."""

    def __init__(self, place: Path, *, device: str, precision: Literal["fp32", "bf16"]) -> None:
        self.precision: Literal["fp32", "bf16"] = precision
        dtype = DTYPES[precision]
        self.model = build_tiny_sdxl(place / "sdxl", unet=UNET, vae=VAE)
        self.pairs = write_pairs(place / "pairs")
        self.backbone = SdxlIpAdapter.load(self.model, device=device, dtype=dtype)
        self.backbone.encode_exactly()
        mixed = "no" if precision == "fp32" else precision
        self.accelerator = Accelerator(cpu=device == "cpu", mixed_precision=mixed)
        unet: Any = SdxlIpAdapter.load(self.model, device=device, dtype=dtype).network
        self.trainable = LoraAdapter(self.backbone, rank=RANK, alpha=RANK, init_seed=0)
        self._shake()
        targets = self.backbone.facts.adapter_targets
        self.theirs = PublicDpo(
            unet,
            parts=self.backbone.parts,
            targets=targets,
            rank=RANK,
            beta=BETA,
            rate=RATE,
            accelerator=self.accelerator,
        )
        self.theirs.take(self.trainable.named, adapter=ADAPTER)

    def _shake(self) -> None:
        """The policy is no longer the reference policy, so that losses are not all ln 2."""
        generator = torch.Generator().manual_seed(1)
        for name, parameter in self.trainable.named:
            if "lora_B" in name:
                parameter.data += 0.003 * torch.randn(parameter.shape, generator=generator).to(parameter.device)

    def training(self, kind: str) -> Training:
        """Ours by one objective, its pairs encoded."""
        config = TrainConfig(
            model=ModelTable(base=str(self.model)),
            data=DataTable(pairs=str(self.pairs)),
            objective=objective_of(kind).model_validate({"kind": kind, "beta": BETA}),
            train=TrainTable(batch_size=BATCH, learning_rate=RATE, warmup=0, precision=self.precision),
        )
        task = PairsTask.find(config, model=self.model, precision=DTYPES[self.precision])
        task.prepare(self.backbone, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
        parts: dict[str, Any] = {
            "backbone": self.backbone,
            "trainable": self.trainable,
            "accelerator": self.accelerator,
        }
        return Training(config, task=task, **parts)

    def encoded_pairs(self, task: PairsTask) -> list[Encoded]:
        """Our encoded pairs one by one as the script has them."""
        no_noise = Draw(torch.zeros(task.shapes[0][0]), 0.5)
        batches = [
            collect_batch([task.cache[row]], [no_noise], backbone=self.backbone, guidance=1.0)
            for row in range(len(task))
        ]
        return [Encoded(in_script(batch).latents, *(part[0] for part in in_script(batch)[1:])) for batch in batches]

    def files(self, encoded: list[Encoded]) -> list[PairFiles]:
        """The pairs on disk, with image tokens made before."""
        rows = read_pairs(self.pairs).pairs
        return [
            PairFiles(row.preferred, row.rejected, row.prompt, each.image_tokens)
            for row, each in zip(rows, encoded, strict=True)
        ]


def in_script(batch: Batch) -> Encoded:
    """A batch of ours as the script feeds the U-Net."""
    sizes = batch.preferred.new_tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]]).repeat(batch.size, 1)
    tokens = torch.stack(batch.condition.references, dim=1)
    text = batch.condition.text
    return Encoded(torch.cat([batch.preferred, batch.rejected]), text.embeds, text.pooled, sizes, tokens)


def largest_difference(sides: Sides, ours: Training) -> float:
    """Between the losses of COMPARED steps that both take from the same adapter and noise."""
    order = RowOrder(ours.task.shapes, batch_size=BATCH, seed=ours.config.train.seed)
    found = list[float]()
    for number in range(COMPARED):
        batch: Batch = ours.batch_of(order.batch(number), range(BATCH))
        row = ours.train_step(checkpoint="none")
        log = sides.theirs.step(in_script(batch), noise=batch.eps, steps=(batch.t * 1000).long())
        print(f"step {number + 1}: their loss {log['loss']:.7f}, ours {row['loss']:.7f}", flush=True)
        found.append(abs(log["loss"] - row["loss"]))
    return max(found)


def encoder_share(backbone: SdxlIpAdapter) -> float:
    """FLOPs of encoding a picture by those of a pass of the U-Net, without adapters and image tokens."""
    unet, vae = (type(part).from_config(part.config) for part in (backbone.network, backbone.parts.vae))
    unet.encoder_hid_proj, unet.config["encoder_hid_dim_type"] = None, None
    grid, width, pooled = SIZE // 8, unet.config["cross_attention_dim"], backbone.parts.text_encoder_2.config
    added = {"text_embeds": torch.zeros(1, int(pooled.projection_dim or 0)), "time_ids": torch.zeros(1, 6)}
    text = torch.zeros(1, backbone.parts.tokenizer.model_max_length, width)
    passes: list[Callable[[], object]] = [
        lambda: vae.encode(torch.zeros(1, 3, SIZE, SIZE)),
        lambda: unet(torch.zeros(1, 4, grid, grid), 1, text, added_cond_kwargs=added),
    ]
    counts = list[int]()
    for run in passes:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        counts.append(counter.get_total_flops())
    return counts[0] / counts[1]


def seconds(step: Step) -> float:
    """Of the processor; on CUDA wall time, the device's work included."""
    if not torch.cuda.is_available():
        began = time.process_time()
        step()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def times(steps: dict[str, Step], *, count: int) -> dict[str, list[float]]:
    """`count` times of every kind of step, in turn, in an order that changes each time."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for number in range(WARM + count):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            took = seconds(steps[name])
            if number >= WARM:
                found[name].append(took)
    return found


def main(count: int, precision: Literal["fp32", "bf16"]) -> None:
    """Prints the figures."""
    device = pick_device()
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(Path(folder), device=device, precision=precision)
        dpo, focus = sides.training("dpo"), sides.training("focus_dpo")
        difference = largest_difference(sides, dpo) if precision == "fp32" else None
        encoded = sides.encoded_pairs(dpo.task)  # pyright: ignore[reportArgumentType] a task of pairs
        tokenizers = (sides.backbone.parts.tokenizer, sides.backbone.parts.tokenizer_2)
        pictures = Pictures(sides.files(encoded), tokenizers)
        theirs = sides.theirs
        ready: Iterator[Any] = theirs.batches(EncodedPairs(encoded), size=BATCH, seed=0)
        raw: Iterator[Any] = theirs.batches(pictures, size=BATCH, seed=0)
        steps: dict[str, Step] = {
            "ours": partial(dpo.train_step, checkpoint="none"),
            "pre-encoded": lambda: theirs.step(next(ready)),
            "as it works": lambda: theirs.step(theirs.encode(next(raw))),
            "focus": partial(focus.train_step, checkpoint="none"),
        }
        found = times(steps, count=count)
        share = encoder_share(sides.backbone)

    def ratio(name: str) -> float:
        return statistics.median(one / own for one, own in zip(found[name], found["ours"], strict=True))

    lower: dict[str, object] = {"better": "lower", "n": count}
    higher: dict[str, object] = {"better": "higher", "n": count}
    figures: list[tuple[str, dict[str, float], float, dict[str, object]]] = [
        (
            f"SDXL {precision}: the script's DPO step, pre-encoded / ours",
            {"ratio": round(ratio("pre-encoded"), 4)},
            1.0,
            higher,
        ),
        (
            f"SDXL {precision}: the script's DPO step, as it works / ours",
            {"ratio": round(ratio("as it works"), 4)},
            1.3,
            higher,
        ),
        (f"SDXL {precision}: FocusDPO step / DPO step", {"ratio": round(ratio("focus"), 4)}, 1.05, lower),
        (
            "SDXL, this size: FLOPs of encoder / U-Net",
            {"value": round(share, 3)},
            ENCODER_SHARE,
            {"better": "lower", "n": 1},
        ),
    ]
    if difference is not None:
        compared: dict[str, object] = {"better": "lower", "n": COMPARED}
        figures.append(
            ("SDXL fp32: losses on the same noise, largest difference", {"value": difference}, 1e-5, compared)
        )
    for name, value, goal, facts in figures:
        print(json.dumps({"name": name, **value, "goal": goal, **facts}))


if __name__ == "__main__":
    count, precision = [*sys.argv[1:], *(str(STEPS), "fp32")[len(sys.argv) - 1 :]]
    if not count.isdigit() or int(count) < 1:
        sys.exit(f"dpo.py: expected a number of steps of at least 1, got {count!r}; try {STEPS}.")
    if precision not in DTYPES:
        sys.exit(f"dpo.py: expected fp32 or bf16, got {precision!r}; choose one.")
    main(int(count), "bf16" if precision == "bf16" else "fp32")
