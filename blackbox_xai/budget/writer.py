"""One writer a process: transactions that wait together are committed together, so one fsync serves many."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_ADVISORY = 0x6262_7861  # one writer at a time on PostgreSQL too: no deadlock between budgets and claims
_GROUP = 256  # jobs a transaction, at most


class _Job:
    __slots__ = ("done", "durable", "error", "result", "work")

    def __init__(self, work: Callable[[Connection], Any], durable: bool) -> None:
        self.work, self.durable = work, durable
        self.done, self.result, self.error = False, None, None  # type: bool, Any, BaseException | None


class Writer:
    """Runs small pieces of work in write transactions; whoever holds the lock commits for all who wait.

    A piece that raises is undone alone (savepoint). `durable` work is on the disk when `run` returns; the
    rest is safe against the death of this process and goes to the disk with the next durable commit.
    """

    def __init__(self, engine: Engine, *, sync: bool, wait_s: float) -> None:
        self._engine, self._sync, self._wait_s = engine, sync, wait_s
        self._lite = engine.dialect.name == "sqlite"
        self._jobs: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._level = "FULL"
        self._turns: int | None = None

    def run(self, work: Callable[[Connection], Any], *, durable: bool) -> Any:
        """The result of ``work(connection)``, committed."""
        job = _Job(work, durable)
        self._jobs.append(job)
        with self._lock:
            if not job.done:
                group = [self._jobs.popleft() for _ in range(min(len(self._jobs), _GROUP))]
                while job not in group:  # more than a group was waiting: serve the older ones first
                    self._commit(group)
                    group = [self._jobs.popleft() for _ in range(min(len(self._jobs), _GROUP))]
                self._commit(group)
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._turns is not None:
                os.close(self._turns)
                self._turns = None

    def _commit(self, group: list[_Job]) -> None:
        import sqlalchemy as sa

        end = time.monotonic() + self._wait_s
        while True:
            try:
                with self._transaction(any(job.durable for job in group)) as connection:
                    for job in group:
                        self._one(job, connection, alone=len(group) == 1)
                break
            except sa.exc.DBAPIError as error:  # locked for long, or the server went away: the whole group again
                self._drop()
                if time.monotonic() > end or not _passing(error):
                    for job in group:
                        job.error = error
                    break
                time.sleep(random.uniform(0.001, 0.02))
            except _Alone as alone:
                group[0].error = alone.error
                break
        for job in group:
            job.done = True

    def _one(self, job: _Job, connection: Connection, *, alone: bool) -> None:
        import sqlalchemy as sa

        job.result, job.error = None, None
        if not alone:
            connection.exec_driver_sql("SAVEPOINT job")
        try:
            job.result = job.work(connection)
        except sa.exc.DBAPIError:
            raise
        except BaseException as error:
            if alone:
                raise _Alone(error) from error
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
            job.error = error
        if not alone:
            connection.exec_driver_sql("RELEASE SAVEPOINT job")

    @contextlib.contextmanager
    def _transaction(self, durable: bool) -> Iterator[Connection]:
        if self._connection is None:
            self._connection, self._level = self._engine.connect(), "FULL"
        connection = self._connection
        if not self._lite:
            with connection.begin():
                lazy = "" if durable and self._sync else "set_config('synchronous_commit', 'off', true), "
                connection.exec_driver_sql(f"SELECT {lazy}pg_advisory_xact_lock({_ADVISORY})")
                yield connection
            return
        level = "FULL" if durable and self._sync else "NORMAL"
        if level != self._level:
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            self._level = level
        with self._turn():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                with contextlib.suppress(Exception):
                    connection.exec_driver_sql("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Queue for SQLite's write lock in the kernel: SQLite itself would sleep and try again, 10 times slower.

        The lock file only orders the writers of one machine; SQLite's own lock is what keeps the data safe.
        """
        try:
            import fcntl
        except ImportError:  # not POSIX
            yield
            return
        if self._turns is None:
            name = str(self._engine.url.database) + "-lock"
            self._turns = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._turns, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    def _drop(self) -> None:
        if self._connection is not None and not self._lite:
            with contextlib.suppress(Exception):
                self._connection.invalidate()
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None


class _Alone(Exception):
    """Carries what a lone piece of work raised out of the transaction, which is rolled back whole."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__()


def _passing(error: Any) -> bool:
    text = str(error.orig)
    return (
        "locked" in text
        or "busy" in text
        or getattr(error, "connection_invalidated", False)
        or getattr(error.orig, "sqlstate", "") in ("40001", "40P01")
    )
