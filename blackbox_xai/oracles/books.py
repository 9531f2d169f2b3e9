"""Where a meter writes down what it takes and gets: in memory, or in an answer store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..budget.limits import Amount
from ..budget.records import Acquired, Settled, Ticket

if TYPE_CHECKING:
    from ..budget.store import AnswerStore

Row = NDArray[np.float64]
Bound = Callable[[Sequence[bytes]], tuple[int, int]]


class Book(Protocol):
    """What a meter needs of its ledger. Thread-safe."""

    keeps_inputs: bool

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """Answers known from other runs."""
        ...

    def acquire(self, keys: Sequence[bytes], bound: Bound | None, extra: int) -> Acquired:
        """Claim and reserve rows; see `AnswerStore.acquire`."""
        ...

    def again(self, keys: Sequence[bytes], amount: Amount) -> Ticket:
        """Reserve another attempt."""
        ...

    def idle(self, keys: Sequence[bytes]) -> list[bytes]:
        """Keys that nobody asks just now."""
        ...

    def settle(self, ticket: Ticket, end: Settled) -> None:
        """Record how an attempt ended; durable where the book is."""
        ...

    def release(self, keys: Sequence[bytes]) -> None:
        """Ask these rows no more."""
        ...

    def close(self, from_store: int) -> None:
        """Note the rows that came from other runs."""
        ...


class MemoryBook:
    """A budget in memory, and no answers of other runs."""

    keeps_inputs = False

    def __init__(self, budget: QueryBudget) -> None:
        self._budget = budget

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        return {}

    def acquire(self, keys: Sequence[bytes], bound: Bound | None, extra: int) -> Acquired:
        cost, tokens = bound(keys) if bound is not None else (0, 0)
        return Acquired({}, list(keys), set(), [], self.again(keys, Amount(len(keys) + extra, 0, cost, tokens)))

    def again(self, keys: Sequence[bytes], amount: Amount) -> Ticket:
        self._budget._take(amount)
        return Ticket(0, amount)

    def idle(self, keys: Sequence[bytes]) -> list[bytes]:
        return list(keys)

    def settle(self, ticket: Ticket, end: Settled) -> None:
        back = end.back(ticket.taken)
        if any(back):
            self._budget._give(back)

    def release(self, keys: Sequence[bytes]) -> None:
        pass

    def close(self, from_store: int) -> None:
        pass


class StoreBook:
    """A store's answers and ledger; keys are hashed once more, so a store never sees an input."""

    def __init__(self, store: AnswerStore, budget: QueryBudget, identity: str, ttl_s: float) -> None:
        self._store, self._ttl_s = store, ttl_s
        self._oracle = store.oracle(identity)
        self._account = store.account(budget)
        self.keeps_inputs = store.keep_inputs

    def _hash(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return {hashlib.sha256(key).digest(): key for key in keys}

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        names = self._hash(keys)
        return {names[h]: row for h, row in self._store.lookup(self._oracle, list(names)).items()}

    def acquire(self, keys: Sequence[bytes], bound: Bound | None, extra: int) -> Acquired:
        names = self._hash(keys)
        inner = None if bound is None else lambda some: bound([names[h] for h in some])
        a = self._store.acquire(self._oracle, self._account, list(names), ttl_s=self._ttl_s, bound=inner, extra=extra)
        return Acquired(
            {names[h]: row for h, row in a.found.items()},
            [names[h] for h in a.mine],
            {names[h] for h in a.repeats},
            [names[h] for h in a.busy],
            a.ticket,
        )

    def again(self, keys: Sequence[bytes], amount: Amount) -> Ticket:
        return self._store.again(self._oracle, self._account, list(self._hash(keys)), amount, ttl_s=self._ttl_s)

    def idle(self, keys: Sequence[bytes]) -> list[bytes]:
        names = self._hash(keys)
        return [names[h] for h in self._store.idle(self._oracle, list(names))]

    def settle(self, ticket: Ticket, end: Settled) -> None:
        self._store.settle(self._oracle, self._account, ticket, end._replace(**_hashed(end)))

    def release(self, keys: Sequence[bytes]) -> None:
        self._store.release(self._oracle, list(self._hash(keys)))

    def close(self, from_store: int) -> None:
        self._store.note_saved(self._account, from_store)


def _hashed(end: Settled) -> dict[str, Any]:
    def outer(of: Mapping[bytes, Any]) -> dict[bytes, Any]:
        return {hashlib.sha256(key).digest(): value for key, value in of.items()}

    return {
        "scores": outer(end.scores),
        "inputs": outer(end.inputs),
        "release": [hashlib.sha256(key).digest() for key in end.release],
    }
