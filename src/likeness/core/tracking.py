"""Experiment trackers beside the files of a run: which there are, and how a run is called in them."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple  # Any: a tracker of accelerate, whose import takes seconds

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


def make_tracker(to: Tracking, *, run: Path, **options: Any) -> Any:
    """A tracker of accelerate, not started yet, whose run is called as the folder; `options` are trackio.init's."""
    from accelerate.tracking import TrackioTracker

    quiet: dict[str, Any] = {"auto_log_cpu": False, "auto_log_gpu": False, "embed": False}
    return TrackioTracker(to.project, name=run.resolve().name, **quiet, **options)
