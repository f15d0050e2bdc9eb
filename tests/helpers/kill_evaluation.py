"""Kills evaluations with SIGKILL and starts them again: kill_evaluation.py PICTURES CASES SPECS_JSON.

This process loads libraries but never computes, so that forking it is safe; each child is one evaluation. A child dies
just before or just after it puts the n-th file in its final place, or while it removes the parts. Prints how many died.
"""

import json
import os
import pathlib
import shutil
import signal
import sys

from likeness.encoders import clip, probe, vit
from likeness.evaluate import evaluate_run, load_encoders

LIBRARIES = (clip, probe, vit)  # imported once here instead of in each child

PICTURES, CASES, SPECS = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), json.loads(sys.argv[3])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(*, after: int, late: bool) -> None:
    """Die at the `after`-th rename of this process, before it or (`late`) right after it."""
    rename, count = pathlib.Path.replace, 0

    def replace(self: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        nonlocal count
        count += 1
        if count == after and not late:
            die()
        result = rename(self, target)
        if count == after:
            die()
        return result

    pathlib.Path.replace = replace  # type: ignore[method-assign]


def arm_removal() -> None:
    """Die when half of the parts are removed."""

    def rmtree(path: pathlib.Path) -> None:
        files = sorted(file for file in pathlib.Path(path).rglob("*") if file.is_file())
        for file in files[: len(files) // 2]:
            file.unlink()
        die()

    shutil.rmtree = rmtree  # type: ignore[assignment]


def attempt(number: int) -> bool:
    """True when a child evaluation was killed, False when it ended."""
    child = os.fork()
    if child == 0:
        if number % 10 == 9:
            arm_removal()
        else:
            arm(after=1 + number % 2, late=number % 4 < 2)
        encoders = load_encoders(SPECS)
        evaluate_run(PICTURES, benchmark="small", cases=CASES, encoders=encoders)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    if status:
        raise SystemExit(f"evaluation failed with status {status}")
    return False


if __name__ == "__main__":
    print(sum(attempt(number) for number in range(20)))
