"""Pictures of a relation with their texts, tiny models whose second tokenizer pads with "!", as the published one does,
and trainings of a word on them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPTokenizer

from likeness.train.config import read_train_config
from likeness.train.task import task_of

SIZE = 64
TEXTS = {
    "0.png": ["A cat {} a dog in the snow.", "a red fox {} a duck!"],
    "1.png": ["a cat is {} a fox"],
    "2.png": ["a dog {} a cat on the beach"],
}


def padded_with_a_sign(folder: Path) -> Path:
    """The folder, whose tokenizer_2 pads with token 0, "!"."""
    tokenizer: Any = CLIPTokenizer.from_pretrained(folder / "tokenizer_2")
    tokenizer.pad_token = "!"
    tokenizer.save_pretrained(folder / "tokenizer_2")
    return folder


def write_exemplars(folder: Path) -> Path:
    """Three pictures that are not square, and text.json."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name in TEXTS:
        coarse = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(folder / name)
    (folder / "text.json").write_text(json.dumps(TEXTS))
    return folder


def recipe(path: Path, *, model: Path, exemplars: Path, steps: int = 4) -> Path:
    """Four steps of two exemplars; the tiny model has three prepositions as one token: "at", "in" and "on"."""
    path.write_text(
        f'task = "reversion"\n[model]\nbase = {json.dumps(str(model))}\ninitial_word = "is"\n'
        f"[data]\nexemplars = {json.dumps(str(exemplars))}\nsize = {SIZE}\n"
        '[objective]\nkind = "reversion"\nnum_prepositions = 3\n'
        f"[train]\nsteps = {steps}\nbatch_size = 2\nlearning_rate = 1e-2\nweight_decay = 0.1\n"
        'warmup = 0\nsave_every = 2\nprecision = "fp32"\n'
    )
    return path


def prepared(folder: Path, *, model: Path, exemplars: Path, changes: Sequence[str] = ()) -> tuple[Any, Any]:
    """A task with its exemplars encoded, and its own model."""
    config = read_train_config(recipe(folder / "run.toml", model=model, exemplars=exemplars), changes=changes)
    made = task_of("reversion").find(config, model=model, precision=torch.float32)
    backbone = made.open_network(model, device="cpu", precision=torch.float32)
    made.prepare(backbone, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
    return made, backbone
