"""Votes turned into preference pairs: what most people chose, and what they chose least, of one query.

The two pictures were made by themselves and differ everywhere, so the prior mask is the whole picture, which objectives
without focus maps (DPO, SFT) are meant for.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows of JSON

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import replaced_folder, write_json, write_jsonl
from likeness.core.images import save_png
from likeness.core.kinds import Category
from likeness.core.pairs import PAIRS_NAME, PairReference, PairSubject, PreferencePair, pair_row
from likeness.core.rows import LeftOut
from likeness.study.agree import winners
from likeness.study.ballots import Ballot
from likeness.study.design import PICTURES, Query, Study, by_id

__all__ = ["PairSet", "export_pairs"]


class PairSet(NamedTuple):
    """How many pairs the folder holds, and which queries gave none."""

    num_pairs: int
    left_out: tuple[LeftOut, ...]


def export_pairs(
    study: Study,
    ballots: Sequence[Ballot],
    out: Path,
    *,
    folder: Path,
    question: str,
    category_of: Callable[[str], Category],
) -> PairSet:
    """The pair set of a question's majorities in `out`, in place of what was there before.

    `folder` is the study's; `category_of` gives the category of a class word.
    Raises: DataError where no query gives a pair, or the question is not one of the study's.
    """
    own = [ballot for ballot in ballots if ballot.question == question]
    queries, won = by_id(study.queries), winners(own)
    if not own:
        known = ", ".join(sorted({ballot.question for ballot in ballots}))
        what = f"pairs: expected votes on the question {question!r}, got {known or 'none'}"
        raise DataError(f"{what}; {'name another --question' if known else 'likeness study serve lets people answer'}.")
    kept: list[tuple[Query, str, str]] = []
    left_out: list[LeftOut] = []
    by_query: dict[str, list[Ballot]] = {}
    for ballot in own:
        by_query.setdefault(ballot.query, []).append(ballot)
    for query, winner in won.items():
        loser = _loser(by_query[query], winner)
        reason = _refusal(queries[query], winner, folder=folder)
        if loser is None or winner is None or reason:
            left_out.append(LeftOut.at(query, reason or "expected a picture that lost, got none."))
        else:
            kept.append((queries[query], winner, loser))
    if not kept:
        raise DataError(f"pairs: expected a query that gives a pair, got none; first: {left_out[0].reason}")
    with replaced_folder(out) as fresh:
        rows = [_row(*each, fresh=fresh, folder=folder, category_of=category_of) for each in kept]
        write_jsonl(fresh / PAIRS_NAME, rows)
        write_jsonl(fresh / "rejected.jsonl", [row.model_dump() for row in left_out])
        write_json(fresh / "run.json", {"kind": "pairs_of_votes", "study": study.name, "question": question})
    return PairSet(len(kept), tuple(left_out))


def _loser(ballots: Sequence[Ballot], winner: str | None) -> str | None:
    """The option that was chosen least, of equal ones the first."""
    counts = Counter(ballot.choice for ballot in ballots)
    others = [option for option in ballots[0].options if option != winner]
    return min(others, key=lambda option: counts[option], default=None)


def _refusal(query: Query, winner: str | None, *, folder: Path) -> str:
    """Why a query gives no pair; empty where it does."""
    if winner is None:
        return "expected more than half of the votes for one picture, got no majority."
    if winner not in {option.run for option in query.options}:
        return f"expected one picture that is better, got {winner!r}."
    if not query.references:
        return "expected photos of the subjects, got none: pairs are compared with them."
    sizes = {_size(folder / PICTURES / option.picture) for option in query.options}
    return "" if len(sizes) == 1 else f"expected pictures of one size, got {sorted(sizes)}."


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _row(
    query: Query, winner: str, loser: str, *, fresh: Path, folder: Path, category_of: Callable[[str], Category]
) -> dict[str, Any]:
    files = {option.run: option.picture for option in query.options}
    for name in (files[winner], files[loser], *query.references):
        _copied(folder / PICTURES / name, fresh / "images" / name)
    size = _size(folder / PICTURES / files[winner])
    mask = fresh / "masks" / f"whole-{size[0]}x{size[1]}.png"
    if not mask.is_file():
        save_png(Image.new("L", size, 255), mask)
    references, subjects = [], []
    for k, (name, (subject, word)) in enumerate(zip(query.references, query.subjects, strict=True)):
        category = category_of(word)
        references.append(
            PairReference(
                image=fresh / "images" / name, phrase=word or "subject", category=category, class_name=word, id=subject
            )
        )
        subjects.append(
            PairSubject.model_validate(
                {
                    "phrase": word or "subject",
                    "reference_index": k,
                    "mask": mask,
                    "box": (0.0, 0.0, 1.0, 1.0),
                    "disrupted": True,
                    "disruption": {
                        "kind": "vote",
                        "changed": ["whole picture"],
                        "preferred": winner,
                        "rejected": loser,
                    },
                    "id": subject,
                }
            )
        )
    pair = PreferencePair.model_validate(
        {
            "id": query.id,
            "subset": "single" if len(subjects) == 1 else "multi",
            "category": references[0].category,
            "prompt": query.prompt,
            "references": tuple(references),
            "preferred": fresh / "images" / files[winner],
            "rejected": fresh / "images" / files[loser],
            "subjects": tuple(subjects),
            "prior_mask": mask,
            "size": size,
            "models": {"preferred": winner, "rejected": loser},
        }
    )
    return pair_row(pair, folder=fresh)


def _copied(source: Path, target: Path) -> None:
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
