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
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from design import Design, Piece
from lab import Lab, Ledger, TimeIsOverError, worker
from pair_kinds import build_kind
from tables import write_tables
from world_runs import ROOT

from likeness.core.errors import ConfigError, WeightsError
from likeness.core.files import read_json, write_json
from likeness.core.jobs import run_jobs
from likeness.core.weights import resolve_weights

HERE = Path(__file__).resolve().parent
PHASES = ("validation", "test", "tables")


def pending(pieces: Iterable[Piece], ledger: Ledger) -> list[Piece]:
    """Those of the pieces that are not done, one for each file: the one that wants the most strengths."""
    wanted: dict[Path, Piece] = {}
    for piece in pieces:
        known = wanted.get(piece.file)
        if known is None or len(piece.strengths) > len(known.strengths):
            wanted[piece.file] = piece
    return [piece for piece in wanted.values() if not ledger.is_done(piece)]


def do_all(pieces: Sequence[Piece], lab: Lab) -> bool:
    """The pieces are done; False where time ran out first."""
    for kind in dict.fromkeys(piece.pairs for piece in pieces if piece.changes is not None):
        base = next(iter(lab.plan["backbones"].values()))["base"]
        place = lab.out / "pairs"
        try:
            build_kind(kind, plan=lab.plan, base=base, place=place, workers=lab.workers, progress=lab.watch)
        except TimeIsOverError:
            return False
    for phase in dict.fromkeys(piece.phase for piece in pieces):  # here, so that no two workers draw the same cases
        for benchmark in lab.limits(phase):
            lab.case_file(phase, benchmark)
    done = run_jobs(pieces, load=partial(worker, lab), workers=lab.workers, single_thread=True)
    return all([finished for _, finished in done])  # a list: every job is waited for


def validation(lab: Lab, backbones: Sequence[str]) -> bool:
    """Everything on validation subjects, and what is chosen by it in chosen.json; False where time ran out first."""
    ledger = Ledger(lab)
    for design in (Design(lab.plan, backbone) for backbone in backbones):
        while pieces := pending(design.validation(ledger), ledger):
            print(f"{design.backbone}: {len(pieces)} pieces of the validation phase can be done now", flush=True)
            if not do_all(pieces, lab):
                return False
        write_chosen(lab, design, ledger)
    return True


def write_chosen(lab: Lab, design: Design, ledger: Ledger) -> None:
    """This backbone's part of chosen.json, from scores that are all there."""
    path, found = lab.results / "chosen.json", {}
    search = lab.plan["search"]
    for pairs in (*search["pairs"], *search["borrowed"]):
        chosen = design.chosen_of(pairs, known=ledger)
        assert chosen is not None, "the phase is over"
        found[pairs] = {name: each.to_json() for name, each in chosen.items()}
    old = read_json(path) if path.is_file() else {}
    write_json(path, {**old, design.backbone: found})


def test(lab: Lab, backbones: Sequence[str]) -> bool:
    """What was chosen, on test subjects; False where time ran out first. Raises: ConfigError before the choice."""
    path, ledger = lab.results / "chosen.json", Ledger(lab)
    chosen = read_json(path) if path.is_file() else {}
    for backbone in backbones:
        if backbone not in chosen:
            raise ConfigError(f"{path}: expected choices for {backbone}, got none; finish --phase validation first.")
        if pieces := pending(Design(lab.plan, backbone).test(chosen[backbone]), ledger):
            print(f"{backbone}: {len(pieces)} pieces of the test phase are left", flush=True)
            if not do_all(pieces, lab):
                return False
    return True


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
    for name, phase in (("validation", validation), ("test", test)):
        if given.phase in (None, name) and not phase(lab, usable(lab, given.backbone)):
            print(f"{name}: time is over; the same command continues", flush=True)
            return
    if given.phase in (None, "tables"):
        write_tables(lab)


if __name__ == "__main__":
    main()
