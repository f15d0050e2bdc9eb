"""Pictures of every method for the same people and prompts, and their scores; what is done is kept."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple  # TOML and JSON

import world_runs
from batched import draw_batched
from scores import Scores, read_run, write_scores
from subject_runs import Cost, draw_prompts, learn, with_words

from likeness.benchmarks.stellar_world import NUM_PEOPLE
from likeness.core.errors import ConfigError
from likeness.core.files import read_json, write_jsonl
from likeness.core.images import load_image, save_png
from likeness.core.jobs import run_jobs
from likeness.core.masks import load_mask
from likeness.core.records import Case, read_cases

TUNED = world_runs.ROOT / "experiments" / "tuned_subjects"


class TimeIsOverError(Exception):
    """The time that a run was given is over; what is done is kept."""


class Lab(NamedTuple):
    """The plan, folders of working files and of results, processes for trainings, and when to stop (monotonic s)."""

    plan: Mapping[str, Any]
    out: Path
    results: Path
    workers: int = 1
    until: float = float("inf")

    def check_time(self) -> None:
        """Raises: TimeIsOverError."""
        if time.monotonic() > self.until:
            raise TimeIsOverError

    def method(self, name: str) -> Mapping[str, Any]:
        """The plan's table of a method."""
        return self.plan["methods"][name]

    def scores_file(self, phase: str, name: str) -> Path:
        """Where the scores of a method are kept."""
        return self.results / "scores" / phase / f"{name}.csv.gz"

    def case_file(self, phase: str) -> Path:
        """The first people of a split, all of them with the same turns of photos and prompts; drawn once."""
        people, turns = self.plan["people"][phase], self.plan["turns"][phase]
        path = self.out / "cases" / phase / "people.jsonl"
        if not path.is_file():
            limit = NUM_PEOPLE * (turns - 1) + people
            folder = path.parent / "all"
            every = world_runs.build_cases(self.plan["benchmark"], folder=folder, limit=limit, split=phase)
            cases = read_cases(every).cases
            kept = [case for index, case in enumerate(cases) if index % NUM_PEOPLE < people]
            write_jsonl(path, [case.model_dump(mode="json") for case in kept])
        return path


class Wanted(NamedTuple):
    """Pictures to draw: `options` are those of a try, `tried` its name, empty for the only one."""

    name: str
    phase: str
    cases: Path
    options: Mapping[str, Any]
    tried: str = ""

    @property
    def title(self) -> str:
        """Of files."""
        return f"{self.name}-{self.tried}" if self.tried else self.name


# -- pictures --------------------------------------------------------------------------------------------------
def draw(wanted: Wanted, lab: Lab) -> tuple[Path, dict[str, Any]]:
    """The run folder with a picture of every case, and what learning took. Raises: TimeIsOverError, ConfigError."""
    run = lab.out / "pictures" / wanted.phase / wanted.title
    cost = KINDS[lab.method(wanted.name)["kind"]](wanted, lab, run)
    return run, cost


def _prompts(wanted: Wanted, lab: Lab, run: Path) -> dict[str, Any]:
    cases = read_cases(wanted.cases).cases
    model = lab.method(wanted.name)["base"]
    draw_prompts(cases, [case.prompt for case in cases], model=model, learnt=None, steps=lab.plan["steps"], run=run)
    return {}


def _references(wanted: Wanted, lab: Lab, run: Path) -> dict[str, Any]:
    base = lab.method(wanted.name)["base"]
    if not all((run / "images" / f"{case.id}.png").is_file() for case in read_cases(wanted.cases).cases):
        draw_batched(run, cases=wanted.cases, base=base, options={"steps": lab.plan["steps"]}, loras=[])
    return {}


def _trained_once(wanted: Wanted, lab: Lab, run: Path) -> dict[str, Any]:
    """One training for all people, or two, whose maker is shown the photo before black."""
    from likeness.core.weights import resolve_weights
    from likeness.generate.makers import BACKBONE, MakerSpec, load_maker, maker_for, read_options

    table = lab.method(wanted.name)
    changes = {**table["changes"], "model.base": table["base"]}
    learnt, cost = learn(table["recipe"], changes=changes, out=lab.out / wanted.name / "run")
    if "and_then" in table:
        changes = {**table["and_then"], "model.base": table["base"], "model.inversion": learnt.as_posix()}
        learnt, second = learn(table["recipe"], changes=changes, out=lab.out / wanted.name / "and_then")
        cost = Cost(cost.seconds + second.seconds, cost.steps + second.steps, second.megabytes)
    load, folder = maker_for(BACKBONE, [learnt]), resolve_weights(table["base"])
    options = read_options(load, {"steps": lab.plan["steps"], **wanted.options}, folder=folder)
    maker: Any = load_maker(MakerSpec(load, folder, "cpu", "float32", (learnt,)))
    for case in read_cases(wanted.cases).cases:
        file = run / "images" / f"{case.id}.png"
        if not file.is_file():
            shown = maker.crop_reference(*portrait(case), options=options)
            save_png(maker.generate(case.prompt, [shown], seed=case.seed, options=options), file)
            lab.check_time()
    return {"all": cost._asdict()}


def _tuned(wanted: Wanted, lab: Lab, run: Path) -> dict[str, Any]:
    by_person: dict[str, list[Case]] = {}
    for case in read_cases(wanted.cases).cases:
        by_person.setdefault(case.subjects[0].id, []).append(case)
    jobs = [(wanted, who) for who in by_person]
    work = partial(_learner, lab, run, by_person)
    return {who: cost._asdict() for (_, who), cost in run_jobs(jobs, load=work, workers=lab.workers, in_order=True)}


def _learner(
    lab: Lab, run: Path, by_person: Mapping[str, Sequence[Case]], _: int
) -> Callable[[tuple[Wanted, str]], Cost]:
    return lambda job: _learn_and_draw(job[0], by_person[job[1]], lab=lab, run=run)


def _learn_and_draw(wanted: Wanted, cases: Sequence[Case], *, lab: Lab, run: Path) -> Cost:
    """One person: the method learns the photos, then draws the cases."""
    lab.check_time()
    table, who = settings(lab.method(wanted.name)["tuned"]), cases[0].subjects[0]
    photos = photo_folder(cases[0], out=lab.out / "photos" / who.id)
    model = lab.method(wanted.name)["base"]
    data = {"data.photos": [photos.as_posix()], "data.class_words": [who.class_name], "model.base": model}
    out = lab.out / wanted.name / who.id
    learnt, cost = learn(table["recipe"], changes={**table["changes"], **data}, out=out)
    named = [with_words(case, table["named"].format(who.class_name)) for case in cases]
    draw_prompts(cases, named, model=model, learnt=learnt, steps=lab.plan["steps"], run=run)
    return cost


KINDS: Mapping[str, Callable[[Wanted, Lab, Path], dict[str, Any]]] = {
    "prompts": _prompts,
    "references": _references,
    "trained_once": _trained_once,
    "tuned": _tuned,
}
"""How methods draw. A method of a new kind is a function here and a table in plan.toml."""


def portrait(case: Case) -> tuple[Any, Any]:
    """The conditioning photo of a case, and the mask that Stellar's layout has beside it."""
    photo = case.subjects[0].reference_image
    image = load_image(photo)
    return image, mask_of(photo, size=image.size)


def mask_of(photo: Path, *, size: tuple[int, int]) -> Any:
    """Where the person of a photo is, from the file beside it."""
    return load_mask(photo.with_name(f"{photo.stem}_bg.png"), size=size)


def photo_folder(case: Case, *, out: Path) -> Path:
    """A folder of the person's photos with their masks, as methods that learn a subject read it."""
    out.mkdir(parents=True, exist_ok=True)
    for photo in case.subjects[0].photos:
        shutil.copyfile(photo, out / photo.name)
        save_png(mask_of(photo, size=load_image(photo).size), out / f"{photo.stem}.mask.png")
    return out


def settings(method: str) -> Mapping[str, Any]:
    """`recipe`, `named` and the `changes` chosen on validation subjects. Raises: ConfigError before that."""
    import tomllib

    path, plan = TUNED / f"{method}.json", tomllib.loads((TUNED / "plan.toml").read_text(encoding="utf-8"))
    rows = read_json(path).values() if path.is_file() else ()
    chosen = [row["changes"] for row in rows if row["chosen"]]
    if not chosen:
        what = f"{path}: expected the try that was chosen, got none"
        raise ConfigError(f"{what}; run experiments/tuned_subjects/run.py {method} first.")
    return {**plan["methods"][method], "changes": chosen[0]}


# -- scores ----------------------------------------------------------------------------------------------------
def measure(wanted: Wanted, lab: Lab) -> None:
    """The scores of the method are kept; those there are left alone. Raises: TimeIsOverError, ConfigError."""
    from likeness.core.devices import pick_device, processor
    from likeness.evaluate import evaluate_run

    path = lab.scores_file(wanted.phase, wanted.title)
    if path.is_file():
        return
    begun = time.process_time()
    run, costs = draw(wanted, lab)
    drawn = time.process_time() - begun
    lab.check_time()
    shutil.copyfile(wanted.cases, run / "cases.jsonl")
    metrics = lab.plan["metrics"]
    summary = evaluate_run(
        run,
        benchmark=lab.plan["benchmark"],
        encoders=world_runs.world_encoders(*lab.plan["encoders"]),
        cases=wanted.cases,
        bounds=False,
        metrics=metrics,
        features=lab.out / "features",
    )
    meta = {
        "method": wanted.name,
        "settings": {"steps": lab.plan["steps"], **wanted.options, **_changes(wanted, lab)},
        "costs": costs,
        "seconds": round(drawn, 1),
        "encoders": summary["encoders"],
        "processor": processor(pick_device()),
    }
    rows = read_run(run, metrics=[m for m in metrics if m in summary["metrics"]], strength=1.0)
    write_scores(path, Scores(meta, rows))
    print(f"{wanted.phase} {wanted.title}: {len(rows)} pictures, {drawn:.0f} s", flush=True)


def _changes(wanted: Wanted, lab: Lab) -> Mapping[str, Any]:
    table = lab.method(wanted.name)
    return settings(table["tuned"])["changes"] if table["kind"] == "tuned" else table.get("changes", {})
