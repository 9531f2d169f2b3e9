"""Surrogate adjustment: a tree surrogate's own Shapley values, and the regression of what it leaves over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .base import Estimate, Estimator, Problem, Session
from .boosting import fit_trees
from .paired import PairedSession, Pairs, jackknife, regress, sandwich


@dataclass(frozen=True, slots=True)
class RegressionMSR(Estimator):
    """Shapley values of boosted trees fitted to the answers, plus a regression on the residuals of pairs
    left out.

    Five folds of pairs: trees fitted without a fold are subtracted on it, their exact Shapley values are
    averaged, and one weighted regression of all residuals is added. Values sum to full - base. Below 3n
    pairs the plain regression. Standard errors: HC3 on the residuals.
    Cost: 2 + 2P coalitions. Source: Witter, Liu, Musco 2025; Butler et al. 2025 (ProxySHAP). Differs:
    cross-fitted, and the residuals are regressed, which errs less than their weighted mean.
    """

    name: ClassVar[str] = "regressionmsr"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "saturating games and tree models at 10 queries a player and more"

    def _session(self, p: Problem) -> Session:
        return _Adjusted(p, "leverage", self.name)


class _Adjusted(PairedSession):
    def _solve_pairs(self, p: Pairs) -> Estimate:
        n, pairs, folds = p.z.shape[1], len(p.z), 5
        if pairs < 3 * n:
            fit = regress(p)
            error = jackknife(p) if pairs < 2 * n else sandwich(p, fit)
            return self._estimate(p.base, p.full, fit.phi, error if np.all(np.isfinite(error)) else None, folds=0)
        plain = regress(p).phi
        fold, both = np.arange(pairs) % folds, np.concatenate([p.z, ~p.z])
        odd, own = p.odd.copy(), np.zeros((n, p.odd.shape[1]))
        for k in range(p.odd.shape[1]):
            rest, even = p.odd[:, k] - p.signs @ plain[:, k] / 2, p.even[:, k]
            y = np.concatenate([even + rest, even - rest])
            for c in range(folds):
                inside = np.tile(fold != c, 2)
                trees = fit_trees(
                    both, y, rounds=200, leaves=8, depth=5, rate=0.08, smallest=3, fitted=inside, patience=0
                )
                held = (trees.held[:pairs] - trees.held[pairs:]) / 2
                odd[fold == c, k] -= held[fold == c]
                own[:, k] += trees.shapley(n) / folds
        left = replace(p, odd=odd, full=p.full - own.sum(axis=0))
        fit = regress(left)
        error = np.sqrt(sandwich(left, fit) ** 2 + self._end_variance())
        return self._estimate(p.base, p.full, own + fit.phi, error, folds=folds)
