"""One pool of removed subsets and what each does to the score: paid once, read by many metrics and methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..errors import InvalidInput
from ..game import Target
from ..kernels import on_numpy
from ..players.base import Players
from .evaluation import Evaluation

Floats = NDArray[np.float64]
_STREAM = 0xE2


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Random subsets and the drops they cause.

    Attributes
    ----------
    removed : bool (n, cells). Which cells were removed.
    cell : int (d,). The cell of each player.
    drop : float64 (n,). f(x) - f(x without the subset).
    empty, full : float. Value with no player, and with all.
    rows_sent : int.
    """

    removed: NDArray[np.bool_]
    cell: NDArray[np.intp]
    drop: Floats
    empty: float
    full: float
    rows_sent: int

    def mass(self, values: Floats) -> Floats:
        """Attribution (d,) that each subset removes, (n,)."""
        cells = np.bincount(self.cell, weights=values, minlength=self.removed.shape[1]).astype(np.float64)
        return np.asarray(self.removed @ cells, np.float64)


def pool(
    model: Any,
    players: Players | None,
    *,
    n: int = 200,
    size: int | None = None,
    probability: float = 0.5,
    cells: int | None = None,
    target: Target = None,
    budget: int | QueryBudget | None = None,
    seed: int = 0,
) -> Pool:
    """Draw `n` subsets and value them.

    Parameters
    ----------
    n : int. Subsets.
    size : int or None. Cells removed each time; None removes each cell with `probability` on its own.
    cells : int or None. For players on a grid: cells a side (9 gives 9 x 9); None lets each player be a cell.

    Cost: n + 2 coalitions, for every method and every metric that reads it.
    """
    e = Evaluation.of(model, players, target, budget, (n + 2) * (players.cost if players is not None else 1))
    before = e.rows_sent
    d = e.n_players
    cell = np.arange(d)
    if cells is not None:
        if e.players.grid is None:
            raise InvalidInput("pool: cells need players on a grid, such as ImagePixels.")
        height, width = e.players.grid
        rows, columns = np.arange(height) * cells // height, np.arange(width) * cells // width
        cell = (rows[:, None] * cells + columns).ravel()
    count = int(cell.max()) + 1
    if size is not None and not 1 <= size <= count:
        raise InvalidInput(f"pool: size must lie in 1..{count}, got {size}.")
    if not 0 < probability < 1 or n < 2:
        raise InvalidInput(f"pool: probability must lie in (0, 1) and n be >= 2, got {probability}, {n}.")
    row, column = np.arange(n, dtype=np.uint64)[:, None], np.arange(count, dtype=np.uint64)
    words = on_numpy.philox(seed, _STREAM, row, column)[..., 0]
    if size is None:
        removed = words < np.uint32(min(probability * 2**32, 2**32 - 1))
    else:
        removed = np.argsort(np.argsort(words, axis=1, kind="stable"), axis=1) < size
    empty, full = e.ends()
    values = e.values(n, lambda a, b: ~removed[a:b][:, cell])
    return Pool(removed, cell, full - values, empty, full, e.rows_sent - before)
