"""People rate the subjects of a pair set: the ten questions of the quality gate, each answered yes or no.

Source: FocusDPO (arXiv:2509.01181v1), section 4: people and judge alike. Differs: the score of a preferred picture is
that of its worst subject, of a rejected one that of its best disrupted one, since the gate asks every subject to pass;
of several raters the mean counts, rounded against keeping.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple  # Any: rows of JSON

from PIL import Image

from likeness.core.images import load_image
from likeness.core.kinds import CATEGORIES, Category
from likeness.core.pairs import PreferencePair, read_pairs
from likeness.core.rng import seed_for
from likeness.study.agree import scores_of
from likeness.study.ballots import Ballot
from likeness.study.build import Pictures, Wanted, relative, study_of
from likeness.study.design import YES, Option, Query, Question, Study, write_study

__all__ = ["Rated", "rate_pairs", "ratings"]

MARGIN = 0.1
"""Of a subject's box, around it, as a share of its longer side."""
Questions = Mapping[Category, Sequence[str]]


def rate_pairs(pairs: Path, out: Path, *, wanted: Wanted, questions: Questions) -> Study:
    """A study in `out` that asks about every disrupted subject of both pictures, and every subject of preferred ones.

    `questions` are the ten of each category. Golds: photos of a subject shown as its picture (all yes).
    Raises: DataError for no usable pair, OutputError for a folder in use.
    """
    found, pictures = read_pairs(pairs), Pictures()
    queries = [query for pair in found.pairs for query in _queries(pair, pictures=pictures, questions=questions)]
    if wanted.limit is not None:
        drawn = sorted({query.case for query in queries}, key=lambda pair: seed_for("study limit", wanted.seed, pair))
        kept = set(drawn[: wanted.limit])
        queries = [query for query in queries if query.case in kept]
    golds = [_gold(query) for query in queries if query.about["of"] == "preferred"][: 4 * wanted.golds]
    title = wanted.title or "Is this the same subject?"
    study = study_of(
        wanted._replace(title=title),
        queries=[*queries, *golds],
        runs={"pairs": relative(pairs, out)},
        left_out=found.left_out,
        name=out.name,
    )
    write_study(study, out, fill=partial(pictures.save, used=study.pictures))
    return study


def _queries(pair: PreferencePair, *, pictures: Pictures, questions: Questions) -> Iterator[Query]:
    for of, path in (("preferred", pair.preferred), ("rejected", pair.rejected)):
        image = load_image(path)
        for k, subject in enumerate(pair.subjects):
            if of == "rejected" and not subject.disrupted:
                continue
            reference = pair.references[subject.reference_index]
            crop = pictures.add_image(_crop(image, subject.box))
            asked = questions[reference.category]
            yield Query(
                id=f"{pair.id}.{of}.{k}",
                case=pair.id,
                prompt=pair.prompt,
                options=(Option(run=of, picture=crop),),
                references=(pictures.add(reference.image),),
                subjects=((subject.id, reference.class_name),),
                questions=tuple(Question(name=f"q{n}", text=text, is_choice=False) for n, text in enumerate(asked, 1)),
                about={
                    "pair": pair.id,
                    "of": of,
                    "subject": str(k),
                    "phrase": f"Compare with the photo: {subject.phrase}",
                },
            )


def _crop(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """The subject with a margin, as the judge sees it."""
    left, top, right, bottom = (side * size for side, size in zip(box, (*image.size, *image.size), strict=True))
    margin = MARGIN * max(right - left, bottom - top)
    place = (left - margin, top - margin, right + margin, bottom + margin)
    low, high = [max(0, math.floor(v)) for v in place[:2]], [math.ceil(v) for v in place[2:]]
    return image.crop((low[0], low[1], min(high[0], image.width), min(high[1], image.height)))


def _gold(query: Query) -> Query:
    """The photo itself in place of the picture: whoever looks says yes to all."""
    option = Option(run="photo", picture=query.references[0])
    gold = {question.name: YES for question in query.questions}
    return query.model_copy(update={"id": f"gold-{query.id}", "options": (option,), "gold": gold})


class Rated(NamedTuple):
    """People's score of both pictures of a pair, 0 to 10, and the fewest raters that a subject of it had."""

    pair: str
    preferred: int
    rejected: int
    raters: int

    def row(self) -> dict[str, Any]:
        """As a row of ratings.jsonl."""
        return self._asdict()


def ratings(study: Study, ballots: Sequence[Ballot], *, fewest: int = 1) -> list[Rated]:
    """The pairs of which every subject asked about has `fewest` raters, with their scores."""
    scores = scores_of(ballots)
    by_pair: dict[str, dict[str, list[dict[str, int]]]] = {}
    for query in study.asked:
        given = scores.get(query.id, {})
        by_pair.setdefault(query.about["pair"], {}).setdefault(query.about["of"], []).append(given)
    found: list[Rated] = []
    for pair, sides in by_pair.items():
        raters = min(len(given) for side in sides.values() for given in side)
        if raters < fewest or set(sides) != {"preferred", "rejected"}:
            continue
        worst = min(math.floor(fmean(given.values())) for given in sides["preferred"])
        best = max(math.ceil(fmean(given.values())) for given in sides["rejected"])
        found.append(Rated(pair, worst, best, raters))
    return found


def questions_text(table: Mapping[Category, Sequence[Any]]) -> Questions:
    """The texts of a table of questions."""
    return {category: [str(question.text) for question in table[category]] for category in CATEGORIES}
