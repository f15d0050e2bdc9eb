"""Batches drawn ahead of the training that uses them: on a GPU drawing takes longer than learning."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

Drawn = TypeVar("Drawn")
Plan = TypeVar("Plan")

AHEAD = 4  # batches per worker that may wait


def drawn_ahead(draw: Callable[[Plan], Drawn], plans: Iterable[Plan], *, workers: int) -> Iterator[Drawn]:
    """`draw(plan)` for every plan, in order; with workers, other processes draw while the caller trains.

    What is drawn does not depend on `workers`. With workers, `draw`, plans and results must pickle.
    """
    if workers == 0:
        yield from map(draw, plans)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting, rest = deque[Future[Drawn]](), iter(plans)
        try:
            waiting.extend(pool.submit(draw, plan) for plan in islice(rest, AHEAD * workers))
            while waiting:
                drawn = waiting.popleft().result()
                waiting.extend(pool.submit(draw, plan) for plan in islice(rest, 1))
                yield drawn
        finally:
            pool.shutdown(cancel_futures=True)
