"""Stellar's table on the drawn world: StellarNet, methods that need no tuning, and methods tuned on each person.

    python experiments/stellar_table/run.py --workers 2
    python experiments/stellar_table/run.py --phase test --method uno --until-minutes 30
    python experiments/stellar_table/run.py --phase tables          # from the committed scores alone

protocol.md says what is decided before anything is drawn. Phases: test (options are chosen on validation people where a
method has several tries, then all people are drawn and measured), failures, tables. Each continues where it was
stopped: what is finished lies in scores/ and chosen.json, which are committed; working files go to --out.
"""

import argparse
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from choice import choose
from failures import PHASE, PLANTED, TRUTH, draw_sheet, look_at
from lab import Lab, TimeIsOverError, Wanted, measure
from tables import write_tables
from world_runs import ROOT

HERE = Path(__file__).resolve().parent
PHASES = ("test", "failures", "tables")


def test(lab: Lab, names: Sequence[str]) -> None:
    """The scores of every named method on the people of the test. Raises: TimeIsOverError, ConfigError."""
    for name in names:
        lab.check_time()
        if not lab.scores_file("test", name).is_file():
            measure(Wanted(name, "test", lab.case_file("test"), choose(lab, name)), lab)


def failures(lab: Lab, names: Sequence[str]) -> None:
    """The looks at pictures made for each way to fail, and a sheet of the worst. Raises: as `test`."""
    for name in (TRUTH, PLANTED, *(each for each in lab.plan["failures"]["methods"] if each in names)):
        lab.check_time()
        if not lab.scores_file(PHASE, name).is_file():
            look_at(name, lab)
            draw_sheet(lab, name, out=lab.results / f"failures-{name}.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one phase or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=HERE / "plan.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "stellar_table")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--phase", choices=PHASES)
    parser.add_argument("--method", action="append", help="only these; may be repeated")
    parser.add_argument("--until-minutes", type=float, default=float("inf"))
    parser.add_argument("--workers", type=int, default=1, help="processes that train")
    given = parser.parse_args(arguments)
    plan = tomllib.loads(given.plan.read_text(encoding="utf-8"))
    names = given.method or list(plan["methods"])
    if unknown := [name for name in names if name not in plan["methods"]]:
        parser.error(f"--method: expected some of {', '.join(plan['methods'])}, got {unknown[0]}")
    until = time.monotonic() + 60 * given.until_minutes
    lab = Lab(plan, given.out.resolve(), given.results.resolve(), given.workers, until)
    try:
        for phase, work in (("test", test), ("failures", failures)):
            if given.phase in (None, phase):
                work(lab, names)
    except TimeIsOverError:
        print("time is over; the same command continues", flush=True)
        return
    if given.phase in (None, "tables"):
        write_tables(lab)


if __name__ == "__main__":
    main()
