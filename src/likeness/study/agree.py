"""What the votes say, and which metric says the same: majorities, alpha, strengths, tau-b of every metric, cost.

Source: Stellar (arXiv:2312.06116), section 5 and supplement: queries without a majority are left out (n/2; of two
raters both), Kendall's tau per query between a metric and the votes. Differs: tau-b, with a bootstrap over queries.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple  # Any: rows of JSON

import numpy as np
from jaxtyping import Float, Int

from likeness.core.files import read_json, read_jsonl
from likeness.core.stats.agreement import choice_taus, majority
from likeness.core.stats.bootstrap import resampled_weights
from likeness.core.stats.intervals import mean_interval
from likeness.study.alpha import Alpha, alpha
from likeness.study.ballots import Ballot, by_question, counted, names_of
from likeness.study.design import Query, Study, by_id
from likeness.study.raters import Check, checks, flagged
from likeness.study.strength import strengths

__all__ = ["Scores", "agree", "read_scores", "winners"]

RESAMPLES = 1000
Row = dict[str, Any]


class Scores(NamedTuple):
    """What metrics say of the pictures: (run, sample id) -> value by metric, and which way is better."""

    values: Mapping[tuple[str, str], Mapping[str, float]]
    higher_is_better: Mapping[str, bool]


def read_scores(runs: Mapping[str, Path]) -> Scores:
    """The scores of the runs that were evaluated. Raises: DataError for a damaged file."""
    values: dict[tuple[str, str], dict[str, float]] = {}
    higher: dict[str, bool] = {}
    for name, folder in runs.items():
        scores, summary = folder / "evaluation" / "scores.jsonl", folder / "evaluation" / "summary.json"
        if not scores.is_file() or not summary.is_file():
            continue
        facts = read_json(summary)["metrics"]
        higher |= {key: bool(each["higher_is_better"]) for key, each in facts.items()}
        for row in read_jsonl(scores):
            cells = row["values"].items()
            values[name, row["id"]] = {key: float(v["value"]) for key, v in cells if v.get("value") is not None}
    return Scores(values, higher)


def winners(ballots: Sequence[Ballot]) -> dict[str, str | None]:
    """Query -> what more than half of its voters chose (both of two); None where there is no such answer."""
    by_query: dict[str, list[str]] = {}
    for ballot in ballots:
        by_query.setdefault(ballot.query, []).append(ballot.choice)
    return {query: majority(choices) for query, choices in by_query.items()}


def agree(
    study: Study,
    ballots: Sequence[Ballot],
    *,
    scores: Scores,
    without_flagged: bool = False,
    num_raters: int | None = None,
) -> Row:
    """Everything known of a study, as JSON: by question what was chosen and how surely, and the metrics beside it."""
    found = checks(ballots, queries=by_id(study.queries))
    left_out = flagged(found) if without_flagged else []
    kept = counted(ballots, without=left_out)
    queries = by_id(study.queries)
    if study.kind == "identity":
        questions = [ratings_row(kept, queries=queries)] if kept else []
    else:
        questions = [_question(name, some, queries=queries, scores=scores) for name, some in by_question(kept).items()]
    return {
        "study": study.name,
        "kind": study.kind,
        "raters": len(found),
        "left_out": left_out,
        "flagged": [{"rater": check.rater, "flags": list(check.flags)} for check in found if check.flags],
        "questions": questions,
        "cost": cost(study, kept, found, num_raters=num_raters),
    }


def _question(name: str, ballots: Sequence[Ballot], *, queries: Mapping[str, Query], scores: Scores) -> Row:
    won = winners(ballots)
    runs, others = names_of(ballots)
    fitted = strengths(ballots)
    return {
        "question": name,
        "votes": len(ballots),
        "queries": len(won),
        "kept": sum(winner is not None for winner in won.values()),
        "majorities": {each: sum(winner == each for winner in won.values()) for each in (*runs, *others)},
        "shares": shares(ballots),
        "alpha": _alpha_row(nominal_alpha(ballots)),
        "strengths": [each._asdict() for each in fitted.runs],
        "tie": null(fitted.tie),
        "strengths_reason": fitted.reason,
        "metrics": metric_taus(won, queries=queries, scores=scores),
    }


def shares(ballots: Sequence[Ballot]) -> list[Row]:
    """How often each answer was given where it could be, with an interval over queries and raters."""
    runs, others = names_of(ballots)
    found: list[Row] = []
    for name in (*runs, *others):
        could = [ballot for ballot in ballots if name in ballot.options or name in others]
        values = [float(ballot.choice == name) for ballot in could]
        found.append(share_row(name, values, queried=[b.query for b in could], raters=[b.rater for b in could]))
    return found


def share_row(answer: str, values: Sequence[float], *, queried: Sequence[str], raters: Sequence[str]) -> Row:
    """The mean of values from 0 to 1 with an interval over queries and raters; none where all values are the same."""
    interval = mean_interval(values, queried, prompts=raters).within(0, 1)
    if len(set(values)) == 1:
        interval = interval._replace(ci_low=math.nan, ci_high=math.nan, reason="all votes say the same of it")
    row = {key: null(value) for key, value in interval._asdict().items()}
    return {"answer": answer, **{key: row[key] for key in ("mean", "ci_low", "ci_high", "n", "reason")}}


def nominal_alpha(ballots: Sequence[Ballot]) -> Alpha:
    """Alpha of the answers, each different from each other."""
    return alpha(*(_numbered([ballot[place] for ballot in ballots]) for place in _ALPHA))


_ALPHA = tuple(Ballot._fields.index(name) for name in ("query", "choice", "rater"))


def _numbered(names: Sequence[object]) -> list[int]:
    number: dict[object, int] = {}
    return [number.setdefault(name, len(number)) for name in names]


# -- metrics ---------------------------------------------------------------------------------------------------
def metric_taus(won: Mapping[str, str | None], *, queries: Mapping[str, Query], scores: Scores) -> list[Row]:
    """Tau-b of every metric with the majorities, mean over queries, with one bootstrap over queries for all metrics."""
    kept = {query: winner for query, winner in won.items() if winner is not None}
    ordered = [(queries[query], winner) for query, winner in kept.items() if winner in _runs(queries[query])]
    metrics = list(scores.higher_is_better)
    if not ordered or not metrics:
        return []
    taus = np.stack([_taus(ordered, scores=scores, metric=metric) for metric in metrics], axis=1)
    low, high = _bootstrap_means(taus)
    rows: list[Row] = []
    for k, metric in enumerate(metrics):
        known = taus[~np.isnan(taus[:, k]), k]
        tau = {
            "tau": null(float(known.mean()) if len(known) else math.nan),
            "ci_low": null(low[k]),
            "ci_high": null(high[k]),
        }
        reason = "" if len(known) else "no query has different values of this metric"
        rows.append({"metric": metric, **tau, "n": len(known), "not_scored": len(taus) - len(known), "reason": reason})
    return rows


def _runs(query: Query) -> tuple[str, ...]:
    return tuple(option.run for option in query.options)


def _taus(ordered: Sequence[tuple[Query, str]], *, scores: Scores, metric: str) -> Float[np.ndarray, " Q"]:
    """Tau-b of each query, in order; NaN where a picture has no value or all values are the same."""
    found = np.full(len(ordered), np.nan)
    sign = 1.0 if scores.higher_is_better[metric] else -1.0
    for size in {len(query.options) for query, _ in ordered}:
        places = [k for k, (query, _) in enumerate(ordered) if len(query.options) == size]
        some = [ordered[k] for k in places]
        values = [
            [
                scores.values.get((run, query.about.get("sample", query.id)), {}).get(metric, math.nan)
                for run in _runs(query)
            ]
            for query, _ in some
        ]
        chosen: Int[np.ndarray, " Q"] = np.array([_runs(query).index(winner) for query, winner in some])
        found[places] = choice_taus(sign * np.array(values), chosen)
    return found


def _bootstrap_means(taus: Float[np.ndarray, "Q M"]) -> tuple[list[float], list[float]]:
    """The ends of the 95% percentile intervals of the columns' means; NaN for fewer than two queries."""
    known, filled = (~np.isnan(taus)).astype(np.float64), np.nan_to_num(taus)
    means: list[Float[np.ndarray, "R M"]] = []
    for weights in resampled_weights(range(len(taus)), num_resamples=RESAMPLES):
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append((weights @ filled) / (weights @ known))
    drawn, enough = np.concatenate(means), known.sum(axis=0) > 1
    usable = [column[~np.isnan(column)] for column in drawn.T]
    ends = [
        np.quantile(u, [0.025, 0.975]) if ok and len(u) > RESAMPLES / 2 else (math.nan, math.nan)
        for u, ok in zip(usable, enough, strict=True)
    ]
    return [float(low) for low, _ in ends], [float(high) for _, high in ends]


# -- ratings ---------------------------------------------------------------------------------------------------
def scores_of(ballots: Sequence[Ballot]) -> dict[str, dict[str, int]]:
    """Query -> rater -> how many of the ten questions had the answer yes, of raters who answered them all."""
    answers: dict[tuple[str, str], Counter[str]] = {}
    for ballot in ballots:
        answers.setdefault((ballot.query, ballot.rater), Counter())[ballot.choice] += 1
    found: dict[str, dict[str, int]] = {}
    for (query, rater), given in answers.items():
        found.setdefault(query, {})[rater] = given["yes"]
    return found


def score_alpha(scores: Mapping[str, Mapping[str, int]]) -> Alpha:
    """Alpha of scores from 0 to 10 as numbers, given by query and rater."""
    flat = [(query, value, rater) for query, given in scores.items() for rater, value in given.items()]
    units, raters = _numbered([query for query, _, _ in flat]), _numbered([rater for _, _, rater in flat])
    return alpha(units, [value for _, value, _ in flat], raters, scale=np.arange(11.0))


def ratings_row(ballots: Sequence[Ballot], *, queries: Mapping[str, Query]) -> Row:
    """The ratings of an identity study: alpha of the scores as numbers, and means by what was rated."""
    scores = scores_of(ballots)
    by_run: dict[str, list[float]] = {}
    for query, given in scores.items():
        by_run.setdefault(queries[query].options[0].run, []).append(fmean(given.values()))
    return {
        "question": "identity",
        "votes": sum(len(given) for given in scores.values()),
        "queries": len(scores),
        "alpha": _alpha_row(score_alpha(scores)),
        "means": {run: fmean(values) for run, values in by_run.items()},
    }


# -- cost ------------------------------------------------------------------------------------------------------
def cost(study: Study, ballots: Sequence[Ballot], found: Sequence[Check], *, num_raters: int | None = None) -> Row:
    """Hours of answering, and what was paid: `reward` by rater; null where no reward is named."""
    seconds = {(ballot.rater, ballot.item): ballot.seconds for ballot in ballots}
    per_item = float(np.median(list(seconds.values()))) if seconds else math.nan
    paid = None if study.reward is None else study.reward * (num_raters if num_raters is not None else len(found))
    return {
        "currency": study.currency,
        "paid": paid,
        "per_vote": paid / len(ballots) if paid is not None and ballots else None,
        "seconds_per_item": null(per_item),
        "hours": len(seconds) * per_item / 3600 if seconds else 0.0,
    }


def more_votes(count: int, *, half: float, wanted: float) -> int | None:
    """How many more votes would narrow an interval of half width `half` to `wanted`; None where none is known."""
    if math.isnan(half) or not count:
        return None
    return max(0, math.ceil(count * ((half / wanted) ** 2 - 1)))


def _alpha_row(found: Alpha) -> Row:
    return {key: null(value) if isinstance(value, float) else value for key, value in found._asdict().items()}


def null(value: Any) -> Any:
    """The value, None for NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value
