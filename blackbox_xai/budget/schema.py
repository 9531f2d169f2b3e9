"""The one durable schema: oracles, budgets, answers, claims, attempts; SQLite or PostgreSQL."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BlackboxXaiError, InvalidInput, need

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData, Table

VERSION = 2
MIGRATIONS: dict[int, tuple[str, ...]] = {  # from version -> statements that lead to the next
    1: (
        "ALTER TABLE budgets ADD COLUMN max_cost BIGINT",
        "ALTER TABLE budgets ADD COLUMN cost BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE budgets ADD COLUMN max_tokens BIGINT",
        "ALTER TABLE budgets ADD COLUMN tokens BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE attempts ADD COLUMN cost BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE attempts ADD COLUMN tokens_in BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE attempts ADD COLUMN tokens_out BIGINT NOT NULL DEFAULT 0",
    ),
}


class StoreError(BlackboxXaiError):
    """The answer store cannot be opened or does not add up; the text says what to do."""


class Tables(NamedTuple):
    meta: MetaData
    schema: Table
    oracles: Table
    budgets: Table
    answers: Table
    inputs: Table
    claims: Table
    attempts: Table


@functools.cache
def tables() -> Tables:
    """The tables, built once; SQLAlchemy is imported here and not before."""
    from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, MetaData, String, Table, Text

    m = MetaData()

    def number(name: str, *, null: bool = False) -> Any:
        return Column(name, BigInteger, nullable=null, server_default=None if null else "0")

    schema = Table("blackbox_xai_schema", m, Column("version", Integer, nullable=False))
    oracles = Table(
        "oracles",
        m,
        Column("id", Integer, primary_key=True),
        Column("identity", Text, nullable=False, unique=True),
        Column("created", Float, nullable=False),
    )
    budgets = Table(
        "budgets",
        m,
        Column("id", Integer, primary_key=True),
        Column("name", String(200), nullable=False, unique=True),
        Column("parent_id", Integer),
        Column("created", Float, nullable=False),
        number("row_limit"),
        number("spare"),
        number("used"),
        number("spare_used"),
        number("saved"),
        number("max_cost", null=True),
        number("cost"),
        number("max_tokens", null=True),
        number("tokens"),
    )
    answers = Table(
        "answers",
        m,
        Column("oracle_id", Integer, primary_key=True, autoincrement=False),
        Column("key", LargeBinary(32), primary_key=True),
        Column("scores", LargeBinary, nullable=False),  # little-endian float64
        Column("attempt_id", Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    inputs = Table(
        "inputs",
        m,
        Column("oracle_id", Integer, primary_key=True, autoincrement=False),
        Column("key", LargeBinary(32), primary_key=True),
        Column("body", LargeBinary, nullable=False),  # npy, or UTF-8 text after b"text:"
    )
    claims = Table(
        "claims",
        m,
        Column("oracle_id", Integer, primary_key=True, autoincrement=False),
        Column("key", LargeBinary(32), primary_key=True),
        Column("attempt_id", Integer, nullable=False),
        Column("budget_id", Integer, nullable=False),
        Column("expires", Float, nullable=False),
        sqlite_with_rowid=False,
    )
    attempts = Table(
        "attempts",
        m,
        Column("id", Integer, primary_key=True),
        Column("oracle_id", Integer, nullable=False),
        Column("budget_id", Integer, nullable=False),
        Column("started", Float, nullable=False),
        Column("ended", Float),
        Column("state", String(12), nullable=False),  # sent, answered, partial, refused, failed
        number("first"),  # rows drawn from the limit, less those given back
        number("repeats"),  # rows drawn from spare, less those given back
        number("answered"),
        number("given_back"),
        number("cost"),
        number("tokens_in"),
        number("tokens_out"),
        Column("note", String(200)),
    )
    return Tables(m, schema, oracles, budgets, answers, inputs, claims, attempts)


def url_of(where: str | Path) -> str:
    """A database URL from a file name or a URL.

    Raises
    ------
    InvalidInput : a URL of a database other than SQLite or PostgreSQL.
    """
    text = os.fspath(where)
    if "://" not in text:
        return "sqlite:///" + str(Path(text).expanduser().absolute())
    scheme, rest = text.split("://", 1)
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return "postgresql+psycopg://" + rest
    if scheme == "sqlite":
        return text
    raise InvalidInput(f"AnswerStore: cannot keep answers in {scheme!r}. Give a file name or a postgresql:// URL.")


def connect(url: str, wait_s: float) -> Engine:
    """An engine whose transactions are begun by hand on SQLite (BEGIN IMMEDIATE), by itself on PostgreSQL."""
    import sqlalchemy as sa

    if not url.startswith("sqlite"):
        need("psycopg", "postgres", "AnswerStore on PostgreSQL")
        return sa.create_engine(url, pool_pre_ping=True)
    name = url.removeprefix("sqlite:///")
    if not Path(name).exists():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(name, os.O_CREAT | os.O_RDWR, 0o600))
    engine = sa.create_engine(
        url, isolation_level="AUTOCOMMIT", connect_args={"timeout": wait_s, "check_same_thread": False}
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY", "cache_size=-32000"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def prepare(connection: Connection, where: str) -> None:
    """Create the tables, or bring an older file to this version; one transaction, begun by the caller.

    Raises
    ------
    StoreError : the database is of a newer version, or is not an answer store.
    """
    import sqlalchemy as sa

    t = tables()
    there = set(sa.inspect(connection).get_table_names())
    if t.schema.name not in there:
        if {"answers", "budgets", "attempts"} & there:
            raise StoreError(f"AnswerStore {where}: tables of another program are there. Choose another database.")
        t.meta.create_all(connection)
        connection.execute(t.schema.insert().values(version=VERSION))
        return
    found = connection.execute(sa.select(t.schema.c.version)).scalar_one()
    if found > VERSION:
        raise StoreError(
            f"AnswerStore {where}: written by a newer blackbox_xai (schema {found}, this one reads {VERSION}). "
            f"Upgrade blackbox_xai, or choose another file."
        )
    for version in range(found, VERSION):
        for statement in MIGRATIONS[version]:
            connection.exec_driver_sql(statement)
    if found < VERSION:
        t.meta.create_all(connection)
        connection.execute(t.schema.update().values(version=VERSION))
