"""The numbers of an evaluation to an experiment tracker, through accelerate as `likeness train` does.

A number that was not measured is left out of the log and stands in the run's configuration with its reason.
"""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

from likeness.core.errors import ConfigError

TRACKERS = ("trackio",)
PROJECT = "likeness"


class Tracking(NamedTuple):
    """Where numbers go: the tracker and the project in it."""

    tracker: str
    project: str


def tracking(text: str) -> Tracking:
    """TRACKER or TRACKER:PROJECT, asked before anything is measured.

    Raises: ConfigError for another tracker, an empty project, and a tracker that is not installed.
    """
    tracker, colon, project = text.partition(":")
    if tracker not in TRACKERS or (colon and not project):
        raise ConfigError(f"--track: expected {' or '.join(TRACKERS)}, or with :PROJECT, got {text!r}; correct it.")
    if tracker not in sys.modules and find_spec(tracker) is None:
        how = f"install it with pip install 'likeness[{tracker}]', or leave --track out"
        raise ConfigError(f"--track {tracker}: expected the package {tracker}, got none of that name; {how}.")
    return Tracking(tracker, project or PROJECT)


def track_summary(summary: Mapping[str, Any], *, run: Path, to: Tracking) -> None:
    """The means of a summary are logged in a run that is called as the folder; what the tracker prints goes to stderr.

    Means are called as in `metric_numbers`; encoders, versions and what was not measured are the configuration.
    """
    from accelerate import PartialState
    from accelerate.tracking import TrackioTracker

    PartialState()  # which accelerate's trackers ask whether this is the main process
    numbers, gaps = metric_numbers(summary)
    about = {name: summary[name] for name in ("benchmark", "inputs_sha256", "num_cases", "num_samples")}
    with redirect_stdout(sys.stderr):
        tracker = TrackioTracker(
            to.project, name=run.resolve().name, auto_log_cpu=False, auto_log_gpu=False, embed=False
        )
        tracker.start()
        tracker.store_init_configuration(
            {**about, "encoders": summary["encoders"], "versions": summary["versions"], "not_measured": gaps}
        )
        tracker.log(numbers)
        tracker.finish()


def metric_numbers(summary: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Mean, ends of the interval and n by name, and the reason of every mean that there is none of.

    Names are KIND/METRIC, KIND/METRIC/ci_low ..., with KIND generated, floor or ceiling, and CARD/COLUMN for cards.
    """
    keys = {(facts["name"], facts["column"]): key for key, facts in summary["metrics"].items()}
    rows = {f"{row['row']}/{keys[row['metric'], row['column']]}": row for row in summary["rows"]}
    rows |= {f"{name}/{row['column']}": row for name, card in summary["cards"].items() for row in card["rows"]}
    numbers: dict[str, float] = {}
    gaps: dict[str, str] = {}
    for name, row in rows.items():
        if row["mean"] is None:
            gaps[name] = row["reason"]
            continue
        ends = {f"{name}/{end}": row[end] for end in ("ci_low", "ci_high", "n") if row[end] is not None}
        numbers |= {name: row["mean"], **ends}
    return numbers, gaps
