"""Progress bars on stderr. Rooms know only a callable, progress(done, total)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from likeness.core.jobs import Progress


@contextmanager
def progress_bars() -> Generator[Callable[[str], Progress]]:
    """A maker of bars, one per label; on a terminal they move, elsewhere only their last state is printed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    label_column, remaining = TextColumn("{task.description:<26}"), TimeRemainingColumn(elapsed_when_finished=True)
    bars = Bars(label_column, BarColumn(bar_width=32), MofNCompleteColumn(), remaining, console=Console(stderr=True))

    def bar(label: str) -> Progress:
        def progress(done: int, total: int) -> None:
            bars.start()  # not before there is something to show, so that an early error stands alone
            task = tasks.get(label)
            if task is None:
                task = tasks[label] = bars.add_task(label)
            bars.update(task, completed=done, total=total)

        return progress

    tasks: dict[str, TaskID] = {}
    try:
        yield bar
    finally:
        if tasks:
            bars.stop()


def quiet_libraries() -> None:
    """transformers and diffusers keep notices and loading bars to themselves; downloads from the hub show theirs."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # read when it is imported
    logging.getLogger("diffusers").setLevel(logging.ERROR)  # where it already is
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # of a kernel for 4-bit layers on a CPU
    from huggingface_hub import constants
    from huggingface_hub.utils import enable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if not constants.HF_HUB_DISABLE_PROGRESS_BARS:
        enable_progress_bars()
