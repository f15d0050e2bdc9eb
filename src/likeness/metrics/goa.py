"""GOA, grounding objects accuracy: does a detector find the things that the prompt names?

Source: Stellar (arXiv:2312.06116); public code runs OWL-ViT without a threshold. Differs: `goa` gives every word the
largest score of all boxes, whatever other words are asked and whatever else is in the batch; a case without words is
not measured instead of 0. `goa_paper` keeps the public code's competition, each box counting for one word only, with
one case per batch, and its list of role nouns, which there is compared letter by letter.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

from likeness.core.records import Case
from likeness.encoders.detections import competing
from likeness.metrics.base import Evidence, Facts, Measured, Metric, NotApplicableError, Value
from likeness.metrics.triplets import ROLE_NOUNS, is_role, stated_labels

ENCODER = "owl"


def words_to_find(case: Case, *, skip: Callable[[str], bool] = is_role) -> list[str]:
    """The case's detectable words without roles, each once, white space as single spaces."""
    words = (" ".join(word.split()) for word in stated_labels(case).detectables)
    return list(dict.fromkeys(word for word in words if word and not skip(word)))


def _listed_role(word: str) -> bool:
    return word in ROLE_NOUNS


def _mean_score(words: Sequence[str], scores: Sequence[float]) -> Measured:
    """The mean over words; each word's own score is a part. Raises: NotApplicableError without words."""
    if not words:
        raise NotApplicableError("the case names nothing that a detector is asked for")
    return Measured(Value(math.fsum(scores) / len(scores), parts=dict(zip(words, scores, strict=True))))


def goa(evidence: Evidence) -> Measured:
    """Mean over words of the largest score of any box for that word."""
    words = words_to_find(evidence.case)
    answers = evidence.answers[ENCODER]
    return _mean_score(words, [answers[word].best(word) for word in words])


def goa_paper(evidence: Evidence) -> Measured:
    """Mean over words of the largest score of the boxes that fit this word better than the others; 0 without any."""
    words = words_to_find(evidence.case, skip=_listed_role)
    answers = evidence.answers[ENCODER]
    return _mean_score(words, [answers[competing(words)].best(word) for word in words])


def _competition(case: Case) -> list[str]:
    words = words_to_find(case, skip=_listed_role)
    return [competing(words)] if words else []


_facts = partial(Facts, name="goa", needs=(ENCODER,), kind="prompt", unit="score")
GOA = (
    Metric(
        _facts(label="Objects found (GOA)", short="GOA", question="Does a detector find what the prompt names?"),
        goa,
        questions=words_to_find,
    ),
    Metric(
        _facts(
            column="paper",
            label="Objects found (GOA, public code)",
            short="GOA paper",
            question="Does a detector find what the prompt names, each box counting for one word only?",
        ),
        goa_paper,
        questions=_competition,
    ),
)
