"""stellar-world: drawn people, two photos each, with prompts of Stellar's form, as cases and in Stellar's layout.

FOLDER/stellar is the layout (`data/formats/stellar_files.py`), whose photos are those of the cases. A prefix of the
cases shows as many people as it can. Everything follows from this file, its prompts and the version in BENCHMARKS.
Differs from Stellar: people of the validation split, numbered from 200, have as many prompts of both kinds.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from likeness.benchmarks import BENCHMARKS
from likeness.benchmarks.stellar_prompts import NUM_FREE, NUM_TEMPLATES, SUBJECT, objects, prompts_of
from likeness.benchmarks.world import drawn_cases
from likeness.core.files import atomic_write_text
from likeness.core.images import save_png
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import CasesFile
from likeness.core.rng import seed_for
from likeness.data.formats.stellar_files import filled, write_person
from likeness.world.face_attributes import face_attributes
from likeness.world.identity import Identity, sample_identity
from likeness.world.relations import triplets_of
from likeness.world.render import reference_mask, render, render_reference
from likeness.world.scenario import Scenario

NAME = "stellar-world"
NUM_PEOPLE, NUM_PHOTOS, NUM_PROMPTS = 100, 2, NUM_TEMPLATES + NUM_FREE
NUM_CASES = NUM_PEOPLE * NUM_PHOTOS * NUM_PROMPTS
SIZE = 128
LAYOUT = "stellar"
FIRST = {"test": 0, "validation": 200, "train": 200}
"""The number of the first person's folder."""


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """The cases as written to `folder`/cases.jsonl, with stellar/ and truth/; `data` is not read.

    stellar/ holds everybody in the cases with all photos and prompts. Ids end in Stellar's NNN-I-PP. Attributes are the
    world's, as the true picture shows them, and those of the face. Pictures already there are kept, as in world.py.
    Raises: OutputError when `folder` is of other cases, holds other files or cannot be written.
    """
    count = NUM_CASES if limit is None else min(limit, NUM_CASES)

    def rows() -> Iterator[dict[str, object]]:
        _write_people(min(count, NUM_PEOPLE), split=split, folder=folder)
        yield from _cases(count, split=split, folder=folder, progress=progress)

    files = (file for index in range(count) for file in _files(index, split=split, folder=folder))
    return drawn_cases(
        folder,
        facts={"name": name, "version": BENCHMARKS[name].version, "split": split, "num_cases": count, "size": SIZE},
        is_drawn=lambda: all(file.is_file() for file in files),
        rows=rows,
        progress=progress,
    )


def place(index: int) -> tuple[int, int, int]:
    """(person, photo, prompt) of a case: first everybody once, with photos and prompts in turn, then everybody again.

    Over all cases each combination comes once.
    """
    turn, person = divmod(index, NUM_PEOPLE)
    return person, (turn + person) % NUM_PHOTOS, (turn // NUM_PHOTOS + person) % NUM_PROMPTS


def who_is(person: int, split: Split) -> Identity:
    """The person of a number."""
    return sample_identity(random.Random(f"{NAME}/{split}/{person}"), split=split, species=SUBJECT)


def scenario_of(index: int, split: Split) -> Scenario:
    """What the true picture of a case shows; both photos of a person share it."""
    person, _, number = place(index)
    action, scene, _ = prompts_of(person, split)[number]
    return Scenario(action, scene, (who_is(person, split),), seed_for(NAME, split, person, number))


def _number(person: int, split: Split) -> str:
    return f"{FIRST[split] + person:03d}"


def _case_id(index: int, split: Split) -> str:
    person, photo, number = place(index)
    kind = "" if split == "test" else f"{split}-"
    return f"{NAME}-v{BENCHMARKS[NAME].version}-{kind}{_number(person, split)}-{photo}-{number:02d}"


def _files(index: int, *, split: Split, folder: Path) -> list[Path]:
    """The files that a case needs: its true picture and its person's folder."""
    return [folder / "truth" / f"{_case_id(index, split)}.png", *_person_files(place(index)[0], split, folder)]


def _person_files(person: int, split: Split, folder: Path) -> list[Path]:
    own = [f"{k}{end}" for k in range(NUM_PHOTOS) for end in (".jpg", "_bg.png", "_attributes.json")]
    home = folder / LAYOUT / _number(person, split)
    return [*(home / name for name in (*own, "prompts_t.json", "prompts_h.json")), folder / LAYOUT / "objects.txt"]


def _write_people(count: int, *, split: Split, folder: Path) -> None:
    """stellar/ holds the first people of the split."""
    atomic_write_text(folder / LAYOUT / "objects.txt", "".join(f"{word}\n" for word in objects()))
    for person in range(count):
        if not all(file.is_file() for file in _person_files(person, split, folder)):
            _write_person(person, split=split, folder=folder)


def _write_person(person: int, *, split: Split, folder: Path) -> None:
    who, prompts = who_is(person, split), [prompt for *_, prompt in prompts_of(person, split)]
    seeds = [seed_for("photo", who.id, k) for k in range(NUM_PHOTOS)]
    write_person(
        folder / LAYOUT / _number(person, split),
        photos=[Image.fromarray(render_reference(who, seed=seed, size=SIZE)) for seed in seeds],
        masks=[reference_mask(who, seed=seed, size=SIZE) for seed in seeds],
        attributes=face_attributes(who),
        origin=who.id,
        templates=prompts[:NUM_TEMPLATES],
        free=[prompt.text for prompt in prompts[NUM_TEMPLATES:]],
    )


def _cases(count: int, *, split: Split, folder: Path, progress: Progress) -> Iterator[dict[str, object]]:
    progress(0, count)
    for index in range(count):
        yield _case(index, split=split, folder=folder)
        progress(index + 1, count)


def _case(index: int, *, split: Split, folder: Path) -> dict[str, object]:
    (person, photo, number), scenario, case_id = place(index), scenario_of(index, split), _case_id(index, split)
    picture, (who,) = render(scenario, size=SIZE), scenario.identities
    truth = folder / "truth" / f"{case_id}.png"
    if not truth.is_file():
        save_png(Image.fromarray(picture.image), truth)
    prompt = prompts_of(person, split)[number][2]
    labels = {"objects": picture.labels.objects, "detectables": prompt.detectables}
    related = triplets_of(scenario.action, [who.id]) if number < NUM_TEMPLATES else ()
    photos = [f"{LAYOUT}/{_number(person, split)}/{k}.jpg" for k in range(NUM_PHOTOS)]
    subject = {
        "id": who.id,
        "class_name": who.class_name,
        "reference_image": photos[photo],
        "photos": photos,
        "attributes": picture.labels.subjects[0].attributes | face_attributes(who),
    }
    return {
        "id": case_id,
        "prompt": filled(prompt.text),
        "seed": seed_for(NAME, BENCHMARKS[NAME].version, index) % 2**31,
        "action": scenario.action,
        "scene": scenario.scene,
        "subjects": [subject],
        "labels": labels | {"triplets": related},
    }
