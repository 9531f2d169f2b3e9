"""Methods for tens of players, played on the cells of a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..samplers.zoomed import Zoomed
from .base import Estimate, Estimator, Floats, Problem, Session


def coarse(grid: tuple[int, int], cells: int) -> tuple[int, int]:
    """(gh, gw): `cells` along the longer side, as square as the grid allows, at least 2 and at most the grid.

    Raises
    ------
    InvalidInput : fewer than 2 cells a side are asked for.
    """
    if cells < 2:
        raise InvalidInput(f"cells: at least 2 along the longer side are needed, got {cells}.")
    longer = max(grid)
    return (
        min(grid[0], max(2, round(cells * grid[0] / longer))),
        min(grid[1], max(2, round(cells * grid[1] / longer))),
    )


def on_cells(method: Estimator, p: Problem, cells: int) -> Session:
    """A session of `method` in which the players are coarse cells; each pixel gets its cell's value."""
    assert p.grid is not None
    shape = coarse(p.grid, cells)
    inner = method._session(replace(p, n_players=shape[0] * shape[1], grid=None))
    return _OnCells(p, inner, shape)


def cells_of(grid: tuple[int, int], cells: tuple[int, int]) -> NDArray[np.int64]:
    """The cell of every pixel, (H*W,): the nearest, as masks with `Zoom` show it."""
    rows, columns = (np.arange(g) * c // g for g, c in zip(grid, cells))
    return np.asarray((rows[:, None] * cells[1] + columns[None, :]).ravel())


class _OnCells(Session):
    def __init__(self, problem: Problem, inner: Session, cells: tuple[int, int]) -> None:
        assert problem.grid is not None
        super().__init__(problem, Zoomed(inner.sampler, cells, problem.grid), name=inner.name)
        self.planned = inner.planned
        self._inner, self._cells = inner, cells

    def _enough(self) -> bool:
        self._inner.told = self.told
        return self._inner._enough()

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        self._inner.told, self._inner._ends = self.told, self._ends
        e = self._inner._solve(base, full, values)
        assert self.problem.grid is not None
        cell = cells_of(self.problem.grid, self._cells)
        error = None if e.std_error is None else e.std_error[cell]
        return self._estimate(base, full, e.values[cell], error, **{**e.diagnostics, "cells": list(self._cells)})
