"""Which metric finds which failure of several subjects: planted in drawn pictures, one confusion table.

    python figures/planted.py --pairs 200 --write docs/metrics/several-subjects.md

A case is two test subjects with two photos each and a true picture. A correct picture of it is the same scene drawn
anew (other places by a few percent, other scenery); a planted one is that picture with one failure. Each metric's
values of planted and correct pictures are compared: AUC, with an interval that resamples cases.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple  # Any: what an encoder sees is its own type

import numpy as np
from blocks import fill_block
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from likeness.core.records import Case, Labels, Subject
from likeness.encoders import load_encoder
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, Measured, NotApplicableError, SubjectEvidence
from likeness.metrics.slots import ENCODER
from likeness.world.identity import ATTRIBUTES, HUMAN_ATTRIBUTES, HUMANS, NOT_APPLICABLE, Identity
from likeness.world.render import reference_mask, render, render_image, render_reference
from likeness.world.scenario import Scenario, sample_scenario

SIZE = 128
NUM_PHOTOS = 2
ANEW = 1_000_000
"""Added to a scenario's seed for a picture that is drawn anew."""
DRIFTS = ("species", "body_color", "second_color", "pattern")

GROUPS = (
    ("species", *HUMAN_ATTRIBUTES),
    ("accessory", "accessory_color"),
    *((name,) for name in ("body_color", "second_color", "pattern")),
)
"""Attributes that go together when two subjects are blended; subjects that differ in one group alone have no blend."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Planting:
    """A case: who is in it, the true picture, photos by subject, a correct picture, and those with a failure."""

    scenario: Scenario
    truth: Pixels
    photos: tuple[tuple[Pixels, ...], ...]
    correct: Pixels
    failures: Mapping[str, Pixels]


def plant(seed: int) -> Planting:
    """The case of `seed`; every second one has two subjects of mostly the same species and colour."""
    scenario = next(each for each in _scenarios(seed) if len(_differing(each)) > 1)
    anew, rng = replace(scenario, seed=scenario.seed + ANEW), Random(f"planted/{seed}")
    photos = tuple(
        tuple(render_reference(who, seed=_photo_seed(seed, k), size=SIZE) for k in range(NUM_PHOTOS))
        for who in scenario.identities
    )
    return Planting(
        scenario,
        render_image(scenario, size=SIZE),
        photos,
        render_image(anew, size=SIZE),
        {name: make(anew, rng, seed) for name, make in FAILURES.items()},
    )


def _scenarios(seed: int) -> Iterator[Scenario]:
    for start in count(seed, ANEW):
        yield sample_scenario(start, split="test", num_subjects=2, hard=seed % 2 == 1, dressed=False)


def _photo_seed(seed: int, k: int) -> int:
    return 10 * seed + k


# -- failures --------------------------------------------------------------------------------------------------
def _drawn(scenario: Scenario, *who: Identity, action: str = "") -> Pixels:
    return render_image(replace(scenario, identities=who, action=action or scenario.action), size=SIZE)


def swap(scenario: Scenario, rng: Random, seed: int) -> Pixels:
    """Both subjects stand in each other's place."""
    return _drawn(scenario, *scenario.identities[::-1])


def blend(scenario: Scenario, rng: Random, seed: int) -> Pixels:
    """Both places show one character that has half of the differing attributes from each subject."""
    first, second = scenario.identities
    theirs, differing = second.attributes(), _differing(scenario)
    rng.shuffle(differing)
    mixed = replace(first, **{name: theirs[name] for group in differing[::2] for name in group})
    return _drawn(scenario, mixed, mixed)


def _differing(scenario: Scenario) -> list[tuple[str, ...]]:
    """The groups of attributes in which the two subjects differ."""
    ours, theirs = (who.attributes() for who in scenario.identities)
    return [group for group in GROUPS if any(ours[name] != theirs[name] for name in group)]


def drift(scenario: Scenario, rng: Random, seed: int) -> Pixels:
    """One attribute of one subject has a value that neither subject has."""
    first, second = scenario.identities
    options = [
        (name, value)
        for name in DRIFTS
        for value in ATTRIBUTES[name]
        if value not in (NOT_APPLICABLE, first.attributes()[name], second.attributes()[name])
        and not (name == "species" and (value in HUMANS or first.species in HUMANS))
        and not (name != "species" and value in (first.body_color, first.second_color))
    ]
    name = rng.choice(sorted({name for name, _ in options}))
    value = rng.choice([value for known, value in options if known == name])
    return _drawn(scenario, replace(first, **{name: value}), second)


def duplicate(scenario: Scenario, rng: Random, seed: int) -> Pixels:
    """The first subject is there twice, beside the second."""
    first, second = scenario.identities
    return _drawn(scenario, first, second, first, action="group")


def twin(scenario: Scenario, rng: Random, seed: int) -> Pixels:
    """The first subject is there twice, in the second one's place too."""
    return _drawn(scenario, scenario.identities[0], scenario.identities[0])


def drop(scenario: Scenario, rng: Random, seed: int) -> Pixels:
    """The second subject is not there."""
    return _drawn(scenario, scenario.identities[0], action="stand")


def paste(scenario: Scenario, rng: Random, seed: int) -> Pixels:
    """Each subject is covered by itself as it stands in its reference photo, at the height it has in the picture."""
    picture = render(scenario, size=SIZE)
    image = Image.fromarray(picture.image)
    for who, label in zip(scenario.identities, picture.labels.subjects, strict=True):
        photo_seed = _photo_seed(seed, 0)
        photo = Image.fromarray(render_reference(who, seed=photo_seed, size=SIZE))
        mask = Image.fromarray(reference_mask(who, seed=photo_seed, size=SIZE))
        left, top, right, bottom = mask.getbbox() or (0, 0, SIZE, SIZE)
        height = max(1, round((label.box[3] - label.box[1]) * SIZE))
        size = (max(1, round((right - left) * height / (bottom - top))), height)
        place = (round((label.box[0] + label.box[2]) / 2 * SIZE - size[0] / 2), round(label.box[1] * SIZE))
        cut = [part.crop((left, top, right, bottom)) for part in (photo, mask.convert("L"))]
        image.paste(*_at(cut, size, place))
    return np.asarray(image)


def _at(cut: Sequence[Image.Image], size: tuple[int, int], place: tuple[int, int]) -> tuple[Any, ...]:
    photo, mask = (part.resize(size, Image.Resampling.BILINEAR) for part in cut)
    return photo, place, mask


FAILURES: dict[str, Callable[[Scenario, Random, int], Pixels]] = {
    each.__name__: each for each in (swap, blend, drift, twin, duplicate, drop, paste)
}


# -- what is measured ------------------------------------------------------------------------------------------
def evidence(planting: Planting, see: Callable[[Sequence[Pixels]], Sequence[Any]]) -> dict[str, Evidence]:
    """The evidence of the correct picture ("correct") and of each failure; `see` looks at pictures."""
    names = ("correct", *planting.failures)
    pictures = (planting.correct, *planting.failures.values())
    flat = [planting.truth, *(photo for photos in planting.photos for photo in photos), *pictures]
    truth, *rest = [{ENCODER: sight} for sight in see(flat)]
    people = planting.scenario.identities
    photos = [tuple(rest[i * NUM_PHOTOS : (i + 1) * NUM_PHOTOS]) for i in range(len(people))]
    subjects = [
        Subject(id=f"{i}", class_name=who.class_name, reference_image=Path("x")) for i, who in enumerate(people)
    ]
    case = Case(id="a", prompt="a", subjects=tuple(subjects), labels=Labels(action=planting.scenario.action))
    seen = tuple(SubjectEvidence(subject, some, some[0]) for subject, some in zip(subjects, photos, strict=True))
    made = rest[len(people) * NUM_PHOTOS :]
    return {name: Evidence(case, one, {}, seen, truth=truth) for name, one in zip(names, made, strict=True)}


class Column(NamedTuple):
    """A column of the table: a metric, one of its parts or its value, and whether more of it is worse."""

    metric: str
    part: str = ""
    more_is_worse: bool = True

    @property
    def label(self) -> str:
        """As the table names it."""
        return f"{self.metric}.{self.part}" if self.part else self.metric


COLUMNS = (
    Column("subject_fidelity", more_is_worse=False),
    Column("subject_count", more_is_worse=False),
    Column("id_confusion", more_is_worse=False),
    Column("roles", more_is_worse=False),
    Column("leakage_matrix"),
    *(Column("leakage_matrix", part) for part in ("drift", "swap", "dominance", "blend")),
    Column("copy_paste"),
    Column("copy_index"),
)
MEANT_FOR = {
    "swap": "roles",
    "blend": "leakage_matrix.blend",
    "drift": "leakage_matrix.drift",
    "twin": "leakage_matrix.dominance",
    "duplicate": "subject_count",
    "drop": "subject_count",
    "paste": "copy_index",
}
"""The column that is to find each failure."""


def badness(evidence: Evidence) -> dict[str, float]:
    """By column: the more, the worse; NaN where it was not measured."""
    found = {column.metric: _measured(column.metric, evidence) for column in COLUMNS}
    return {column.label: _badness(column, found[column.metric]) for column in COLUMNS}


def _measured(name: str, evidence: Evidence) -> Measured | None:
    try:
        return METRICS[name].measure(evidence)
    except NotApplicableError:
        return None


def _badness(column: Column, measured: Measured | None) -> float:
    if measured is None or not measured.value.measured:
        return float("nan")
    value = float(measured.value.parts[column.part]) if column.part else measured.value.value
    return value if column.more_is_worse else -value


# -- the table -------------------------------------------------------------------------------------------------
class Score(NamedTuple):
    """An AUC with its 95% interval, and on how many cases; NaN where no case has both numbers."""

    auc: float
    low: float
    high: float
    n: int


def auc(failed: Sequence[float], correct: Sequence[float]) -> float:
    """The share of (failed, correct) pairs where the failed one is worse; ties count half."""
    n = len(failed)
    ranks = rankdata([*failed, *correct])
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(correct)))


def score(failed: Sequence[float], correct: Sequence[float], *, resamples: int = 1000) -> Score:
    """The AUC over cases where both were measured; the interval resamples cases, pairs kept together."""
    both = np.array([pair for pair in zip(failed, correct, strict=True) if not np.isnan(pair).any()])
    if not len(both):
        return Score(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(0)
    drawn = [both[rng.integers(0, len(both), len(both))] for _ in range(resamples)]
    low, high = np.quantile([auc(some[:, 0].tolist(), some[:, 1].tolist()) for some in drawn], [0.025, 0.975])
    return Score(auc(both[:, 0].tolist(), both[:, 1].tolist()), float(low), float(high), len(both))


def table(rows: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Failure by column in Markdown, from `badness` by picture of each case; bold where the metric is meant for it."""
    labels = [column.label for column in COLUMNS]
    lines = ["| planted | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for failure in FAILURES:
        cells = [_cell(score(*_columns(rows, failure, label)), MEANT_FOR[failure] == label) for label in labels]
        lines.append(f"| {failure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _columns(rows: Sequence[Mapping[str, Mapping[str, float]]], failure: str, label: str) -> tuple[list[float], ...]:
    return [row[failure][label] for row in rows], [row["correct"][label] for row in rows]


def _cell(found: Score, is_meant: bool) -> str:
    if not found.n:
        return "not measured"
    text = f"{found.auc:.3f} [{found.low:.3f}, {found.high:.3f}] n {found.n}"
    return f"**{text}**" if is_meant else text


def main() -> None:
    """Plants, measures, prints the table and writes it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--write", type=Path, help="a page with the marks of `planted`")
    options = parser.parse_args()
    encoder = load_encoder(ENCODER, "subjects")

    def see(pictures: Sequence[Pixels]) -> Sequence[Any]:
        return encoder.look([Image.fromarray(each) for each in pictures])

    rows = [{name: badness(each) for name, each in evidence(plant(seed), see).items()} for seed in range(options.pairs)]
    text = table(rows)
    print(text)
    if options.write:
        fill_block(options.write, "planted", f"{text}\n")


if __name__ == "__main__":
    main()
