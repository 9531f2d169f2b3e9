"""Permutation sampling: marginal contributions along random orders and their mirrors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..samplers.walks import Walks
from .base import Estimate, Estimator, Floats, Problem, Session


@dataclass(frozen=True, slots=True)
class Permutation(Estimator):
    """Shapley values as the mean marginal contribution over antithetic pairs of random orders.

    Unbiased; each pair of orders sums to full - base; exact on pairwise games with one pair. A pair of
    orders costs 2(n - 1) coalitions, the endpoints are asked for once. Standard errors from the pairs.
    Source: Castro et al. 2009; Mitchell et al. 2022.
    """

    name: ClassVar[str] = "permutation"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "few players, or near-additive games at small budgets"

    def minimum(self, p: Problem) -> int:
        """The endpoints and one pair of orders; all coalitions where these are fewer."""
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + 2 * (p.n_players - 1)))

    def _session(self, p: Problem) -> Session:
        return _Walking(p, Walks(p.n_players, p.seed), name=self.name)


class _Walking(Session):
    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, k = self.problem.n_players, len(full)
        walks = self.told // (2 * (n - 1))
        assert isinstance(self.sampler, Walks)
        orders = self.sampler.orders(0, walks)
        inner = values.reshape(walks, 2, n - 1, k)
        ends = [np.broadcast_to(v, (walks, 2, 1, k)) for v in (base, full)]
        # the mirror's rows are complements of the prefixes, so they run from nearly full to nearly empty
        chain = np.concatenate([ends[0][:, 0], inner[:, 0], ends[1][:, 0]], axis=1)
        mirror = np.concatenate([ends[1][:, 1], inner[:, 1], ends[0][:, 1]], axis=1)
        step = 0.5 * (np.diff(chain, axis=1) - np.diff(mirror, axis=1))
        part = np.empty_like(step)
        np.put_along_axis(part, np.broadcast_to(orders[:, :, None], step.shape), step, axis=1)
        phi = part.mean(axis=0)
        error = None if walks < 2 else part.std(axis=0, ddof=1) / np.sqrt(walks)
        return self._estimate(base, full, phi, error, walks=walks, degrees_of_freedom=walks - 1)
