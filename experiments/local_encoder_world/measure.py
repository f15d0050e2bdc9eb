"""What dense features say of a subject, before and after self-distillation, on test pictures of the drawn world.

    python experiments/local_encoder_world/measure.py ENCODER [ENCODER ...] --pictures 96 --size 256 --out OUT.json

ENCODER: a folder of a saved encoder; the embedded CLIP is always measured beside them. For each subject the dense
features, in CLIP's shared space, are averaged over the patches where it is visible. They are compared with CLIP's
global feature of the subject cut out (by its box, as the teacher sees regions): their cosine; whether that crop is the
nearest of the crops of all subjects; and whether the text that is true of the subject is nearer than those with another
value of one attribute ("zero-shot", all other attributes told). Intervals: by picture (core/stats/intervals.py).
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from likeness.core.files import write_json
from likeness.core.stats.intervals import Interval, mean_interval
from likeness.core.weights import embedded
from likeness.encoders.clip import ClipEncoder
from likeness.encoders.dense import normalised
from likeness.encoders.object_tokens import object_tokens
from likeness.train.local.regions import cut_out
from likeness.train.local.tower import Tower
from likeness.world.identity import ATTRIBUTES, HUMAN_ATTRIBUTES, NOT_APPLICABLE, Identity
from likeness.world.render import render
from likeness.world.scenario import describe, sample_scenario

FIRST_SEED = 40_000_000
MIN_PATCHES = 2.0
"""A subject of which less is visible, in patches, is not measured."""
CROP, BASE = "CLIP, subject cut out", "CLIP, dense"


class Seen(NamedTuple):
    """A subject of a picture: who it is, and its unit feature by each reading."""

    picture: int
    identity: Identity
    features: dict[str, np.ndarray]


def look(towers: dict[str, Tower], *, pictures: int, size: int) -> list[Seen]:
    """Every subject of the test pictures that is visible enough."""
    found: list[Seen] = []
    for number in range(pictures):
        scenario = sample_scenario(FIRST_SEED + number, split="test", dressed=False)
        drawn = render(scenario, size=size)
        image, patch = Image.fromarray(drawn.image), towers[BASE].patch
        dense = {name: tower.dense_features(_pixels(image, tower)) for name, tower in towers.items()}
        for who, label in zip(scenario.identities, drawn.labels.subjects, strict=True):
            cover = torch.from_numpy(label.visible_mask.astype(np.float32))[None, None]
            cover = F.avg_pool2d(cover, patch)[:, 0]
            if float(cover.sum()) < MIN_PATCHES:
                continue
            left, top, right, bottom = (min(max(float(end), 0.0), 1.0) for end in label.box)
            crop = cut_out(image, (left, top, right, bottom), side=int(towers[BASE].processor.crop_size["height"]))
            features = {CROP: towers[BASE].global_feature(_pixels(crop, towers[BASE]))[0]}
            whole: Any = {"picture": torch.tensor([0]), "cells": 1, "mask": cover}
            for name, grid in dense.items():
                features[name] = object_tokens(grid, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), **whole).tokens[0, 0]
            found.append(Seen(number, who, {name: F.normalize(f, dim=-1).numpy() for name, f in features.items()}))
    return found


def _pixels(image: Image.Image, tower: Tower) -> torch.Tensor:
    options: Any = {"mean": tower.processor.image_mean, "std": tower.processor.image_std}
    return torch.from_numpy(normalised(image, **options))[None]


def cosines(seen: Sequence[Seen], name: str) -> np.ndarray:
    """With the crop of the same subject."""
    return np.array([float(each.features[name] @ each.features[CROP]) for each in seen])


def nearest(seen: Sequence[Seen], name: str) -> np.ndarray:
    """1 where the own crop is the nearest of all."""
    rows, crops = (np.stack([each.features[key] for each in seen]) for key in (name, CROP))
    return ((rows @ crops.T).argmax(1) == np.arange(len(seen))).astype(float)


def zero_shot(seen: Sequence[Seen], clip: ClipEncoder, *, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """By reading and attribute: 1 where the true text is the nearest, NaN where the attribute does not apply."""
    texts: dict[str, np.ndarray] = {}
    found = {name: {attribute: np.full(len(seen), np.nan) for attribute in ATTRIBUTES} for name in names}
    for row, each in enumerate(seen):
        for attribute, values in ATTRIBUTES.items():
            true = str(getattr(each.identity, attribute))
            if not _applies(each.identity, attribute):
                continue
            asked = [f"a {describe(_with(each.identity, attribute, value))}" for value in values]
            for text in asked:
                if text not in texts:
                    texts[text] = clip.read([text])[0].vector
            table = np.stack([texts[text] for text in asked])
            for name in names:
                best = asked[int((table @ each.features[name]).argmax())]
                found[name][attribute][row] = float(best == asked[list(values).index(true)])
    return found


def _applies(who: Identity, attribute: str) -> bool:
    return str(getattr(who, attribute)) != NOT_APPLICABLE or attribute == "accessory"


def _with(who: Identity, attribute: str, value: str) -> Identity:
    """The identity with one other value, in words that `describe` can put into a sentence."""
    changes: dict[str, str] = {attribute: value}
    if attribute == "species" and value == "person":
        changes |= {"skin": "light", "hair_style": "short", "hair_color": "brown", "beard": "shaved", "age": "adult"}
    elif attribute == "species":
        changes |= dict.fromkeys(HUMAN_ATTRIBUTES, NOT_APPLICABLE)
        changes |= {"pattern": "plain"} if who.pattern == NOT_APPLICABLE else {}
    if attribute == "accessory" and who.accessory_color == NOT_APPLICABLE and value != NOT_APPLICABLE:
        changes["accessory_color"] = "red"
    return replace(who, **changes)


def _told(found: Interval) -> dict[str, Any]:
    """Cosines, shares and their differences lie in -1 ... 1."""
    interval = found.within(-1, 1)
    return {key: getattr(interval, key) for key in ("mean", "ci_low", "ci_high", "n", "n_subjects")}


@torch.inference_mode()
def measure(encoders: Sequence[Path], *, pictures: int, size: int) -> dict[str, Any]:
    """The table: per reading the means, and per encoder the difference from the embedded CLIP's dense features."""
    towers = {BASE: Tower(embedded("clip"), device="cpu", precision=torch.float32)}
    towers |= {f"{p.parent.name}, dense": Tower(p, device="cpu", precision=torch.float32) for p in encoders}
    seen = look(towers, pictures=pictures, size=size)
    groups = [each.picture for each in seen]
    shots = zero_shot(seen, ClipEncoder.load("clip"), names=[CROP, *towers])
    rows: dict[str, Any] = {}
    for name in (CROP, *towers):
        numbers = {"cosine with the crop": cosines(seen, name), "nearest is the own crop": nearest(seen, name)}
        numbers |= {f"zero-shot {attribute}": values for attribute, values in shots[name].items()}
        numbers["zero-shot, mean"] = np.nanmean(np.stack(list(shots[name].values())), axis=0)
        rows[name] = numbers
    differences = {
        name: {key: _told(mean_interval(rows[name][key] - rows[BASE][key], groups)) for key in rows[name]}
        for name in towers
        if name != BASE
    }
    means = {name: {key: _told(mean_interval(v, groups)) for key, v in found.items()} for name, found in rows.items()}
    facts = {"pictures": pictures, "subjects": len(seen), "size": size, "first_seed": FIRST_SEED}
    return {**facts, "means": means, "differences": differences}


def main() -> None:
    """Writes and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("encoders", type=Path, nargs="*")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table = measure(asked.encoders, pictures=asked.pictures, size=asked.size)
    write_json(asked.out, table)
    for kind in ("means", "differences"):
        for name, numbers in table[kind].items():
            for key, value in numbers.items():
                print(
                    f"{kind:12} {name:24} {key:28} {value['mean']:.3f} [{value['ci_low']:.3f}, {value['ci_high']:.3f}]"
                )


if __name__ == "__main__":
    main()
