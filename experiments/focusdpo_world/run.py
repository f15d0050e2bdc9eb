"""FocusDPO against base, SFT, DPO and PatchDPO on the embedded world: same pairs, same steps, fair search, test once.

    python experiments/focusdpo_world/run.py --workers 2
    python experiments/focusdpo_world/run.py --stage search --workers 2
    python experiments/focusdpo_world/run.py --plan small.toml --out runs/small     # a try-out

Stages: pairs, search, train, ablate, why, elsewhere, maps, tables. Each continues where it was stopped; a stage needs
those before it. Working files go to --out; JSON files, tables.md (most of them as a person reads them) and plots
go to --results.
"""

import argparse
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any  # TOML and JSON

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import world_runs
from analysis import METRICS, difference_rows, method_of, result_rows
from elsewhere import move_pairs
from field import measure_field
from margin import measure_margins
from plots import draw_plots
from tables import write_tables
from world_runs import ROOT, Changes

from likeness.core.files import read_json, write_json
from likeness.core.jobs import run_jobs

HERE = Path(__file__).resolve().parent
METHODS = ("sft", "dpo", "patch_dpo", "focus_dpo")
STAGES = ("pairs", "search", "train", "ablate", "why", "elsewhere", "maps", "tables")
CASES = {
    "test": ("test", "benchmarks"),
    "validation": ("validation", "validation"),
    "why": ("validation", "why_cases"),
    "elsewhere": ("test", "elsewhere_cases"),
}
"""Which split a set of cases is drawn of, and the table of the plan that says how many."""

CHOICE = ("attribute_accuracy", "leakage")  # validation: accuracy minus leakage decides, averaged over benchmarks
PROMPT_LOSS = 0.01  # of CLIP-T against base that a chosen try may cost, where any try of its method costs no more


@dataclass(frozen=True)
class Experiment:
    """The plan and where everything lies."""

    plan: dict[str, Any]
    out: Path
    results: Path
    workers: int

    @property
    def pairs(self) -> Path:
        return self.out / "pairs"

    def cases(self, benchmark: str, cases: str) -> Path:
        return self.out / "cases" / cases / benchmark

    def benchmarks(self, cases: str) -> dict[str, int]:
        """How many cases of which benchmark the set has."""
        return self.plan[CASES[cases][1]]


@dataclass(frozen=True)
class Variant:
    """One adapter (or none) and the set of cases its pictures are drawn of."""

    name: str
    changes: tuple[tuple[str, Any], ...] | None
    cases: str

    def folder(self, experiment: Experiment) -> Path:
        return experiment.out / "adapters" / self.name

    def pictures(self, experiment: Experiment, benchmark: str) -> Path:
        return experiment.out / "pictures" / self.cases / self.name / benchmark


def build_pairs(experiment: Experiment) -> None:
    """The one pair set that every method trains on."""
    plan = experiment.plan
    world_runs.build_pairs(plan["pairs"], base=plan["base"], out=experiment.pairs, workers=experiment.workers)


def build_cases(experiment: Experiment) -> None:
    """The case files, drawn once."""
    for cases, (split, _) in CASES.items():
        for benchmark, limit in experiment.benchmarks(cases).items():
            world_runs.build_cases(benchmark, folder=experiment.cases(benchmark, cases), limit=limit, split=split)


def train_and_measure(variant: Variant, experiment: Experiment) -> str:
    """The variant's adapter, its pictures of every case of its set, and their scores; in one process."""
    missing = [
        benchmark
        for benchmark in experiment.benchmarks(variant.cases)
        if not (variant.pictures(experiment, benchmark) / "evaluation" / "summary.json").is_file()
    ]
    loras: list[Path] = []
    if missing and variant.changes is not None:
        folder = variant.folder(experiment)
        loras = [world_runs.train(dict(variant.changes), recipe=experiment.plan["recipe"], out=folder)]
    for benchmark in missing:
        world_runs.draw_and_measure(
            variant.pictures(experiment, benchmark),
            cases=experiment.cases(benchmark, variant.cases) / "cases.jsonl",
            benchmark=benchmark,
            base=experiment.plan["base"],
            options={"steps": experiment.plan["draw"]["steps"]},
            loras=loras,
        )
    return variant.name


def _worker(experiment: Experiment, _: int) -> Callable[[Variant], str]:
    return partial(train_and_measure, experiment=experiment)


def run_variants(variants: Sequence[Variant], experiment: Experiment) -> None:
    """All variants, `workers` at a time."""
    build_cases(experiment)
    done = run_jobs(variants, load=partial(_worker, experiment), workers=experiment.workers, single_thread=True)
    for number, (_, name) in enumerate(done, start=1):
        print(f"{name}: measured ({number} of {len(variants)})", flush=True)


def variant(experiment: Experiment, name: str, method: str, *, cases: str, changes: Changes, seed: int) -> Variant:
    """A training of `method` under the plan's common settings with `changes` laid over them."""
    common = {"data.pairs": experiment.pairs.as_posix(), "objective.kind": method, "train.seed": seed}
    return Variant(name, tuple({**common, **experiment.plan["train"], **changes}.items()), cases)


def search(experiment: Experiment) -> None:
    """Every try of every method on validation subjects; the best of each goes to chosen.json."""
    write_json(experiment.results / "chosen.json", choose(METHODS, experiment))


def choose(
    methods: Sequence[str], experiment: Experiment, *, prefix: str = "search", common: Changes | None = None
) -> dict[str, Any]:
    """chosen: the best try of each method by the plan's rule; validation: the scores of all. `common` holds for all."""
    seed = experiment.plan["seeds"][0]
    tries = {
        f"{prefix}-{method}-{number}": (method, {**changes, **(common or {})})
        for method in methods
        for number, changes in enumerate(experiment.plan["search"][method])
    }
    base = Variant("base", None, "validation")
    variants = [
        variant(experiment, name, method, cases="validation", changes=changes, seed=seed)
        for name, (method, changes) in tries.items()
    ]
    run_variants([base, *variants], experiment)
    scored = {v.name: validation_scores(v, experiment) for v in (base, *variants)}
    chosen = {method: _best({n: c for n, (m, c) in tries.items() if m == method}, scored) for method in methods}
    return {"chosen": chosen, "validation": scored}


def _best(tries: Mapping[str, Changes], scored: Mapping[str, Mapping[str, float]]) -> Changes:
    """The try with the best choice among those that keep the prompt; among all where none does."""
    least = scored["base"]["clip_t"] - PROMPT_LOSS
    faithful = [name for name in tries if scored[name]["clip_t"] >= least]
    return tries[max(faithful or tries, key=lambda name: scored[name]["choice"])]


def validation_scores(variant: Variant, experiment: Experiment) -> dict[str, float]:
    """Means over the validation benchmarks of every metric; `choice` is accuracy minus leakage."""
    measured = [method_of(variant.name, [variant.pictures(experiment, name)]) for name in experiment.plan["validation"]]
    means = {
        metric: sum(method.values(metric).interval.mean for method in measured) / len(measured) for metric in METRICS
    }
    return {**means, "choice": means[CHOICE[0]] - means[CHOICE[1]]}


def train(experiment: Experiment) -> None:
    """The chosen settings of every method with every training seed, drawn and measured on test subjects."""
    groups = dict(zip(METHODS, final_variants(experiment), strict=True))
    first = [*groups.pop("focus_dpo"), *groups.pop("dpo")]  # what the claim is about is there first
    run_variants([Variant("base", None, "test"), *first, *(v for group in groups.values() for v in group)], experiment)


def final_variants(experiment: Experiment) -> list[list[Variant]]:
    """Per method its seeds."""
    chosen = read_json(experiment.results / "chosen.json")["chosen"]
    return [
        [
            variant(experiment, f"{method}-seed{seed}", method, cases="test", changes=chosen[method], seed=seed)
            for seed in experiment.plan["seeds"]
        ]
        for method in METHODS
    ]


def ablate(experiment: Experiment) -> None:
    """Section 11 of the note and the sweeps, one seed, on validation subjects."""
    chosen = read_json(experiment.results / "chosen.json")["chosen"]["focus_dpo"]
    seed = experiment.plan["seeds"][0]
    table = {"full": {}, **experiment.plan["ablations"]}
    variants = [
        variant(experiment, f"ablate-{n}", "focus_dpo", cases="validation", changes={**chosen, **c}, seed=seed)
        for n, c in table.items()
    ]
    run_variants(variants, experiment)
    groups = {"base": [Variant("base", None, "validation")]} | {v.name.removeprefix("ablate-"): [v] for v in variants}
    write_json(
        experiment.results / "ablations.json",
        compare(groups, experiment, benchmarks=experiment.benchmarks("validation"), against=("base", "full")),
    )


Groups = Mapping[str, Sequence[Variant]]
"""Name -> a measured variant per seed, all of them of one set of cases."""


def compare(
    groups: Groups, experiment: Experiment, *, benchmarks: Iterable[str], against: Sequence[str] | None = None
) -> dict[str, list[Any]]:
    """results: the means of every group; differences: between groups, later minus earlier."""
    found: dict[str, list[Any]] = {"results": [], "differences": []}
    for benchmark in benchmarks:
        runs = {name: [v.pictures(experiment, benchmark) for v in group] for name, group in groups.items()}
        place = {"backbone": experiment.plan["backbone"], "benchmark": benchmark}
        found["results"] += result_rows(runs, **place)
        found["differences"] += difference_rows(runs, **place, against=against)
    return found


def why(experiment: Experiment) -> None:
    """DPO and FocusDPO with betas that make their steps alike, and on pairs whose backgrounds differ."""
    chosen = read_json(experiment.results / "chosen.json")["chosen"]
    moved = moved_pairs(experiment)
    groups: dict[str, list[Variant]] = {"base": [Variant("base", None, "why")]}
    for name, table in experiment.plan["why"].items():
        method, changes = table["method"], {**chosen[table["method"]], **table["changes"]}
        if table["elsewhere"]:
            changes |= moved
        groups[name] = [
            variant(experiment, f"why-{name}-seed{seed}", method, cases="why", changes=changes, seed=seed)
            for seed in experiment.plan["why_seeds"]
        ]
    run_variants([v for group in groups.values() for v in group], experiment)
    write_json(experiment.results / "why.json", compare(groups, experiment, benchmarks=experiment.benchmarks("why")))


def moved_pairs(experiment: Experiment) -> dict[str, str]:
    """The change of settings that trains on the pairs whose rejected pictures lie elsewhere."""
    moved = experiment.out / "pairs-elsewhere"
    move_pairs(experiment.pairs, out=moved, split="train", hard=experiment.plan["pairs"]["hard"])
    return {"data.pairs": moved.as_posix()}


def elsewhere(experiment: Experiment) -> None:
    """DPO and FocusDPO on pairs whose backgrounds differ, tuned on them, drawn and measured on test subjects."""
    moved = moved_pairs(experiment)
    found = choose(("dpo", "focus_dpo"), experiment, prefix="elsewhere", common=moved)
    groups = {
        f"{method}_elsewhere": [
            variant(experiment, f"elsewhere-{method}-seed{seed}", method, cases="elsewhere", changes=changes, seed=seed)
            for seed in experiment.plan["why_seeds"]
        ]
        for method, changes in found["chosen"].items()
    }
    run_variants([v for group in groups.values() for v in group], experiment)
    equal = dict(zip(METHODS, final_variants(experiment), strict=True))
    before = {"base": [Variant("base", None, "test")], "dpo": equal["dpo"], "focus_dpo": equal["focus_dpo"]}
    for changes in found["chosen"].values():
        del changes["data.pairs"]  # a path of this machine
    compared = compare({**before, **groups}, experiment, benchmarks=experiment.benchmarks("elsewhere"))
    write_json(experiment.results / "elsewhere.json", {**found, **compared})


def maps(experiment: Experiment) -> None:
    """Where preferences lie, and what the attention field finds, against exact masks."""
    seed = experiment.plan["seeds"][0]
    names = [f"{method}-seed{seed}" for method in ("dpo", "focus_dpo")]
    measure_margins(names, out=experiment.out, results=experiment.results)
    measure_field(names[-1], out=experiment.out, results=experiment.results)


def tables(experiment: Experiment) -> None:
    """results.json, differences.json, tables.md and the plots."""
    finals = dict(zip(METHODS, final_variants(experiment), strict=True))
    found = compare(
        {"base": [Variant("base", None, "test")], **finals}, experiment, benchmarks=experiment.benchmarks("test")
    )
    for name, rows in found.items():
        write_json(experiment.results / f"{name}.json", rows)
    write_tables(experiment.results)
    draw_plots(experiment.results, logs=[v.folder(experiment) / "log.jsonl" for v in finals["focus_dpo"]])


def main() -> None:
    """Runs one stage or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=HERE / "plan.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "focusdpo_world")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    plan = tomllib.loads(arguments.plan.read_text())
    experiment = Experiment(plan, arguments.out.resolve(), arguments.results.resolve(), arguments.workers)
    stages = zip(STAGES, (build_pairs, search, train, ablate, why, elsewhere, maps, tables), strict=True)
    for name, stage in stages:
        if arguments.stage in (None, name):
            print(f"== {name}", flush=True)
            stage(experiment)


if __name__ == "__main__":
    main()
