"""How often the 95% intervals hold the true mean, by simulation: docs/statistics.md.

    python figures/coverage.py --simulations 2000 --write
    python figures/coverage.py --trainings --simulations 1000 --write
    python figures/coverage.py --stored     # the page again from docs/coverage.json

Scores have an effect of the subject, of the prompt and of the picture. Three shapes: normal, skewed (exponential
subject effects) and shares (0 or 1, true share near 0.15). "percentile" is the plain bootstrap over subjects that
papers use, "pigeonhole" resamples subjects and prompts, "ours" is `likeness.core.stats.intervals.mean_interval`.
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

import numpy as np
from blocks import fill_block
from numpy.typing import NDArray

from likeness.core.files import read_json, write_json
from likeness.core.stats.bootstrap import resampled_weights
from likeness.core.stats.intervals import mean_and_spread
from likeness.core.stats.trainings import Trainings

ROOT = Path(__file__).resolve().parent.parent
STORED, PAGE = ROOT / "docs" / "coverage.json", ROOT / "docs" / "statistics.md"
NUM_RESAMPLES = 300
Values = NDArray[np.float64]


class Design(NamedTuple):
    """Which subjects and which prompt each picture has."""

    name: str
    subjects: list[tuple[int, ...]]
    prompts: list[int]


def crossed(num_subjects: int, num_prompts: int) -> Design:
    """Every subject with every prompt, as DreamBench has."""
    cells = [(s, p) for s in range(num_subjects) for p in range(num_prompts)]
    return Design(f"{num_subjects} subjects x {num_prompts} prompts", [(s,) for s, _ in cells], [p for _, p in cells])


def own_prompts(num_subjects: int, each: int) -> Design:
    """Every picture with a prompt of its own."""
    subjects = [(s,) for s in range(num_subjects) for _ in range(each)]
    return Design(f"{num_subjects} subjects, {each} prompts each, all different", subjects, list(range(len(subjects))))


def pairs(num_subjects: int, num_pairs: int, num_prompts: int) -> Design:
    """Pairs of subjects that return in several pairs, as UNO's multi-subject list has, with every prompt."""
    every = list(combinations(range(num_subjects), 2))
    chosen = [every[i] for i in np.random.default_rng(0).permutation(len(every))[:num_pairs]]
    cells = [(pair, p) for pair in chosen for p in range(num_prompts)]
    name = f"{num_pairs} pairs of {num_subjects} subjects x {num_prompts} prompts"
    return Design(name, [pair for pair, _ in cells], [p for _, p in cells])


DESIGNS = [
    *(crossed(n, 25) for n in (10, 30, 100)),
    crossed(30, 4),
    *(own_prompts(n, 5) for n in (10, 30, 100)),
    *(pairs(n, m, 25) for n, m in ((10, 15), (30, 30), (100, 120))),
]


def effects(design: Design, rng: np.random.Generator, *, subject: Values, prompt: float, picture: float) -> Values:
    """Sum of the effects of each picture; several subjects count by their mean."""
    width = len(design.subjects[0])
    people = subject[np.array(design.subjects)].sum(axis=1) / width
    prompts = prompt * rng.normal(size=max(design.prompts) + 1)[design.prompts]
    return people + prompts + picture * rng.normal(size=len(people))


def normal(design: Design, rng: np.random.Generator) -> Values:
    """True mean 0."""
    return effects(design, rng, subject=rng.normal(size=_count(design)), prompt=0.7, picture=1.0)


def skewed(design: Design, rng: np.random.Generator) -> Values:
    """True mean 0, skewness 2 by subject."""
    return effects(design, rng, subject=rng.exponential(size=_count(design)) - 1, prompt=0.3, picture=0.5)


def share(design: Design, rng: np.random.Generator) -> Values:
    """0 or 1 less the true share."""
    logits = effects(design, rng, subject=1.3 * rng.normal(size=_count(design)), prompt=0.7, picture=0.0)
    return (rng.random(len(logits)) < 1 / (1 + np.exp(2.2 - logits))) - true_share(len(design.subjects[0]))


def difference(design: Design, rng: np.random.Generator) -> Values:
    """Two methods on the same cases, 0 apart: what subjects and prompts do to one of them."""
    own = [effects(design, rng, subject=rng.normal(size=_count(design)), prompt=0.4, picture=0.8) for _ in range(2)]
    return own[0] - own[1]


def shares_apart(design: Design, rng: np.random.Generator) -> Values:
    """0 or 1 of two methods of equal share on the same cases."""
    return share(design, rng) - share(design, rng)


def rare(design: Design, rng: np.random.Generator) -> Values:
    """0 or 1 of two methods that fail once in 100 cases each."""
    return (rng.random(len(design.prompts)) < 0.01).astype(float) - (rng.random(len(design.prompts)) < 0.01)


def _count(design: Design) -> int:
    return max(max(each) for each in design.subjects) + 1


def true_share(width: int) -> float:
    """The expected share, by quadrature over the normal logit."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    scale = math.sqrt(1.3**2 / width + 0.7**2)
    return float((w / (1 + np.exp(2.2 - scale * x))).sum() / w.sum())


SHAPES: dict[str, Callable[[Design, np.random.Generator], Values]] = {
    "normal": normal, "skewed": skewed, "share": share, "difference": difference, "difference of shares": shares_apart,
    "difference of rare shares": rare,
}  # fmt: skip


def covers(design: Design, values: Values, *, differences: bool) -> bool:
    """Whether our interval holds 0."""
    found, _ = mean_and_spread(values, groups_of(design), prompts=design.prompts, differences=differences)
    return found.ci_low <= 0 <= found.ci_high


def bootstraps_cover(design: Design, values: Values, *, seed: int) -> dict[str, bool]:
    """Whether plain bootstraps hold 0."""
    groups = groups_of(design)
    names = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    by_group = np.bincount([names[group] for group in groups], weights=values) / np.bincount(
        [names[group] for group in groups]
    )
    ends = {
        "percentile": percentile(by_group, list(range(len(by_group))), None, seed=seed),
        "pigeonhole": percentile(values, groups, design.prompts, seed=seed),
    }
    return {name: low <= 0 <= high for name, (low, high) in ends.items()}


def groups_of(design: Design) -> list[Hashable]:
    """The subject or subjects of each picture."""
    return [frozenset(each) if len(each) > 1 else each[0] for each in design.subjects]


def percentile(
    values: Values, groups: Sequence[Hashable], prompts: Sequence[Hashable] | None, *, seed: int
) -> tuple[float, float]:
    """Percentile interval of the weighted mean under resampled subjects (and prompts)."""
    drawn = resampled_weights(groups, prompts=prompts, num_resamples=NUM_RESAMPLES, seed=seed)
    totals = [(weights @ values, weights.sum(axis=1)) for weights in drawn]
    means = np.concatenate([top[below > 0] / below[below > 0] for top, below in totals])
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


# -- several trainings -----------------------------------------------------------------------------------------
NUM_TRAININGS = (2, 3, 5)
APART = (0.0, 0.2, 0.5)
"""Standard deviations between trainings; subjects have 0.5, prompts 0.3, pictures 0.5."""


def trainings_rows(simulations: int) -> list[dict[str, Any]]:
    """How often intervals of paired differences hold for other trainings: 30 subjects x 8 prompts.

    "cases alone" treats the pooled values as those of one training, "clustered" makes pictures of a training alike in
    place of those of a prompt.
    """
    groups: list[Hashable] = [s for s in range(30) for _ in range(8)]
    prompts: list[Hashable] = [p for _ in range(30) for p in range(8)]
    rows: list[dict[str, Any]] = []
    for count in NUM_TRAININGS:
        for apart in APART:
            rng, held = np.random.default_rng(2), Counter[str]()
            for _ in range(simulations):
                held.update(name for name, holds in _trained(rng, count, apart, groups, prompts).items() if holds)
            shares = {name: held[name] / simulations for name in ("ours", "cases alone", "clustered")}
            rows.append({"trainings": count, "apart": apart, **shares})
            print(rows[-1], flush=True)
    return rows


def _trained(
    rng: np.random.Generator, count: int, apart: float, groups: list[Hashable], prompts: list[Hashable]
) -> dict[str, bool]:
    """Whether each interval holds 0 in one simulation."""
    cases = rng.normal(0, 0.5, (1, 30, 1)) + rng.normal(0, 0.3, (1, 1, 8))
    trainings = rng.normal(0, apart, (count, 1, 1)) + rng.normal(0, 0.2, (count, 30, 1))
    values = (cases + trainings + rng.normal(0, 0.5, (count, 30, 8))).reshape(count, 240)
    ours = Trainings(values, groups, prompts, differences=True).interval
    alone, _ = mean_and_spread(values.mean(axis=0), groups, prompts=prompts, differences=True)
    numbers = np.repeat(np.arange(count), 240).tolist()
    clustered, _ = mean_and_spread(values.reshape(-1), groups * count, prompts=numbers, differences=True)
    found = {"ours": ours, "cases alone": alone, "clustered": clustered}
    return {name: each.ci_low <= 0 <= each.ci_high for name, each in found.items()}


def trainings_table(stored: dict[str, Any]) -> str:
    """The rows of docs/coverage.json about trainings as the page shows them."""
    lines = ["| trainings | deviation between them | ours | cases alone | clustered |", "|---|---|---|---|---|"]
    for row in stored["trainings"]["rows"]:
        shares = " | ".join(f"{row[name]:.3f}" for name in ("ours", "cases alone", "clustered"))
        lines.append(f"| {row['trainings']} | {row['apart']} | {shares} |")
    return "\n".join(lines) + f"\n\nPrinted by `{stored['trainings']['command']}`.\n"


def table(stored: dict[str, Any]) -> str:
    """The rows of docs/coverage.json as the page shows them."""
    lines = ["| cases | scores | ours | percentile | pigeonhole |", "|---|---|---|---|---|"]
    for row in stored["rows"]:
        shares = " | ".join(f"{row[name]:.3f}" for name in ("ours", "percentile", "pigeonhole"))
        lines.append(f"| {row['design']} | {row['shape']} | {shares} |")
    return "\n".join(lines) + f"\n\nPrinted by `{stored['command']}`.\n"


def fill_page() -> None:
    """The tables of docs/statistics.md, from docs/coverage.json."""
    stored = read_json(STORED)
    fill_block(PAGE, "coverage", table(stored))
    fill_block(PAGE, "trainings", trainings_table(stored))


def main() -> None:
    """Simulates and prints; with --write also docs/coverage.json and the table of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--bootstrapped", type=int, default=300, help="of the simulations, how many by bootstraps too")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--stored", action="store_true", help="fill the page from docs/coverage.json and end")
    parser.add_argument("--trainings", action="store_true", help="only the table about several trainings")
    options = parser.parse_args()
    if options.stored:
        return fill_page()
    if options.trainings:
        trained = trainings_rows(options.simulations)
        if options.write:
            command = f"python figures/coverage.py --trainings --simulations {options.simulations} --write"
            write_json(STORED, read_json(STORED) | {"trainings": {"command": command, "rows": trained}})
            fill_page()
        return None
    rows: list[dict[str, object]] = []
    for design in DESIGNS:
        for shape, draw in SHAPES.items():
            rng = np.random.default_rng(1)
            drawn = [draw(design, rng) for _ in range(options.simulations)]
            held = [covers(design, each, differences=shape.startswith("difference")) for each in drawn]
            some = [bootstraps_cover(design, each, seed=i) for i, each in enumerate(drawn[: options.bootstrapped])]
            shares = {"ours": sum(held) / len(held)}
            shares |= {name: sum(each[name] for each in some) / len(some) for name in some[0]}
            rows.append({"design": design.name, "shape": shape, **shares})
            print(design.name, shape, shares, flush=True)
    if options.write:
        sizes = f"--simulations {options.simulations} --bootstrapped {options.bootstrapped}"
        command = f"python figures/coverage.py {sizes} --write"
        write_json(STORED, read_json(STORED) | {"command": command, "rows": rows})
        fill_page()


if __name__ == "__main__":
    main()
