"""What a study asks: its kinds, its queries, and the folder that holds them."""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self  # Any: JSON of the record

from pydantic import Field, model_validator

from likeness.core.errors import DataError, OutputError
from likeness.core.files import (
    canonical_json,
    is_inside,
    read_json,
    read_jsonl,
    replaced_folder,
    write_json,
    write_jsonl,
)
from likeness.core.rows import Frozen, LeftOut
from likeness.core.stats.agreement import EQUAL

__all__ = ["KINDS", "NEITHER", "NO", "YES", "Kind", "Option", "Query", "Question", "Study", "read_study", "write_study"]

NEITHER = "neither"
"""The answer that all pictures are bad."""
YES, NO = "yes", "no"
KindName = Literal["overall", "relations", "pairwise", "identity"]
STUDY, QUERIES, SECRET, PICTURES = "study.json", "queries.jsonl", "secret.key", "pictures"


class Question(Frozen):
    """One question of a query: which picture, or one of `others`; without pictures to choose from, yes or no."""

    name: str
    text: str
    others: tuple[str, ...] = ()
    is_choice: bool = True


class Kind(NamedTuple):
    """A design: its questions (empty: given by the study), how many pictures it shows, and whether with photos."""

    what: str
    questions: tuple[Question, ...]
    num_options: int | None
    shows_references: bool


KINDS: dict[KindName, Kind] = {
    # Source: Stellar (arXiv:2312.06116), Fig. 9: photo, prompt and four outputs, one forced choice by three people
    "overall": Kind(
        "the best of all runs, by likeness and prompt together",
        (
            Question(
                name="overall", text="Which picture is best? It should show the same subject and what the text says."
            ),
        ),
        None,
        True,
    ),
    # Source: the same, Fig. 10: no photo, two outputs, two questions with "equal", by two people
    "relations": Kind(
        "objects and relations of two runs, without photos",
        (
            Question(
                name="objects", text="Which picture shows more of the objects that the text names?", others=(EQUAL,)
            ),
            Question(
                name="relations", text="Which picture shows better how they relate, as the text says?", others=(EQUAL,)
            ),
        ),
        2,
        False,
    ),
    "pairwise": Kind(
        "two runs side by side, with ties",
        (
            Question(
                name="overall",
                text="Which picture is better? It should show the same subject and what the text says.",
                others=(EQUAL, NEITHER),
            ),
        ),
        2,
        True,
    ),
    # Source: FocusDPO (arXiv:2509.01181v1), section 4: ten questions per picture, people and judge alike
    "identity": Kind("ten questions about one subject of a picture, 0 to 10 in all", (), 1, True),
}


class Option(Frozen):
    """A picture to choose: the name of its run and its file in `pictures`."""

    run: str
    picture: str


class Query(Frozen):
    """What is shown together. `gold` holds the right answer of each question that has one.

    `references` are the photos of the subjects, whose ids and class words stand in `subjects`; `about` names the sample
    whose scores belong to it, and of a rating the pair, the picture of it and the subject.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    case: str
    prompt: str
    options: tuple[Option, ...] = Field(min_length=1)
    references: tuple[str, ...] = ()
    subjects: tuple[tuple[str, str], ...] = ()
    questions: tuple[Question, ...] = ()
    gold: dict[str, str] | None = None
    about: dict[str, str] = Field(default_factory=dict[str, str])


class Study(Frozen):
    """A study as it was made. Of `queries` each is asked `votes` times; a rater gets `per_rater` of them.

    Beside these a rater meets `repeats` of the own queries again and `golds` queries whose answer is known. `reward`
    is paid per rater, in `currency`. `runs` are the folders by name, `left_out` what was not asked, with the reason.
    """

    name: str
    kind: KindName
    title: str
    seed: int = 0
    votes: int = Field(default=3, ge=1, le=200)
    per_rater: int = Field(default=20, ge=1)
    repeats: int = Field(default=2, ge=0)
    golds: int = Field(default=2, ge=0)
    reward: float | None = Field(default=None, ge=0)
    currency: str = "USD"
    consent: str = ""
    runs: dict[str, str] = Field(default_factory=dict[str, str])
    left_out: tuple[LeftOut, ...] = ()
    queries: tuple[Query, ...] = Field(default=(), exclude=True)

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        ids = [query.id for query in self.queries]
        if len(set(ids)) < len(ids):
            raise DataError("queries: expected each id once, got one twice; make the study anew.")
        return self

    @property
    def asked(self) -> tuple[Query, ...]:
        """The queries that are asked for their answer."""
        return tuple(query for query in self.queries if query.gold is None)

    @property
    def known(self) -> tuple[Query, ...]:
        """The queries whose answer is known."""
        return tuple(query for query in self.queries if query.gold is not None)

    def questions_of(self, query: Query) -> tuple[Question, ...]:
        """What is asked about a query."""
        return query.questions or KINDS[self.kind].questions

    @property
    def pictures(self) -> frozenset[str]:
        """Names of all files that may be shown."""
        options = (option.picture for query in self.queries for option in query.options)
        return frozenset(options) | frozenset(name for query in self.queries for name in query.references)


def write_study(study: Study, folder: Path, *, fill: Any) -> bool:
    """The folder holds the study; `fill(pictures)` wrote its pictures. Whether it is new: the same study is left alone.

    Raises: OutputError for a folder that holds anything else, so that no vote is ever overwritten.
    """
    if folder.exists() and any(folder.iterdir()):
        if (folder / STUDY).is_file() and canonical_json(_rows(read_study(folder))) == canonical_json(_rows(study)):
            return False
        what = f"{folder}: expected an empty folder or the same study, got something else"
        raise OutputError(f"{what}; choose a new folder, so that no vote is lost.")
    with replaced_folder(folder) as fresh:
        fill(fresh / PICTURES)
        write_jsonl(fresh / QUERIES, [query.model_dump(mode="json") for query in study.queries])
        write_json(fresh / STUDY, study.model_dump(mode="json"))
        (fresh / SECRET).write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        (fresh / SECRET).chmod(0o600)
    return True


def _rows(study: Study) -> Any:
    return [json.loads(study.model_dump_json()), [query.model_dump(mode="json") for query in study.queries]]


def read_study(folder: Path) -> Study:
    """The study of a folder. Raises: DataError for a damaged record, or a picture that does not lie in the folder."""
    if not (folder / STUDY).is_file():
        raise DataError(f"{folder}: expected a study, got no {STUDY}; make one with likeness study new.")
    record = read_json(folder / STUDY)
    record = record if isinstance(record, dict) else {}
    study = Study.of_row({**record, "queries": read_jsonl(folder / QUERIES)})
    _require_pictures(study.pictures, folder=folder / PICTURES)
    return study


def _require_pictures(names: frozenset[str], *, folder: Path) -> None:
    for name in sorted(names):
        if not is_inside(folder / name, folder) or not (folder / name).is_file():
            raise DataError(f"{folder}: expected the picture {name!r} in it, got none; make the study anew.")


def read_secret(folder: Path) -> str:
    """The key that signs the links of the study. Raises: DataError where it is missing or short."""
    path = folder / SECRET
    text = path.read_text(encoding="ascii").strip() if path.is_file() else ""
    if len(text) < 32:
        raise DataError(f"{path}: expected the key of the study, got none; restore it, or links cannot be checked.")
    return text


def by_id(queries: Sequence[Query]) -> dict[str, Query]:
    """Id -> query."""
    return {query.id: query for query in queries}
