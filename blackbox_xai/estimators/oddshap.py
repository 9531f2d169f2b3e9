"""OddSHAP: weighted regression on players and the few odd interactions that boosted trees find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import InvalidInput
from .base import Estimate, Estimator, Floats, Problem, Session
from .boosting import fit_trees
from .odd_process import Terms
from .paired import PairedSession, Pairs, regress


@dataclass(frozen=True, slots=True)
class OddSHAP(Estimator):
    """Shapley values from a sparse odd regression.

    Attributes
    ----------
    rows_a_term : int, >= 2. Queries a term; budget/rows_a_term terms in all, every player always among
        them. Where that leaves no interaction the answer is the plain regression.

    Values sum to full - base. Standard errors: HC3, without the error of choosing the terms.
    Cost: 2 + 2P coalitions. Source: Fumagalli et al. 2026, OddSHAP. Differs: no player is ever dropped; the
    trees are smaller; orders up to seven.
    """

    rows_a_term: int = 10
    name: ClassVar[str] = "oddshap"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "sparse games at 20 queries a player and more"

    def _session(self, p: Problem) -> Session:
        if self.rows_a_term < 2:
            raise InvalidInput(f"oddshap: rows_a_term must be at least 2, got {self.rows_a_term}.")
        return _Sparse(p, self.rows_a_term, self.name)


class _Sparse(PairedSession):
    def __init__(self, problem: Problem, rows_a_term: int, name: str) -> None:
        super().__init__(problem, "leverage", name)
        self._rows = rows_a_term

    def _solve_pairs(self, p: Pairs) -> Estimate:
        n, parts = p.z.shape[1], []
        plain = regress(p).phi
        for k in range(p.odd.shape[1]):
            sets = np.concatenate([np.arange(n)[:, None], np.full((n, 6), -1)], axis=1)
            room = -(-(2 * len(p.z)) // self._rows) - n
            if room > 0 and n >= 3:
                rest = p.odd[:, k] - p.signs @ plain[:, k] / 2
                even = p.even[:, k] - p.even[:, k].mean()
                y = np.concatenate([even + rest, even - rest])
                trees = fit_trees(np.concatenate([p.z, ~p.z]), y, rounds=200, leaves=16, depth=7, rate=0.1, smallest=2)
                found, coefficient = trees.odd_terms(n)
                best = np.argsort(-np.abs(coefficient), kind="stable")[:room]
                sets = np.concatenate([sets, found[best]])
            parts.append(_regress_terms(p, k, sets))
        values, error = (np.stack(v, axis=1) for v in zip(*parts))
        shown = np.sqrt(error**2 + self._end_variance())
        return self._estimate(p.base, p.full, values, shown, pairs=len(p.z))


def _regress_terms(p: Pairs, k: int, sets: np.ndarray) -> tuple[Floats, Floats]:
    """Weighted least squares of the odd values on the sets' products, constrained at the full coalition."""
    terms = Terms(sets.astype(np.int64), np.ones(len(sets)))
    chi, read = terms.features(p.signs), 2 * terms.spread(p.z.shape[1], 1)
    half, count = float(p.total[k]) / 2, len(sets)
    share = chi.mean(
        axis=1, keepdims=True
    )  # coefficients sum to half the total: half/count each, and a rest summing to 0
    root = np.sqrt(p.weight)[:, None]
    rows, goal = root * (chi - share), root[:, 0] * (p.odd[:, k] - half * share[:, 0])
    left, s, right = np.linalg.svd(rows, full_matrices=False)
    keep = s > 1e-9 * max(float(s[0]), 1e-300)
    left, s, right = left[:, keep], s[keep], right[keep]
    rest = right.T @ ((left.T @ goal) / s)
    beta = rest - rest.mean() + half / count
    residual = (goal - left @ (left.T @ goal)) / np.maximum(1 - (left**2).sum(axis=1), 1e-3)
    operator = read @ ((right.T / s) @ left.T)
    return read @ beta, np.sqrt(operator**2 @ ((1 - p.included) * residual**2))
