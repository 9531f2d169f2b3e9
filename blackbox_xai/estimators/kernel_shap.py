"""KernelSHAP as it can be: paired, without replacement, enumerated borders, a projected stable solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..samplers.sizes import Law, law_of_sizes
from .base import Estimate, Estimator, Problem, Session
from .paired import PairedSession, Pairs, jackknife, regress, sandwich


@dataclass(frozen=True, slots=True)
class KernelSHAP(Estimator):
    """Shapley values by weighted linear regression on complement pairs.

    Attributes
    ----------
    law : wanted shares of the coalition sizes: "balanced" 1/sqrt(k(n-k)), "leverage" constant, "kernel"
        1/(k(n-k)).

    Exact on additive and pairwise games from about 2n pairs on; values always sum to full - base. Standard
    errors: HC3 with finite-population factor, a jackknife over ten blocks of pairs below 2n pairs.
    Cost: 2 + 2P coalitions, O(P n min(P, n)) time.
    Source: Lundberg & Lee 2017; Covert & Lee 2021; Musco & Witter 2025; Fumagalli et al. 2023.
    """

    law: Law = "balanced"
    name: ClassVar[str] = "kernelshap"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "any players, up to a few thousand"

    def _session(self, p: Problem) -> Session:
        law_of_sizes(2, self.law)  # refuses an unknown law before any query
        return Regression(p, self.law, self.name)


@dataclass(frozen=True, slots=True)
class LeverageSHAP(KernelSHAP):
    """`KernelSHAP` with all coalition sizes equally often. Source: Musco & Witter 2025, arXiv:2410.01917."""

    law: Law = "leverage"
    name: ClassVar[str] = "leverageshap"


class Regression(PairedSession):
    """Session of `KernelSHAP`."""

    def _solve_pairs(self, p: Pairs) -> Estimate:
        fit = regress(p)
        few = len(p.z) < 2 * self.problem.n_players
        error = jackknife(p) if few else sandwich(p, fit)
        error = np.sqrt(error**2 + self._end_variance())
        return self._estimate(
            p.base,
            p.full,
            fit.phi,
            error if np.all(np.isfinite(error)) else None,
            rank=fit.rank,
            pairs=len(p.z),
            penalty=[float(v) for v in fit.penalty],
            deficient=fit.rank < p.z.shape[1] - 1,
        )
