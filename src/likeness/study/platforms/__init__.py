"""Studies carried to other platforms, and their answers back: one file a platform, one line in `PLATFORMS`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from likeness.study.design import Study
from likeness.study.platforms import label_studio, mturk, potato, rapidata
from likeness.study.platforms.task import Answers

__all__ = ["PLATFORMS", "Platform"]


class Platform(NamedTuple):
    """`write(study, folder, url)` fills a folder with tasks, pictures below the URL; `read` answers from a file."""

    what: str
    write: Callable[[Study, Path, str], None]
    read: Callable[[Study, Path], Answers]


PLATFORMS: dict[str, Platform] = {
    "mturk": Platform("a table of HITs and their layout; its batch results", mturk.write, mturk.read),
    "rapidata": Platform("the arguments of compare jobs; their results", rapidata.write, rapidata.read),
    "label-studio": Platform("tasks and labelling interface; its JSON export", label_studio.write, label_studio.read),
    "potato": Platform("a project; a rater's user_state.json, or its export as JSONL", potato.write, potato.read),
}
