"""The store's statements: each takes a connection inside a transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .limits import Amount, raise_if_short
from .records import Account, Ticket
from .schema import StoreError, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

Row = NDArray[np.float64]
_IN = 500  # keys a SELECT


def chunks(keys: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    return (keys[i : i + _IN] for i in range(0, len(keys), _IN))


def select_in(c: Connection, table: Any, columns: tuple[Any, ...], oracle: int, keys: Sequence[bytes]) -> list[Any]:
    import sqlalchemy as sa

    rows: list[Any] = []
    if c.dialect.name == "sqlite":  # the hot path, without building the statement anew each time
        names = ", ".join(column.name for column in columns)
        for some in chunks(keys):
            marks = ", ".join("?" * len(some))
            text = f"SELECT {names} FROM {table.name} WHERE oracle_id = ? AND key IN ({marks})"
            rows += c.exec_driver_sql(text, (oracle, *some)).fetchall()
        return rows
    for some in chunks(keys):
        rows += c.execute(sa.select(*columns).where(table.c.oracle_id == oracle, table.c.key.in_(some))).fetchall()
    return rows


def answers_of(c: Connection, oracle: int, keys: Sequence[bytes]) -> dict[bytes, Row]:
    t = tables().answers
    return {
        bytes(key): np.frombuffer(scores, "<f8").astype(np.float64, copy=False)
        for key, scores in select_in(c, t, (t.c.key, t.c.scores), oracle, keys)
    }


def insert_new(c: Connection, table: Any, rows: list[dict[str, Any]]) -> int:
    """Insert what is not there yet; how many rows that were."""
    if c.dialect.name == "sqlite":
        names = list(rows[0])
        text = f"INSERT OR IGNORE INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        return int(c.exec_driver_sql(text, [tuple(row.values()) for row in rows]).rowcount)
    from sqlalchemy.dialects.postgresql import insert

    # psycopg does not say how many rows of a batch were new; writers take turns, so it can be counted before
    there = select_in(c, table, (table.c.key,), rows[0]["oracle_id"], [row["key"] for row in rows])
    c.execute(insert(table).on_conflict_do_nothing(), rows)
    return len(rows) - len(there)


def delete_claims(c: Connection, oracle: int, keys: Sequence[bytes]) -> None:
    t = tables().claims
    for some in chunks(keys):
        c.execute(t.delete().where(t.c.oracle_id == oracle, t.c.key.in_(some)))


def begin(
    c: Connection, oracle: int, account: Account, amount: Amount, held: list[Amount], state: str = "sent"
) -> Ticket:
    """Reserve and write an attempt down; what a memory budget gave is noted in `held`, for giving it back."""
    if account.memory is None:
        take(c, account, amount)
    else:
        account.memory._take(amount)
        held.append(amount)
        move(c, account, amount, 1)
    return Ticket(record(c, oracle, account, amount, state), amount)


def record(c: Connection, oracle: int, account: Account, amount: Amount, state: str) -> int:
    made = c.execute(
        tables()
        .attempts.insert()
        .values(
            oracle_id=oracle,
            budget_id=account.id,
            started=time.time(),
            state=state,
            first=amount.first,
            repeats=amount.repeats,
            cost=amount.cost,
            tokens_in=amount.tokens,
        )
    )
    return int(made.inserted_primary_key[0])  # type: ignore[index]


def move(c: Connection, account: Account, amount: Amount, sign: int) -> None:
    t = tables().budgets
    c.execute(
        t.update()
        .where(t.c.id.in_(account.chain))
        .values(
            used=t.c.used + sign * amount.first,
            spare_used=t.c.spare_used + sign * amount.repeats,
            cost=t.c.cost + sign * amount.cost,
            tokens=t.c.tokens + sign * amount.tokens,
        )
    )


def take(c: Connection, account: Account, amount: Amount) -> None:
    """One conditional UPDATE over the budget and its ancestors; fewer rows than they are: one of them is short."""
    import sqlalchemy as sa

    t = tables().budgets
    enough = [t.c.used + amount.first <= t.c.row_limit, t.c.spare_used + amount.repeats <= t.c.spare]
    if amount.first == 0:  # a cap lowered below what is used must not stop a repeat
        enough = enough[1:]
    if amount.cost:
        enough.append(sa.or_(t.c.max_cost.is_(None), t.c.cost + amount.cost <= t.c.max_cost))
    if amount.tokens:
        enough.append(sa.or_(t.c.max_tokens.is_(None), t.c.tokens + amount.tokens <= t.c.max_tokens))
    nested = len(account.chain) > 1  # child and parent: one may be short where the other is not
    if nested:
        c.exec_driver_sql("SAVEPOINT take")
    done = c.execute(
        t.update()
        .where(t.c.id.in_(account.chain), *enough)
        .values(
            used=t.c.used + amount.first,
            spare_used=t.c.spare_used + amount.repeats,
            cost=t.c.cost + amount.cost,
            tokens=t.c.tokens + amount.tokens,
        )
    ).rowcount
    if nested:
        if done < len(account.chain):
            c.exec_driver_sql("ROLLBACK TO SAVEPOINT take")
        c.exec_driver_sql("RELEASE SAVEPOINT take")
    if done == len(account.chain):
        return
    for row in c.execute(sa.select(t).where(t.c.id.in_(account.chain)).order_by(t.c.id.desc())).mappings():
        raise_if_short(
            row["name"], amount, Amount(row["used"], row["spare_used"], row["cost"], row["tokens"]),
            (row["row_limit"], row["spare"], row["max_cost"], row["max_tokens"]),
        )  # fmt: skip
    raise StoreError(f"budgets {account.chain}: a row is gone from the store.")
