"""Relations on the drawn world: what a LoRA, its keypoint loss and local tokens bring, and how these are best made.

    python experiments/relation_world/run.py --workers 2
    python experiments/relation_world/run.py --phase test --row both --row base
    python experiments/relation_world/run.py --phase tables     # from the committed scores alone

protocol.md says what was decided before anything was drawn. Phases: search (the learning rate is chosen on validation
subjects), test (every row of plan.toml), tables. Each continues where it was stopped: what is finished lies in scores/
and chosen.json, which are committed; working files go to --out.
"""

import argparse
import sys
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import Lab, chosen_rate, do_row, model_of
from tables import write_tables
from world_runs import ROOT

from likeness.core.errors import ConfigError
from likeness.core.jobs import run_jobs

HERE = Path(__file__).resolve().parent
PHASES = ("search", "test", "tables")
UNTRAINED = 0.0
"""The learning rate of rows without a LoRA."""


def draw_rows(lab: Lab, names: Sequence[str]) -> None:
    """The scores of these rows of the test, each by one process. Cases, examples and models are made before.

    Rows without a LoRA do not wait for the choice of the rate.
    """
    lab.cases("test")
    for relation in lab.relations:
        lab.examples(relation)
    for name in names:
        model_of(lab, lab.plan["rows"][name])
    rate = chosen_rate(lab) if any("changes" in lab.plan["rows"][name] for name in names) else UNTRAINED
    left = [name for name in names if lab.scores(name, "test") is None]
    for name, _ in run_jobs(left, load=partial(_member, lab, rate), workers=lab.workers, single_thread=True):
        print(f"{name}: done", flush=True)
        write_tables(lab)


def _member(lab: Lab, rate: float, _: int) -> Callable[[str], int]:
    return lambda name: len(do_row(lab, name, "test", rate=rate).rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one phase or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=HERE / "plan.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "relation_world")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--phase", choices=PHASES)
    parser.add_argument("--row", action="append", default=[])
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    plan = tomllib.loads(given.plan.read_text(encoding="utf-8"))
    if unknown := [name for name in given.row if name not in plan["rows"]]:
        raise ConfigError(f"--row: expected one of {', '.join(plan['rows'])}, got {unknown[0]}; correct the name.")
    lab = Lab(plan, given.out.resolve(), given.results.resolve(), given.workers)
    if given.phase in (None, "search"):
        chosen_rate(lab)
    if given.phase in (None, "test"):
        draw_rows(lab, given.row or list(plan["rows"]))
    if given.phase in (None, "tables"):
        write_tables(lab)


if __name__ == "__main__":
    main()
