"""The store: votes are kept once and for good, on SQLite and on Postgres alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from likeness.core.errors import ConfigError, DataError
from likeness.study import store as store_module
from likeness.study import tables
from likeness.study.assignment import Item
from likeness.study.store import PATIENCE, Store, open_store

ITEM = Item("q1", (1, 0), "query")


class Clock:
    """A time that the test turns."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    place: Any = tmp_path / "votes.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres")
    opened = open_store(place, now=clock)
    yield opened
    opened.close()


def join(store: Store, name: str = "a", *, slots: int = 3, session: str | None = None) -> Any:
    return store.join(source="link", external=name, session=f"session-{name}", num_slots=slots, session_of=session)


def test_a_vote_is_kept_once_and_the_first_stands(store: Store, clock: Clock) -> None:
    rater = join(store).id
    clock.at += 7.5
    assert store.vote(rater, item=0, shown=ITEM, answers={"objects": "0", "relations": "equal"})
    assert not store.vote(rater, item=0, shown=ITEM, answers={"objects": "0", "relations": "equal"})
    assert not store.vote(rater, item=0, shown=ITEM, answers={"objects": "1", "relations": "equal"})
    votes = store.votes()
    assert [(v.question, v.answer, v.option, v.seconds) for v in votes] == [
        ("objects", "0", 1, 7.5),
        ("relations", "equal", None, 7.5),
    ]
    assert store.answered(rater) == {0}
    assert [row["event"] for row in store.audit()] == ["joined", "voted", "changed_vote"]
    assert store.audit()[-1]["refused"] == {"objects": "1", "relations": "equal"}


def test_nothing_is_counted_after_closing(store: Store) -> None:
    rater = join(store).id
    store.set_open(False, by="owner")
    with pytest.raises(DataError, match="expected an open study, got one that is closed"):
        store.vote(rater, item=0, shown=ITEM, answers={"objects": "0"})
    assert (store.votes(), store.is_open, store.count("closed_vote")) == ([], False, 1)
    store.set_open(True, by="owner")
    assert store.vote(rater, item=0, shown=ITEM, answers={"objects": "0"})


def test_places_are_given_once_and_again_when_somebody_stops(store: Store, clock: Clock) -> None:
    first, second = join(store, "a", slots=2), join(store, "b", slots=2)
    assert (first.slot, second.slot, join(store, "c", slots=2)) == (0, 1, None)
    store.finish(second.id)
    clock.at += PATIENCE + 1
    assert join(store, "d", slots=2).slot == 0  # the first was silent too long, the second is done
    assert join(store, "e", slots=2) is None
    assert [rater.finished is not None for rater in store.raters()] == [False, True, False]


def test_a_name_belongs_to_the_session_that_began(store: Store) -> None:
    first = join(store)
    assert join(store, session="session-a").id == first.id
    assert store.vote(first.id, item=0, shown=ITEM, answers={"objects": "0"})
    for session in (None, "session-b"):
        with pytest.raises(DataError, match="expected the browser that began with it"):
            join(store, session=session)
    assert store.count("replayed") == 2
    found = store.rater(first.id, session="session-a")
    assert found is not None
    assert found.id == first.id
    assert store.rater(first.id, session="session-b") is None
    assert store.rater("nobody", session="session-a") is None


def test_until_the_first_answer_a_name_goes_to_the_session_that_asks_last(store: Store) -> None:
    """The answer that told the first browser its session may have been lost."""
    options: Any = {"source": "link", "external": "a", "num_slots": 3}
    first, again = (store.join(**options, session=name) for name in ("lost", "session-b"))
    assert first is not None
    assert again is not None
    assert (again.id, again.slot) == (first.id, first.slot)
    assert store.rater(first.id, session="lost") is None
    assert store.rater(first.id, session="session-b") is not None
    assert (store.count("joined"), store.count("joined_again"), store.count("replayed")) == (1, 1, 0)


@pytest.mark.parametrize("table", ["votes", "audit"])
@pytest.mark.parametrize("change", ["UPDATE {} SET at = 0", "DELETE FROM {}"])
def test_what_is_written_cannot_be_changed(store: Store, table: str, change: str) -> None:
    store.vote(join(store).id, item=0, shown=ITEM, answers={"objects": "0"})
    engine = vars(store)["_engine"]
    with engine.connect() as connection, pytest.raises(DBAPIError, match="rows are only added"):
        connection.execute(text(change.format(table)))
    assert len(store.votes()) == 1
    assert len(store.audit()) == 2


def test_a_comment_of_sql_is_a_comment(store: Store) -> None:
    rater = join(store, "x'); DROP TABLE votes; --").id
    store.finish(rater, comment="'); DELETE FROM votes; --")
    assert store.raters()[0].comment == "'); DELETE FROM votes; --"
    assert store.raters()[0].external == "x'); DROP TABLE votes; --"
    assert store.vote(rater, item=0, shown=ITEM, answers={"objects": "0"})


def test_an_older_database_is_brought_up_to_date_and_a_newer_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "votes.sqlite"
    first = open_store(path)
    join(first)
    first.close()

    def second(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE raters ADD COLUMN language TEXT NOT NULL DEFAULT 'en'")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "MIGRATIONS", (*tables.MIGRATIONS, second))
        newer = open_store(path)
        assert len(newer.raters()) == 1
        newer.close()
        open_store(path).close()  # once is enough
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert connection.execute(text("SELECT language FROM raters")).scalars().all() == ["en"]
    with pytest.raises(DataError, match="expected a database of version 1 or older, got 2; update likeness"):
        open_store(path)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "votes.sqlite"
    open_store(path).close()

    def broken(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE raters ADD COLUMN language TEXT NOT NULL DEFAULT 'en'")
        connection.exec_driver_sql("ALTER TABLE nowhere ADD COLUMN x TEXT")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "MIGRATIONS", (*tables.MIGRATIONS, broken))
        with pytest.raises(ConfigError, match="no such table: nowhere"):
            open_store(path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert "language" not in connection.execute(text("SELECT * FROM raters")).keys()  # noqa: SIM118 - a RMKeyView
    open_store(path).close()


def test_a_database_belongs_to_one_study(store: Store) -> None:
    store.bind("ab12")
    store.bind("ab12")
    with pytest.raises(DataError, match="got another study's; name another --database"):
        store.bind("cd34")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://x", "expected a path or URL|expected SQLite or Postgres"),
        ("nonsense", "expected a path or URL"),
        ("postgresql://nobody@127.0.0.1:1/none", "expected a database that answers"),
    ],
)
def test_urls_that_lead_nowhere_are_named(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        store_module.open_store(url)


def test_sqlite_writes_to_the_disk_before_it_answers(tmp_path: Path) -> None:
    opened = open_store(tmp_path / "votes.sqlite")
    with vars(opened)["_engine"].connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    opened.close()
