"""What the product computes today, as lines of text: losses, scores, pictures and pairs.

A refactor changes none of them.

    python tests/golden/golden.py [NAME ...]

writes the files anew, on purpose: say in the commit why a number changed. `machine.json` says where they were made. On
such a machine the files must agree to the bit; on another (other vector units, other versions) within a tolerance.
"""

import json
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "helpers"))
import preference_runs as runs  # noqa: E402 - found beside the tests

STEPS = 50
OBJECTIVES = ("sft", "dpo", "patch_dpo", "focus_dpo")
SCORED = {"world-single": 8, "world-multi": 16, "world-hard": 8}
UNTRUE = 8  # of world-multi's cases are scored without true pictures, so that photos give the ceiling
DRAWN = {"world-single": 3, "world-multi": 3, "world-hard": 2}
LOGGED = ("step", "loss", "anchor", "inside", "accuracy", "errors", "focus_share", "fused", "t", "gradient_norm")
PACKAGES = ("torch", "transformers", "diffusers", "peft", "numpy", "scipy", "pillow", "skia-python")


def machine() -> dict[str, str]:
    """What decides the last bits of a result."""
    import torch

    found = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    facts = {
        key: (re.search(rf"^{key}\s*: (.*)$", found, re.MULTILINE) or [key, "?"])[1] for key in ("vendor_id", "model")
    }
    facts |= {"machine": platform.machine(), "torch_capability": torch.backends.cpu.get_cpu_capability()}
    return facts | {"bf16": str("avx512_bf16" in found)} | {name: version(name) for name in PACKAGES}


def losses(objective: str, folder: Path) -> list[str]:
    """A row of numbers per step of a tuning of the miniature model, in fp32."""
    model, pairs = runs.write_model(folder / "flux"), runs.write_pairs(folder / "pairs", count=6)
    anchor = {"sft_anchor": 0.5} if objective == "focus_dpo" else {}
    tables = {"objective": {"kind": objective, **anchor}, "train": {"steps": STEPS, "save_every": STEPS}}
    recipe = runs.write_recipe(folder / "run.toml", model=model, pairs=pairs, **tables)
    run = runs.train(recipe, folder / "run")
    rows = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    return [json.dumps({key: row[key] for key in LOGGED}) for row in rows]


def scores(folder: Path) -> list[str]:
    """Values of 32 cases, their floors and ceilings: the pictures scored are true pictures of other cases."""
    return [line for name, count in SCORED.items() for line in _scores(name, count, folder=folder / name)]


def _scores(name: str, count: int, *, folder: Path) -> list[str]:
    from likeness.benchmarks import benchmark_cases
    from likeness.encoders import WORLD_ENCODERS
    from likeness.evaluate import evaluate_run, load_encoders

    cases = folder / "cases" / "cases.jsonl"
    ids = [case.id for case in benchmark_cases(name, folder=cases.parent, limit=count).cases]
    (folder / "run").mkdir()
    for own, other in zip(ids, [*ids[1:], ids[0]], strict=True):
        shutil.copy(cases.parent / "truth" / f"{other}.png", folder / "run" / f"{own}.png")
    for case_id in ids[:UNTRUE] if name == "world-multi" else []:
        (cases.parent / "truth" / f"{case_id}.png").unlink()
    evaluate_run(folder / "run", benchmark=name, encoders=load_encoders(WORLD_ENCODERS), cases=cases)
    found = [folder / "run" / "evaluation" / file for file in ("scores.jsonl", "bounds.jsonl")]
    return [_score_line(json.loads(line)) for path in found for line in path.read_text().splitlines()]


def _score_line(row: dict[str, Any]) -> str:
    subjects = [{key: _number(value) for key, value in each["values"].items()} for each in row["per_subject"]]
    values = {key: _number(value) for key, value in row["values"].items()}
    return json.dumps({"id": row["id"], "group": row["group"], "values": values, "subjects": subjects})


def _number(value: dict[str, Any]) -> float | str:
    return value["note"] if value["value"] is None else value["value"]


def pictures(folder: Path) -> list[str]:
    """Hash and mean colour of the pixels of 8 cases drawn by the embedded model in fp32, 4 steps, all passes."""
    from likeness.benchmarks import benchmark_cases
    from likeness.core.hashing import pixels_sha256
    from likeness.core.images import load_image
    from likeness.generate.run import generate_run

    lines: list[str] = []
    for name, count in DRAWN.items():
        cases = benchmark_cases(name, folder=folder / name / "cases", limit=count).cases
        run = folder / name / "run"
        generate_run(cases, out=run, model="flux", options={"steps": 4}, device="cpu", dtype="float32", benchmark=name)
        for path in sorted((run / "images").iterdir()):
            image = load_image(path)
            lines.append(json.dumps({"id": path.stem, "sha256": pixels_sha256(image), "colour": _colour(image)}))
    return lines


def _colour(image: Any) -> list[float]:
    return [round(float(value), 2) for value in np.asarray(image).mean(axis=(0, 1))]


def pairs(folder: Path) -> list[str]:
    """Rows of `data dip`, one subject and two, drawn and regenerated, with the hashes of their files."""
    from likeness.core.hashing import file_sha256
    from likeness.data.pairs.dip import make_pairs
    from likeness.generate.inpaint import LoadInpainter

    inpainter = LoadInpainter("flux", device="cpu", dtype="float32", steps=3)
    make_pairs(8, out=folder, losers="mixed", hard=True, regenerate=inpainter)
    rows = (folder / "pairs.jsonl").read_text().splitlines()
    files = sorted(path for part in ("images", "masks") for path in (folder / part).rglob("*.png"))
    return [*rows, *(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}" for path in files)]


def _losses_of(objective: str) -> Callable[[Path], list[str]]:
    return lambda folder: losses(objective, folder)


GOLDEN: dict[str, Callable[[Path], list[str]]] = {
    **{f"losses_{objective}": _losses_of(objective) for objective in OBJECTIVES},
    "scores": scores,
    "pictures": pictures,
    "pairs": pairs,
}


def make(name: str) -> list[str]:
    """The lines of a golden file as computed now, on one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return GOLDEN[name](Path(folder))
    finally:
        torch.set_num_threads(before)


def golden_file(name: str) -> Path:
    """Where the lines are kept."""
    return HERE / f"{name}.txt"


if __name__ == "__main__":
    for chosen in sys.argv[1:] or GOLDEN:
        golden_file(chosen).write_text("".join(f"{line}\n" for line in make(chosen)), encoding="utf-8")
        print(f"{golden_file(chosen).name}: written")
    (HERE / "machine.json").write_text(json.dumps(machine(), indent=2) + "\n")
