"""What is kept of a study while people answer: raters, votes, and an audit log. SQLite in WAL mode, or Postgres by URL.

A vote is committed, to the disk, before the rater's browser hears of it, so a kill at any moment loses none; a second
post of the same item changes nothing, so none counts twice.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON of the audit log; DBAPI connections are typed by nobody

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from likeness.core.errors import ConfigError, DataError
from likeness.study import tables
from likeness.study.assignment import Item

__all__ = ["PATIENCE", "PERSONAL", "Rater", "Store", "StoredVote", "open_store"]

PERSONAL = "link"
"""Source of raters who came by a link of their own."""
PATIENCE = 3600.0
"""Seconds after which the place of a rater who answers no more is given to another."""
_LOCK = 7410_2026
"""Postgres: held while a place is given away."""


class Rater(NamedTuple):
    """Somebody who takes part: `slot` is the place in the assignment, `finished` None until all is answered."""

    id: str
    slot: int
    source: str
    external: str
    joined: float
    seen: float
    finished: float | None
    comment: str


class StoredVote(NamedTuple):
    """One answer: the place chosen, "equal", "neither", "yes" or "no"; `places` are the options in their order."""

    rater: str
    item: int
    query: str
    question: str
    kind: str
    places: tuple[int, ...]
    answer: str
    seconds: float
    at: float

    @property
    def option(self) -> int | None:
        """The index of the chosen option; None where none was chosen."""
        return self.places[int(self.answer)] if self.answer.isdigit() else None


class Store:
    """A study's database. Every write is one transaction together with its row in the audit log."""

    def __init__(self, engine: Engine, *, now: Callable[[], float] = time.time) -> None:
        self._engine, self._now = engine, now
        with self._write() as connection:
            tables.migrate(connection)

    def close(self) -> None:
        """No connection is left open."""
        self._engine.dispose()

    # -- raters ------------------------------------------------------------------------------------------------
    def join(
        self, *, source: str, external: str, session: str, num_slots: int, session_of: str | None = None
    ) -> Rater | None:
        """The rater of this source and name: a new one in a free place, or the one that began in the same session.

        `session` is kept as a hash. None where all places are taken. A name that began elsewhere is refused. Only a
        personal link, which nobody can guess, goes until its first answer to the session that asks last: what told an
        earlier one that it had begun may have been lost.
        Raises: DataError where another session holds the name.
        """
        with self._write() as connection:
            if self._is_postgres:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            same = (tables.raters.c.source == source) & (tables.raters.c.external == external)
            known = connection.execute(select(tables.raters).where(same)).one_or_none()
            if known is None:
                slot = self._free_slot(connection, num_slots)
                if slot is not None:
                    return self._new_rater(connection, source=source, external=external, session=session, slot=slot)
            elif session_of is not None and hmac.compare_digest(known.session, _hashed(session_of)):
                return _rater(known)
            elif source == PERSONAL and not self._has_voted(connection, known.id):
                return self._bound_anew(connection, _rater(known), session=session)
        if known is None:
            self.log("full", detail={"source": source})
            return None
        self.log("replayed", rater=known.id, detail={"source": source})
        raise DataError("link: expected the browser that began with it, got another; go on where you began.")

    def _new_rater(self, connection: Connection, *, source: str, external: str, session: str, slot: int) -> Rater:
        now = self._now()
        made = Rater(secrets.token_urlsafe(12), slot, source, external, now, now, None, "")
        connection.execute(insert(tables.raters).values(**made._asdict(), session=_hashed(session)))
        self._log(connection, "joined", rater=made.id, detail={"source": source, "slot": slot})
        return made

    def _has_voted(self, connection: Connection, rater: str) -> bool:
        mine = select(tables.votes.c.item).where(tables.votes.c.rater == rater).limit(1)
        return connection.execute(mine).one_or_none() is not None

    def _bound_anew(self, connection: Connection, rater: Rater, *, session: str) -> Rater:
        """The rater without an answer, who belongs to this session from now on."""
        mine = tables.raters.c.id == rater.id
        connection.execute(update(tables.raters).where(mine).values(session=_hashed(session)))
        self._log(connection, "joined_again", rater=rater.id, detail={"source": rater.source})
        return rater

    def _free_slot(self, connection: Connection, num_slots: int) -> int | None:
        """The first place that nobody finished or is at work in."""
        alive = (tables.raters.c.finished.is_not(None)) | (tables.raters.c.seen > self._now() - PATIENCE)
        taken = set(connection.execute(select(tables.raters.c.slot).where(alive)).scalars())
        return next((slot for slot in range(num_slots) if slot not in taken), None)

    def rater(self, name: str, *, session: str) -> Rater | None:
        """The rater of a session; None for a name or session that is not known."""
        with self._read() as connection:
            row = connection.execute(select(tables.raters).where(tables.raters.c.id == name)).one_or_none()
        return _rater(row) if row is not None and hmac.compare_digest(row.session, _hashed(session)) else None

    def raters(self) -> list[Rater]:
        """Everybody who joined, in that order."""
        with self._read() as connection:
            return [_rater(row) for row in connection.execute(select(tables.raters).order_by(tables.raters.c.joined))]

    def finish(self, rater: str, *, comment: str | None = None) -> None:
        """The rater has answered everything; a comment takes the place of an earlier one."""
        mine = tables.raters.c.id == rater
        with self._write() as connection:
            unfinished = mine & tables.raters.c.finished.is_(None)
            if connection.execute(update(tables.raters).where(unfinished).values(finished=self._now())).rowcount:
                self._log(connection, "finished", rater=rater, detail={})
            if comment is not None:
                connection.execute(update(tables.raters).where(mine).values(comment=comment))
                self._log(connection, "commented", rater=rater, detail={"comment": comment})

    # -- votes -------------------------------------------------------------------------------------------------
    def answered(self, rater: str) -> frozenset[int]:
        """The items that the rater has answered."""
        with self._read() as connection:
            found = select(tables.votes.c.item).where(tables.votes.c.rater == rater).distinct()
            return frozenset(connection.execute(found).scalars())

    def vote(self, rater: str, *, item: int, shown: Item, answers: Mapping[str, str]) -> bool:
        """The answers to an item are kept, all or none. Whether they are new: those of an answered item stay.

        Raises: DataError once the study is closed.
        """
        with self._write() as connection:
            if self._fact(connection, "closed") != "yes":
                return self._insert(connection, rater, item=item, shown=shown, answers=answers)
        self.log("closed_vote", rater=rater, detail={"item": item, "answers": dict(answers)})
        raise DataError("vote: expected an open study, got one that is closed; nothing was counted.")

    def _insert(
        self, connection: Connection, rater: str, *, item: int, shown: Item, answers: Mapping[str, str]
    ) -> bool:
        now = self._now()
        row = connection.execute(select(tables.raters.c.seen).where(tables.raters.c.id == rater)).one()
        common = {"rater": rater, "item": item, "query": shown.query, "kind": shown.kind, "at": now}
        common |= {"places": json.dumps(shown.order), "seconds": max(0.0, now - row.seen)}
        rows = [{**common, "question": question, "answer": answer} for question, answer in answers.items()]
        if self._add_votes(connection, rows) != len(rows):
            kept = select(tables.votes.c.question, tables.votes.c.answer)
            before = dict(
                connection.execute(kept.where(tables.votes.c.rater == rater, tables.votes.c.item == item)).all()
            )
            if before != dict(answers):
                self._log(
                    connection,
                    "changed_vote",
                    rater=rater,
                    detail={"item": item, "kept": before, "refused": dict(answers)},
                )
            return False
        connection.execute(update(tables.raters).where(tables.raters.c.id == rater).values(seen=now))
        told = {"item": item, "query": shown.query, "answers": dict(answers)}
        self._log(connection, "voted", rater=rater, detail=told)
        return True

    def _add_votes(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """How many of the rows are new; the others are left as they were."""
        dialect = postgresql if self._is_postgres else sqlite
        statement = dialect.insert(tables.votes).on_conflict_do_nothing().returning(tables.votes.c.number)
        return sum(connection.execute(statement.values(**row)).first() is not None for row in rows)

    def votes(self) -> list[StoredVote]:
        """All votes in the order in which they came."""
        columns = [tables.votes.c[name] for name in StoredVote._fields]
        with self._read() as connection:
            rows = connection.execute(select(*columns).order_by(tables.votes.c.number)).all()
        found: list[dict[str, Any]] = [dict(zip(StoredVote._fields, row, strict=True)) for row in rows]
        for row in found:
            row["places"] = tuple(json.loads(row["places"]))
        return [StoredVote(**row) for row in found]

    def add_raters(self, found: Sequence[Rater], votes: Sequence[StoredVote], *, origin: str) -> int:
        """Raters and votes of elsewhere are here once, however often they are added; the number of new votes."""
        dialect = postgresql if self._is_postgres else sqlite
        with self._write() as connection:
            for each in found:
                row = {**each._asdict(), "session": _hashed(secrets.token_hex(16))}
                connection.execute(dialect.insert(tables.raters).values(**row).on_conflict_do_nothing())
            rows = [{**each._asdict(), "places": json.dumps(each.places)} for each in votes]
            new = self._add_votes(connection, rows)
            self._log(connection, "imported", rater=None, detail={"origin": origin, "votes": new})
        return new

    # -- state and log -----------------------------------------------------------------------------------------
    def set_open(self, is_open: bool, *, by: str) -> None:
        """Votes are taken, or no more."""
        with self._write() as connection:
            value = "no" if is_open else "yes"
            done = update(tables.facts).where(tables.facts.c.key == "closed").values(value=value)
            if not connection.execute(done).rowcount:
                connection.execute(insert(tables.facts).values(key="closed", value=value))
            self._log(connection, "opened" if is_open else "closed", rater=None, detail={"by": by})

    @property
    def is_open(self) -> bool:
        """Whether votes are taken."""
        with self._read() as connection:
            return self._fact(connection, "closed") != "yes"

    def bind(self, study: str) -> None:
        """The database belongs to the study with this hash. Raises: DataError where it is another's."""
        with self._write() as connection:
            found = self._fact(connection, "study")
            if found is None:
                connection.execute(insert(tables.facts).values(key="study", value=study))
        if found not in (None, study):
            raise DataError("database: expected that of this study, got another study's; name another --database.")

    def log(self, event: str, *, rater: str | None = None, detail: Mapping[str, object]) -> None:
        """A row of the audit log."""
        with self._write() as connection:
            self._log(connection, event, rater=rater, detail=detail)

    def audit(self) -> list[dict[str, Any]]:
        """The audit log in order: `at`, `event`, `rater`, and what else was told."""
        with self._read() as connection:
            rows = connection.execute(select(tables.audit).order_by(tables.audit.c.number)).all()
        return [{"at": r.at, "event": r.event, "rater": r.rater, **json.loads(r.detail)} for r in rows]

    def count(self, event: str) -> int:
        """How often something happened."""
        with self._read() as connection:
            found = select(func.count()).select_from(tables.audit).where(tables.audit.c.event == event)
            return int(connection.execute(found).scalar_one())

    def _log(self, connection: Connection, event: str, *, rater: str | None, detail: Mapping[str, object]) -> None:
        told = json.dumps(dict(detail), ensure_ascii=False, default=str)
        connection.execute(insert(tables.audit).values(at=self._now(), event=event, rater=rater, detail=told))

    def _fact(self, connection: Connection, key: str) -> str | None:
        return connection.execute(select(tables.facts.c.value).where(tables.facts.c.key == key)).scalar()

    @property
    def _is_postgres(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def _read(self) -> Generator[Connection]:
        with self._engine.connect().execution_options(reads=True) as connection:
            yield connection

    @contextmanager
    def _write(self) -> Generator[Connection]:
        with self._engine.begin() as connection:
            yield connection


def _rater(row: Any) -> Rater:
    return Rater(*(getattr(row, name) for name in Rater._fields))


def _hashed(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()


def open_store(place: Path | str, *, now: Callable[[], float] = time.time) -> Store:
    """The database at a path (SQLite) or URL (postgresql+psycopg://...), with current tables.

    Raises: ConfigError for a URL of no such database or one that does not answer, DataError for a newer one.
    """
    url = f"sqlite:///{place}" if isinstance(place, Path) else place
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        engine = create_engine(url, pool_size=10, max_overflow=20)
        if engine.dialect.name not in ("sqlite", "postgresql"):
            raise ConfigError(
                f"--database: expected SQLite or Postgres, got {engine.dialect.name}; choose one of both."
            )
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin)
        return Store(engine, now=now)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"--database: expected a path or URL, got one that is not known ({error}); as in postgresql://user@host/name."
        ) from None
    except DBAPIError as error:
        told = str(error.orig).strip().partition("\n")[0]
        raise ConfigError(
            f"--database: expected a database that answers, got {told}; start it or check the URL."
        ) from error


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where we say
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=20000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """A write asks for the lock at once, so that no two read the same and then both write."""
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
