"""What the experiment says: means, differences with intervals, and a verdict on every claim of a family fixed before.

Intervals and p values are those of `likeness compare` (core/stats): by subject and prompt, and where a method has
several training seeds for another training, too. The family of claims is `claims`; Holm's correction is over all of it
that was drawn. Everything is computed from the committed scores.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple  # TOML and JSON

import numpy as np
from curves import FIDELITY, AtLevel, Curve, Point, at_fidelity, at_level, at_strength
from design import BEST, MATCHED, Chosen, Design, Piece
from jaxtyping import Float
from lab import CaseFacts, Lab, Ledger
from scores import Scores

from likeness.core.errors import DataError
from likeness.core.files import read_json
from likeness.core.stats.bootstrap import bootstrap_interval
from likeness.core.stats.intervals import Interval
from likeness.core.stats.paired import Pairs, holm
from likeness.core.stats.trainings import Trainings
from likeness.evaluate.scored import Values

RIVALS = ("dpo", MATCHED, "sdpo", "prior", "base")
"""With what FocusDPO in its chosen reading is compared."""
CLAIMED = ("attribute_accuracy", "dino", "leakage")
LOWER_IS_BETTER = ("leakage", "leakage_found_only", "leakage_matrix")
SURE = 0.05
NEVER = "its curve never has that CLIP-T"
NUM_COSTS = 6
RESAMPLES = 400

Row = dict[str, Any]


class Claim(NamedTuple):
    """`later` minus `earlier` in a metric is above 0 (leakage: below)."""

    backbone: str
    pairs: str
    later: str
    earlier: str
    metric: str


def claims(plan: Mapping[str, Any]) -> list[Claim]:
    """The family: FocusDPO's chosen reading against every rival, on both backbones and both kinds of pairs."""
    return [
        Claim(backbone, pairs, BEST, rival, metric)
        for backbone in plan["backbones"]
        for pairs in plan["test"]["pairs"]
        for rival in RIVALS
        for metric in CLAIMED
    ]


# -- scores as values ------------------------------------------------------------------------------------------
def values_of(
    trainings: Sequence[Scores], metric: str, *, strength: float, facts: Mapping[str, CaseFacts], count: int = 0
) -> Values:
    """A metric of one method over its trainings; one that has a single training stands for each of `count`."""
    runs = [*trainings] * count if len(trainings) == 1 and count else [*trainings]
    found = {
        f"{number}/{case}": value
        for number, scores in enumerate(runs)
        for case, value in scores.values(metric, strength=strength).items()
    }
    known = {name: facts[name.partition("/")[2]] for name in found}
    subjects = {name: each.subjects for name, each in known.items()}
    return Values(found, subjects, {name: each.prompt for name, each in known.items()}, len(runs))


class Measured(NamedTuple):
    """A method as it was drawn on test cases: its scores per training seed, all at one strength.

    `moved`: metric -> what is added to each of its values.
    """

    name: str
    trainings: Sequence[Scores]
    strength: float
    facts: Mapping[str, CaseFacts]
    moved: Mapping[str, float] = MappingProxyType({})

    def values(self, metric: str, *, count: int = 0) -> Values:
        """`values_of` this method."""
        found = values_of(self.trainings, metric, strength=self.strength, facts=self.facts, count=count)
        more = self.moved.get(metric, 0.0)
        return found._replace(by_picture={name: value + more for name, value in found.by_picture.items()})

    def minus(self, other: "Measured", metric: str) -> Pairs | Trainings:
        """The paired differences, training by training. Raises: DataError for other numbers of trainings."""
        count = max(len(self.trainings), len(other.trainings))
        mine, theirs = (each.values(metric, count=count) for each in (self, other))
        if mine.trainings != theirs.trainings:
            raise DataError(f"{self.name}, {other.name}: expected as many trainings of each; finish the test phase.")
        return mine.minus(theirs)


# -- test ------------------------------------------------------------------------------------------------------
def verdict(row: Mapping[str, Any]) -> str:
    """What a row of the family says: better, worse, equal within the margin, or undecided.

    A difference that is sure and yet inside the margin is told as both.
    """
    if row["mean"] is None:
        return NEVER
    sure = row["p_holm"] is not None and row["p_holm"] < SURE
    better = (row["mean"] < 0) == (row["metric"] in LOWER_IS_BETTER) if sure else False
    said = ("better" if better else "worse") if sure else ""
    if row["ties"]:
        return f"{said}, within the margin" if said else "equal within the margin"
    return said or "undecided"


def claim_rows(methods: Mapping[tuple[str, str], Mapping[str, Measured]], plan: Mapping[str, Any]) -> list[Row]:
    """A row for each claim whose methods were drawn; `methods`: (backbone, pairs) -> name -> measured."""
    rows: list[Row] = []
    for claim in claims(plan):
        found = methods.get((claim.backbone, claim.pairs), {})
        if claim.later in found and claim.earlier in found:
            rows.append(_compared(claim, found[claim.later], found[claim.earlier], plan=plan))
    return judged(rows)


def judged(rows: list[Row]) -> list[Row]:
    """The rows, each with its p corrected over all of them, and its verdict."""
    for row, p in zip(rows, holm([_nan(row["p"]) for row in rows]), strict=True):
        row["p_holm"] = _null(p)
        row["verdict"] = verdict(row)
    return rows


def _compared(claim: Claim, later: Measured, earlier: Measured, *, plan: Mapping[str, Any]) -> Row:
    pairs, margin = later.minus(earlier, claim.metric), plan["compare"]["margins"][claim.metric]
    found = pairs.compared()
    facts = {"p": _null(found.p), "p_holm": None, "detectable": _null(found.detectable)}
    return {**claim._asdict(), **_numbers(found.interval), **facts, "margin": margin, "ties": pairs.ties(margin)}


def difference_rows(
    methods: Mapping[str, Measured], *, place: Mapping[str, str], metrics: Sequence[str], against: Sequence[str]
) -> list[Row]:
    """Every method minus each of `against`, with uncorrected intervals: for reading, not for claims."""
    return [
        {
            **place,
            "later": name,
            "earlier": other,
            "metric": metric,
            **_numbers(one.minus(methods[other], metric).interval),
        }
        for metric in metrics
        for other in against
        if other in methods
        for name, one in methods.items()
        if name != other
    ]


def mean_rows(methods: Mapping[str, Measured], *, place: Mapping[str, str], metrics: Sequence[str]) -> list[Row]:
    """The mean of every method, with its strength and its number of trainings."""
    return [
        {
            **place,
            **{"method": name, "metric": metric, "strength": one.strength, "trainings": len(one.trainings)},
            **_numbers(one.values(metric).interval),
        }
        for metric in metrics
        for name, one in methods.items()
    ]


def adjusted(claim: Claim, later: Measured, earlier: Measured, *, curve: Curve, plan: Mapping[str, Any]) -> Row:
    """A claim as it would be at exactly equal CLIP-T, `later` moved along its curve on validation subjects.

    The curve is followed to the nearest strength at which its CLIP-T differs by as much as the two methods do on test
    cases; how sure the curve is has no part in the interval. Not measured where the curve never has that CLIP-T.
    """
    cost = later.minus(earlier, FIDELITY).interval.mean
    now = at_strength(curve, later.strength)
    there = at_fidelity(curve, now[FIDELITY] - cost, near=later.strength)
    change = math.nan if there is None else there.means[claim.metric] - now[claim.metric]
    row = _compared(claim, later._replace(moved={claim.metric: change}), earlier, plan=plan)
    return {**row, "clip_t_difference": round(cost, 5), "moved_by": _null(round(change, 5))}


# -- whole curves ----------------------------------------------------------------------------------------------
def curve_gap(
    later: Scores,
    earlier: Scores,
    base: Scores,
    *,
    metric: str,
    strengths: Sequence[float],
    facts: Mapping[str, CaseFacts],
    most: float,
) -> Row:
    """The mean of later - earlier in `metric` over costs of CLIP-T from 0 to `most` below base, with an interval.

    Costs that a curve does not reach are left out, those of both alike. The interval is a bootstrap over subjects and
    prompts; it says nothing of another training.
    """
    cases = sorted(facts)
    tables = [_table(each, metric=metric, cases=cases, strengths=strengths, base=base) for each in (later, earlier)]
    names = [facts[case].subjects for case in cases]
    prompts = [facts[case].prompt for case in cases]

    def gap(weights: Float[np.ndarray, " n"]) -> float:
        return _gap(tables, strengths, weights, metric=metric, most=most)

    mean = gap(np.ones(len(cases)))
    low, high = bootstrap_interval(gap, names, prompts=prompts, num_resamples=RESAMPLES)
    ends = {"mean": mean, "ci_low": low, "ci_high": high}
    return {"metric": metric, "most": most, **{key: _null(round(value, 5)) for key, value in ends.items()}}


_Table = tuple[Float[np.ndarray, "S n"], Float[np.ndarray, "S n"]]


def _table(scores: Scores, *, metric: str, cases: Sequence[str], strengths: Sequence[float], base: Scores) -> _Table:
    """(S, n) CLIP-T and metric by strength, from base at 0, and case."""

    def rows(name: str) -> Float[np.ndarray, "S n"]:
        columns = [base.values(name, strength=0.0), *(scores.values(name, strength=s) for s in strengths)]
        return np.array([[column[case] for case in cases] for column in columns])

    return rows(FIDELITY), rows(metric)


def _gap(
    tables: Sequence[_Table], strengths: Sequence[float], weights: Float[np.ndarray, " n"], *, metric: str, most: float
) -> float:
    if not weights.any():  # a resample of few cases may hold none of them
        return math.nan
    found: list[list[AtLevel]] = []
    for fidelity, values in tables:
        means = [(_weighted(f, weights), _weighted(v, weights)) for f, v in zip(fidelity, values, strict=True)]
        curve = [
            Point(strength, {FIDELITY: clip_t, metric: mean})
            for strength, (clip_t, mean) in zip((0.0, *strengths), means, strict=True)
        ]
        levels = [curve[0].means[FIDELITY] - most * (i + 1) / NUM_COSTS for i in range(NUM_COSTS)]
        found.append([at_level(curve, level) for level in levels])
    gaps = [a.means[metric] - b.means[metric] for a, b in zip(*found, strict=True) if a.reached and b.reached]
    return float(np.mean(gaps)) if gaps else math.nan


def _weighted(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> float:
    known = ~np.isnan(values)
    total = float(weights[known].sum())
    return float((values[known] * weights[known]).sum()) / total if total > 0 else math.nan


# -- everything ------------------------------------------------------------------------------------------------
def measured_on_test(design: Design, ledger: Ledger, chosen: Mapping[str, Any]) -> dict[str, dict[str, Measured]]:
    """Pairs -> method -> what was drawn of it on test cases, of methods whose seeds are all there; base among them."""
    pieces, facts = list(design.test(chosen)), ledger.facts("test")
    done = [piece for piece in pieces if ledger.is_done(piece)]
    if not any(piece.changes is None for piece in done):
        return {}
    found: dict[str, dict[str, Measured]] = {}
    for pairs in (each for each in design.plan["test"]["pairs"] if each in chosen):
        methods = {"base": _measured("base", [design.base("test")], ledger, facts=facts, strength=0.0)}
        for name in design.plan["test"]["methods"]:
            choice = chosen[pairs][name]
            who = pairs, choice["method"], choice["attempt"]
            mine = [piece for piece in pieces if (piece.pairs, piece.method, piece.attempt) == who]
            if all(piece in done for piece in mine):
                methods[name] = _measured(name, mine, ledger, facts=facts, strength=choice["strength"])
        found[pairs] = methods
    return found


def _measured(
    name: str, pieces: Sequence[Piece], ledger: Ledger, *, facts: Mapping[str, CaseFacts], strength: float
) -> Measured:
    scores = [ledger.scores(piece) for piece in pieces]
    return Measured(name, [each for each in scores if each is not None], round(strength, 4), facts)


def test_results(lab: Lab) -> dict[str, list[Row]]:
    """The rows of results.json: means, claims, differences, and claims but those against base at equal CLIP-T."""
    plan, ledger = lab.plan, Ledger(lab)
    path = lab.results / "chosen.json"
    chosen = read_json(path) if path.is_file() else {}
    methods: dict[tuple[str, str], dict[str, Measured]] = {}
    for backbone in (each for each in plan["backbones"] if each in chosen):
        found = measured_on_test(Design(plan, backbone), ledger, chosen[backbone])
        methods |= {(backbone, pairs): some for pairs, some in found.items()}
    metrics = [*plan["metrics"], *plan["test"]["by_place"]["metrics"]]
    rows: dict[str, list[Row]] = {"means": [], "claims": claim_rows(methods, plan), "differences": [], "adjusted": []}
    for (backbone, pairs), some in methods.items():
        place = {"backbone": backbone, "pairs": pairs}
        rows["means"] += mean_rows(some, place=place, metrics=metrics)
        rows["differences"] += difference_rows(some, place=place, metrics=metrics, against=("base", "dpo"))
        rows["adjusted"] += _adjusted_claims(some, place=place, lab=lab, chosen=chosen)
    judged(rows["adjusted"])
    return rows


def _adjusted_claims(
    methods: Mapping[str, Measured], *, place: Mapping[str, str], lab: Lab, chosen: Mapping[str, Any]
) -> Iterator[Row]:
    design, ledger = Design(lab.plan, place["backbone"]), Ledger(lab)
    best = chosen[place["backbone"]][place["pairs"]][BEST]
    now = Chosen(best["method"], best["attempt"], best["changes"], AtLevel(best["strength"], {}, best["reached"]))
    curve: Curve = design.curve(place["pairs"], now, known=ledger)
    for claim in claims(lab.plan):
        here = (claim.backbone, claim.pairs) == (place["backbone"], place["pairs"])
        if here and claim.earlier != "base" and {claim.later, claim.earlier} <= methods.keys():
            yield adjusted(claim, methods[claim.later], methods[claim.earlier], curve=curve, plan=lab.plan)


def _numbers(found: Interval) -> Row:
    ends = {name: _null(round(getattr(found, name), 5)) for name in ("mean", "ci_low", "ci_high")}
    return {**ends, "n": found.n, "missing": found.missing}


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
