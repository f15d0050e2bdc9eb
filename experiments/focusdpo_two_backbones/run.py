"""FocusDPO against its rivals at equal CLIP-T, on two backbones and three kinds of pairs: issue 17.

    python experiments/focusdpo_two_backbones/run.py --workers 2
    python experiments/focusdpo_two_backbones/run.py --phase validation --backbone flux_uno --until-minutes 150
    python experiments/focusdpo_two_backbones/run.py --phase tables     # from the committed scores alone

protocol.md says what is decided before anything is drawn. Phases: validation (settings and strengths are chosen), test
(the chosen ones, three training seeds), tables. Each continues where it was stopped, also on another machine: what is
finished lies in scores/ and chosen.json, which are committed; working files go to --out.
"""

import argparse
import os
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crew import Crew, do_all
from lab import Lab
from tables import PAGE, write_tables
from world_runs import ROOT

from likeness.core.errors import WeightsError
from likeness.core.weights import resolve_weights

HERE = Path(__file__).resolve().parent
PHASES = ("validation", "test", "tables")


def usable(lab: Lab, wanted: str | None) -> list[str]:
    """The backbones to run: the one wanted, or all whose weights are there. Raises: WeightsError without the wanted."""
    names = [wanted] if wanted else list(lab.plan["backbones"])
    found: list[str] = []
    for name in names:
        try:
            resolve_weights(lab.plan["backbones"][name]["base"])
            found.append(name)
        except WeightsError as error:
            if wanted:
                raise
            print(f"{name} is left for later: {error}", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one phase or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=HERE / "plan.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "focusdpo_two_backbones")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--phase", choices=PHASES)
    parser.add_argument("--backbone", choices=("flux_uno", "sdxl"))
    parser.add_argument("--until-minutes", type=float)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    plan = tomllib.loads(given.plan.read_text(encoding="utf-8"))
    lab = Lab(plan, given.out.resolve(), given.results.resolve(), given.workers)
    if given.until_minutes is not None:
        lab = replace(lab, deadline=time.time() + 60 * given.until_minutes)
    phases = tuple(name for name in PHASES[:2] if given.phase in (None, name))
    if phases and not do_all(Crew(lab, tuple(usable(lab, given.backbone)), phases)):
        print("time is over; the same command continues", flush=True)
        return
    if given.phase in (None, "tables"):
        write_tables(lab, page=PAGE if lab.results == HERE else None)


if __name__ == "__main__":
    main()
