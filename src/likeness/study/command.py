"""What `likeness study` does with a folder: opened with its database, exported, agreed."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple  # Any: the JSON of answers

from likeness.core.errors import ConfigError
from likeness.core.files import atomic_write_text, replaced_folder, write_jsonl
from likeness.core.kinds import Category
from likeness.study.agree import agree, read_scores
from likeness.study.ballots import ballots_of, counted
from likeness.study.design import Study, by_id, read_secret, read_study
from likeness.study.exports import add_answers, all_rows, prolific_decisions, rater_rows, vote_rows
from likeness.study.pairs import export_pairs
from likeness.study.platforms import PLATFORMS
from likeness.study.raters import checks, flagged
from likeness.study.ratings import ratings
from likeness.study.store import Store, open_store
from likeness.study.tables_csv import csv_text
from likeness.study.web import links_of, open_site

__all__ = ["EXPORTS", "Wish", "agree_study", "export_study", "import_answers", "opened", "require_extra"]

EXPORTS = {
    "pairs": "a preference-pair set for likeness train",
    "votes": "JSONL for likeness compare --votes",
    "csv": "every answer",
    "ratings": "JSONL of an identity study for likeness data gate",
    "raters": "CSV with completion codes, for Prolific and others",
    "links": "CSV of personal links",
    **{name: each.what.partition(";")[0] for name, each in PLATFORMS.items()},
}
NEEDED = ("sqlalchemy", "starlette", "uvicorn", "itsdangerous")


def require_extra() -> None:
    """Raises: ConfigError where the libraries of a study are not installed."""
    for name in NEEDED:
        if find_spec(name) is None:
            raise ConfigError(f"study: expected the package {name}, got none; pip install 'likeness[study]'.")


@contextmanager
def opened(folder: Path, database: str | None) -> Generator[tuple[Study, Store]]:
    """The study of a folder and its store: the database named, or votes.sqlite in the folder."""
    study = read_study(folder)
    store = open_store(database if database else folder / "votes.sqlite")
    try:
        yield study, store
    finally:
        store.close()


class Wish(NamedTuple):
    """What an export is to be: the question and whether flagged raters stay out (pairs), the least raters (ratings),
    the address where pictures lie (platforms) or the study is served (links), and how many links.
    """

    question: str = "overall"
    without_flagged: bool = False
    fewest: int = 2
    url: str = ""
    num_links: int = 50
    category_of: Callable[[str], Category] = lambda word: "object"


def export_study(folder: Path, out: Path, *, to: str, wish: Wish, database: str | None = None) -> dict[str, Any]:
    """Writes one of EXPORTS to `out`, a folder for pairs and platforms, else a file; says what it holds.

    Raises: ConfigError for a wish that the format cannot be without, DataError where there is nothing to write.
    """
    with opened(folder, database) as (study, store):
        queries, ballots = by_id(study.queries), ballots_of(study, store.votes())
        found = checks(ballots, queries=queries)
        if to == "pairs":
            kept = counted(ballots, without=flagged(found) if wish.without_flagged else ())
            made = export_pairs(study, kept, out, folder=folder, question=wish.question, category_of=wish.category_of)
            return {"num_pairs": made.num_pairs, "left_out": [row.model_dump() for row in made.left_out]}
        if to in PLATFORMS:
            _require_url(wish, to=to)
            with replaced_folder(out) as fresh:
                PLATFORMS[to].write(study, fresh, wish.url)
            return {"num_queries": len(study.queries)}
        if to == "links":
            _require_url(wish, to=to)
            links = links_of(open_site(folder, store), wish.url, count=wish.num_links)
            atomic_write_text(
                out, csv_text([{"number": k, "link": link} for k, link in enumerate(links["personal"], 1)])
            )
            return {"num_links": wish.num_links, "join": links["join"]}
        secret = partial(read_secret, folder)
        rows: Mapping[str, Callable[[], list[dict[str, Any]]]] = {
            "votes": lambda: vote_rows(study, ballots, queries=queries),
            "csv": lambda: all_rows(ballots, queries=queries),
            "ratings": lambda: [each.row() for each in ratings(study, counted(ballots), fewest=wish.fewest)],
            "raters": lambda: rater_rows(store.raters(), checks=found, secret=secret()),
        }
        written = rows[to]()
    if to in ("votes", "ratings"):
        write_jsonl(out, written)
    else:
        atomic_write_text(out, csv_text(written))
    return {"num_rows": len(written)}


def _require_url(wish: Wish, *, to: str) -> None:
    if not wish.url.startswith(("http://", "https://")):
        what = "where the study is served" if to == "links" else "below which the pictures lie"
        raise ConfigError(
            f"--url: expected the address {what} for --to {to}, got {wish.url or 'none'}; as in https://host."
        )


def import_answers(folder: Path, file: Path, *, source: str, database: str | None = None) -> dict[str, Any]:
    """Answers given on a platform join the votes; of Prolific's submissions it says which to approve."""
    with opened(folder, database) as (study, store):
        if source == "prolific":
            ballots = ballots_of(study, store.votes())
            known = rater_rows(
                store.raters(), checks=checks(ballots, queries=by_id(study.queries)), secret=read_secret(folder)
            )
            return {"decisions": [each._asdict() for each in prolific_decisions(file, rows=known)]}
        added = add_answers(study, store, PLATFORMS[source].read(study, file), source=source)
        left_out = [row.model_dump() for row in added.left_out]
        return {"num_votes": added.num_votes, "num_raters": added.num_raters, "left_out": left_out}


def agree_study(
    folder: Path, *, runs: Mapping[str, Path], without_flagged: bool, database: str | None = None
) -> dict[str, Any]:
    """What the votes say, with the metrics of the runs' evaluations beside them."""
    with opened(folder, database) as (study, store):
        named = {name: runs.get(name, folder / place) for name, place in study.runs.items()}
        ballots = ballots_of(study, store.votes())
        scores = read_scores(named if study.kind != "identity" else {})
        found = agree(study, ballots, scores=scores, without_flagged=without_flagged, num_raters=len(store.raters()))
        scored = {name for name, _ in scores.values}
        lacking = [name for name in named if name not in scored] if study.kind != "identity" else []
        return {**found, "without_scores": lacking}
