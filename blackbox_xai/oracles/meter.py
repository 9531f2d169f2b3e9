"""Counted access to a model: reserve, deduplicate, look up, send, check, ask again, record."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..budget.limits import Amount
from ..budget.records import Acquired, Settled, Ticket
from ..errors import BlackboxXaiError, BudgetExhausted, InvalidInput, OracleError
from ..memory import Room, ran_out
from .base import Batch, Floats, Ledger, Oracle, Scored
from .books import Book, MemoryBook, StoreBook
from .parts import after, merged, written

if TYPE_CHECKING:
    from ..budget.store import AnswerStore

Compose = Callable[[NDArray[np.intp]], Batch]
_POLL_S = (0.01, 0.25)  # how often to look whether another process has its answer


@dataclass
class _Job:
    """A batch under way: all its keys, and those of them that are ours to ask, with their positions."""

    keys: list[bytes]
    fresh: list[bytes]
    rows: dict[bytes, int]
    compose: Compose
    number: int
    acquired: Acquired
    bound: Callable[[Sequence[bytes]], tuple[int, int]] | None
    future: Future[dict[bytes, Floats]] = field(default_factory=Future)


@final
class Meter:
    """One run's counted access to an oracle. Answers are kept for the life of the meter, and in the store if any.

    Parameters
    ----------
    oracle : Oracle.
    budget : QueryBudget. Every row sent is reserved there first, each time it is sent.
    store : AnswerStore or None. Answers there cost nothing; an answer is durable there before it is used.

    Raises
    ------
    InvalidInput : a store is given and the oracle has no identity.
    """

    def __init__(self, oracle: Oracle, budget: QueryBudget, store: AnswerStore | None = None) -> None:
        self.oracle, self.budget, self.store, self.ledger = oracle, budget, store, Ledger()
        if store is not None and not oracle.identity:
            raise InvalidInput(
                f"{oracle!r} has no identity: a store could not tell its answers from another model's. "
                'Give the oracle identity="...", and a new one whenever the model changes.'
            )
        self._book: Book = MemoryBook(budget)
        if store is not None:
            r = oracle.retry
            waits = sum(min(r.max_backoff_s, r.backoff_s * 2**i) for i in range(r.attempts))
            self._book = StoreBook(store, budget, str(oracle.identity), oracle.timeout_s * r.attempts + waits)
        self._answers: dict[bytes, Floats] = {}
        self._seen: Counter[bytes] = Counter()
        self._width: int | None = None
        self._room = Room()
        self._slots = threading.Semaphore(max(1, oracle.parallel))
        self._clock = threading.Lock()
        self._running, self._since = 0, 0.0
        self._stop = threading.Event()
        self._chance = random.Random()
        self._money = oracle.price is not None or any(
            b.money is not None or b.max_tokens is not None for b in budget._chain()
        )

    def stream(self, batches: Iterable[tuple[list[bytes], Compose]]) -> Iterator[Floats]:
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
        waiting: deque[_Job] = deque()
        pending: set[bytes] = set()
        threads = max(1, self.oracle.in_flight, self.oracle.parallel)
        pool = ThreadPoolExecutor(threads, "blackbox-xai") if threads > 1 else None
        source = iter(batches)
        failure: BaseException | None = None
        held: tuple[list[bytes], Compose] | None = None
        from_store = self.ledger.from_store
        self._stop.clear()
        try:
            while True:
                while failure is None and len(waiting) < threads:
                    try:
                        item = held or self._next(source)
                        if item is None:
                            break
                        waiting.append(self._send(*item, pending, pool))
                        held = None
                    except BudgetExhausted as error:
                        if self._money and waiting:  # what is under way holds the most it can cost: let it settle
                            held = item
                            break
                        failure = error
                    except BlackboxXaiError as error:
                        failure = error
                if not waiting:
                    break
                job = waiting.popleft()
                self._keep(job)
                pending.difference_update(job.fresh)
                yield np.stack([self._answers[key] for key in job.keys])
            if failure is not None:
                raise failure
        finally:
            self._stop.set()  # no more attempts; what is under way is paid for: wait for it and keep it
            for job in waiting:
                with contextlib.suppress(BlackboxXaiError):
                    self._keep(job)
            if pool is not None:
                pool.shutdown(wait=True)
            self._book.close(self.ledger.from_store - from_store)

    def rewind(self) -> None:
        """Begin the sequence of questions again: a stochastic oracle's repeats get the answers they had."""
        self._seen.clear()

    def remember(self, keys: list[bytes], scores: Floats) -> None:
        """Take in answers that were paid for earlier, one row of `scores` (rows, k) a key, in the order asked."""
        if self.oracle.stochastic:
            keys = [self._numbered(key) for key in keys]
        self._answers.update(zip(keys, scores))

    def _next(self, source: Iterator[tuple[list[bytes], Compose]]) -> tuple[list[bytes], Compose] | None:
        item = next(source, None)
        if item is None or not self.oracle.stochastic:
            return item
        return [self._numbered(key) for key in item[0]], item[1]

    def _send(self, keys: list[bytes], compose: Compose, pending: set[bytes], pool: ThreadPoolExecutor | None) -> _Job:
        rows: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            if key not in self._answers and key not in pending and key not in rows:
                rows[key] = row
        known = self._book.lookup(list(rows)) if rows else {}
        for key, answer in known.items():
            self._accept(key, answer)
            del rows[key]
        with self._clock:
            self.ledger.from_store += len(known)
        repeated = len(keys) - len(rows) - len(known)
        nothing = Acquired({}, [], set(), [], None)
        if not rows:
            self.ledger.repeated += repeated
            return _Job(keys, [], {}, compose, 0, nothing, None, _done())
        fresh = list(rows)
        setup = self.oracle.setup_rows if self.ledger.batches == 0 else 0
        bound = self._bounds(rows, compose) if self._money else None
        job = _Job(keys, fresh, rows, compose, self.ledger.batches + 1, nothing, bound)
        job.acquired = self._acquire(fresh, bound, setup)
        self.ledger.repeated += repeated
        self.ledger.batches += 1
        pending.update(fresh)
        if pool is not None:
            job.future = pool.submit(self._ask, job)
            return job
        try:
            job.future.set_result(self._ask(job))
        except Exception as error:
            job.future.set_exception(error)
        return job

    def _numbered(self, key: bytes) -> bytes:
        self._seen[key] += 1
        return key + self._seen[key].to_bytes(8, "little")

    def _bounds(self, rows: dict[bytes, int], compose: Compose) -> Callable[[Sequence[bytes]], tuple[int, int]]:
        """The most that some of these rows can cost: (1e-9 units of money, tokens)."""
        batch = compose(np.array(list(rows.values()), np.intp))
        tokens = {key: self.oracle._bound(batch[i : i + 1]) for i, key in enumerate(rows)}
        price = self.oracle.price

        def bound(keys: Sequence[bytes]) -> tuple[int, int]:
            tin, tout = (sum(tokens[key][side] for key in keys) for side in (0, 1))
            return (0 if price is None else price.nano(len(keys), tin, tout)), tin + tout

        return bound

    def _acquire(
        self, keys: Sequence[bytes], bound: Callable[[Sequence[bytes]], tuple[int, int]] | None, setup: int
    ) -> Acquired:
        got = self._book.acquire(keys, bound, setup)
        with self._clock:
            self.ledger.from_store += len(got.found)
            if got.ticket is not None:
                self.ledger.scored += got.ticket.taken.first + got.ticket.taken.repeats
        return got

    # -- in a worker thread -------------------------------------------------------------------------------------------

    def _ask(self, job: _Job) -> dict[bytes, Floats]:
        """Answers to all fresh rows of a job: ours are sent, then those that another process asks are awaited."""
        got = job.acquired
        answers: dict[bytes, Floats] = {}
        wait = _POLL_S[0]
        while True:
            answers.update(got.found)
            if got.ticket is not None:
                answers.update(self._attempts(job, got.mine, got.repeats, got.ticket))
            busy = got.busy
            while busy:
                if self._stop.wait(wait):
                    raise OracleError(f"{self.oracle!r}: stopped while another process asked the same rows.")
                wait = min(2 * wait, _POLL_S[1])
                found = self._book.lookup(busy)
                answers.update(found)
                with self._clock:
                    self.ledger.from_store += len(found)
                busy = [key for key in busy if key not in found]
                if idle := self._book.idle(busy) if busy else []:
                    break
            if not busy:
                return answers
            got = self._acquire(idle, job.bound, 0)
            got = got._replace(busy=[*got.busy, *(key for key in busy if key not in set(idle))])

    def _attempts(self, job: _Job, keys: list[bytes], repeats: set[bytes], ticket: Ticket) -> dict[bytes, Floats]:
        """Send rows until all are answered or asking again is no use; each attempt is reserved and settled."""
        answers: dict[bytes, Floats] = {}
        again: Counter[str] = Counter()
        left, maybe = list(keys), set(repeats)
        while True:
            error = self._attempt(job, left, maybe, ticket, answers, again)
            if error is None:
                return answers
            left = [key for key in left if key not in answers]
            if not left:
                return answers
            self._pause(error, again.total())
            amount = Amount(sum(k not in maybe for k in left), sum(k in maybe for k in left))
            if job.bound is not None:
                amount = amount._replace(**dict(zip(("cost", "tokens"), job.bound(left))))
            try:
                ticket = self._book.again(left, amount)
            except BlackboxXaiError as short:
                short.args = (f"{short} They were to be asked again after: {error}",)
                self._book.release(left)
                with self._clock:
                    self.ledger.lost += sum(key in maybe for key in left)
                raise
            with self._clock:
                self.ledger.scored += amount.first + amount.repeats
                self.ledger.retried += len(left)

    def _attempt(
        self,
        job: _Job,
        keys: list[bytes],
        maybe: set[bytes],
        ticket: Ticket,
        answers: dict[bytes, Floats],
        again: Counter[str],
    ) -> OracleError | None:
        """One attempt, settled; None, or an error after which to ask again. Raises where there is no use in it."""
        error: BaseException | None = None
        scored, inputs = Scored(np.empty((0, 0))), list[bytes]()
        try:
            scored, inputs = self._call(job, keys)
            got = self._checked(scored.scores, len(keys), job.number)
        except OracleError as e:
            error, got = e, e.answered
            scored = Scored(None, *e.tokens)
            if got:
                got = self._partly(got, job.number, e)
        except BaseException as e:  # InvalidInput: not sent. Ctrl-C inside the model: it may have scored the rows
            error, got = e, {}
        use = isinstance(error, OracleError) and error.retry and self._may(error, again) and not self._stop.is_set()
        done = {keys[i]: row for i, row in got.items()}
        refused = self._given_back(error, [key for key in keys if key not in done], keys)
        end = self._end(job, keys, done, refused, maybe, ticket, scored, error, use, inputs)
        self._book.settle(ticket, end)
        answers.update(done)
        if self.oracle.count != "answered":
            maybe.update(key for key in keys if key not in done and key not in refused)
        with self._clock:
            self.ledger.scored -= end.first_back + end.repeats_back
            self.ledger.answered += len(done)
            self.ledger.failed += len(keys) - len(done) - len(refused)
            self.ledger.tokens_in += scored.tokens_in
            self.ledger.tokens_out += scored.tokens_out
            if self.oracle.price is not None:
                self.ledger.cost = (self.ledger.cost or 0.0) + end.cost / 1e9
            if error is not None and not use:
                self.ledger.lost += sum(key in maybe for key in keys if key not in done)
        if error is None or use:
            return error  # type: ignore[return-value]
        raise error

    def _given_back(self, error: BaseException | None, unanswered: list[bytes], keys: list[bytes]) -> set[bytes]:
        """Rows among the unanswered that do not stay spent."""
        if self.oracle.count == "answered":
            return set(unanswered)
        if self.oracle.count == "attempts" or error is None:
            return set()
        if isinstance(error, OracleError):
            return set(unanswered) if not error.charged else {keys[i] for i in error.refused} & set(unanswered)
        return set(unanswered) if isinstance(error, BlackboxXaiError) else set()

    def _end(
        self,
        job: _Job,
        keys: list[bytes],
        done: dict[bytes, Floats],
        refused: set[bytes],
        maybe: set[bytes],
        ticket: Ticket,
        scored: Scored,
        error: BaseException | None,
        use: bool,
        inputs: list[bytes],
    ) -> Settled:
        first, repeats = sum(k not in maybe for k in refused), sum(k in maybe for k in refused)
        if len(refused) == len(keys):  # rows of the set-up go back with the whole
            first = ticket.taken.first
        cost = tokens_in = tokens_out = 0
        if job.bound is not None:
            lost = [key for key in keys if key not in done and key not in refused]
            cost, tokens_in = job.bound(lost) if lost else (0, 0)  # what it was is unknown: the most it can be
            if done:
                told = (scored.tokens_in, scored.tokens_out)
                price = self.oracle.price
                if any(told) or price is None or not (price.per_1k_input_tokens or price.per_1k_output_tokens):
                    cost += 0 if price is None else price.nano(len(done), *told)
                    tokens_in, tokens_out = tokens_in + told[0], told[1]
                else:
                    more, used = job.bound(list(done))
                    cost, tokens_in = cost + more, tokens_in + used
        state = "answered" if error is None else "partial" if done else "refused" if refused else "failed"
        note = "" if error is None else f"{type(error).__name__}: {error}"
        release = [] if error is None or use else [key for key in keys if key not in done]
        scores = {key: np.asarray(row, np.float64) for key, row in done.items()}
        kept = {key: row for key, row in zip(keys, inputs) if key in done}
        return Settled(state, scores, first, repeats, cost, tokens_in, tokens_out, note, release=release, inputs=kept)

    def _may(self, error: OracleError, again: Counter[str]) -> bool:
        """Whether one more attempt is allowed after this error; counts it."""
        again[error.kind] += 1
        retry = self.oracle.retry
        if again.total() >= retry.attempts:
            return False
        return again[error.kind] <= {"timeout": retry.timeouts, "unusable": retry.unusable}.get(error.kind, 1 << 30)

    def _pause(self, error: OracleError, times: int) -> None:
        retry = self.oracle.retry
        wait = min(retry.max_backoff_s, retry.backoff_s * 2 ** min(times - 1, 30)) * self._chance.uniform(0.5, 1)
        if error.retry_after_s is not None:
            wait = error.retry_after_s + self._chance.uniform(0, 0.1) * min(error.retry_after_s, 1)
        self._stop.wait(wait)

    def _call(self, job: _Job, keys: list[bytes]) -> tuple[Scored, list[bytes]]:
        """Score a batch, in parts where memory runs out: reserved once, each part's scores kept. And the inputs."""
        rows = np.array([job.rows[key] for key in keys], np.intp)
        parts, inputs = list[Scored](), list[bytes]()
        turn, held = contextlib.ExitStack(), False  # at the model: until all parts are scored, so none comes in between

        def work(lo: int, hi: int) -> None:
            nonlocal held
            batch = job.compose(rows[lo:hi])
            if not held:
                turn.enter_context(self._slots)
                held = True
            self._tick(1)
            try:
                parts.append(self.oracle._scored(batch))
            except Exception as error:
                if isinstance(error, BlackboxXaiError) or (hi - lo > 1 and ran_out(error)):
                    raise
                raise OracleError(
                    f"{self.oracle!r}: the model raised {type(error).__name__}: {error} on batch {job.number} "
                    f"({hi - lo} rows). Answers before it are kept; run it on such a batch by hand to see why."
                ) from error
            finally:
                self._tick(-1)
            if hi == len(keys):
                turn.close()
            if self._book.keeps_inputs:
                inputs.extend(written(batch))

        with turn:
            try:
                self._room.parts(work, len(keys))
            except OracleError as error:
                after(error, parts)
                raise
        return merged(parts), inputs

    def _tick(self, step: int) -> None:
        with self._clock:
            now = time.perf_counter()
            if self._running:
                self.ledger.seconds_model += now - self._since
            self._running, self._since = self._running + step, now

    # -- what is an answer --------------------------------------------------------------------------------------------

    def _checked(self, scores: Any, rows: int, number: int) -> dict[int, Floats]:
        where = f"{self.oracle!r}: batch {number}"
        try:
            table = np.asarray(scores)
            if table.dtype.kind in "biu":
                table = table.astype(np.float64)
            if table.dtype.kind != "f":
                raise TypeError(f"dtype {table.dtype}")
        except (TypeError, ValueError) as error:
            raise self._unusable(
                f"{where} answered {type(scores).__name__}, not numbers ({error}). Return one row of scores an input."
            ) from error
        if table.ndim == 0 or table.ndim > 2 or len(table) != rows:
            raise self._unusable(
                f"{where} of {rows} rows got scores of shape {table.shape}. Return ({rows},) or ({rows}, outputs): "
                "one row of scores an input, in order."
            )
        table = table.reshape(rows, -1)
        names = self.oracle.output_names
        if names is not None and len(names) != table.shape[1]:
            raise self._unusable(f"{where} has {table.shape[1]} outputs, but {len(names)} output_names were given.")
        self._same_width(table.shape[1], where)
        finite = np.isfinite(table).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise self._unusable(
                f"{where}, row {row}: the score is NaN or infinite. "
                "Check the model on masked inputs, or map such answers to a number yourself.",
                {int(i): table[i] for i in np.flatnonzero(finite)},
            )
        return dict(enumerate(table))

    def _partly(self, got: dict[int, Any], number: int, error: OracleError) -> dict[int, Floats]:
        """The usable rows of a batch of which a part was answered."""
        try:
            checked = self._checked(np.array(list(got.values())), len(got), number)
        except OracleError as worse:
            checked = worse.answered
        places = list(got)
        return {places[i]: row for i, row in checked.items()}

    def _unusable(self, text: str, answered: dict[int, Floats] | None = None) -> OracleError:
        return OracleError(text, retry=True, kind="unusable", answered=answered)

    def _same_width(self, width: int, where: str) -> None:
        if width == 0 or (self._width is not None and width != self._width):
            raise self._unusable(
                f"{where} has {width} outputs, earlier ones {self._width}. The number of outputs must not change."
            )
        self._width = width

    def _accept(self, key: bytes, row: Floats) -> None:
        if self._width is not None and len(row) != self._width:
            raise OracleError(
                f"{self.oracle!r}: the store has an answer of {len(row)} outputs, others have {self._width}. "
                "Give the oracle another identity= when the model changes.",
                charged=False,
            )
        self._width = len(row)
        self._answers[key] = row

    def _keep(self, job: _Job) -> None:
        for key, row in job.future.result().items():
            self._accept(key, row)


def _done() -> Future[dict[bytes, Floats]]:
    future: Future[dict[bytes, Floats]] = Future()
    future.set_result({})
    return future
