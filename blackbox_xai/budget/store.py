"""The answer store and its ledger: what a model answered, who asked, what it cost. SQLite or PostgreSQL, no pickle."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from . import sql
from .limits import Amount, QueryBudget
from .records import Account, Acquired, Settled, Ticket
from .schema import StoreError, connect, prepare, tables, url_of
from .writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from .shared import SharedBudget

Row = NDArray[np.float64]
Bound = Callable[[Sequence[bytes]], tuple[int, int]]


class AnswerStore:
    """Answers and ledger in one database.

    Parameters
    ----------
    where : file name (SQLite, created with mode 0600) or ``postgresql://`` URL.
    keep_inputs : bool. Keep the rows themselves too, not only their SHA-256.
    sync : bool. An answer is on the disk before it is used (survives a power cut); False: it survives the
        death of the process only, and commits cost microseconds rather than one fsync.
    wait_s : float, seconds to wait for another writer.

    Raises
    ------
    StoreError : the file is no answer store, is of a newer version, or cannot be opened.

    Thread-safe, picklable (reopens by name), and usable after a fork. Scores are stored as little-endian
    float64.
    """

    _engine: Engine
    _writer: Writer

    def __init__(
        self, where: str | Path, *, keep_inputs: bool = False, sync: bool = True, wait_s: float = 60.0
    ) -> None:
        self.where = str(where)
        self.keep_inputs, self.sync, self.wait_s = keep_inputs, sync, wait_s
        self._url = url_of(where)
        self._guard = threading.RLock()
        self._pid = -1
        self._accounts: weakref.WeakKeyDictionary[QueryBudget, Account] = weakref.WeakKeyDictionary()
        self._oracles: dict[str, int] = {}
        self._open()

    def __repr__(self) -> str:
        return f"AnswerStore({self.shown!r})"

    @property
    def shown(self) -> str:
        """Where the store is, without a password."""
        if "@" not in self._url:
            return self.where
        return self._url.split("://", 1)[0] + "://" + self._url.rsplit("@", 1)[1]

    def __getstate__(self) -> dict[str, Any]:
        return {
            "where": self.where,
            "keep_inputs": self.keep_inputs,
            "sync": self.sync,
            "wait_s": self.wait_s,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def close(self) -> None:
        """Close all connections; the store reopens when used again."""
        with self._guard:
            if self._pid == os.getpid():
                self._writer.close()
                self._engine.dispose()
            self._pid = -1

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- opening ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        import sqlalchemy as sa

        with self._guard:
            if self._pid == os.getpid():
                return
            if self._pid != -1:  # forked: the parent's connections must not be touched
                self._old = (self._engine, self._writer)
                self._engine.dispose(close=False)
                self._guard = threading.RLock()
            try:
                self._engine = connect(self._url, self.wait_s)
                self._writer = Writer(self._engine, sync=self.sync, wait_s=self.wait_s)
                self._writer.run(lambda c: prepare(c, self.shown), durable=True)
            except sa.exc.DBAPIError as error:
                raise StoreError(
                    f"AnswerStore {self.shown}: cannot be opened as a database ({type(error.orig).__name__}: "
                    f"{str(error.orig).splitlines()[0]}). Check the path, the rights, and that it is an answer store."
                ) from None
            self._pid = os.getpid()
            weakref.finalize(self, _shut, self._engine, self._writer, self._pid)

    def _write(self, work: Callable[[Connection], Any], *, durable: bool) -> Any:
        if self._pid != os.getpid():
            self._open()
        return self._writer.run(work, durable=durable)

    @contextlib.contextmanager
    def _read(self) -> Any:
        if self._pid != os.getpid():
            self._open()
        with self._engine.connect() as connection:
            yield connection

    # -- names ------------------------------------------------------------------------------------------------

    def oracle(self, identity: str) -> int:
        """The number of an oracle; made when new."""
        if identity in self._oracles:
            return self._oracles[identity]
        import sqlalchemy as sa

        t = tables().oracles

        def work(c: Connection) -> int:
            found = c.execute(sa.select(t.c.id).where(t.c.identity == identity)).scalar()
            if found is None:
                found = c.execute(t.insert().values(identity=identity, created=time.time())).inserted_primary_key[0]  # type: ignore[index]
            return int(found)

        self._oracles[identity] = number = self._write(work, durable=True)
        return int(number)

    def account(self, budget: QueryBudget) -> Account:
        """The ledger's row of a budget: its own if it is shared through this store, else a mirror, made once."""
        chain = budget._rows_in(self._url)
        if chain:
            return Account(chain[0], chain, None)
        with self._guard:
            if budget not in self._accounts:
                name = f"{budget.name}#{uuid.uuid4().hex[:12]}"
                number = self._new_budget(name, budget.limit, budget.spare, None, budget.money, budget.max_tokens)
                self._accounts[budget] = Account(number, (number,), budget)
            return self._accounts[budget]

    def _new_budget(
        self, name: str, limit: int, spare: int, parent: int | None, money: int | None, tokens: int | None
    ) -> int:
        import sqlalchemy as sa

        t = tables().budgets

        def work(c: Connection) -> int:
            row = c.execute(sa.select(t).where(t.c.name == name)).mappings().first()
            if row is not None:
                asked = (limit, spare, parent, money, tokens)
                there = tuple(row[n] for n in ("row_limit", "spare", "parent_id", "max_cost", "max_tokens"))
                if asked != there:
                    raise InvalidInput(
                        f"QueryBudget {name!r}: {self.shown} has it with limit {there[0]} and spare {there[1]}, asked "
                        f"for {limit} and {spare} (parent, cost or tokens may differ too). Use the same figures, "
                        f"another name, or `blackbox-xai ledger raise`."
                    )
                return int(row["id"])
            made = c.execute(
                t.insert().values(
                    name=name,
                    parent_id=parent,
                    created=time.time(),
                    row_limit=limit,
                    spare=spare,
                    max_cost=money,
                    max_tokens=tokens,
                )
            )
            return int(made.inserted_primary_key[0])  # type: ignore[index]

        return int(self._write(work, durable=True))

    def raise_limit(self, name: str, *, limit: int | None = None, spare: int | None = None) -> None:
        """Set the caps of a shared budget anew.

        Raises
        ------
        InvalidInput : there is no such budget.
        """
        t = tables().budgets
        new = {k: v for k, v in (("row_limit", limit), ("spare", spare)) if v is not None}
        done = self._write(lambda c: c.execute(t.update().where(t.c.name == name).values(**new)).rowcount, durable=True)
        if not done:
            raise InvalidInput(f"AnswerStore {self.shown}: no budget {name!r}. `blackbox-xai ledger` lists them.")

    # -- rows -------------------------------------------------------------------------------------------------

    def lookup(self, oracle: int, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """Known answers among `keys` (SHA-256 digests), each (k,) float64."""
        with self._read() as c:
            return sql.answers_of(c, oracle, keys)

    def idle(self, oracle: int, keys: Sequence[bytes]) -> list[bytes]:
        """Keys among these that nobody holds a live claim on."""
        t, now = tables().claims, time.time()
        with self._read() as c:
            rows = sql.select_in(c, t, (t.c.key, t.c.expires), oracle, keys)
        live = {bytes(key) for key, expires in rows if expires > now}
        return [key for key in keys if key not in live]

    def acquire(
        self,
        oracle: int,
        account: Account,
        keys: Sequence[bytes],
        *,
        ttl_s: float,
        bound: Bound | None = None,
        extra: int = 0,
    ) -> Acquired:
        """Look up rows, claim those nobody asks, and reserve them: one transaction, one conditional UPDATE.

        Parameters
        ----------
        keys : digests, each once.
        ttl_s : float. Seconds after which another may take the claim over.
        extra : int. Rows to reserve besides (a server's first call may score one to learn its shape).
        bound : callable (keys) -> (cost, tokens), the most those rows can cost; None: no money.

        Raises
        ------
        BudgetExhausted : the rows to send are not covered; nothing was claimed or reserved.
        """

        def work(c: Connection, held: list[Amount]) -> Acquired:
            t, now = tables(), time.time()
            found = sql.answers_of(c, oracle, keys)
            open_claims = sql.select_in(
                c, t.claims, (t.claims.c.key, t.claims.c.budget_id, t.claims.c.expires), oracle,
                [k for k in keys if k not in found],
            )  # fmt: skip
            open_ = {bytes(key): (budget, expires) for key, budget, expires in open_claims}
            busy = [k for k in keys if k in open_ and open_[k][1] > now]
            mine = [k for k in keys if k not in found and k not in busy]
            if not mine:
                return Acquired(found, [], set(), busy, None)
            stale = [k for k in mine if k in open_]
            repeats = {k for k in stale if open_[k][0] == account.id}  # we may have paid for it before
            cost, tokens = bound(mine) if bound is not None else (0, 0)
            amount = Amount(len(mine) - len(repeats) + extra, len(repeats), cost, tokens)
            ticket = sql.begin(c, oracle, account, amount, held)
            if stale:
                sql.delete_claims(c, oracle, stale)
            c.execute(
                t.claims.insert(),
                [
                    {
                        "oracle_id": oracle,
                        "key": k,
                        "attempt_id": ticket.attempt,
                        "budget_id": account.id,
                        "expires": now + ttl_s,
                    }
                    for k in mine
                ],
            )
            return Acquired(found, mine, repeats, busy, ticket)

        return self._undoing(account, work)  # type: ignore[no-any-return]

    def again(self, oracle: int, account: Account, keys: Sequence[bytes], amount: Amount, *, ttl_s: float) -> Ticket:
        """Reserve another attempt for rows whose claims we hold.

        Raises
        ------
        BudgetExhausted : it is not covered; nothing was reserved.
        """

        def work(c: Connection, held: list[Amount]) -> Ticket:
            t = tables().claims
            ticket = sql.begin(c, oracle, account, amount, held)
            for some in sql.chunks(keys):
                c.execute(
                    t.update()
                    .where(t.c.oracle_id == oracle, t.c.key.in_(some))
                    .values(attempt_id=ticket.attempt, expires=time.time() + ttl_s)
                )
            return ticket

        return self._undoing(account, work)  # type: ignore[no-any-return]

    def reserve(self, oracle: int, account: Account, amount: Amount) -> Ticket:
        """Reserve an attempt without claims.

        Raises
        ------
        BudgetExhausted : it is not covered; nothing was reserved.
        """
        return self._undoing(account, lambda c, held: sql.begin(c, oracle, account, amount, held))  # type: ignore[no-any-return]

    def hold(self, budget: SharedBudget, amount: Amount) -> None:
        """Move a shared budget's counter without an answer in view; the ledger shows it as an attempt of its
        own.

        Raises
        ------
        BudgetExhausted : it is not covered; nothing was taken.
        """
        account = Account(budget.rows[0], budget.rows, None)

        def work(c: Connection) -> None:
            if min(amount) >= 0:
                sql.begin(c, 0, account, amount, [], state="held")
            else:
                sql.move(c, account, amount, 1)
                sql.record(c, 0, account, amount, "held")

        self._write(work, durable=False)

    def budget(
        self,
        name: str,
        limit: int,
        *,
        spare: int = 0,
        parent: SharedBudget | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> SharedBudget:
        """The shared budget of this name; see `SharedBudget`."""
        from .shared import SharedBudget

        return SharedBudget(self, name, limit, spare=spare, parent=parent, max_cost=max_cost, max_tokens=max_tokens)

    def settle(self, oracle: int, account: Account, ticket: Ticket, end: Settled) -> None:
        """Record how an attempt ended: answers, what is given back, what it cost. Durable when this returns."""
        taken, back = ticket.taken, end.back(ticket.taken)

        def work(c: Connection) -> None:
            t, fresh = tables(), 0
            if end.scores:
                fresh = sql.insert_new(
                    c,
                    t.answers,
                    [
                        {
                            "oracle_id": oracle,
                            "key": k,
                            "scores": np.asarray(row, "<f8").tobytes(),
                            "attempt_id": ticket.attempt,
                        }
                        for k, row in end.scores.items()
                    ],
                )
            if end.inputs:
                sql.insert_new(
                    c,
                    t.inputs,
                    [{"oracle_id": oracle, "key": k, "body": b} for k, b in end.inputs.items()],
                )
            done = [*end.scores, *end.release]
            if done:
                sql.delete_claims(c, oracle, done)
            c.execute(
                t.attempts.update()
                .where(t.attempts.c.id == ticket.attempt)
                .values(
                    ended=time.time(),
                    state=end.state,
                    answered=fresh,  # fewer where a claim ran out and another answered first
                    first=taken.first - end.first_back,
                    repeats=taken.repeats - end.repeats_back,
                    given_back=end.first_back + end.repeats_back,
                    cost=end.cost,
                    tokens_in=end.tokens_in,
                    tokens_out=end.tokens_out,
                    note=end.note[:200] or None,
                )
            )
            if any(back):
                sql.move(c, account, back, -1)

        self._write(work, durable=True)
        if account.memory is not None and any(back):
            account.memory._give(back)

    def release(self, oracle: int, keys: Sequence[bytes]) -> None:
        """Let others ask these rows."""
        if keys:
            self._write(lambda c: sql.delete_claims(c, oracle, keys), durable=False)

    def note_saved(self, account: Account, rows: int) -> None:
        """Count rows that came from the store."""
        t = tables().budgets
        if rows:
            self._write(
                lambda c: c.execute(t.update().where(t.c.id == account.id).values(saved=t.c.saved + rows)),
                durable=False,
            )

    def put(self, oracle: int, scores: Mapping[bytes, Row], *, attempt: int = 0) -> None:
        """Store answers that were not paid for through a meter (an import); durable when this returns."""
        rows = [
            {"oracle_id": oracle, "key": k, "scores": np.asarray(v, "<f8").tobytes(), "attempt_id": attempt}
            for k, v in scores.items()
        ]
        self._write(lambda c: sql.insert_new(c, tables().answers, rows), durable=True)

    def _undoing(self, account: Account, work: Callable[[Connection, list[Amount]], Any]) -> Any:
        """Write; what `work` took from a memory budget (and noted) goes back when the transaction does not hold."""
        taken: list[Amount] = []

        def give_back() -> None:
            while taken and account.memory is not None:
                account.memory._give(taken.pop())

        def counted(c: Connection) -> Any:
            give_back()  # the transaction is being repeated
            return work(c, taken)

        try:
            return self._write(counted, durable=False)
        except BaseException:
            give_back()
            raise


_OPEN: weakref.WeakValueDictionary[str, AnswerStore] = weakref.WeakValueDictionary()


def open_store(where: str | Path | AnswerStore | None) -> AnswerStore | None:
    """A store from its name; one a name and process, so that equal names share a writer."""
    if where is None or isinstance(where, AnswerStore):
        return where
    found = _OPEN.get(url_of(where))
    if found is None:
        found = _OPEN[url_of(where)] = AnswerStore(where)
    return found


def _shut(engine: Engine, writer: Writer, pid: int) -> None:
    """Close the connections of a store that nobody holds any more."""
    if pid == os.getpid():
        writer.close()
        engine.dispose()
