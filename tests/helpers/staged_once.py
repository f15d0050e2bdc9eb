"""Stages that need no model, for the engine of staged runs; as a program one run of them, to be killed.

staged_once.py OUT NUMBER ENGINE WORKERS SECONDS: each record takes SECONDS a stage, one in twenty fails in each.
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from likeness.core.files import write_jsonl
from likeness.core.runs import hold_run, open_run
from likeness.data.pairs.photo_pairs import png
from likeness.data.staged.ledger import open_ledger
from likeness.data.staged.run import Accounts, run_stages
from likeness.data.staged.stage import Asked, Made, Record, Rejection, Stage, Work

NAMES = ("generate", "locate", "caption", "inpaint", "judge", "gate")
FAIL_EVERY = 20


def fails(record: str, stage: str) -> bool:
    """One record in twenty, another for each stage."""
    return (int(record) * 7 + NAMES.index(stage)) % FAIL_EVERY == 0


def work(record: Record, *, stage: str, seconds: float, broken: bool) -> Made | Rejection:
    time.sleep(seconds)
    if broken and fails(record.id, stage):
        raise RuntimeError(f"injected into {stage}")
    if stage == "gate" and int(record.id) % 10 == 3:
        return Rejection("preferred", "expected nine, got three")
    if stage in ("generate", "inpaint"):
        shade = np.random.default_rng(record.seed(stage)).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        return Made({"mean": float(shade.mean())}, {f"images/{record.id}-{stage}.png": png(shade)})
    read = {name: int(record.pixels(name).sum()) for name in sorted(record.files)}
    return Made({"sums": read, "before": sorted(record.facts)})


def load(stage: str, seconds: float, broken: bool, _: int) -> Work:
    return partial(work, stage=stage, seconds=seconds, broken=broken)


def stages(*, seconds: float = 0.0, broken: bool = True, batch_size: int = 3) -> list[Stage]:
    settings: dict[str, Any] = {"model": "none"}
    return [Stage(name, settings, partial(load, name, seconds, broken), batch_size) for name in NAMES]


def run_once(out: Path, *, number: int, made_of: list[Stage] | None = None, **how: Any) -> Accounts:
    open_run(out, identity={"kind": "staged"})
    with hold_run(out), open_ledger(out) as ledger:
        asked = [Asked(str(index), {"number": index}) for index in range(number)]
        done = run_stages(asked, stages=made_of or stages(), folder=out, ledger=ledger, **how)
    write_jsonl(out / "pairs.jsonl", [{"id": record.id, "facts": record.facts} for record in done.finished])
    write_jsonl(out / "rejected.jsonl", [end._asdict() for end in done.ended])
    return done


if __name__ == "__main__":
    folder, number, engine, workers, seconds = sys.argv[1:]
    run_once(
        Path(folder),
        number=int(number),
        made_of=stages(seconds=float(seconds)),
        workers=int(workers),
        engine=engine,
    )
