"""Does a tuned model draw its subject better than the untrained one? Validation subjects of the drawn world.

    python experiments/tuned_subjects/run.py METHOD [METHOD ...] --steps 200 --out FOLDER

METHOD is the name of a recipe: dreambooth, custom_diffusion, textual_inversion or ed_lora. For every subject of the
first cases of world-single (validation) the recipe is run on its three photos. Then four pictures of its case are
drawn, by the tuned model with the token in the prompt, and by the untrained model ("base") with the class word, without
references.
FOLDER/METHOD.json compares both, paired by picture, with intervals by subject (`compare_runs`).
"""

import argparse
import re
import time
from pathlib import Path

from likeness.backbones.open import open_backbone
from likeness.benchmarks import benchmark_cases
from likeness.core.files import write_json
from likeness.core.images import save_png
from likeness.core.records import Case
from likeness.evaluate.compare import compare_runs
from likeness.evaluate.folder import evaluate_folder
from likeness.train.run import tune

RECIPES = Path(__file__).parents[2] / "recipes"
PICTURES, MODEL = 4, "sdxl"
TOKENS = {"dreambooth": "sks", "custom_diffusion": "<new1>", "textual_inversion": "<rex>", "ed_lora": "<rex>"}
WORDS = ("textual_inversion", "ed_lora")
"""Methods whose token stands in place of the class word, and that have no class pictures."""
RATES = {"dreambooth": 1e-3, "custom_diffusion": 4e-4, "textual_inversion": 2e-2, "ed_lora": 1e-2}
"""For the embedded model, which is small; chosen once, before anything was measured."""


def named(case: Case, *, method: str) -> str:
    """The prompt with the token before the class word, or in its place."""
    word, token = case.subjects[0].class_name, TOKENS[method]
    called = token if method in WORDS else f"{token} {word}"
    prompt, count = re.subn(rf"\ban? {word}\b", f"a {called}", case.prompt, count=1, flags=re.IGNORECASE)
    assert count == 1, case.prompt
    return prompt


def draw(case: Case, *, prompt: str, loras: list[Path], folder: Path) -> None:
    """Four pictures of the case, each of its own seed; those there already are kept."""
    files = [folder / "images" / f"{case.id}-{number}.png" for number in range(PICTURES)]
    if all(file.is_file() for file in files):
        return
    backbone = open_backbone(MODEL, device="cpu", dtype="float32", loras=loras)
    for number, file in enumerate(files):
        save_png(backbone.generate(prompt, seed=case.seed + number), file)


def learn(case: Case, *, method: str, steps: int, folder: Path) -> Path:
    """The run of the recipe on the subject of the case; returns what `--lora` takes."""
    who = case.subjects[0]
    table = [f'data.photos=["world:{who.id}"]', f'data.class_words=["{who.class_name}"]']
    loop = [f"train.steps={steps}", f"train.learning_rate={RATES[method]}", "train.batch_size=2", "train.save_every=50"]
    more = [] if method in WORDS else ["data.num_class_pictures=16"]
    return tune(RECIPES / f"{method}.toml", out=folder, changes=[*table, *loop, *more], device="cpu").trained


def main() -> None:
    """The comparison of each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", choices=list(TOKENS))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    out: Path = asked.out
    cases = benchmark_cases("world-single", folder=out / "cases", limit=asked.subjects, split="validation").cases
    for case in cases:
        draw(case, prompt=case.prompt, loras=[], folder=out / "base")
    for method in asked.methods:
        began = time.process_time()
        for case in cases:
            learnt = learn(case, method=method, steps=asked.steps, folder=out / "runs" / f"{method}-{case.id}")
            draw(case, prompt=named(case, method=method), loras=[learnt], folder=out / method)
        for name in ("base", method):
            evaluate_folder(out / name, cases=out / "cases" / "cases.jsonl", metrics=["dino", "attribute_accuracy"])
        comparison = compare_runs([out / "base"], [out / method], out=out / f"{method}.json")
        write_json(out / f"{method}-cost.json", {"cpu_seconds": time.process_time() - began, "steps": asked.steps})
        for row in comparison["rows"]:
            print(method, row["label"], row["before"], row["after"], row["difference"])


if __name__ == "__main__":
    main()
