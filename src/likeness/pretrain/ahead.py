"""Batches drawn ahead of the training that uses them: on a GPU drawing takes longer than learning."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from likeness.core.jobs import always, run_jobs

Drawn = TypeVar("Drawn")
Plan = TypeVar("Plan")

AHEAD = 4  # batches per worker that may wait


def drawn_ahead(draw: Callable[[Plan], Drawn], plans: Iterable[Plan], *, workers: int) -> Iterator[Drawn]:
    """`draw(plan)` for every plan, in order; with workers, other processes draw while the caller trains.

    What is drawn does not depend on `workers`. With workers, `draw`, plans and results must pickle. Raises: as
    `run_jobs`.
    """
    engine, load = "processes" if workers else "here", always(draw)
    drawing = run_jobs(plans, load=load, engine=engine, workers=max(workers, 1), ahead=AHEAD, in_order=True)
    return (drawn for _, drawn in drawing)
