"""How much faster M_d of a 1024x1024 picture is than the formula patch by patch, and than scikit-image.

    python benchmarks/perf/complexity.py [TIMES]

Ours and theirs run in turn in one process on one thread, on a smooth and on a noisy picture, and agree before they
are timed. Counts processor time, so that other work on the machine changes the ratio little. `ratio` is their time by
ours: the median over the times, on the picture where it is smaller. scikit-image's rank entropy slides pixel by pixel
only, so a stride of 16 means every sixteenth of its values. The last lines are one JSON object per figure.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from skimage.filters.rank import entropy as rank_entropy
from torch import Tensor

from likeness.focus.complexity import entropy, grey_levels

SIZE, PATCH = 1024, 16
LOOP_GOAL, LIBRARY_GOAL = 20.0, 1.0
TIMES = 5
Run = Callable[[], Tensor]


def pictures() -> dict[str, Tensor]:
    """A smooth picture and the same with noise of 20 grey levels, (1, 3, H, W) in [-1, 1]."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    noisy = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    arrays = {"smooth": smooth, "noisy": noisy}
    return {name: torch.from_numpy(a.copy()).permute(2, 0, 1)[None] / 127.5 - 1 for name, a in arrays.items()}


def literal_loop(pixels: Tensor) -> Tensor:
    """D2iT's estimator as printed: one patch after the other, all bins of a patch at once."""
    grey, bins = grey_levels(pixels)[0], torch.linspace(-1, 1, 32)
    result = torch.empty(SIZE // PATCH, SIZE // PATCH)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            values = grey[i * PATCH : (i + 1) * PATCH, j * PATCH : (j + 1) * PATCH].reshape(-1, 1)
            kernel = torch.exp(-0.5 * ((values - bins) / 0.01) ** 2).mean(0)
            p = kernel / (kernel.sum() + 1e-40) + 1e-40
            result[i, j] = -(p * p.log()).sum()
    return result


def library(pixels: Tensor, *, stride: int) -> Tensor:
    """scikit-image's entropy in nats of the 16 x 16 window that our patches have, at every `stride`th pixel."""
    grey = ((grey_levels(pixels)[0] + 1) * 127.5).round().to(torch.uint8).numpy()
    dense = rank_entropy(grey, np.ones((PATCH, PATCH), np.uint8)) * math.log(2)
    first = PATCH // 2 if stride == PATCH else 0  # its even window reaches 8 back and 7 ahead
    return torch.from_numpy(dense[first::stride, first::stride])


def seconds(run: Run) -> float:
    """Processor seconds of one call."""
    began = time.process_time()
    run()
    return time.process_time() - began


def ratio(ours: Run, theirs: Run, *, times: int) -> float:
    """Median of their time by ours, in turn, after one call of each."""
    ours(), theirs()
    return statistics.median(seconds(theirs) / seconds(ours) for _ in range(times))


def check(ours: Tensor, theirs: Tensor) -> None:
    """Both sides computed the same thing."""
    difference = (ours - theirs).abs().max().item()
    if not difference < 1e-4:
        sys.exit(
            f"complexity.py: expected equal entropies, got a difference of {difference}; the figures mean nothing."
        )


def figures(times: int) -> list[dict[str, object]]:
    """One row per comparison; the worse picture counts."""
    rows: dict[str, tuple[float, list[float]]] = {}
    for name, pixels in pictures().items():
        dense_ours = entropy(pixels, stride=1, kind="hist256")[0]
        check(entropy(pixels)[0], literal_loop(pixels))
        check(entropy(pixels, kind="hist256")[0], library(pixels, stride=PATCH))
        check(dense_ours[16:-16, 16:-16], library(pixels, stride=1)[17:-15, 17:-15])

        def loop(pixels: Tensor = pixels) -> Tensor:
            return literal_loop(pixels)

        sides: list[tuple[str, str, int, Run, float]] = [("loop", "kde32", PATCH, loop, LOOP_GOAL)]
        for kind in ("kde32", "hist256"):
            for stride in (PATCH, 1):

                def rank(pixels: Tensor = pixels, stride: int = stride) -> Tensor:
                    return library(pixels, stride=stride)

                sides.append(("scikit-image", kind, stride, rank, LIBRARY_GOAL))
        for other, kind, stride, theirs, goal in sides:

            def ours(pixels: Tensor = pixels, kind: str = kind, stride: int = stride) -> Tensor:
                return entropy(pixels, kind=kind, stride=stride)

            value = ratio(ours, theirs, times=times)
            title = f"M_d {kind}, window {PATCH}, stride {stride}, against {other}"
            print(f"{title}, {name} picture: {value:.2f} times as fast", flush=True)
            rows.setdefault(title, (goal, []))[1].append(value)
    return [
        {"name": title, "ratio": round(min(values), 2), "goal": goal, "better": "higher", "n": times * len(values)}
        for title, (goal, values) in rows.items()
    ]


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else str(TIMES)
    if not wanted.isdigit() or int(wanted) < 1:
        sys.exit(f"complexity.py: expected a number of times of at least 1, got {wanted!r}; try {TIMES}.")
    torch.set_num_threads(1)
    for figure in figures(int(wanted)):
        print(json.dumps(figure))
