"""Studies answered by raters whose tastes and error rates are known, as arrays of ballots."""

from typing import NamedTuple

import numpy as np

from likeness.study.agree import Scores
from likeness.study.ballots import Ballot
from likeness.study.design import Option, Query


class World(NamedTuple):
    """Runs with a mean quality each; qualities vary by query, raters choose by Luce's rule and err at times.

    An erring rater answers any of the options. `metric_noise` is added to a quality to make the metric's value.
    """

    qualities: tuple[float, ...] = (1.0, 0.3, 0.0, -0.6)
    by_query: float = 0.8
    errors: tuple[float, float] = (0.0, 0.3)
    metric_noise: float = 1.0


class Simulated(NamedTuple):
    """The ballots of a study on one question, its queries, and a metric's scores."""

    ballots: list[Ballot]
    queries: dict[str, Query]
    scores: Scores


def simulate(world: World, *, seed: int, num_queries: int, votes: int = 3, per_rater: int = 20) -> Simulated:
    """Every query has `votes` answers; each rater answers up to `per_rater` queries."""
    rng = np.random.default_rng(seed)
    size = len(world.qualities)
    quality = np.array(world.qualities) + world.by_query * rng.standard_normal((num_queries, size))
    places = np.concatenate([rng.permutation(num_queries) for _ in range(votes)])
    raters = np.arange(len(places)) // per_rater
    error = rng.uniform(*world.errors, size=raters.max() + 1)[raters]
    chosen = (quality[places] + rng.gumbel(size=(len(places), size))).argmax(axis=1)
    chosen = np.where(rng.random(len(places)) < error, rng.integers(size, size=len(places)), chosen)
    runs = tuple(f"run{k}" for k in range(size))
    ballots = [
        Ballot(f"q{q}", f"r{r}", "overall", "query", runs, runs[c], int(c), i, 5.0)
        for i, (q, r, c) in enumerate(zip(places.tolist(), raters.tolist(), chosen.tolist(), strict=True))
    ]
    metric = quality + world.metric_noise * rng.standard_normal(quality.shape)
    values = {(run, f"q{q}"): {"metric": float(metric[q, k])} for q in range(num_queries) for k, run in enumerate(runs)}
    options = tuple(Option(run=run, picture=f"{run}.png") for run in runs)
    queries = {f"q{q}": Query(id=f"q{q}", case=f"q{q}", prompt="p", options=options) for q in range(num_queries)}
    return Simulated(ballots, queries, Scores(values, {"metric": True}))
