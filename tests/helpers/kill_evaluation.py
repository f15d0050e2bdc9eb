"""Kills evaluations and starts them again: kill_evaluation.py PICTURES CASES SPECS_JSON FEATURES EVERY.

This process loads libraries but never computes, so that forking it is safe; each child is one evaluation. A child dies
just before or just after it keeps what it saw of some pictures, or puts the n-th file in its final place: by SIGKILL,
and every third time by SIGINT. Of twenty children one in EVERY
is born. Prints how many died. With `torn` as EVERY files are written in place, which a kill cuts in two:
the evaluation that ends this way must differ, or the test could not fail.
"""

import json
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

from likeness.core import files
from likeness.encoders import clip, probe, vit
from likeness.evaluate import evaluate_run, eyes, load_encoders
from likeness.evaluate.features import FeatureStore

LIBRARIES = (clip, probe, vit)  # imported once here instead of in each child

PICTURES, CASES, SPECS, FEATURES = (
    pathlib.Path(sys.argv[1]),
    pathlib.Path(sys.argv[2]),
    json.loads(sys.argv[3]),
    pathlib.Path(sys.argv[4]),
)
IS_TORN = sys.argv[5] == "torn"


def killing(call: Callable[..., Any], *, at: int, late: bool, by: signal.Signals) -> Callable[..., Any]:
    """`call`, during whose `at`-th use this process dies, before it or (`late`) right after it."""
    count = 0

    def called(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == at and not late:
            os.kill(os.getpid(), by)
        result = call(*arguments, **options)
        if count == at and late:
            os.kill(os.getpid(), by)
        return result

    return called


def torn_write(path: pathlib.Path | str, data: bytes, *, sync: bool = True) -> None:
    """Half of the file, then a death, as a write in place may end."""
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_bytes(data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def attempt(number: int) -> bool:
    """True when a child evaluation was killed, False when it ended."""
    child = os.fork()
    if child == 0:
        by = signal.SIGINT if number % 3 == 2 else signal.SIGKILL
        late = number % 4 < 2
        eyes.PICTURES_AT_ONCE = 2
        if IS_TORN:
            files.atomic_write_bytes = torn_write
        elif number < 12:
            FeatureStore.put = killing(FeatureStore.put, at=2, late=late, by=by)  # type: ignore[method-assign]
        else:
            pathlib.Path.replace = killing(pathlib.Path.replace, at=1 + number % 2, late=late, by=by)  # type: ignore[method-assign]
        try:
            evaluate_run(PICTURES, benchmark="small", cases=CASES, encoders=load_encoders(SPECS), features=FEATURES)
        except KeyboardInterrupt:
            os._exit(130)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 130):
        raise SystemExit(f"evaluation failed with status {code}")
    return code == 130


if __name__ == "__main__":
    print(sum(attempt(number) for number in ((0,) if IS_TORN else range(0, 20, int(sys.argv[5])))))
