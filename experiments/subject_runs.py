"""What experiments share that learn one subject: a training with its cost, and pictures of prompts alone."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # TOML; a backbone

from world_runs import ROOT, toml_value

from likeness.core.files import read_json, write_json
from likeness.core.images import save_png
from likeness.core.records import Case

AT_ONCE = 16
UNET = "unet"


def with_words(case: Case, words: str) -> str:
    """The prompt of a case with other words in the place of its class word."""
    word = case.subjects[0].class_name
    article = "an" if words[0] in "aeiou" else "a"
    prompt, count = re.subn(rf"\b([Aa])n? {word}\b", lambda m: m[1] + article[1:] + f" {words}", case.prompt, count=1)
    assert count == 1, case.prompt
    return prompt


class Cost(NamedTuple):
    """Of learning one subject: seconds of the processor, steps, and bytes / 10^6 of what is kept."""

    seconds: float
    steps: float
    megabytes: float


def learn(recipe: str, *, changes: Mapping[str, Any], out: Path) -> tuple[Path, Cost]:
    """What the recipe with these changes makes, in the run `out`, and what that took; done once.

    A training that goes on after a kill counts the seconds of its last process alone.
    """
    told = out / "cost.json"
    from likeness.train.run import tune

    if not told.is_file():
        begun = time.process_time()
        summary = tune(
            ROOT / "recipes" / f"{recipe}.toml",
            out=out,
            changes=[f"{key}={toml_value(value)}" for key, value in changes.items()],
            device="cpu",
        )
        size = sum(file.stat().st_size for file in summary.trained.rglob("*") if file.is_file())
        cost = {"seconds": time.process_time() - begun, "steps": summary.steps, "megabytes": size / 1e6}
        write_json(told, {**cost, "trained": summary.trained.name})
    found = read_json(told)
    return out / found.pop("trained"), Cost(**found)


def draw_prompts(
    cases: Sequence[Case], prompts: Sequence[str], *, model: str, learnt: Path | None, steps: int, run: Path
) -> None:
    """`run`/images holds a picture of every case by its prompt there, without references; those there are kept.

    `learnt`: what a training made: what `--lora` takes, or a folder `unet`.
    """
    files = [run / "images" / f"{case.id}.png" for case in cases]
    wanted = [i for i, file in enumerate(files) if not file.is_file()]
    if not wanted:
        return
    backbone = opened(model, learnt=learnt)
    options = backbone.own_options().model_copy(update={"steps": steps})
    for first in range(0, len(wanted), AT_ONCE):
        some = wanted[first : first + AT_ONCE]
        rows = [backbone.prepare(prompts[i]) for i in some]
        pictures = backbone.paint_batch(rows, seeds=[cases[i].seed for i in some], options=options)
        for i, picture in zip(some, pictures, strict=True):
            save_png(picture, files[i])


def opened(model: str, *, learnt: Path | None) -> Any:
    """The model with what was learnt."""
    from likeness.backbones.open import open_backbone

    if learnt is not None and learnt.name == UNET:
        return open_backbone(f"{learnt / 'diffusion_pytorch_model.safetensors'}+{model}", device="cpu", dtype="float32")
    loras = [] if learnt is None else [learnt]
    return open_backbone(model, device="cpu", dtype="float32", loras=loras)
