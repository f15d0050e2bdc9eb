"""World benchmarks: drawn test subjects in test (action, scene) pairs, with exact labels and the true picture.

The 25 scenes of world-relationbench are RelationBench's, whichever split they belong to: there, only subjects are new.

Every case comes from one seed of the world's test split, so a benchmark is this file: its version is `VERSION`, and a
limit of n gives the first n cases of the whole. The same cases of the validation split are for choosing settings.
"""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import remove_stale_temporaries, write_jsonl
from likeness.core.images import save_png
from likeness.core.rng import seed_for
from likeness.world.actions import ACTIONS
from likeness.world.identity import Identity, Split
from likeness.world.render import Labels, render, render_reference
from likeness.world.scenario import Scenario, relation_bench, sample_scenario

VERSION = 1
NUM_CASES: dict[str, int] = {"world-single": 1024, "world-multi": 1024, "world-hard": 1024, "world-relationbench": 100}
SIZE = 128
NUM_PHOTOS = 3
HARD_COUNTS = (2, 3, 2, 4, 2, 3)


def _single(index: int, split: Split = "test") -> Scenario:
    return sample_scenario(index, split=split, num_subjects=1, dressed=False)


def _multi(index: int, split: Split = "test") -> Scenario:
    return sample_scenario(index, split=split, num_subjects=2, dressed=False)


def _hard(index: int, split: Split = "test") -> Scenario:
    count = HARD_COUNTS[index % len(HARD_COUNTS)]
    return sample_scenario(index, split=split, num_subjects=count, hard=True)


def _relationbench(index: int, split: Split = "test") -> Scenario:
    """Prompt 1 + index % 25 for the (index // 25)-th choice of subjects."""
    prompt = 1 + index % 25
    count = next(a.num_subjects[0] for a in ACTIONS.values() if a.relation_bench == prompt)
    people = sample_scenario(5_000_000 + index, split=split, num_subjects=count, dressed=False).identities
    return relation_bench(people, prompt, seed=index)


SCENARIOS: dict[str, Callable[[int, Split], Scenario]] = {
    "world-single": _single,
    "world-multi": _multi,
    "world-hard": _hard,
    "world-relationbench": _relationbench,
}


def build(name: str, folder: Path, *, limit: int | None = None, split: Split = "test") -> Path:
    """Writes `folder`/cases.jsonl with its references/ and truth/ pictures and returns the case file.

    Case ids name the split unless it is the test split.

    Raises: DataError for an unknown name.
    """
    if name not in SCENARIOS:
        raise DataError(f"Benchmark: expected one of {', '.join(SCENARIOS)}, got {name}; correct the name.")
    count = NUM_CASES[name] if limit is None else min(limit, NUM_CASES[name])
    path = folder / "cases.jsonl"
    remove_stale_temporaries(folder)
    write_jsonl(path, [_case(name, index, split=split, folder=folder) for index in range(count)])
    return path


def _case(name: str, index: int, *, split: Split, folder: Path) -> dict[str, object]:
    scenario = SCENARIOS[name](index, split)
    picture = render(scenario, size=SIZE)
    case_id = f"{name}-v{VERSION}-{index:04d}" if split == "test" else f"{name}-v{VERSION}-{split}-{index:04d}"
    save_png(Image.fromarray(picture.image), folder / "truth" / f"{case_id}.png")
    return {
        "id": case_id,
        "prompt": picture.labels.caption,
        "seed": seed_for(name, VERSION, index) % 2**31,
        "action": scenario.action,
        "scene": scenario.scene,
        "subjects": [_subject(scenario, picture.labels, i, folder=folder) for i in range(len(scenario.identities))],
    }


def _subject(scenario: Scenario, labels: Labels, index: int, *, folder: Path) -> dict[str, object]:
    who, label = scenario.identities[index], labels.subjects[index]
    photos = [_photo(who, k, folder=folder) for k in range(NUM_PHOTOS)]
    return {
        "id": who.id,
        "class_name": who.class_name,
        "reference_image": photos[0],
        "photos": photos,
        "attributes": label.attributes,
    }


def _photo(who: Identity, k: int, *, folder: Path) -> str:
    """The k-th photo of an identity, drawn once; the path is relative to `folder`."""
    name = f"references/{who.id}-{k}.png"
    if not (folder / name).is_file():
        seed = seed_for("photo", who.id, k)
        save_png(Image.fromarray(render_reference(who, seed=seed, size=SIZE)), folder / name)
    return name
