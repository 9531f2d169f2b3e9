"""Owen sampling: the derivative of the multilinear extension at random levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..samplers.owen import OwenGrid
from .base import Estimate, Estimator, Floats, Problem, Session


@dataclass(frozen=True, slots=True)
class Owen(Estimator):
    """Shapley values as the mean of f(z with i) - f(z without i) over coins z at uniform levels; a base row
    serves all.

    Unbiased before the projection that makes values sum to full - base (which never raises the squared
    error). Standard errors from the groups. Cost: 2(n + 1) coalitions a group. Source: Owen 1972; Okhrati &
    Lipani 2021.
    """

    name: ClassVar[str] = "owen"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "few players; for comparison"

    def minimum(self, p: Problem) -> int:
        """The endpoints and one group; all coalitions where these are fewer."""
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + 2 * (p.n_players + 1)))

    def _session(self, p: Problem) -> Session:
        return _Derivative(p, OwenGrid(p.n_players, seed=p.seed), name=self.name)


class _Derivative(Session):
    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, k = self.problem.n_players, len(full)
        groups = self.told // (2 * (n + 1))
        rows = values.reshape(groups, 2, n + 1, k)
        first = np.concatenate([
            self.sampler.draw(at * 2 * (n + 1), 2 * (n + 1)).dense()[:1] for at in range(groups)
        ])  # fmt: skip
        sign = np.where(first, 1.0, -1.0)[:, :, None]
        step = 0.5 * sign * ((rows[:, 0, :1] - rows[:, 0, 1:]) - (rows[:, 1, :1] - rows[:, 1, 1:]))
        phi = step.mean(axis=0)
        phi = phi + (full - base - phi.sum(axis=0)) / n
        error = None if groups < 2 else step.std(axis=0, ddof=1) / np.sqrt(groups)
        return self._estimate(base, full, phi, error, groups=groups, degrees_of_freedom=max(groups - 1, 1))
