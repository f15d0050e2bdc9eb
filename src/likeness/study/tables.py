"""The tables of a study's database, and how an older database becomes a current one.

Votes and audit rows are never changed or deleted: triggers of the database refuse it, whoever asks.
"""

from collections.abc import Callable

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    inspect,
    select,
    update,
)

from likeness.core.errors import DataError

__all__ = ["MIGRATIONS", "audit", "facts", "migrate", "raters", "votes"]

metadata = MetaData()

facts = Table("facts", metadata, Column("key", String(40), primary_key=True), Column("value", Text, nullable=False))
raters = Table(
    "raters",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("slot", Integer, nullable=False, index=True),
    Column("source", String(40), nullable=False),
    Column("external", String(200), nullable=False),
    Column("session", String(64), nullable=False),
    Column("joined", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("finished", Float),
    Column("comment", Text, nullable=False, default=""),
    UniqueConstraint("source", "external"),
)
votes = Table(
    "votes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("rater", String(32), ForeignKey("raters.id"), nullable=False),
    Column("item", Integer, nullable=False),
    Column("query", String(200), nullable=False),
    Column("question", String(40), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("places", Text, nullable=False),
    Column("answer", String(200), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("rater", "item", "question"),
)
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("event", String(40), nullable=False),
    Column("rater", String(32)),
    Column("detail", Text, nullable=False),
)
KEPT = ("votes", "audit")
"""Tables whose rows stay as they were written."""


def _first(connection: Connection) -> None:
    """Version 1: all tables, and triggers that keep votes and audit as they are."""
    metadata.create_all(connection)
    for table in KEPT:
        for statement in _KEEPING[connection.dialect.name]:
            connection.exec_driver_sql(statement.format(table=table))


_KEEPING = {
    "sqlite": tuple(
        f"CREATE TRIGGER {{table}}_no_{verb.lower()} BEFORE {verb} ON {{table}} "
        "BEGIN SELECT RAISE(ABORT, '{table}: rows are only added'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        "CREATE FUNCTION {table}_kept() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '{table}: rows are only added'; END $$",
        "CREATE TRIGGER {table}_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION {table}_kept()",
    ),
}


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_first,)
"""Step k takes a database from version k to k + 1. Steps are only added, never changed."""


def migrate(connection: Connection) -> int:
    """The database has the current version, which is returned; all steps happen, or none.

    Raises: DataError for a database that a newer version wrote.
    """
    found = _version(connection)
    if found > len(MIGRATIONS):
        wanted = f"expected a database of version {len(MIGRATIONS)} or older, got {found}"
        raise DataError(f"study: {wanted}; update likeness, which is older than the database.")
    for step in MIGRATIONS[found:]:
        step(connection)
    if not found:
        connection.execute(insert(facts).values(key="version", value=str(len(MIGRATIONS))))
    elif found < len(MIGRATIONS):
        connection.execute(update(facts).where(facts.c.key == "version").values(value=str(len(MIGRATIONS))))
    return len(MIGRATIONS)


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table("facts"):
        return 0
    return int(connection.execute(select(facts.c.value).where(facts.c.key == "version")).scalar() or 0)
