"""The contract of every estimator: ask for coalitions, be told their values, give an estimate.

An estimator sees masks and numbers only: it cannot import an oracle, so it cannot spend a query behind our
back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from .. import exact
from ..attribution import Attribution
from ..errors import InvalidInput, TooFewQueries
from ..masks import Masks
from ..samplers.base import Sampler
from ..samplers.enumeration import Enumeration

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Problem:
    """All that an estimator may know.

    Attributes
    ----------
    n_players : int.
    budget : tuple of int. Coalitions, in stages; ``extend`` and ``until`` add stages. Endpoints included.
    seed : int, 0 <= seed < 2**64.
    grid : (H, W) where the players are the pixels of a grid, else None.
    soft : bool. Whether the players can be partly present (mask levels between 0 and 1).
    noisy : int. 0: the value of a coalition is a number. r > 0: it is a draw over r background rows, so
        values are noisy and the empty coalition is averaged over up to r draws.
    labels : bool. The values are 0/1 labels.
    device : "cpu" or "cuda". Where masks are drawn.
    contrast : float (n_players,), >= 0, or None. How much of the input changes where a player is absent, in any
        unit; a player of contrast 0 has no effect. Only a prior: no estimate may rest on it alone.
    """

    n_players: int
    budget: tuple[int, ...]
    seed: int = 0
    grid: tuple[int, int] | None = None
    soft: bool = False
    noisy: int = 0
    labels: bool = False
    device: str = "cpu"
    contrast: Floats | None = field(default=None, compare=False, repr=False)

    @property
    def total(self) -> int:
        """Coalitions of all stages."""
        return sum(self.budget)

    @property
    def n_endpoints(self) -> int:
        """Rows of the first ask: the empty coalition (repeated where it is noisy) and the full one."""
        return 1 + max(1, min(self.noisy, self.total // 10))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the answers say so far.

    Attributes
    ----------
    values : float64 (d,) or (d, k).
    base_values, full_values : float64 scalar or (k,). The empty and the full coalition's value.
    std_error : like `values`, or None where theory gives none.
    interactions : float64 (d, d) or (d, d, k), or None.
    n_rows : int. Coalitions told, endpoints included.
    diagnostics : dict of plain values (numbers, strings, lists).
    """

    values: Floats
    base_values: Any
    full_values: Any
    std_error: Floats | None
    n_rows: int
    interactions: Floats | None = None
    diagnostics: dict[str, Any] = field(default_factory=dict)


class Session(ABC):
    """One run of an estimator: ``ask`` is a read, ``tell`` the only write, ``result`` one solve over all
    told.

    The base class keeps the values and the place in the sampler's sequence; a method writes `_solve`. Where
    `slow_masks`, masks are best asked for a batch at a time, the next while the model is at work.
    """

    slow_masks: ClassVar[bool] = False

    def __init__(self, problem: Problem, sampler: Sampler, *, size: int | None = None, name: str) -> None:
        """`size`: rows the sampler has in all, where that is finite; `name`: the method, for messages."""
        self.problem, self.sampler, self.name = problem, sampler, name
        room = max(0, problem.total - problem.n_endpoints)
        if size is not None:
            room = min(room, size)
        self.planned = room - room % sampler.group  # sampler rows this budget covers, whole groups
        self.told = 0
        self._ends: Floats | None = None
        self._values: list[Floats] = []
        self._scalar = True

    @final
    def ask(self, n: int, ahead: int = 0) -> Masks:
        """The next coalitions: first the endpoints alone, then about `n` rows in whole groups.

        Gives at least one group while the budget covers one, and no row when it does not. With `ahead`, the rows after
        as many that were asked for and not told yet: none where they follow from values that are still to be told, or
        may.
        """
        p, group = self.problem, self.sampler.group
        if self._ends is None:
            return self._draw(0, 0) if ahead else Masks.endpoints(p.n_players, p.n_endpoints - 1)
        start = self.told + ahead
        end = min(self.planned, self._follows()) if ahead else self.planned
        return self._draw(start, max(0, min(max(n - n % group, group), end - start)))

    def _follows(self) -> int:
        """The row after the last whose mask follows from what was told. Here: no more than that."""
        return self.told

    def _draw(self, start: int, count: int) -> Masks:
        if count == 0:
            return Masks.from_dense(np.zeros((0, self.problem.n_players), bool), start=start)
        return self.sampler.draw(start, count)

    @final
    def tell(self, masks: Masks, values: Floats) -> None:
        """Record the values (m,) or (m, k) of a prefix, in whole groups, of what ``ask`` gives."""
        values = np.asarray(values, np.float64)
        if values.ndim not in (1, 2) or len(values) != len(masks):
            raise InvalidInput(
                f"{self.name}.tell: {len(values) if values.ndim else 'scalar'} values for {len(masks)} masks "
                f"from row {masks.start}. Pass the scores of exactly the masks ask() gave, in order."
            )
        if not np.all(np.isfinite(values)):
            row = masks.start + int(np.argmin(np.isfinite(values.reshape(len(values), -1)).all(axis=1)))
            raise InvalidInput(f"{self.name}.tell: the value of row {row} is NaN or infinite. Check the model.")
        table = values[:, None] if values.ndim == 1 else values
        if self._ends is None:
            if masks.start != -self.problem.n_endpoints or len(masks) != self.problem.n_endpoints:
                raise InvalidInput(f"{self.name}.tell: the endpoints come first; got row {masks.start}.")
            self._ends, self._scalar = table.copy(), values.ndim == 1
            return
        if masks.start != self.told or len(masks) % self.sampler.group:
            raise InvalidInput(
                f"{self.name}.tell: got {len(masks)} rows from row {masks.start}, expected whole groups of "
                f"{self.sampler.group} from row {self.told}. Tell what ask() gave, in order."
            )
        if table.shape[1] != self._ends.shape[1]:
            raise InvalidInput(f"{self.name}.tell: {table.shape[1]} outputs, the endpoints had {self._ends.shape[1]}.")
        self._values.append(table.copy())
        self.told += len(masks)

    @final
    def result(self) -> Estimate:
        """Estimate from all that was told. A read; may be called at any moment after the method's minimum.

        Raises
        ------
        TooFewQueries : not enough was told to say anything.
        """
        if self._ends is None or not self._enough():
            raise TooFewQueries(
                self.name,
                max(self.rows + 1, self.problem.n_endpoints + self.sampler.group),
                self.rows,
                self.problem.n_players,
            )
        base, full = self._ends[:-1].mean(axis=0), self._ends[-1]
        k = len(full)
        values = np.concatenate(self._values) if self._values else np.zeros((0, k))
        e = self._solve(base, full, values)
        if self._scalar:
            e = Estimate(
                e.values[:, 0],
                float(base[0]),
                float(full[0]),
                None if e.std_error is None else e.std_error[:, 0],
                self.rows,
                None if e.interactions is None else e.interactions[..., 0],
                e.diagnostics,
            )
        return e

    @final
    @property
    def rows(self) -> int:
        """Coalitions told, endpoints included."""
        return self.told + (0 if self._ends is None else len(self._ends))

    @final
    @property
    def answers(self) -> Floats:
        """All values told, in order, endpoints first: (rows,) or (rows, k)."""
        parts = ([] if self._ends is None else [self._ends]) + self._values
        table = np.concatenate(parts) if parts else np.zeros((0, 1))
        return table[:, 0] if self._scalar else table

    def _enough(self) -> bool:
        return bool(self.told >= self.sampler.group)

    def _estimate(
        self,
        base: Floats,
        full: Floats,
        values: Floats,
        std_error: Floats | None,
        interactions: Floats | None = None,
        **diagnostics: Any,
    ) -> Estimate:
        assert self._ends is not None
        return Estimate(values, base, full, std_error, self.rows, interactions, diagnostics)

    @abstractmethod
    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        """From base (k,), full (k,) and the sampler rows' values (told, k): (d, k) values; use
        `_estimate`.
        """


class _Exact(Session):
    """Every coalition is affordable: ask for all, answer exactly."""

    def __init__(self, method: Estimator, problem: Problem) -> None:
        n = problem.n_players
        super().__init__(problem, Enumeration(n), size=2**n - 2, name=method.name)
        self._method = method

    def _enough(self) -> bool:
        return bool(self.told == 2**self.problem.n_players - 2)

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n = self.problem.n_players
        table = np.empty((2**n, len(full)))
        table[0], table[-1] = base, full
        table[Enumeration(n).patterns(0, self.told)] = values
        phi = self._method.exact(table)
        wanted, pairs = getattr(self._method, "interactions", False), None
        if wanted == "faithful":
            singles, pairs = exact.faithful_pairs(table)
            pairs[np.arange(n), np.arange(n)] = singles
        elif wanted:
            pairs = exact.pairs(table)
        return self._estimate(base, full, phi, np.zeros_like(phi), pairs, exact=True)


class Estimator(ABC):
    """A method: a frozen configuration that makes sessions. One file a method; `METHODS` lists them."""

    name: ClassVar[str]
    estimates: ClassVar[str]  # what the numbers mean, one line
    suits: ClassVar[str]  # players it suits, one line
    on_grid: ClassVar[bool] = False  # whether it can play the single pixels of a grid

    def minimum(self, p: Problem) -> int:
        """Fewest coalitions, endpoints included, with which the method says something useful."""
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + 2))

    def rows(self, p: Problem) -> int:
        """Coalitions it will ask for with this budget; what ``plan()`` reports."""
        session = self.session(p)
        return p.n_endpoints + session.planned

    def exact(self, table: Floats) -> Floats:
        """The method's estimand from all 2**d values (2**d, k), indexed by bit pattern -> (d, k).

        Default: Shapley values.
        """
        return exact.shapley(table)

    @final
    def session(self, p: Problem) -> Session:
        """Start a run. Queries nothing.

        Raises
        ------
        TooFewQueries : the budget is below `minimum`.
        InvalidInput : no player, negative budget or seed out of range.
        """
        if p.n_players < 1:
            raise InvalidInput(f"{self.name}: there is no player to attribute to.")
        if p.seed < 0 or p.seed >= 2**64:
            raise InvalidInput(f"{self.name}: seed {p.seed} is out of range; give 0 <= seed < 2**64.")
        if p.total < self.minimum(p):
            raise TooFewQueries(self.name, self.minimum(p), p.total, p.n_players)
        if p.n_players == 1 or (not p.noisy and p.n_players <= 20 and 2**p.n_players <= p.total):
            return _Exact(self, p)
        return self._session(p)

    @abstractmethod
    def _session(self, p: Problem) -> Session: ...

    @final
    def estimate(
        self, value_function: Callable[[Bools], Floats], n_players: int, *, budget: int, seed: int = 0
    ) -> Attribution:
        """Estimate for a game given as a function.

        Parameters
        ----------
        value_function : bool masks (m, n_players) -> values (m,) or (m, k).
        n_players : int, >= 1.
        budget : int. Coalitions valued in all, endpoints included; never exceeded.
        seed : int.

        Raises
        ------
        TooFewQueries : the budget is below the method's minimum; nothing was asked.
        InvalidInput : the function gives the wrong number of values, NaN or infinity.
        """
        if isinstance(budget, bool) or not isinstance(budget, (int, np.integer)) or budget < 0:
            raise InvalidInput(f"{self.name}: budget must be a whole number of queries >= 0, got {budget!r}.")
        session = self.session(Problem(n_players, (int(budget),), seed))
        while len(masks := session.ask(1 << 14)):
            session.tell(masks, np.asarray(value_function(masks.dense()), np.float64))
        e = session.result()
        return Attribution(
            values=e.values,
            base_values=e.base_values,
            full_values=e.full_values,
            std_error=e.std_error,
            interactions=e.interactions,
            method=self.name,
            seed=seed,
            diagnostics=e.diagnostics,
            ledger={"scored": e.n_rows},
        )
