"""Sobol attribution: the share of the output's variance that involves a player."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import exact
from ..samplers.levels import Flips
from .base import Estimate, Estimator, Floats, Problem, Session
from .on_cells import coarse, on_cells


@dataclass(frozen=True, slots=True)
class Sobol(Estimator):
    """Total-order Sobol indices of the value under fair coins: never negative, sum at least 1, no sign.

    Each point of a scrambled low-discrepancy design costs n + 1 coalitions, itself and its one-player flips:
    index_i = E[(f(with i) - f(without i))^2] / (4 Var f). Standard errors by the delta method over points;
    they are conservative, because the points are more even than independent ones. A constant game gives
    zeros. On the pixels of an image the players are `cells` coarse cells along the longer side, and each pixel
    gets its cell's index. Source: Fel, Cadene, Chalvidal et al. 2021; Jansen 1999. Differs: flips instead of a second
    matrix, scrambling.
    """

    cells: int = 8
    name: ClassVar[str] = "sobol"
    on_grid: ClassVar[bool] = True
    estimates: ClassVar[str] = "total-order Sobol indices"
    suits: ClassVar[str] = "tens of players; interactions matter, signs do not"

    def minimum(self, p: Problem) -> int:
        """The endpoints and two points; all coalitions where these are fewer."""
        n = p.n_players if p.grid is None else math.prod(coarse(p.grid, self.cells))
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + 2 * (n + 1)))

    def exact(self, table: Floats) -> Floats:
        """Total-order indices from all values; (d, k)."""
        return exact.sobol_total(table)

    def _session(self, p: Problem) -> Session:
        if p.grid is not None:
            return on_cells(self, p, self.cells)
        return _Flipping(p, Flips(p.n_players, p.seed), name=self.name)


class _Flipping(Session):
    def _enough(self) -> bool:
        return bool(self.told >= 2 * self.sampler.group)

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, k = self.problem.n_players, len(full)
        points = self.told // (n + 1)
        rows = values.reshape(points, n + 1, k)
        jump = (rows[:, 1:] - rows[:, :1]) ** 2 / 4
        # Var f from the points and their flips: a flipped point is as uniform as the point
        centre = rows.mean(axis=(0, 1))
        spread = ((rows - centre) ** 2).mean(axis=1)
        variance = spread.mean(axis=0) * points / (points - 1)
        top = jump.mean(axis=0)
        live = variance > 1e-24 * np.maximum(np.abs(values).max(axis=0), 1e-300) ** 2
        safe = np.where(live, variance, 1.0)
        index = np.where(live, top / safe, 0.0)
        terms = (jump - index * spread[:, None, :]) / safe
        error = np.where(live, terms.std(axis=0, ddof=1) / np.sqrt(points), 0.0)
        return self._estimate(base, full, index, error, points=points)
