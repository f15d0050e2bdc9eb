"""The card of "relations": which relation does a test picture show, and whose, as RFS-C, CLIP-R and RFS-G ask it?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image

from likeness.core.records import Case
from likeness.encoders.clip import TextFeature
from likeness.encoders.clip_judge import ClipJudge
from likeness.encoders.relations import around, shown_large
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence
from likeness.metrics.relations import CLIP, rivals, share_of_first
from likeness.metrics.triplets import Triplet, case_triplets, phrase
from likeness.pretrain.cards.numbers import FIRST, NUM_RESAMPLES, Card, grouped_auc, share
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.relations import exchanged, synonyms, true_texts
from likeness.world.relations import labels_of, relation_of
from likeness.world.render import Rendering, render
from likeness.world.scenario import Scenario, sample_scenario

NUM_ROLES = 160
NUM_BINS = 10


@dataclass(frozen=True)
class Looked:
    """A picture with what CLIP saw of it, and the case that asks for what it shows."""

    picture: Rendering
    seen: Float[np.ndarray, " D"]
    case: Case

    @property
    def names(self) -> list[str]:
        """The class words of its subjects."""
        return [subject.class_name for subject in self.picture.labels.subjects]

    @property
    def group(self) -> str:
        """Its subjects, who are the unit of intervals."""
        return "+".join(subject.id for subject in self.picture.labels.subjects)

    @property
    def relation(self) -> str | None:
        """The words of the relation that it shows."""
        relation = relation_of(self.picture.labels.action)
        return relation and relation.relation


def relations_card(config: PretrainConfig, pictures: Sequence[Rendering], *, device: str) -> Card:
    """Matched against shuffled cases by each metric, exchanged roles, and whether log-odds are what they say."""
    judge = ClipJudge.load(config.export / "relations", device=device)
    looks = look(judge, pictures)
    roles = look(judge, [render(scenario, size=config.size) for scenario in islice(uneven_scenarios(), NUM_ROLES)])
    return {
        "rfs_c": {str(number): metric_card(judge, looks, metric="rfs_c", subjects=number) for number in (1, 2)},
        "clip_r": {str(number): metric_card(judge, looks, metric="clip_r", subjects=number) for number in (1, 2)},
        "judge_of_part": part_card(judge, looks),
        "roles": roles_card(judge, roles),
        "log_odds": odds_card(judge, looks),
    }


def look(judge: ClipJudge, pictures: Sequence[Rendering]) -> list[Looked]:
    """The pictures as the judge's CLIP sees them, each with its case."""
    seen = judge.clip.look([Image.fromarray(picture.image) for picture in pictures])
    cases: list[Case] = []
    for index, picture in enumerate(pictures):
        names = [subject.class_name for subject in picture.labels.subjects]
        labels = labels_of(picture.labels.action, ids=names, class_names=names)
        cases.append(Case(id=str(index), prompt=picture.labels.caption, labels=labels))
    return [Looked(*each) for each in zip(pictures, seen, cases, strict=True)]


def strangers(looks: Sequence[Looked]) -> list[tuple[Looked, Looked]]:
    """Each picture that shows a relation, and the next one that shows another with as many subjects."""
    pairs: list[tuple[Looked, Looked]] = []
    for index, each in enumerate(looks):
        after = (looks[(index + step) % len(looks)] for step in range(1, len(looks)))
        fitting = (o for o in after if o.relation and len(o.names) == len(each.names))
        if each.relation and (other := next((o for o in fitting if o.relation not in _same(each)), None)):
            pairs.append((each, other))
    return pairs


def _same(each: Looked) -> list[str]:
    return synonyms(each.relation) if each.relation else []


# -- metrics ---------------------------------------------------------------------------------------------------
def metric_card(judge: ClipJudge, looks: Sequence[Looked], *, metric: str, subjects: int) -> Card:
    """The metric of a case with its true picture against the same case with a picture of another relation."""
    asks = METRICS[metric].texts
    assert asks is not None  # both metrics name their texts
    pairs = [(a, b) for a, b in strangers(looks) if len(a.names) == subjects and asks(a.case)]
    read = _read(judge, [text for each, _ in pairs for text in asks(each.case)])

    def value(each: Looked, shown: Looked) -> float:
        evidence = Evidence(each.case, {CLIP: shown.seen}, {}, (), texts={CLIP: read})
        return METRICS[metric].measure(evidence).value.value

    return matched_card([(value(a, a), value(a, b), a.group) for a, b in pairs])


def _read(judge: ClipJudge, texts: Sequence[str]) -> dict[str, TextFeature]:
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, judge.clip.read(distinct), strict=True))


def matched_card(rows: Sequence[tuple[float, float, str]]) -> Card:
    """AUC and means of (matched, shuffled, group)."""
    matched, shuffled, groups = ([row[i] for row in rows] for i in (0, 1, 2))
    own, other = [float(value) for value in matched], [float(value) for value in shuffled]
    names = [str(group) for group in groups]
    auc = grouped_auc(own, other, groups=(names, names))
    return {"auc": auc, "matched": share(own, names), "shuffled": share(other, names)}


def part_card(judge: ClipJudge, looks: Sequence[Looked]) -> Card:
    """RFS-G of pairs with their true boxes in place of a detector's."""
    pairs = [(a, b) for a, b in strangers(looks) if len(a.names) == 2]

    def value(each: Looked, shown: Looked) -> float:
        return share_of_first(part_odds(judge, shown, texts=_phrases(each)))

    return matched_card([(value(a, a), value(a, b), a.group) for a, b in pairs])


def _phrases(each: Looked) -> list[str]:
    return [phrase(rival) for triplet in case_triplets(each.case) for rival in rivals(triplet)]


def part_odds(judge: ClipJudge, each: Looked, *, texts: Sequence[str]) -> list[float]:
    """The log-odds of each text, of the part of the picture around the first two subjects."""
    picture = Image.fromarray(each.picture.image)
    first, second = (np.array(subject.box) * picture.width for subject in each.picture.labels.subjects[:2])
    part = shown_large(picture.crop(around(first, second, size=picture.size)))
    return [answer.log_odds for answer in judge.ask([part] * len(texts), texts)]


# -- roles -----------------------------------------------------------------------------------------------------
def uneven_scenarios() -> Iterator[Scenario]:
    """Test scenarios of two species in a relation that is not mutual."""
    for index in count(FIRST + 70_000):
        found = sample_scenario(index, split="test", num_subjects=2, dressed=False)
        relation = relation_of(found.action)
        if relation and not relation.symmetric and len({who.species for who in found.identities}) == 2:
            yield found


def roles_card(judge: ClipJudge, looks: Sequence[Looked]) -> Card:
    """Log-odds of the stated triplet against those with exchanged roles, of the same picture."""
    stated = [case_triplets(each.case)[0] for each in looks]
    odds = [whole_odds(judge, e, texts=[phrase(t), phrase(exchanged(t))]) for e, t in zip(looks, stated, strict=True)]
    groups = [each.group for each in looks]
    right, wrong = [float(pair[0]) for pair in odds], [float(pair[1]) for pair in odds]
    return {
        "auc": grouped_auc(right, wrong, groups=(groups, groups)),
        "right_of_two": share([float(a > b) for a, b in zip(right, wrong, strict=True)], groups),
        "relations": {word: sum(triplet.relation == word for triplet in stated) for word in _words(stated)},
    }


def _words(stated: Sequence[Triplet]) -> list[str]:
    return sorted({triplet.relation for triplet in stated})


def whole_odds(judge: ClipJudge, each: Looked, *, texts: Sequence[str]) -> NDArray[np.float64]:
    """The log-odds of each text, of the whole picture."""
    read = _read(judge, texts)
    vectors = np.stack([read[text].vector for text in texts]).astype(np.float64)
    return judge.scale * vectors @ each.seen.astype(np.float64) + judge.bias


# -- log-odds --------------------------------------------------------------------------------------------------
class Answers(NamedTuple):
    """Chances given to N sentences about one picture, and which of them hold."""

    chances: Float[np.ndarray, " N"]
    holds: Bool[np.ndarray, " N"]


def odds_card(judge: ClipJudge, looks: Sequence[Looked]) -> Card:
    """The calibration of a picture's own triplet, its rivals and exchanged roles, and of another picture's rivals."""
    return calibration_card([_answers(judge, a, asked=[*_asked(a), *_phrases(b)]) for a, b in strangers(looks)])


def _asked(each: Looked) -> list[str]:
    swapped = [phrase(exchanged(t)) for t in case_triplets(each.case)] if len(each.names) == 2 else []
    return [*_phrases(each), *swapped]


def _answers(judge: ClipJudge, each: Looked, *, asked: Sequence[str]) -> Answers:
    texts = list(dict.fromkeys(asked))
    true = true_texts(each.picture.labels.action, each.names)
    odds = whole_odds(judge, each, texts=texts) if texts else np.zeros(0)
    return Answers(1 / (1 + np.exp(-odds)), np.array([text in true for text in texts], dtype=bool))


def calibration_card(rows: Sequence[Answers]) -> Card:
    """The mean over answers of |mean chance - share that holds| of the answer's bin, NUM_BINS of equal width.

    Its interval resamples pictures. Source: Guo et al., "On Calibration of Modern Neural Networks" (arXiv:1706.04599,
    Eq. 3).
    """
    surplus = np.stack([_surplus(row) for row in rows])
    sizes, number = np.array([len(row.holds) for row in rows]), len(rows)
    drawn = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), size=NUM_RESAMPLES)
    low, high = np.quantile(np.abs(drawn @ surplus).sum(1) / (drawn @ sizes), [0.025, 0.975])
    error = np.abs(surplus.sum(0)).sum() / sizes.sum()
    means = {f"mean_{name}": np.concatenate([row[i] for row in rows]).mean() for i, name in enumerate(Answers._fields)}
    numbers = {"expected_calibration_error": error, "ci_low": low, "ci_high": high, **means}
    counts = {"n": int(sizes.sum()), "n_pictures": number, "num_bins": NUM_BINS}
    return {**{name: round(float(value), 4) for name, value in numbers.items()}, **counts}


def _surplus(row: Answers) -> Float[np.ndarray, " K"]:
    """By bin, the sum of the chances less the number of sentences that hold."""
    bins = np.minimum((row.chances * NUM_BINS).astype(int), NUM_BINS - 1)
    return np.bincount(bins, weights=row.chances - row.holds, minlength=NUM_BINS)
