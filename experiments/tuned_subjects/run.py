"""Does a tuned model draw its subject better than the untrained one, and at which rate? On the drawn world.

    python experiments/tuned_subjects/run.py [METHOD ...] --out FOLDER

METHOD is a key of [methods] in plan.toml, all of them without any. Every try is trained on the first subjects, the
chosen one on all. The pictures of a subject answer several prompts; the untrained model ("base") draws them by the
class word, and once more told in true words what the subject looks like ("described"). METHOD.json and described.json
beside this file hold every try with its differences to base, subjects.webp shows the chosen ones; an interrupted run
goes on.
"""

import argparse
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # TOML and JSON

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import world_runs
from scores import Scores, number, read_run, read_scores, write_scores
from subject_runs import Cost, draw_prompts, learn, with_words

from likeness.core.files import read_json, write_json, write_jsonl
from likeness.core.images import load_image
from likeness.core.records import Case, read_cases
from likeness.core.stats.paired import joined
from likeness.evaluate import evaluate_run
from likeness.evaluate.aggregate import to_json
from likeness.report.figures import contact_sheet
from likeness.train.subjects.photos import world_subject
from likeness.world.scenario import describe

HERE = Path(__file__).parent
MODEL, BASE, DESCRIBED = "sdxl", "base", "described"
CHOSEN_BY = "dino"
WHERE_RIGHT = "dino_where_right"
"""DINO of the pictures whose action is recognised, 0 of the others."""


class Try(NamedTuple):
    """A method with the settings of one try."""

    method: str
    number: int
    table: Mapping[str, Any]
    changes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its folders and files."""
        return f"{self.method}-{self.number}"


class Lab(NamedTuple):
    """The plan, the folder of working files, and where results are kept."""

    plan: Mapping[str, Any]
    out: Path
    results: Path

    def tries(self, method: str) -> list[Try]:
        """The tries of a method in the plan's order."""
        table = self.plan["methods"][method]
        return [Try(method, i, table, {**table["changes"], **own}) for i, own in enumerate(table["tries"])]

    def scores_file(self, name: str) -> Path:
        """Where the scores of a try are kept."""
        return self.results / "scores" / f"{name}.csv.gz"


# -- cases -----------------------------------------------------------------------------------------------------
def case_file(lab: Lab) -> Path:
    """Every subject in the prompts of its own case and of the next ones, drawn once."""
    plan = lab.plan
    path, count = lab.out / "cases.jsonl", max(plan["subjects"], plan["prompts"])
    if path.is_file():
        return path
    own = read_cases(
        world_runs.build_cases(plan["benchmark"], folder=lab.out / "cases", limit=count, split=plan["split"])
    ).cases
    cases = [
        asked(case, own[(place + turn) % count], place=place, turn=turn)
        for place, case in enumerate(own[: plan["subjects"]])
        for turn in range(plan["prompts"])
    ]
    write_jsonl(path, [case.model_dump(mode="json") for case in cases])
    return path


def asked(case: Case, other: Case, *, place: int, turn: int) -> Case:
    """The subject of `case` in what `other` asks for, by its own class word."""
    prompt = with_words(other, case.subjects[0].class_name)
    told = {"id": f"subject-{place}-{turn}", "prompt": prompt, "seed": other.seed, "subjects": case.subjects}
    return other.model_copy(update=told)


# -- a try -----------------------------------------------------------------------------------------------------
def attempt(one: Try, lab: Lab, *, subjects: int) -> None:
    """The scores of a try on the first subjects are kept; those there are left alone."""
    cases = _first(lab, subjects)
    path = lab.scores_file(one.name)
    known = read_scores(path) if path.is_file() else Scores({}, {})
    costs: dict[str, Any] = dict(known.meta.get("costs", {}))
    if known.has([case.id for case in cases], strength=1.0):
        return
    run = lab.out / "pictures" / one.name
    for first in range(0, len(cases), lab.plan["prompts"]):
        some = cases[first : first + lab.plan["prompts"]]
        who = some[0].subjects[0]
        learnt, cost = learnt_by(one, lab, photos=f"world:{who.id}", word=who.class_name)
        costs[who.id] = cost._asdict()
        named = [with_words(case, one.table["named"].format(who.class_name)) for case in some]
        draw_prompts(some, named, model=MODEL, learnt=learnt, steps=lab.plan["steps"], run=run)
    keep(run, cases, lab, name=one.name, meta={"changes": dict(one.changes), "costs": costs})


def learnt_by(one: Try, lab: Lab, *, photos: str, word: str) -> tuple[Path, Cost]:
    """What the recipe of a try makes of some photos."""
    data = {"data.photos": [photos], "data.class_words": [word], "model.base": MODEL}
    folder = lab.out / "runs" / one.name / photos.replace(":", "-")
    return learn(one.table["recipe"], changes={**one.changes, **data}, out=folder)


def base(lab: Lab, *, subjects: int) -> None:
    """The scores of the untrained model, which is told the class word."""
    _untrained(lab, BASE, {case.id: case.prompt for case in _first(lab, subjects)})


def described(lab: Lab, *, subjects: int) -> None:
    """Those of the untrained model where the world's own words say what the subject looks like; compared with base."""
    prompts = {
        case.id: with_words(case, describe(world_subject(case.subjects[0].id))) for case in _first(lab, subjects)
    }
    _untrained(lab, DESCRIBED, prompts)
    both = (read_scores(lab.scores_file(name)) for name in (DESCRIBED, BASE))
    write_json(lab.results / f"{DESCRIBED}.json", compared(*both, prompts=lab.plan["prompts"]))


def _first(lab: Lab, subjects: int) -> list[Case]:
    return read_cases(case_file(lab)).cases[: subjects * lab.plan["prompts"]]


def _untrained(lab: Lab, name: str, prompts: Mapping[str, str]) -> None:
    cases = [case for case in read_cases(case_file(lab)).cases if case.id in prompts]
    path = lab.scores_file(name)
    if path.is_file() and read_scores(path).has(list(prompts), strength=1.0):
        return
    run = lab.out / "pictures" / name
    draw_prompts(cases, list(prompts.values()), model=MODEL, learnt=None, steps=lab.plan["steps"], run=run)
    keep(run, cases, lab, name=name, meta={})


def keep(run: Path, cases: Sequence[Case], lab: Lab, *, name: str, meta: Mapping[str, Any]) -> None:
    """The pictures are measured and their scores kept."""
    file = run / "cases.jsonl"
    write_jsonl(file, [case.model_dump(mode="json") for case in cases])
    metrics = lab.plan["metrics"]
    options: dict[str, Any] = {"bounds": False, "metrics": metrics, "features": lab.out / "features"}
    summary = evaluate_run(
        run, benchmark=name, encoders=world_runs.world_encoders(), cases=file, allow_missing=True, **options
    )
    write_scores(
        lab.scores_file(name),
        Scores({**meta, "encoders": summary["encoders"]}, read_run(run, metrics=metrics, strength=1.0)),
    )


# -- what came out ---------------------------------------------------------------------------------------------
def compared(one: Scores, with_base: Scores, *, prompts: int) -> dict[str, Any]:
    """Metric -> mean of both and the paired difference, by subject; `WHERE_RIGHT` beside the plan's metrics."""
    mine, theirs = (by_metric(each) for each in (one, with_base))
    found: dict[str, Any] = {"pictures": len(one.rows), "subjects": len(one.rows) // prompts}
    for metric, values in mine.items():
        ids = list(values)
        old = {name: theirs[metric][name] for name in ids}
        subjects = {name: name.rsplit("-", 1)[0] for name in ids}
        pairs = joined(values, old, subjects)
        found[metric] = {
            "before": sum(old.values()) / len(ids),
            "after": sum(values.values()) / len(ids),
            "difference": to_json(pairs.interval),
        }
    return found


def of_first(scores: Scores, *, subjects: int) -> Scores:
    """The scores of the first subjects alone, so that tries are compared on the same ones."""
    kept = {key: cells for key, cells in scores.rows.items() if int(key[0].split("-")[1]) < subjects}
    return Scores(scores.meta, kept)


def by_metric(scores: Scores) -> dict[str, dict[str, float]]:
    """Metric -> case -> value, `WHERE_RIGHT` among them."""
    rows = {case: {name: number(cell) for name, cell in cells.items()} for (case, _), cells in scores.rows.items()}
    found = {name: {case: row[name] for case, row in rows.items()} for name in next(iter(rows.values()))}
    if {"dino", "action_recognised"} <= found.keys():
        found[WHERE_RIGHT] = {case: row["dino"] * row["action_recognised"] for case, row in rows.items()}
    return found


def chosen_of(rows: Mapping[str, Mapping[str, Any]], tries: Sequence[Try]) -> Try:
    """The try with the best mean of `CHOSEN_BY`, of equal ones the first."""
    return max(tries, key=lambda one: (rows[one.name][CHOSEN_BY]["after"], -one.number))


def search(method: str, lab: Lab) -> None:
    """All tries of a method, then the chosen one on all subjects; METHOD.json beside this file is up to date."""
    tries, file = lab.tries(method), lab.results / f"{method}.json"
    told: dict[str, Any] = read_json(file) if file.is_file() else {}

    def tell(one: Try, *, subjects: int) -> dict[str, Any]:
        scores = of_first(read_scores(lab.scores_file(one.name)), subjects=subjects)
        row = compared(scores, read_scores(lab.scores_file(BASE)), prompts=lab.plan["prompts"])
        costs = list(scores.meta["costs"].values())
        mean = {key: sum(cost[key] for cost in costs) / len(costs) for key in Cost._fields}
        return {"method": method, "changes": dict(one.changes), "cost": mean, **row}

    for one in tries:
        attempt(one, lab, subjects=lab.plan["search"])
        told[one.name] = {**tell(one, subjects=lab.plan["search"]), "chosen": False}
        write_json(file, told)
        print(one.name, {key: told[one.name][key]["difference"] for key in (CHOSEN_BY, WHERE_RIGHT)}, flush=True)
    best = chosen_of(told, tries)
    attempt(best, lab, subjects=lab.plan["subjects"])
    told[best.name] = {**tell(best, subjects=lab.plan["subjects"]), "chosen": True}
    write_json(file, told)


def draw_sheet(lab: Lab) -> Path | None:
    """subjects.webp: photos, the untrained model, then each method whose pictures are here; None without any.

    A column for each subject, in a prompt of its own.
    """
    cases = read_cases(case_file(lab)).cases
    count = lab.plan["prompts"]
    shown = [cases[place * count + place % count] for place in range(lab.plan["subjects"])]
    rows = [BASE]
    for method in lab.plan["methods"]:
        file = lab.results / f"{method}.json"
        rows += [name for name, row in read_json(file).items() if row["chosen"]] if file.is_file() else []
    folders = [lab.out / "pictures" / name / "images" for name in rows]
    files = [[folder / f"{case.id}.png" for case in shown] for folder in folders]
    found = [row for row in files if all(file.is_file() for file in row)]
    if not found:
        return None
    photos = [load_image(case.subjects[0].reference_image) for case in shown]
    images = [*photos, *(load_image(file) for row in found for file in row)]
    out = lab.results / "subjects.webp"
    contact_sheet(images, columns=len(shown), cell=96, gap=4).save(out, quality=80)
    print(f"{out}: photos; {'; '.join(row[0].parts[-3] for row in found)}", flush=True)
    return out


def main() -> None:
    """The search of each method, and a sheet of pictures."""
    plan = tomllib.loads((HERE / "plan.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=", ".join(plan["methods"]))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=HERE)
    asked_for = parser.parse_args()
    if unknown := [name for name in asked_for.methods if name not in plan["methods"]]:
        parser.error(f"METHOD: expected some of {', '.join(plan['methods'])}, got {unknown[0]}")
    lab = Lab(plan, asked_for.out.resolve(), asked_for.results.resolve())
    base(lab, subjects=plan["subjects"])
    described(lab, subjects=plan["subjects"])
    for method in asked_for.methods or plan["methods"]:
        search(method, lab)
    draw_sheet(lab)


if __name__ == "__main__":
    main()
