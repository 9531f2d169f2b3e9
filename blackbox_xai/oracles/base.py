"""Counted access to a model: the oracle scores, the meter counts."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..errors import BlackboxXaiError, InvalidInput, OracleError

Batch = Any  # an array of inputs (rows first), a list of strings, or a DataFrame: what the model takes
Floats = NDArray[np.floating[Any]]
Kind = Literal["scores", "labels", "top-k", "rounded", "sampled"]


class Oracle(ABC):
    """Access to a model. Immutable; constructing one queries nothing. A subclass writes `_predict` alone.

    Attributes
    ----------
    name : str. For messages and the ledger.
    identity : str or None. Names the model for an answer store: equal identities must mean equal answers.
    output_names : tuple of str or None. Names of the k outputs, where known.
    outputs : "scores", "labels", "top-k", "rounded" or "sampled". What the numbers are.
    stochastic : bool. Whether equal inputs may get different scores; then repeats are information.
    device : str. Where batches should be composed.
    batch_size : int. Rows a call to the model, at most.
    parallel : int. Calls to the model that may run at once (1 for a local model).
    in_flight : int. Batches composed or under way at once, >= `parallel`.
    setup_rows : int. Rows that the very first call scores besides its batch; counted with it.
    """

    name: str
    identity: str | None = None
    output_names: tuple[str, ...] | None = None
    outputs: Kind = "scores"
    stochastic: bool = False
    device: str = "cpu"
    batch_size: int = 64
    parallel: int = 1
    in_flight: int = 1
    setup_rows: int = 0

    def _configure(
        self,
        *,
        batch_size: int,
        output_names: Iterable[str] | None,
        identity: str | None,
        stochastic: bool = False,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise InvalidInput(f"{type(self).__name__}: batch_size must be a whole number >= 1, got {batch_size!r}.")
        self.batch_size, self.identity, self.stochastic = int(batch_size), identity, stochastic
        self.output_names = None if output_names is None else tuple(str(n) for n in output_names)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, batch_size={self.batch_size})"

    def buffer(self, rows: int, shape: tuple[int, ...], dtype: Any) -> Batch | None:
        """Memory to compose a batch into, or None: the players then allocate a numpy array."""
        return None

    @abstractmethod
    def _predict(self, batch: Batch) -> Floats:
        """Score a batch: (rows, k) or (rows,). Called by the meter alone, which counts and checks."""


@dataclass
class Ledger:
    """What a run spent. Rows unless said otherwise."""

    scored: int = 0  # sent to the model and not given back
    answered: int = 0
    failed: int = 0
    from_store: int = 0
    repeated: int = 0  # identical to a row of the same run: not sent
    batches: int = 0
    seconds_model: float = 0.0
    seconds_total: float = 0.0
    cost: float | None = None


@final
class Meter:
    """One run's counted access to an oracle: reserve, deduplicate, send, check, record.

    Answers are kept for the life of the meter, so a row asked for again is not sent again.

    Parameters
    ----------
    oracle : Oracle.
    budget : QueryBudget. Every row sent is reserved there first.
    """

    def __init__(self, oracle: Oracle, budget: QueryBudget) -> None:
        self.oracle, self.budget, self.ledger = oracle, budget, Ledger()
        self._answers: dict[bytes, Floats] = {}
        self._seen: Counter[bytes] = Counter()
        self._width: int | None = None
        self._slots = threading.Semaphore(max(1, oracle.parallel))
        self._clock = threading.Lock()

    def stream(self, batches: Iterable[tuple[list[bytes], Callable[[NDArray[np.intp]], Batch]]]) -> Iterator[Floats]:
        """Scores (rows, k) of each batch, in order.

        Parameters
        ----------
        batches : (keys, compose) each: one key a row, and a function that composes the rows it is given by
            position. Only rows not known are composed and sent.

        Raises
        ------
        BudgetExhausted : a batch is not covered; it was not sent. Earlier batches were yielded.
        OracleError : the model failed. Answers that came are kept all the same.
        """
        oracle = self.oracle
        waiting: deque[tuple[list[bytes], list[bytes], Future[Floats] | None]] = deque()
        pending: set[bytes] = set()
        threads = max(1, oracle.in_flight, oracle.parallel)
        pool = ThreadPoolExecutor(threads, "blackbox-xai") if threads > 1 else None
        source = iter(batches)
        failure: BaseException | None = None
        try:
            while True:
                while failure is None and len(waiting) < threads:
                    try:
                        item = next(source, None)
                        if item is None:
                            break
                        waiting.append(self._send(item, pending, pool))
                    except BlackboxXaiError as error:
                        failure = error
                if not waiting:
                    break
                keys, fresh, future = waiting.popleft()
                if future is not None:
                    self._record(fresh, future)
                    pending.difference_update(fresh)
                yield np.stack([self._answers[key] for key in keys])
            if failure is not None:
                raise failure
        finally:
            # What is under way is paid for: wait for it and keep it.
            for _, fresh, future in waiting:
                if future is not None:
                    with contextlib.suppress(BlackboxXaiError):
                        self._record(fresh, future)
            if pool is not None:
                pool.shutdown(wait=True)

    def _send(
        self,
        item: tuple[list[bytes], Callable[[NDArray[np.intp]], Batch]],
        pending: set[bytes],
        pool: ThreadPoolExecutor | None,
    ) -> tuple[list[bytes], list[bytes], Future[Floats] | None]:
        keys, compose = item
        if self.oracle.stochastic:
            keys = [self._numbered(key) for key in keys]
        fresh: list[bytes] = []
        rows: list[int] = []
        taken = set(pending)
        for row, key in enumerate(keys):
            if key not in self._answers and key not in taken:
                taken.add(key)
                fresh.append(key)
                rows.append(row)
        if not fresh:
            self.ledger.repeated += len(keys)
            return keys, [], None
        setup = self.oracle.setup_rows if self.ledger.batches == 0 else 0
        self.budget.reserve(len(fresh) + setup)
        self.ledger.repeated += len(keys) - len(fresh)
        self.ledger.scored += len(fresh) + setup
        self.ledger.batches += 1
        pending.update(fresh)
        index = np.array(rows, np.intp)
        number = self.ledger.batches
        if pool is None:
            future: Future[Floats] = Future()
            try:
                future.set_result(self._call(compose, index, number))
            except Exception as error:
                future.set_exception(error)
            except BaseException:  # Ctrl-C inside the model: the rows may have been scored, they stay spent
                self.ledger.failed += len(fresh)
                raise
            return keys, fresh, future
        return keys, fresh, pool.submit(self._call, compose, index, number)

    def rewind(self) -> None:
        """Begin the sequence of questions again: a stochastic oracle's repeats get the answers they had."""
        self._seen.clear()

    def remember(self, keys: list[bytes], scores: Floats) -> None:
        """Take in answers that were paid for earlier, one row of `scores` (rows, k) a key, in the order asked."""
        if self.oracle.stochastic:
            keys = [self._numbered(key) for key in keys]
        self._answers.update(zip(keys, scores))

    def _numbered(self, key: bytes) -> bytes:
        self._seen[key] += 1
        return key + self._seen[key].to_bytes(8, "little")

    def _call(self, compose: Callable[[NDArray[np.intp]], Batch], rows: NDArray[np.intp], number: int) -> Floats:
        batch = compose(rows)
        with self._slots:
            begin = time.perf_counter()
            try:
                scores = self.oracle._predict(batch)
            except BlackboxXaiError:
                raise
            except Exception as error:
                raise OracleError(
                    f"{self.oracle!r}: the model raised {type(error).__name__}: {error} on batch {number} "
                    f"({len(rows)} rows). Answers before it are kept; run it on such a batch by hand to see why."
                ) from error
            finally:
                with self._clock:
                    self.ledger.seconds_model += time.perf_counter() - begin
        return self._checked(scores, len(rows), number)

    def _checked(self, scores: Floats, rows: int, number: int) -> Floats:
        where = f"{self.oracle!r}: batch {number}"
        try:
            table = np.asarray(scores)
            if table.dtype.kind in "biu":
                table = table.astype(np.float64)
            if table.dtype.kind != "f":
                raise TypeError(f"dtype {table.dtype}")
        except (TypeError, ValueError) as error:
            raise OracleError(
                f"{where} answered {type(scores).__name__}, not numbers ({error}). Return one row of scores an input."
            ) from error
        if table.ndim == 0 or table.ndim > 2 or len(table) != rows:
            raise OracleError(
                f"{where} of {rows} rows got scores of shape {table.shape}. Return ({rows},) or ({rows}, outputs): "
                "one row of scores an input, in order."
            )
        table = table.reshape(rows, -1)
        if table.shape[1] == 0 or (self._width is not None and table.shape[1] != self._width):
            raise OracleError(
                f"{where} has {table.shape[1]} outputs, earlier ones {self._width}. "
                "The number of outputs must not change."
            )
        if not np.isfinite(table).all():
            row = int(np.argmin(np.isfinite(table).all(axis=1)))
            raise OracleError(
                f"{where}, row {row}: the score is NaN or infinite. "
                "Check the model on masked inputs, or map such answers to a number yourself."
            )
        names = self.oracle.output_names
        if names is not None and len(names) != table.shape[1]:
            raise OracleError(f"{where} has {table.shape[1]} outputs, but {len(names)} output_names were given.")
        self._width = table.shape[1]
        return table

    def _record(self, fresh: list[bytes], future: Future[Floats]) -> None:
        try:
            scores = future.result()
        except OracleError as error:
            if error.charged:
                self.ledger.failed += len(fresh)
            else:
                self.budget.give_back(len(fresh))
                self.ledger.scored -= len(fresh)
            raise
        for key, row in zip(fresh, scores):
            self._answers[key] = row
        self.ledger.answered += len(fresh)
