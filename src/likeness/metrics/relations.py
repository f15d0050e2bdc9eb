"""Relations between what a prompt names: RFS-C and CLIP-R by CLIP, RFS-G by a detector and a yes/no model.

Source: RFS is a column of Stellar (arXiv:2312.06116) and CLIP-R one of DreamRelation (arXiv:2410.23280); neither has
published how it is computed. Ours: RFS-C is the share of softmax(100 * cosine) that the stated relation has against
eight others of the same subject and object; CLIP-R the cosine of the picture and the relation's words alone; RFS-G the
same share of yes/no probabilities, asked of the part of the picture that shows both. Chance is 1/9 for RFS.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from likeness.core.records import Case
from likeness.encoders.answers import RelationAnswer, probability
from likeness.metrics.base import COSINE, Evidence, Facts, Measured, Metric, NotApplicableError, Value, cosine
from likeness.metrics.triplets import Triplet, case_triplets, phrase, stated_labels, with_article

CLIP = "relation_clip"
ENCODER = "relations"
SCALE = 100.0
NUM_DISTRACTORS = 8
RELATIONS: tuple[tuple[str, ...], ...] = (
    ("holding", "carrying", "juggling"),
    ("riding", "driving", "sitting on", "on"),
    ("eating", "drinking"),
    ("next to", "near", "beside", "standing next to"),
    ("wearing", "in", "dressed in"),
    ("looking at", "watching", "gazing upon", "gazing at"),
    ("kicking", "hitting"),
    ("cooking", "baking", "preparing"),
    ("painting", "drawing"),
    ("hugging", "kissing"),
    ("running away from", "fleeing from"),
)
"""Relations in groups of one meaning; the first of a group stands for it as a distractor."""


def distractors(relation: str) -> tuple[str, ...]:
    """Eight other relations, always the same for one relation: the first groups that it is not in."""
    same = relation.casefold()
    return tuple(group[0] for group in RELATIONS if same not in group)[:NUM_DISTRACTORS]


def rivals(triplet: Triplet) -> list[Triplet]:
    """The triplet and, after it, the same subject and object in other relations."""
    return [triplet, *(triplet._replace(relation=other) for other in distractors(triplet.relation))]


def share_of_first(scores: Sequence[float]) -> float:
    """softmax(scores)[0], in (0, 1)."""
    high = max(scores)
    powers = [math.exp(score - high) for score in scores]
    return powers[0] / math.fsum(powers)


def _required(case: Case) -> tuple[Triplet, ...]:
    triplets = case_triplets(case)
    if not triplets:
        raise NotApplicableError("the case states no relation")
    return triplets


def _mean(values: Sequence[float], parts: dict[str, object], note: str = "") -> Measured:
    return Measured(Value(math.fsum(values) / len(values), note, parts=parts))


def _cosine_to(evidence: Evidence, text: str) -> float:
    return cosine(evidence.picture[CLIP], evidence.texts[CLIP][text].vector)


def rfs_c(evidence: Evidence) -> Measured:
    """Mean over triplets of softmax(100 * cosine) of the triplet among its rivals.

    The parts are that share and the margin: its cosine less the mean of its rivals'.
    """
    shares: list[float] = []
    parts: dict[str, object] = {}
    for triplet in _required(evidence.case):
        cosines = [_cosine_to(evidence, phrase(rival)) for rival in rivals(triplet)]
        shares.append(share_of_first([SCALE * each for each in cosines]))
        margin = cosines[0] - float(np.mean(cosines[1:]))
        parts[phrase(triplet)] = {"share": shares[-1], "margin": margin}
    return _mean(shares, parts)


def _phrases(case: Case) -> list[str]:
    return [phrase(rival) for triplet in case_triplets(case) for rival in rivals(triplet)]


def relation_words(case: Case) -> list[str]:
    """The relation that is asked for, by its words alone: the case's predicate, else those of its triplets."""
    if predicate := stated_labels(case).predicate:
        return [predicate]
    return list(dict.fromkeys(triplet.relation for triplet in case_triplets(case)))


def clip_r(evidence: Evidence) -> Measured:
    """Mean over relations of the raw cosine of the picture and the relation's words."""
    words = relation_words(evidence.case)
    if not words:
        raise NotApplicableError("the case states no relation")
    cosines = [_cosine_to(evidence, text) for text in words]
    return _mean(cosines, dict(zip(words, cosines, strict=True)) if len(words) > 1 else {})


def question(triplet: Triplet) -> str:
    """What the relations encoder is asked: subject, object, and the relations in question, a line each."""
    names = (with_article(triplet.subject), triplet.object, *(rival.relation for rival in rivals(triplet)))
    return "\n".join(" ".join(name.split()) for name in names)


def _questions(case: Case) -> list[str]:
    return [question(triplet) for triplet in case_triplets(case)]


def _not_found(answer: RelationAnswer, triplet: Triplet) -> str:
    missing = [n for n, score in ((triplet.subject, answer.subject), (triplet.object, answer.object)) if score == 0]
    return f"not found: {', '.join(missing)}" if missing else ""


def _rfs_g(weight: Callable[[RelationAnswer], float], evidence: Evidence) -> Measured:
    """Mean over triplets of the relation's share among its rivals, times a weight; 0 where subject or object is not
    in the picture, since then the relation does not hold there.

    The parts are the share and the plain probability of a yes, and how surely subject and object were found.
    """
    values: list[float] = []
    parts: dict[str, object] = {}
    notes: dict[str, None] = {}
    for triplet in _required(evidence.case):
        answer: RelationAnswer = evidence.answers[ENCODER][question(triplet)]
        share = share_of_first(answer.log_odds) if answer.log_odds else 0.0
        yes = probability(answer.log_odds[0]) if answer.log_odds else 0.0
        values.append(share * weight(answer) if answer.log_odds else 0.0)
        parts[phrase(triplet)] = {"share": share, "yes": yes, "subject": answer.subject, "object": answer.object}
        notes |= {note: None for note in [_not_found(answer, triplet)] if note}
    return _mean(values, parts, "; ".join(notes))


def _grounding(answer: RelationAnswer) -> float:
    return math.sqrt(answer.subject * answer.object)


RFS_C = Metric(
    Facts(
        name="rfs_c",
        label="Relations by CLIP (RFS-C)",
        short="RFS-C",
        question="Does CLIP see the relation that the prompt states rather than eight others?",
        needs=(CLIP,),
        kind="prompt",
    ),
    rfs_c,
    texts=_phrases,
)
CLIP_R = Metric(
    Facts(
        name="clip_r",
        label="Relation words (CLIP-R)",
        short="CLIP-R",
        question="How near is the picture to the relation's words alone?",
        needs=(CLIP,),
        kind="prompt",
        unit=COSINE[0],
        range=COSINE[1],
    ),
    clip_r,
    texts=relation_words,
)
_grounded = partial(Facts, name="rfs_g", needs=(ENCODER,), kind="prompt")
RFS_G = (
    Metric(
        _grounded(
            label="Relations, grounded (RFS-G)",
            short="RFS-G",
            question="Do subject and object stand in the stated relation rather than in eight others?",
        ),
        partial(_rfs_g, lambda _: 1.0),
        questions=_questions,
    ),
    Metric(
        _grounded(
            column="strict",
            label="Relations, grounded, weighted (RFS-G)",
            short="RFS-G strict",
            question="The same, times how surely subject and object were found: does the relation hold?",
        ),
        partial(_rfs_g, _grounding),
        questions=_questions,
    ),
)
RELATION_METRICS = (*RFS_G, RFS_C, CLIP_R)
