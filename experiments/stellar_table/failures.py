"""Three ways to fail, counted on pictures made for them; "truth" is the world's own pictures of the same cases.

alike      A second person whom the prompt names has the first one's face: the two largest faces of the picture are one
           person's by the face encoder's own threshold. Not measured where there are fewer than two faces.
carried    What the person wears in the photo is there although an outfit of the prompt covers it, as the probe reads
           the accessory. Only people who wear something; not measured where no subject is found.
changed    The beard, as it is read of the largest face, is another one in an outfit than in a plain prompt. Stellar's
           gender is what this stands for: the drawn world has none. Not measured where a picture has no face.

The rates of the true pictures are those of the encoders' mistakes; "planted" are pictures of the world in which every
failure was drawn, so that their rates say how many are found.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple  # TOML and JSON; what encoders saw

import world_runs
from choice import choose
from lab import Lab, Wanted, draw
from PIL import Image
from scores import Scores, read_scores, write_scores

from likeness.benchmarks.stellar_world import who_is
from likeness.core.files import write_jsonl
from likeness.core.images import load_image, save_png
from likeness.core.records import Case, read_cases
from likeness.core.rng import seed_for
from likeness.encoders.reading import best_answer
from likeness.report.training import wilson
from likeness.world.face_attributes import face_attributes
from likeness.world.identity import ATTRIBUTES, NOT_APPLICABLE
from likeness.world.render import render_image
from likeness.world.scenario import Scenario, caption

TRUTH, PLANTED, PHASE = "truth", "planted", "failures"
BEARDED = "Bearded"
SHOWN = 4
SIDE = 128
Row = dict[str, Any]


class Look(NamedTuple):
    """What was seen of a picture, as cells: the similarity of its two largest faces, its accessory, its beard."""

    alike: str
    accessory: str
    bearded: str


# -- cases -----------------------------------------------------------------------------------------------------
def scenarios(plan: Mapping[str, Any]) -> Iterator[tuple[str, int, Scenario]]:
    """(id, person, what the true picture shows) of every case."""
    told = plan["failures"]
    for person in range(told["people"]):
        who, other = (who_is(number, "test") for number in (person, (person + 1) % told["people"]))
        common: dict[str, Any] = {"scene": told["scene"]}
        for action in told["together"]:
            scenario = Scenario(action=action, identities=(who, other), seed=_seed(person, action), **common)
            yield f"together-{action}-{person:03d}", person, scenario
        for action in told["plain"]:
            yield f"plain-{action}-{person:03d}", person, Scenario(action, told["scene"], (who,), _seed(person, action))
        for outfit in told["dressed"]:
            action = told["plain"][0]
            scenario = Scenario(action, told["scene"], (who,), _seed(person, outfit), outfits=(outfit,))
            yield f"dressed-{outfit}-{person:03d}", person, scenario


def failing(scenario: Scenario) -> Scenario:
    """The same with a failure: the second person is the first, or one in an outfit wears their own.

    That one also has another beard. Plain pictures stay as they are.
    """
    who = scenario.identities[0]
    if len(scenario.identities) > 1:
        return replace(scenario, identities=(who, who))
    if not scenario.outfits:
        return scenario
    other = next(each for each in ATTRIBUTES["beard"] if each != who.beard)
    return replace(scenario, outfits=(), identities=(replace(who, beard=other),))


def _seed(person: int, name: str) -> int:
    return seed_for("stellar failures", person, name) % 2**31


def case_file(lab: Lab) -> Path:
    """The cases, each with the person's first photo, and their true pictures; drawn once."""
    path = lab.out / "cases" / PHASE / "cases.jsonl"
    if path.is_file():
        return path
    people = {case.subjects[0].id: case for case in read_cases(lab.case_file("test")).cases}
    rows: list[dict[str, Any]] = []
    for name, person, scenario in scenarios(lab.plan):
        known = people[who_is(person, "test").id].subjects[0]
        subject = known.model_copy(update={"reference_image": known.photos[0]})
        case = Case(id=name, prompt=caption(scenario), seed=scenario.seed, subjects=(subject,))
        rows.append(case.model_dump(mode="json"))
        for drawn, shown in ((TRUTH, scenario), (PLANTED, failing(scenario))):
            save_png(Image.fromarray(render_image(shown)), _pictures(lab, drawn) / f"{name}.png")
    write_jsonl(path, rows)
    return path


def _pictures(lab: Lab, method: str) -> Path:
    return lab.out / "pictures" / PHASE / method / "images"


# -- what is seen ----------------------------------------------------------------------------------------------
def look_at(method: str, lab: Lab) -> None:
    """The looks at a method's pictures, or at the true ones, are kept; those there are left alone."""
    path, cases = lab.scores_file(PHASE, method), case_file(lab)
    if path.is_file():
        return
    if method not in (TRUTH, PLANTED):
        draw(Wanted(method, PHASE, cases, choose(lab, method)), lab)
    encoders = world_runs.world_encoders(*lab.plan["encoders"])
    named = [case.id for case in read_cases(cases).cases]
    images = [load_image(_pictures(lab, method) / f"{name}.png") for name in named]
    faces, read = encoders["faces"].look(images), encoders["face_attributes"].look(images)
    looks = map(_look, faces, read, encoders["probe"].look(images))
    rows = {(name, 1.0): look._asdict() for name, look in zip(named, looks, strict=True)}
    meta = {"method": method, "same_person": faces[0].same_person, "by": faces[0].by, "probe": encoders["probe"].id}
    write_scores(path, Scores(meta, rows))
    print(f"failures {method}: {len(rows)} pictures", flush=True)


def _look(faces: Any, read: Any, probe: Any) -> Look:
    pair = faces.faces[:2]
    return Look(
        alike=f"{faces.similarity(*pair):.4f}" if len(pair) == 2 else "",
        accessory=best_answer(probe.subjects[0].attributes["accessory"]) if probe.subjects else "",
        bearded="" if read.attributes is None else best_answer(read.attributes[BEARDED]),
    )


# -- rates -----------------------------------------------------------------------------------------------------
class Judged(NamedTuple):
    """A case of a category: whether it failed (None: not measured), and how badly, for the choice of pictures."""

    case: str
    failed: bool | None
    badness: float = 0.0


def judge_alike(scores: Scores, plan: Mapping[str, Any]) -> Iterator[Judged]:
    """The cases of two people."""
    for (case, _), cells in scores.rows.items():
        if case.startswith("together-"):
            found = float(cells["alike"]) if cells["alike"] else None
            yield Judged(case, None if found is None else found >= scores.meta["same_person"], found or 0.0)


def judge_carried(scores: Scores, plan: Mapping[str, Any]) -> Iterator[Judged]:
    """The cases of an outfit whose person wears something in the photo."""
    for (case, _), cells in scores.rows.items():
        worn = who_is(int(case[-3:]), "test").accessory
        if case.startswith("dressed-") and worn != NOT_APPLICABLE:
            yield Judged(case, cells["accessory"] == worn if cells["accessory"] else None)


def judge_changed(scores: Scores, plan: Mapping[str, Any]) -> Iterator[Judged]:
    """The cases of an outfit, each beside the person's plain picture of the same action."""
    plain = plan["failures"]["plain"][0]
    for (case, _), cells in scores.rows.items():
        if case.startswith("dressed-"):
            reads = cells["bearded"], scores.rows[f"plain-{plain}-{case[-3:]}", 1.0]["bearded"]
            true = face_attributes(who_is(int(case[-3:]), "test"))[BEARDED]
            yield Judged(case, reads[0] != reads[1] if all(reads) else None, float(reads[0] != true))


CATEGORIES: Mapping[str, Callable[[Scores, Mapping[str, Any]], Iterator[Judged]]] = {
    "alike": judge_alike,
    "carried": judge_carried,
    "changed": judge_changed,
}


def rate_rows(lab: Lab) -> list[Row]:
    """The rate of each category by method, with Wilson's interval over the pictures that were measured."""
    rows: list[Row] = []
    for method in (TRUTH, PLANTED, *lab.plan["failures"]["methods"]):
        if not lab.scores_file(PHASE, method).is_file():
            continue
        scores = read_scores(lab.scores_file(PHASE, method))
        for category, judge in CATEGORIES.items():
            judged = list(judge(scores, lab.plan))
            rows.append({"method": method, "category": category, **rate([each.failed for each in judged])})
    return rows


def rate(failed: Sequence[bool | None]) -> Row:
    """The share of failures among those measured, NaN with none."""
    known = [each for each in failed if each is not None]
    found = wilson(sum(known) / len(known) if known else float("nan"), len(known))
    ends = {"mean": found.mean, "ci_low": found.ci_low, "ci_high": found.ci_high}
    return {**ends, "n": len(known), "unmeasured": len(failed) - len(known)}


# -- pictures --------------------------------------------------------------------------------------------------
def draw_sheet(lab: Lab, method: str, *, out: Path) -> None:
    """A row for each category: the worst failures, each beside the photo. Nothing where the pictures are not here."""
    scores = read_scores(lab.scores_file(PHASE, method))
    cases = {case.id: case for case in read_cases(case_file(lab)).cases}
    sheet = Image.new("RGB", (2 * SHOWN * SIDE, len(CATEGORIES) * SIDE), "white")
    for row, judge in enumerate(CATEGORIES.values()):
        failed = [each for each in judge(scores, lab.plan) if each.failed]
        random.Random(0).shuffle(failed)
        for column, each in enumerate(sorted(failed, key=lambda one: -one.badness)[:SHOWN]):
            photo = load_image(cases[each.case].subjects[0].reference_image)
            picture = load_image(_pictures(lab, method) / f"{each.case}.png")
            for place, image in enumerate((photo, picture)):
                sheet.paste(image.resize((SIDE, SIDE)), ((2 * column + place) * SIDE, row * SIDE))
    save_png(sheet, out)
