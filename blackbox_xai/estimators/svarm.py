"""Stratified SVARM: mean values per player, coalition size and side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..samplers.sizes import Law, law_of_sizes
from .base import Estimate, Estimator, Problem, Session
from .paired import PairedSession, Pairs


@dataclass(frozen=True, slots=True)
class SVARM(Estimator):
    """Shapley values as differences of stratum means: phi_i = D/n + (1/n) sum_k [A_k(i) - B_k(i)].

    A_k(i), B_k(i): mean value of the coalitions of size k with and without player i. An empty stratum
    counts as its player's equal share. Values are projected so that they sum to full - base. Standard
    errors from the strata. Cost: 2 + 2P coalitions. Source: Kolpaczki et al. 2024. Differs: complement
    pairs without replacement, centring, projection.
    """

    law: Law = "balanced"
    name: ClassVar[str] = "svarm"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "any players; for comparison"

    def _session(self, p: Problem) -> Session:
        law_of_sizes(2, self.law)
        return _Strata(p, self.law, self.name)


class _Strata(PairedSession):
    def _solve_pairs(self, p: Pairs) -> Estimate:
        n, outputs = p.z.shape[1], p.odd.shape[1]
        size = p.z.sum(axis=1)
        # the odd part less the share of the total: a pair at size k is one draw of size k and minus one of
        # size n - k
        y = p.odd - p.total * (size / n - 0.5)[:, None]
        phi, variance, empty = np.zeros((n, outputs)), np.zeros((n, outputs)), 0
        for k in np.unique(p.size):
            rows = p.size == k
            z, v = p.z[rows], y[rows]
            flip = size[rows] != k  # the smaller member is the complement
            z, v = np.where(flip[:, None], ~z, z), np.where(flip[:, None], -v, v)
            if 2 * k == n:  # both members have this size
                z, v = np.concatenate([z, ~z]), np.concatenate([v, -v])
            times = 1.0 if 2 * k == n else 2.0
            free = 1 - float(p.included[rows][0])
            for side, sign in ((z, 1.0), (~z, -1.0)):
                count = side.sum(axis=0)[:, None]
                mean = side.T @ v / np.maximum(count, 1)
                scatter = side.T @ v**2 / np.maximum(count, 1) - mean**2
                # a stratum of one draw borrows the spread of its size
                spread = np.where(count > 1, scatter / np.maximum(count - 1, 1), v.var(axis=0))
                phi += sign * times / n * mean
                variance += (times / n) ** 2 * free * np.where(count > 0, np.maximum(spread, 0), v.var(axis=0))
                empty += int((count == 0).sum())
        phi += p.total / n
        phi += (p.total - phi.sum(axis=0)) / n
        error = np.sqrt(variance + self._end_variance())
        return self._estimate(p.base, p.full, phi, error, empty_strata=empty, pairs=len(p.z))
