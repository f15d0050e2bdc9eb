"""A miniature model, pair set and recipe for preference runs; as a script, runs that are killed and continued.

    preference_runs.py RECIPE FOLDER COUNT SEED

makes COUNT run folders, each killed with SIGKILL at a random moment after a random step and then continued to its end.
This process loads libraries but never computes, so that forking it is safe. Prints how many runs were killed before
their end.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE, REFERENCE = 64, 32
CORPUS = ["a cat hugs a dog in the snow", "a red fox waves on the beach"]
NUMBERS = {
    "transformer": {
        "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": (4, 6, 6),
    },
    "vae": {"block_out_channels": (8, 8, 8, 8), "sample_size": SIZE},
    "clip": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
             "projection_dim": 32},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2},
    "likeness": {"size": SIZE, "reference_size_single": REFERENCE, "reference_size_multi": REFERENCE,
                 "max_sequence_length": 16, "default_steps": 2},
}  # fmt: skip
RECIPE: dict[str, dict[str, Any]] = {
    "model": {"rank": 4, "alpha": 4.0},
    "data": {},
    "objective": {"kind": "focus_dpo"},
    "train": {
        "steps": 4, "batch_size": 2, "learning_rate": 1e-3, "warmup": 2, "precision": "fp32", "save_every": 2,
        "log_maps_every": 100,
    },
}  # fmt: skip


def write_model(folder: Path) -> Path:
    from likeness.pretrain.tiny_flux import build_tiny_flux

    return build_tiny_flux(folder, corpus=CORPUS, config=NUMBERS)


def _noise(rng: np.random.Generator, side: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


def _save(pixels: np.ndarray, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path.name


def write_pairs(folder: Path, *, count: int = 8, seed: int = 0) -> Path:
    """Pairs with one and two subjects in turn; the first subject is disrupted inside its mask."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(_pair(folder, index, np.random.default_rng([seed, index]))) for index in range(count)]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _pair(folder: Path, index: int, rng: np.random.Generator) -> dict[str, Any]:
    name, num_subjects = f"p{index}", 1 + index % 2
    preferred = _noise(rng, SIZE)
    rejected = preferred.copy()
    rejected[16:48, :32] = _noise(rng, 32)
    references, subjects = [], []
    for number in range(num_subjects):
        mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
        mask[16:48, 32 * number : 32 * number + 32] = 255
        reference = {"image": _save(_noise(rng, REFERENCE), folder / f"{name}-ref{number}.png"), "phrase": "a cat"}
        references.append({**reference, "category": "animal"})
        subjects.append(
            {
                "phrase": "a cat",
                "reference_index": number,
                "mask": _save(mask, folder / f"{name}-mask{number}.png"),
                "box": [0.5 * number, 0.25, 0.5 * number + 0.5, 0.75],
                "disrupted": number == 0,
            }
        )
    return {
        "id": name,
        "subset": "single" if num_subjects == 1 else "multi",
        "category": "animal",
        "prompt": CORPUS[index % 2],
        "references": references,
        "preferred": _save(preferred, folder / f"{name}-preferred.png"),
        "rejected": _save(rejected, folder / f"{name}-rejected.png"),
        "subjects": subjects,
        "prior_mask": subjects[0]["mask"],
        "size": [SIZE, SIZE],
    }


def write_recipe(path: Path, *, model: Path, pairs: Path, **tables: dict[str, Any]) -> Path:
    """RECIPE with `tables` laid over it; preference objectives have a beta of 500."""
    merged = {name: values | tables.get(name, {}) for name, values in RECIPE.items()}
    if merged["objective"]["kind"] in ("dpo", "focus_dpo"):
        merged["objective"] = {"beta": 500.0, **merged["objective"]}
    merged["model"] = {"base": model.as_posix(), **merged["model"]}
    merged["data"] = {"pairs": pairs.as_posix(), **merged["data"]}
    lines: list[str] = []
    for name, values in merged.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    path.write_text("\n".join(lines))
    return path


def results(run: Path) -> dict[str, Any]:
    """Everything in a run folder that must not depend on interruptions."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    files = [*run.glob("lora/*"), *run.glob("inversion/*"), *run.glob("state/*"), *run.glob("maps/*.json")]
    return {
        "log": [{key: value for key, value in row.items() if key != "seconds"} for row in rows],
        **{file.relative_to(run).as_posix(): file.read_bytes() for file in files},
    }


def train(recipe: Path, out: Path, *changes: str) -> Any:
    """One run on the CPU."""
    from likeness.train.run import tune

    return tune(recipe, out=out, changes=changes, device="cpu")


def same(first: Path, second: Path, *, but: frozenset[str] = frozenset()) -> bool:
    """Whether two runs have the same results but for those named."""
    one, two = results(first), results(second)
    differing = {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
    assert differing <= but, differing
    return True


def edit_row(folder: Path, edit: Any, *, number: int = 2) -> None:
    """`edit` changes one row of a pair set."""
    lines = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    edit(lines[number])
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))


def repaint(path: Path) -> None:
    """One pixel of the picture is another."""
    pixels = np.asarray(Image.open(path).convert("RGB")).copy()
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(path)


def kill_runs(recipe: Path, folder: Path, *, count: int, seed: int) -> None:
    """`count` runs of the recipe are killed and continued by this script, and end with the bytes of a whole one."""
    from scripts import child_environment

    command = [sys.executable, __file__, str(recipe), str(folder), str(count), str(seed)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= count * 2 / 3  # a machine that stalls may kill too late
    for number in range(count):
        assert same(folder / "whole", folder / f"run{number}")


# killed runs ---------------------------------------------------------------------------------------------------------


def train_in_child(recipe: Path, out: Path) -> int:
    """The id of a forked process that trains and ends."""
    child = os.fork()
    if child:
        return child
    import torch

    from likeness.train.run import tune

    torch.set_num_threads(1)
    try:
        tune(recipe, out=out, device="cpu")
    except BaseException as error:
        print(f"child: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def ended_well(child: int) -> bool:
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise SystemExit(f"training failed with status {status}")
    return True


def rows(run: Path) -> int:
    """How many steps the log of a run holds."""
    log = run / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def step_times(run: Path) -> tuple[int, float]:
    """How many steps a run took, and the median of what one took, in seconds: the start of a run is not a step."""
    seconds = [json.loads(line)["seconds"] for line in (run / "log.jsonl").read_text().splitlines()]
    return len(seconds), statistics.median(seconds)


def main(recipe: Path, folder: Path, *, count: int, seed: int) -> int:
    """How many of `count` runs were killed before their end."""
    import torch

    from likeness.train import run
    from likeness.train.pairs import maps

    torch.set_num_threads(1)
    assert run.tune
    maps.TIMES, maps.NUM_PAIRS = (0.5,), 1  # as in the tests' own process; all maps would be most of such a run
    rng, killed = random.Random(seed), 0
    ended_well(train_in_child(recipe, folder / "whole"))
    num_steps, seconds = step_times(folder / "whole")
    for number in range(count):
        out = folder / f"run{number}"
        child, steps = train_in_child(recipe, out), rng.randrange(num_steps - 2)  # two steps left, one to be killed in
        while rows(out) < steps:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        killed += not ended_well(child)
        ended_well(train_in_child(recipe, out))
    return killed


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), count=int(sys.argv[3]), seed=int(sys.argv[4])))
