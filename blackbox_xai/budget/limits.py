"""The cap on rows sent to a model: reserved before anything is sent, shared by children, never exceeded."""

from __future__ import annotations

import threading
from typing import NamedTuple

from ..errors import BudgetExhausted, InvalidInput

NANO = 1_000_000_000  # money is counted in whole 1e-9 units, so that sums are exact


class Amount(NamedTuple):
    """What an attempt takes: rows from the limit, rows from spare, money (1e-9 units), tokens."""

    first: int = 0
    repeats: int = 0
    cost: int = 0
    tokens: int = 0


def raise_if_short(name: str, asked: Amount, used: Amount, caps: tuple[int, int, int | None, int | None]) -> None:
    """Say which cap does not cover `asked`.

    Raises
    ------
    BudgetExhausted : one of them does not.
    """
    units = (("", "queries"), (" (spare)", "queries"), ("", "in cost"), ("", "tokens"))
    for (which, what), want, have, cap in zip(units, asked, used, caps):
        if cap is not None and want and have + want > cap:
            left = max(0, cap - have)
            if what == "in cost":
                raise BudgetExhausted(name, want / NANO, left / NANO, cap / NANO, what)
            raise BudgetExhausted(name + which, want, left, cap, what)


class QueryBudget:
    """A limit in rows sent to the model. A batch of 64 inputs is 64.

    Parameters
    ----------
    limit : int, >= 0. Rows.
    spare : int, >= 0. Extra rows that only repeats of rows the model may have scored may use.
    parent : QueryBudget or None. What this budget draws from: every row also counts there.
    name : str, for messages and the ledger.
    max_cost : float or None. Cap in money, in the unit of the oracle's `Price`; the most a request can
        cost is reserved before it is sent, what it did cost is settled after.
    max_tokens : int or None. Cap in tokens (input and output together), reserved and settled likewise.

    Raises
    ------
    InvalidInput : a figure is negative or not a whole number of rows or tokens.

    Thread-safe: parents and children share one lock, so a reservation succeeds whole, everywhere, or nowhere.
    """

    def __init__(
        self,
        limit: int,
        *,
        spare: int = 0,
        parent: QueryBudget | None = None,
        name: str = "budget",
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        for what, value in (("limit", limit), ("spare", spare), ("max_tokens", max_tokens)):
            if value is None:
                if what == "max_tokens":
                    continue
                raise InvalidInput(f"QueryBudget: {what} must be a whole number of rows >= 0, got None.")
            if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
                unit = "tokens" if what == "max_tokens" else "rows"
                raise InvalidInput(f"QueryBudget: {what} must be a whole number of {unit} >= 0, got {value!r}.")
        if max_cost is not None and not 0 <= max_cost < 9e9:
            raise InvalidInput(f"QueryBudget: max_cost must be an amount of money in [0, 9e9), got {max_cost!r}.")
        if parent is not None and type(self) is QueryBudget and type(parent) is not QueryBudget:
            raise InvalidInput("QueryBudget: a child of a budget kept in a store is made with parent.child(...).")
        self.limit, self.spare, self.parent, self.name = int(limit), int(spare), parent, name
        self.max_cost, self.max_tokens = max_cost, max_tokens
        self.money = None if max_cost is None else round(max_cost * NANO)
        self._lock: threading.RLock = parent._lock if parent is not None else threading.RLock()
        self._spent = Amount()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, used={self.used}, limit={self.limit}, spare={self.spare})"

    @property
    def used(self) -> int:
        """Rows reserved and not given back, repeats not included."""
        return self._spent.first

    @property
    def repeated(self) -> int:
        """Rows spent on repeats."""
        return self._spent.repeats

    @property
    def cost(self) -> float:
        """Money spent, and held for requests under way."""
        return self._spent.cost / NANO

    @property
    def tokens(self) -> int:
        """Tokens spent, and held for requests under way."""
        return self._spent.tokens

    @property
    def left(self) -> int:
        """Rows that can still be reserved: the least over this budget and its ancestors."""
        with self._lock:
            return max(0, min(b.limit - b._spent.first for b in self._chain()))

    @property
    def spare_left(self) -> int:
        """Rows that repeats can still use: the least over this budget and its ancestors."""
        with self._lock:
            return max(0, min(b.spare - b._spent.repeats for b in self._chain()))

    def reserve(self, n: int, *, repeat: bool = False) -> None:
        """Take `n` rows, whole or not at all.

        Raises
        ------
        BudgetExhausted : fewer than `n` rows are left here or in an ancestor; nothing was taken.
        """
        self._take(Amount(0, n) if repeat else Amount(n))

    def give_back(self, n: int, *, repeat: bool = False) -> None:
        """Return `n` rows that were reserved and that the model did not score."""
        self._give(Amount(0, n) if repeat else Amount(n))

    def grow(self, n: int) -> None:
        """Raise this budget's own limit by `n` rows; its ancestors' caps hold as before.

        Raises
        ------
        InvalidInput : `n` is negative or not a whole number.
        """
        if isinstance(n, bool) or not hasattr(n, "__index__") or int(n) < 0:
            raise InvalidInput(f"QueryBudget: can only grow by a whole number of rows >= 0, got {n!r}.")
        with self._lock:
            self.limit += int(n)

    def child(self, limit: int | None = None, *, spare: int | None = None, name: str = "child") -> QueryBudget:
        """A budget that draws from this one; None means all that is left now."""
        spare = self.spare_left if spare is None else spare
        return QueryBudget(self.left if limit is None else limit, spare=spare, parent=self, name=name)

    def _chain(self) -> list[QueryBudget]:
        chain, b = [], self
        while True:
            chain.append(b)
            if b.parent is None:
                return chain
            b = b.parent

    def _take(self, amount: Amount) -> None:
        with self._lock:
            for b in self._chain():
                raise_if_short(b.name, amount, b._spent, (b.limit, b.spare, b.money, b.max_tokens))
            for b in self._chain():
                b._spent = Amount(*(have + more for have, more in zip(b._spent, amount)))

    def _give(self, amount: Amount) -> None:
        with self._lock:
            for b in self._chain():
                b._spent = Amount(*(have - less for have, less in zip(b._spent, amount)))
                assert b._spent.first >= 0
                assert b._spent.repeats >= 0

    def _rows_in(self, url: str) -> tuple[int, ...]:
        """Its rows in the store at `url`, itself first, then its ancestors; none for a budget in memory."""
        return ()
