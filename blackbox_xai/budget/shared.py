"""A budget that many processes share: its counter is a row in the store, moved by one conditional UPDATE."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from .limits import NANO, Amount, QueryBudget
from .schema import tables

if TYPE_CHECKING:
    from .store import AnswerStore


class SharedBudget(QueryBudget):
    """A `QueryBudget` whose counter lives in an `AnswerStore`; the same name there is the same budget.

    Parameters
    ----------
    store : AnswerStore.
    name : str. Who gives the name again, in this or another process, shares the budget and what it has spent.
    limit, spare, max_cost, max_tokens : as in `QueryBudget`; must equal those of the first to give the name.
    parent : SharedBudget of the same store, or None.

    Raises
    ------
    InvalidInput : the store has the name with other figures, or `parent` lives elsewhere.

    Picklable. Each reservation is one transaction.
    """

    store: AnswerStore
    rows: tuple[int, ...]  # in the store: its own, then its ancestors'

    def __init__(
        self,
        store: AnswerStore,
        name: str,
        limit: int,
        *,
        spare: int = 0,
        parent: SharedBudget | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if parent is not None and (not isinstance(parent, SharedBudget) or parent.store._url != store._url):
            raise InvalidInput(f"SharedBudget {name!r}: its parent must live in the same store.")
        super().__init__(limit, spare=spare, parent=parent, name=name, max_cost=max_cost, max_tokens=max_tokens)
        self.store = store
        above: tuple[int, ...] = () if parent is None else parent.rows
        self.id = store._new_budget(
            name, self.limit, self.spare, above[0] if above else None, self.money, self.max_tokens
        )
        self.rows = (self.id, *above)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "name": self.name,
            "limit": self.limit,
            "spare": self.spare,
            "parent": self.parent,
            "max_cost": self.max_cost,
            "max_tokens": self.max_tokens,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _read(self) -> list[Any]:
        import sqlalchemy as sa

        t = tables().budgets
        with self.store._read() as c:
            rows = {r["id"]: r for r in c.execute(sa.select(t).where(t.c.id.in_(self.rows))).mappings()}
        return [rows[i] for i in self.rows]

    @property
    def used(self) -> int:
        return int(self._read()[0]["used"])

    @property
    def repeated(self) -> int:
        return int(self._read()[0]["spare_used"])

    @property
    def cost(self) -> float:
        return float(self._read()[0]["cost"] / NANO)

    @property
    def tokens(self) -> int:
        return int(self._read()[0]["tokens"])

    @property
    def left(self) -> int:
        return max(0, min(int(r["row_limit"] - r["used"]) for r in self._read()))

    @property
    def spare_left(self) -> int:
        return max(0, min(int(r["spare"] - r["spare_used"]) for r in self._read()))

    def grow(self, n: int) -> None:
        """Raise this budget's own limit by `n` rows, in the store, for all who share it."""
        super().grow(n)
        self.store.raise_limit(self.name, limit=self.limit)

    def child(self, limit: int | None = None, *, spare: int | None = None, name: str = "child") -> SharedBudget:
        """A budget of this store that draws from this one; None means all that is left now."""
        full = f"{self.name}/{name}#{uuid.uuid4().hex[:12]}"
        spare = self.spare_left if spare is None else spare
        return SharedBudget(self.store, full, self.left if limit is None else limit, spare=spare, parent=self)

    def _take(self, amount: Amount) -> None:
        self.store.hold(self, amount)

    def _give(self, amount: Amount) -> None:
        self.store.hold(self, Amount(*(-n for n in amount)))

    def _rows_in(self, url: str) -> tuple[int, ...]:
        if url != self.store._url:
            raise InvalidInput(
                f"QueryBudget {self.name!r} lives in {self.store.shown}; give the run the same store, or a budget "
                f"without one."
            )
        return self.rows
