"""The cap on rows sent to a model: reserved before anything is sent, shared by children, never exceeded."""

from __future__ import annotations

import threading

from ..errors import BudgetExhausted, InvalidInput


class QueryBudget:
    """A limit in rows sent to the model. A batch of 64 inputs is 64.

    Parameters
    ----------
    limit : int, >= 0. Rows.
    spare : int, >= 0. Extra rows that only repeats of rows the model may have scored may use.
    parent : QueryBudget or None. What this budget draws from: every row also counts there.
    name : str, for messages and the ledger.

    Raises
    ------
    InvalidInput : `limit` or `spare` is negative or not a whole number.

    Thread-safe: parents and children share one lock, so a reservation succeeds whole, everywhere, or nowhere.
    """

    def __init__(self, limit: int, *, spare: int = 0, parent: QueryBudget | None = None, name: str = "budget") -> None:
        for what, value in (("limit", limit), ("spare", spare)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
                raise InvalidInput(f"QueryBudget: {what} must be a whole number of rows >= 0, got {value!r}.")
        self.limit, self.spare, self.parent, self.name = int(limit), int(spare), parent, name
        self._lock: threading.RLock = parent._lock if parent is not None else threading.RLock()
        self._used = 0
        self._repeated = 0

    def __repr__(self) -> str:
        return f"QueryBudget({self.name!r}, used={self._used}, limit={self.limit}, spare={self.spare})"

    @property
    def used(self) -> int:
        """Rows reserved and not given back, repeats not included."""
        return self._used

    @property
    def repeated(self) -> int:
        """Rows spent on repeats."""
        return self._repeated

    @property
    def left(self) -> int:
        """Rows that can still be reserved: the least over this budget and its ancestors."""
        with self._lock:
            own = self.limit - self._used
            return own if self.parent is None else min(own, self.parent.left)

    @property
    def spare_left(self) -> int:
        """Rows that repeats can still use: the least over this budget and its ancestors."""
        with self._lock:
            own = self.spare - self._repeated
            return own if self.parent is None else min(own, self.parent.spare_left)

    def reserve(self, n: int, *, repeat: bool = False) -> None:
        """Take `n` rows, whole or not at all.

        Raises
        ------
        BudgetExhausted : fewer than `n` rows are left here or in an ancestor; nothing was taken.
        """
        with self._lock:
            for b in self._chain():
                left, limit = (b.spare - b._repeated, b.spare) if repeat else (b.limit - b._used, b.limit)
                if n > left:
                    raise BudgetExhausted(b.name + (" (spare)" if repeat else ""), n, left, limit)
            self._add(n, repeat)

    def give_back(self, n: int, *, repeat: bool = False) -> None:
        """Return `n` rows that were reserved and that the model did not score."""
        with self._lock:
            assert n <= (self._repeated if repeat else self._used)
            self._add(-n, repeat)

    def grow(self, n: int) -> None:
        """Raise this budget's own limit by `n` rows; its ancestors' stay."""
        if isinstance(n, bool) or not hasattr(n, "__index__") or int(n) < 0:
            raise InvalidInput(f"QueryBudget: can only grow by a whole number of rows >= 0, got {n!r}.")
        with self._lock:
            self.limit += int(n)

    def child(self, limit: int | None = None, *, spare: int = 0, name: str = "child") -> QueryBudget:
        """A budget that draws from this one; `limit` None means all that is left now."""
        return QueryBudget(self.left if limit is None else limit, spare=spare, parent=self, name=name)

    def _chain(self) -> list[QueryBudget]:
        chain, b = [], self
        while True:
            chain.append(b)
            if b.parent is None:
                return chain
            b = b.parent

    def _add(self, n: int, repeat: bool) -> None:
        for b in self._chain():
            if repeat:
                b._repeated += n
            else:
                b._used += n
