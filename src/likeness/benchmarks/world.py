"""World benchmarks: drawn test subjects in test (action, scene) pairs, with exact labels and the true picture.

The 25 scenes of world-relationbench are RelationBench's, whichever split they belong to: there, only subjects are new.
relation-world continues it to 500 cases, each with the relation, the things and the words to detect as labels. The
older benchmarks keep the rows that published runs are joined by; metrics complete their labels from the action.

Every case comes from one seed of the world's test split, so a benchmark is this file and its version in BENCHMARKS; a
limit of n gives the first n cases of the whole, whose order is that of their seeds and so already random. The same
cases of the validation split are for choosing settings.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from likeness.benchmarks import BENCHMARKS
from likeness.core.files import write_jsonl
from likeness.core.images import save_png
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import CasesFile, read_cases
from likeness.core.rng import seed_for
from likeness.core.runs import grow_run, hold_run, open_run
from likeness.world.actions import ACTIONS
from likeness.world.identity import Identity
from likeness.world.relations import labels_of
from likeness.world.render import SubjectLabel, render, render_reference
from likeness.world.scenario import Scenario, relation_bench, sample_scenario

NUM_CASES: dict[str, int] = {
    **dict.fromkeys(("world-single", "world-multi", "world-hard"), 1024),
    "world-relationbench": 100,
    "relation-world": 500,
}
LABELLED = ("relation-world",)
"""Benchmarks whose rows hold all labels."""
SIZE = 128
NUM_PHOTOS = 3
HARD_COUNTS = (2, 3, 2, 4, 2, 3)


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
    "world-single": lambda index, split: sample_scenario(index, split=split, num_subjects=1, dressed=False),
    "world-multi": lambda index, split: sample_scenario(index, split=split, num_subjects=2, dressed=False),
    "world-hard": _hard,
    "world-relationbench": _relationbench,
    "relation-world": _relationbench,
}


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """The cases as written to `folder`/cases.jsonl with their references/ and truth/ pictures; `data` is not read.

    Case ids name the split unless it is the test split. Pictures already there are kept: `folder` is new or of the same
    cases, which run.json tells, or of fewer of them, which are then added to. `progress` is told at the start and after
    each case.
    Raises: OutputError when `folder` is of other cases, holds other files or cannot be written.
    """
    count = NUM_CASES[name] if limit is None else min(limit, NUM_CASES[name])
    return drawn_cases(
        folder,
        facts={"name": name, "version": BENCHMARKS[name].version, "split": split, "num_cases": count, "size": SIZE},
        is_drawn=lambda: all(_is_drawn(name, index, split=split, folder=folder) for index in range(count)),
        rows=lambda: _cases(name, count, split=split, folder=folder, progress=progress),
        progress=progress,
    )


def drawn_cases(
    folder: Path,
    *,
    facts: dict[str, object],
    is_drawn: Callable[[], bool],
    rows: Callable[[], Iterator[dict[str, object]]],
    progress: Progress,
) -> CasesFile:
    """`folder`/cases.jsonl of a drawn benchmark: as it is where everything is drawn, else written from `rows`.

    `facts` go into run.json; only "num_cases" of them may be less there, and the folder then grows.
    Raises: OutputError when `folder` is of other cases, holds other files or cannot be written.
    """
    path, count, identity = folder / "cases.jsonl", facts["num_cases"], {"kind": "world_benchmark", **facts}
    assert isinstance(count, int)
    grow_run(folder, identity=identity, key="num_cases", may_grow=lambda old: isinstance(old, int) and old < count)
    open_run(folder, identity=identity)
    with hold_run(folder):
        if is_drawn() and path.is_file() and len(read_cases(path).cases) == count:
            progress(count, count)
        else:
            write_jsonl(path, rows())
    return read_cases(path)


def _is_drawn(name: str, index: int, *, split: Split, folder: Path) -> bool:
    people = SCENARIOS[name](index, split).identities
    photos = [name for who in people for name in _photo_names(who)]
    return all((folder / file).is_file() for file in (_truth_name(_case_id(name, index, split=split)), *photos))


def _cases(name: str, count: int, *, split: Split, folder: Path, progress: Progress) -> Iterator[dict[str, object]]:
    progress(0, count)
    for index in range(count):
        yield _case(name, index, split=split, folder=folder)
        progress(index + 1, count)


def _case_id(name: str, index: int, *, split: Split) -> str:
    kind = "" if split == "test" else f"{split}-"
    return f"{name}-v{BENCHMARKS[name].version}-{kind}{index:04d}"


def _truth_name(case_id: str) -> str:
    return f"truth/{case_id}.png"


def _case(name: str, index: int, *, split: Split, folder: Path) -> dict[str, object]:
    scenario = SCENARIOS[name](index, split)
    picture = render(scenario, size=SIZE)
    case_id = _case_id(name, index, split=split)
    if not (folder / _truth_name(case_id)).is_file():
        save_png(Image.fromarray(picture.image), folder / _truth_name(case_id))
    drawn = zip(scenario.identities, picture.labels.subjects, strict=True)
    labels = _labels(scenario) if name in LABELLED else {}
    return {
        "id": case_id,
        "prompt": picture.labels.caption,
        "seed": seed_for(name, BENCHMARKS[name].version, index) % 2**31,
        "action": scenario.action,
        "scene": scenario.scene,
        "subjects": [_subject(who, label, folder) for who, label in drawn],
        **labels,
    }


def _labels(scenario: Scenario) -> dict[str, object]:
    people = scenario.identities
    known = labels_of(scenario.action, ids=[p.id for p in people], class_names=[p.class_name for p in people])
    labels = known.model_dump(mode="json", exclude={"action"}, exclude_defaults=True)
    return {"labels": labels} if labels else {}


def _subject(who: Identity, label: SubjectLabel, folder: Path) -> dict[str, object]:
    """The subject's part of a row, whose paths are relative to `folder`; its photos are drawn once."""
    photos = _photo_names(who)
    for k, name in enumerate(photos):
        if not (folder / name).is_file():
            photo = render_reference(who, seed=seed_for("photo", who.id, k), size=SIZE)
            save_png(Image.fromarray(photo), folder / name)
    return {
        "id": who.id,
        "class_name": who.class_name,
        "reference_image": photos[0],
        "photos": photos,
        "attributes": label.attributes,
    }


def _photo_names(who: Identity) -> list[str]:
    return [f"references/{who.id}-{k}.png" for k in range(NUM_PHOTOS)]
