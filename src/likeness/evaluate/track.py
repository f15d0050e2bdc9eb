"""The numbers of an evaluation to an experiment tracker, through accelerate as `likeness train` does.

A number that was not measured is left out of the log and stands in the run's configuration with its reason.
"""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any  # JSON

from likeness.core.tracking import Tracking, make_tracker, tracking

__all__ = ["Tracking", "metric_numbers", "track_summary", "tracking"]


def track_summary(summary: Mapping[str, Any], *, run: Path, to: Tracking) -> None:
    """The means of a summary are logged in a run that is called as the folder; what the tracker prints goes to stderr.

    Means are called as in `metric_numbers`; encoders, versions and what was not measured are the configuration.
    """
    from accelerate import PartialState

    PartialState()  # which accelerate's trackers ask whether this is the main process
    numbers, gaps = metric_numbers(summary)
    about = {name: summary[name] for name in ("benchmark", "inputs_sha256", "num_cases", "num_samples")}
    with redirect_stdout(sys.stderr):
        tracker = make_tracker(to, run=run)
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
