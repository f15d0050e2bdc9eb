"""What the table says: means, claims, gains, correlations and costs, all from the committed scores.

Intervals are those of `likeness compare` (core/stats): by person and prompt. A picture that Stellar's rule excludes
counts 0, as in the paper; one that was not measured is left out and counted.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple  # TOML and JSON

from lab import Lab
from scores import Scores, number, read_scores

from likeness.benchmarks.stellar_prompts import prompts_of
from likeness.benchmarks.stellar_world import FIRST
from likeness.core.errors import MeasurementError
from likeness.core.kinds import Split
from likeness.core.stats.correlation import pearson_matrix
from likeness.core.stats.intervals import mean_interval
from likeness.core.stats.paired import Pairs, holm, joined
from likeness.evaluate.aggregate import to_json

EXCLUDED = "excluded"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "image to image": ("clip_i_conditioning_photo", "dino_conditioning_photo"),
    "text to image": ("clip_t", "action_recognised", "scene_recognised"),
    "objects and relations": ("goa_paper", "rfs_g", "rfs_c"),
    "identity": ("aps_excluding", "ips_excluding", "sis_excluding"),
}
"""Stellar's groups of metrics, of which the embedded encoders can measure these."""
STABILITY = (("sis_paper", "ips_paper"), ("sis_excluding", "ips_excluding"))
"""The first is never above the second."""
ROUNDING = 1e-4
"""Of the cells."""
SURE = 0.05
Row = dict[str, Any]


class Measured(NamedTuple):
    """The scores of a method, and by case whose picture it is and of which prompt."""

    name: str
    scores: Scores

    def values(self, metric: str) -> dict[str, float]:
        """Case -> value; 0 where the rule excludes the picture, NaN where there is none."""
        return {case: value_of(cells[metric]) for (case, _), cells in self.scores.rows.items() if metric in cells}

    @property
    def metrics(self) -> list[str]:
        """Those that were measured, in the plan's order."""
        return list(next(iter(self.scores.rows.values()), {}))

    def minus(self, other: "Measured", metric: str) -> Pairs:
        """The paired differences."""
        mine, theirs = self.values(metric), other.values(metric)
        people, prompts = ({case: read(case) for case in {*mine, *theirs}} for read in (person_of, prompt_of))
        return joined(mine, theirs, people, prompts=prompts)


def value_of(cell: str) -> float:
    """The number of a cell: 0 where the rule excludes the picture."""
    return 0.0 if cell == EXCLUDED else number(cell)


def person_of(case: str) -> str:
    """The number NNN in a case's id, which ends in NNN-I-PP."""
    return case.split("-")[-3]


def prompt_of(case: str) -> str:
    """The prompt of a case of stellar-world, which several people may share."""
    split: Split = "validation" if "-validation-" in case else "test"
    person, _, prompt = (int(part) for part in case.split("-")[-3:])
    return prompts_of(person - FIRST[split], split)[prompt][2].text


def read(lab: Lab, phase: str, title: str) -> Measured:
    """Raises: DataError for scores that are damaged."""
    return Measured(title, read_scores(lab.scores_file(phase, title)))


def drawn(lab: Lab) -> dict[str, Measured]:
    """The methods of the plan that have scores of the test."""
    return {name: read(lab, "test", name) for name in lab.plan["methods"] if lab.scores_file("test", name).is_file()}


def mean_of(one: Measured, metric: str) -> float:
    """The mean over people. Raises: MeasurementError where nothing was measured."""
    found = mean_row(one, metric)["mean"]
    if found is None:
        raise MeasurementError(f"{one.name}: expected {metric} of some picture, got none; measure it.")
    return float(found)


# -- rows ------------------------------------------------------------------------------------------------------
def mean_row(one: Measured, metric: str) -> Row:
    """The mean over people with its interval; `excluded` is the share of pictures that the rule takes out."""
    values = one.values(metric)
    cells = [row[metric] for row in one.scores.rows.values() if metric in row]
    found = mean_interval(list(values.values()), [person_of(c) for c in values], prompts=[prompt_of(c) for c in values])
    share = cells.count(EXCLUDED) / len(cells) if cells else math.nan
    return {"method": one.name, "metric": metric, "excluded": share, **to_json(found)}


def claim_rows(methods: Mapping[str, Measured], plan: Mapping[str, Any]) -> list[Row]:
    """The plan's later method minus each rival in each claimed metric, with p values corrected over all of them."""
    told = plan["analysis"]
    later = methods.get(told["later"])
    rivals = [name for name in told["rivals"] if name in methods]
    return _compared([] if later is None else [(later, methods[r], m) for r in rivals for m in told["claimed"]])


def gain_rows(methods: Mapping[str, Measured], plan: Mapping[str, Any]) -> list[Row]:
    """Each tuned method minus the untrained model, for the person that it learnt."""
    tuned = [name for name, table in plan["methods"].items() if table["kind"] == "tuned" and name in methods]
    if "base" not in methods:
        return []
    return _compared([(methods[name], methods["base"], m) for name in tuned for m in plan["analysis"]["gains"]])


def _compared(wanted: Sequence[tuple[Measured, Measured, str]]) -> list[Row]:
    rows: list[Row] = []
    for later, earlier, metric in wanted:
        found = later.minus(earlier, metric).compared()
        names = {"later": later.name, "earlier": earlier.name, "metric": metric}
        rows.append({**names, "p": found.p, **to_json(found.interval)})
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
        row["verdict"] = verdict(row)
    return rows


def verdict(row: Row) -> str:
    """ "above", "below" or "undecided" at the corrected level."""
    if math.isnan(row["p_holm"]) or row["p_holm"] >= SURE:
        return "undecided"
    return "above" if row["mean"] > 0 else "below"


def unstable(one: Measured) -> list[str]:
    """Pictures whose SIS lies above their IPS, which can be none: SIS is the least over photos, IPS one of them."""
    found: list[str] = []
    for smaller, larger in STABILITY:
        if {smaller, larger} <= set(one.metrics):
            high = one.values(larger)
            found += [f"{one.name} {c}: {smaller}" for c, v in one.values(smaller).items() if v > high[c] + ROUNDING]
    return found


def cost_row(one: Measured) -> Row:
    """What one more person takes: seconds of the processor, steps and MB; and what all take together."""
    costs: Mapping[str, Mapping[str, float]] = one.scores.meta.get("costs", {})
    each = [cost for who, cost in costs.items() if who != "all"]
    mean = {f"{key}_each": statistics.fmean(cost[key] for cost in each) for key in each[0]} if each else {}
    total = {f"{key}_once": value for key, value in costs.get("all", {}).items()}
    return {"method": one.name, "people": len(each), **mean, **total}


# -- which metrics say the same --------------------------------------------------------------------------------
def correlation_map(methods: Mapping[str, Measured]) -> dict[tuple[str, str], Row]:
    """Pearson's correlation of metrics over the pictures of all methods, by pair; Stellar's Fig. 8."""
    names = [metric for group in GROUPS.values() for metric in group]
    known = [name for name in names if all(name in one.metrics for one in methods.values())]
    if not known or not methods:
        return {}
    columns: dict[str, list[float]] = {name: [] for name in known}
    people: list[str] = []
    prompts: list[str] = []
    for one in methods.values():
        cases = list(one.values(known[0]))
        people += [person_of(case) for case in cases]
        prompts += [prompt_of(case) for case in cases]
        for name in known:
            columns[name] += list(one.values(name).values())
    found = pearson_matrix(columns, groups=people, prompts=prompts)
    return {pair: {"mean": each.value, "ci_low": each.ci_low, "ci_high": each.ci_high} for pair, each in found.items()}


def block_means(found: Mapping[tuple[str, str], Row]) -> dict[tuple[str, str], float]:
    """(group, group) -> the mean correlation of their different metrics, which the paper states of its map."""
    means: dict[tuple[str, str], float] = {}
    for first, rows in GROUPS.items():
        for second, columns in GROUPS.items():
            values = [found[a, b]["mean"] for a in rows for b in columns if a != b and (a, b) in found]
            kept = [value for value in values if not math.isnan(value)]
            if kept:
                means[first, second] = statistics.fmean(kept)
    return means
