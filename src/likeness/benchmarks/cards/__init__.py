"""Protocol cards: what exactly a published number is, as data that hashes, one TOML file per card.

A card fixes the cases, the prompt text, the photos that are compared with, the pictures per case and, per column, the
metric with encoder, preprocessing, scale and aggregation. Published values stand on it with their source and were not
measured here. A change of anything that a number follows from is a new version, under a new name.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_text
from likeness.core.hashing import json_sha256
from likeness.core.records import Case
from likeness.core.rows import Frozen
from likeness.core.spec import closest
from likeness.metrics import METRICS

__all__ = [
    "Card",
    "CardCases",
    "CardMetric",
    "Published",
    "Table",
    "card_named",
    "cards",
    "cases_sha256",
    "read_card",
    "versions",
]

FOLDER = Path(__file__).parent
_NAME = re.compile(r"[a-z0-9+]+(/[a-z0-9-]+)?")

Text = Annotated[str, Field(min_length=1, strict=True)]
Count = Annotated[int, Field(gt=0, strict=True)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class CardCases(Frozen):
    """Which cases: those of `benchmark`, `count` of them (None: not known), whose ids fully match `ids`.

    `sha256` is `cases_sha256` of all of them; where it is empty, `unpinned` says why. `select` takes some cases of the
    benchmark by their labels.
    """

    benchmark: Text
    count: Count | None = None
    ids: Text
    select: Literal["all", "with_detectables", "without_detectables"] = "all"
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    unpinned: str = ""

    def of(self, cases: Sequence[Case]) -> list[Case]:
        """Those of the cases that the card selects, in their order."""
        wanted = {"all": (True, False), "with_detectables": (True,), "without_detectables": (False,)}[self.select]
        return [case for case in cases if bool(case.labels.detectables) in wanted]

    @model_validator(mode="after")
    def _is_explained(self) -> Self:
        re.compile(self.ids)
        if bool(self.sha256) == bool(self.unpinned):
            raise DataError("cases: expected sha256, or unpinned with the reason, got both or neither; keep one.")
        return self


class CardMetric(Frozen):
    """One column of the card's table: `factor` times the mean of `metric`, a key of METRICS.

    `encoder` is the one whose `weights` the card names ("" where it names none), of any revision where it has none;
    `preprocessing` must stand in the encoder's id. `floor_at_zero` sets negative values of pictures to 0. `aggregation`
    is the mean over subjects of the mean over their pictures, or the flat mean over pictures. A column with
    `not_measured` is in the published table and cannot be scored here, for that reason.
    """

    column: Text
    metric: str = ""
    encoder: str = ""
    weights: str = ""
    preprocessing: str = ""
    scale: Text = "raw"
    factor: Number = 1.0
    floor_at_zero: bool = False
    aggregation: Literal["subjects", "flat"] = "subjects"
    higher_is_better: bool = True
    not_measured: str = ""

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if bool(self.metric) == bool(self.not_measured):
            raise DataError(f"{self.column}: expected metric, or not_measured with the reason, got both or neither.")
        if self.metric and self.metric not in METRICS:
            raise DataError(f"{self.column}: expected a metric of METRICS, got {self.metric!r}; correct the name.")
        if self.metric and self.encoder and self.encoder not in METRICS[self.metric].facts.needs:
            needed = ", ".join(METRICS[self.metric].facts.needs)
            raise DataError(f"{self.column}: expected an encoder of {self.metric} ({needed}), got {self.encoder!r}.")
        return self


class Table(Frozen):
    """A published table that used the protocol."""

    paper: Text
    table: Text
    arxiv: str = ""
    note: str = ""


class Published(Frozen):
    """Values that others published for a method, by column; never measured here."""

    method: Text
    source: Text
    values: dict[str, Number] = Field(min_length=1)
    note: str = ""


class Card(Frozen):
    """A protocol. Raises: DataError for columns named twice and for published values of other columns.

    `weights_sha256` pins encoders by content, whatever they are called: the `folder_sha256` of the weights by the name
    of the encoder. Embedded weights keep their names when they are trained further, so world cards pin them.
    """

    name: Text
    version: Count
    title: Text
    cases: CardCases
    prompt: Text
    reference_set: Literal["all_photos", "conditioning_photo", "none"]
    pictures_per_case: Count
    weights_sha256: dict[str, Sha256] = Field(default_factory=dict)
    metrics: tuple[CardMetric, ...] = Field(min_length=1)
    tables: tuple[Table, ...] = ()
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its name with its version."""
        return f"{self.name}@{self.version}"

    @property
    def sha256(self) -> str:
        """The hash of everything on the card."""
        stated = self.model_dump(mode="json")
        if not self.weights_sha256:  # a key that cards did not have from the start
            del stated["weights_sha256"]
        return json_sha256(stated)

    @property
    def num_pictures(self) -> int | None:
        """Pictures of a complete run; None where nobody knows how many cases there are."""
        return None if self.cases.count is None else self.cases.count * self.pictures_per_case

    @model_validator(mode="after")
    def _is_one_table(self) -> Self:
        if not _NAME.fullmatch(self.name):
            raise DataError(f"name: expected words such as dreambench/kosmosg, got {self.name!r}; rename the card.")
        columns = [metric.column for metric in self.metrics]
        if len(set(columns)) != len(columns):
            raise DataError(f"metrics: expected each column once, got {', '.join(columns)}; drop one.")
        needed = {name for metric in self.metrics if metric.metric for name in METRICS[metric.metric].facts.needs}
        if idle := sorted(set(self.weights_sha256) - needed):
            raise DataError(f"weights_sha256: expected encoders that a column needs, got {idle[0]}; drop it.")
        for row in self.published:
            if strangers := sorted(set(row.values) - set(columns)):
                raise DataError(f"published: expected columns of the card, got {strangers[0]} for {row.method}.")
        return self


def cases_sha256(cases: Sequence[Case]) -> str:
    """The hash of the ids and prompts of cases, the same for every order of them."""
    return json_sha256(sorted([case.id, case.prompt] for case in cases))


def read_card(path: Path) -> Card:
    """The card of a TOML file. Raises: DataError with the file and every mistake of it."""
    try:
        return Card.of_row(tomllib.loads(read_text(path)))
    except (tomllib.TOMLDecodeError, re.error, DataError) as error:
        raise DataError(error if str(path) in str(error) else f"{path}: {error}") from None


@cache
def cards() -> dict[str, Card]:
    """All cards of the package by `Card.id`, sorted."""
    found = [read_card(path) for path in sorted(FOLDER.glob("*.toml"))]
    return {card.id: card for card in sorted(found, key=lambda card: card.id)}


def card_named(name: str) -> Card:
    """The card of a name with its version. Raises: ConfigError with the nearest name."""
    if name not in cards():
        advice = closest(name, cards(), otherwise="likeness cards lists them")
        raise ConfigError(f"NAME: expected a card such as {next(iter(cards()))}, got {name!r}; {advice}.")
    return cards()[name]


def versions(known: Iterable[Card]) -> dict[str, list[Card]]:
    """The versions of each card by its name, the newest first."""
    found: dict[str, list[Card]] = {}
    for card in sorted(known, key=lambda card: -card.version):
        found.setdefault(card.name, []).append(card)
    return found
