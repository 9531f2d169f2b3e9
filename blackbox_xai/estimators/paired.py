"""What the methods on complement pairs share: the pairs of a run, their weights, and the stable
regression.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..samplers.sizes import Law, Sizes, available_pairs
from .base import Estimate, Floats, Problem, Session


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Complement pairs drawn without replacement, with their values.

    Attributes
    ----------
    z : bool (P, d). The first member of each pair.
    size : int64 (P,), 1..d//2, players in `z` or in its complement, whichever is fewer.
    odd, even : float64 (P, k). Half the difference, and half the sum, of the pair's two values.
    weight : float64 (P,), largest 1. Shapley kernel weight over inclusion probability.
    included : float64 (P,), in (0, 1]. Share of the size's pairs that was told.
    base, full : float64 (k,). Values of the empty and of the full coalition.
    """

    z: NDArray[np.bool_]
    size: NDArray[np.int64]
    odd: Floats
    even: Floats
    weight: Floats
    included: Floats
    base: Floats
    full: Floats

    @property
    def total(self) -> Floats:
        """full - base, (k,)."""
        return np.asarray(self.full - self.base)

    @property
    def signs(self) -> Floats:
        """`z` as +1 and -1, (P, d)."""
        return np.where(self.z, 1.0, -1.0)


def weights_of(z: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Size, weight and included share of pairs drawn without replacement; see `Pairs`. z: bool (P, d)."""
    n = z.shape[1]
    size = z.sum(axis=1, dtype=np.int64)
    size = np.minimum(size, n - size)
    count = np.bincount(size, minlength=n // 2 + 1)
    weight = 1.0 / (size * (n - size) * count[size].astype(np.float64))
    weight[2 * size == n] *= 0.5
    included = count[size] / np.array([1, *available_pairs(n)], np.float64)[size]
    return size, weight / weight.max(), included


class PairedSession(Session):
    """A session whose sampler is `Sizes`; a method writes `_solve_pairs`."""

    def __init__(self, problem: Problem, law: Law, name: str) -> None:
        sampler = Sizes(max(problem.n_players, 2), problem.seed, law, cycle=bool(problem.noisy))
        super().__init__(problem, sampler, size=sampler.size, name=name)
        self._sizes = sampler

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        pairs = self.told // 2
        z = np.concatenate([
            self._sizes.draw(2 * at, 2 * min(4096, pairs - at)).dense()[0::2] for at in range(0, pairs, 4096)
        ])  # fmt: skip
        size, weight, included = weights_of(z)
        if self.problem.noisy:
            included = np.zeros(pairs)  # each value is a draw: enumerating a size does not end its noise
        odd, even = (values[0::2] - values[1::2]) / 2, (values[0::2] + values[1::2]) / 2
        return self._solve_pairs(Pairs(z, size, odd, even, weight, included, base, full))

    @abstractmethod
    def _solve_pairs(self, p: Pairs) -> Estimate: ...

    def _end_variance(self) -> Floats:
        """Variance of the estimated total share of one player, from the spread of the empty coalition's
        draws; (k,).
        """
        assert self._ends is not None
        draws = self._ends[:-1]
        if len(draws) < 2:
            return np.zeros(draws.shape[1])
        return np.asarray(draws.var(axis=0, ddof=1) / len(draws) / self.problem.n_players**2)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The projected regression of the odd values on the pairs.

    Attributes
    ----------
    phi : float64 (d, k). Shapley values of the fitted additive game; sum to the total.
    residual : float64 (P, k). Of each pair's odd value, unweighted.
    leverage : float64 (P, k).
    operator : float64 (k or 1, d, P). Change of phi with a pair's weighted residual.
    penalty : float64 (k,). Ridge penalty chosen, relative to the largest squared singular value.
    rank : int.
    """

    phi: Floats
    residual: Floats
    leverage: Floats
    operator: Floats
    penalty: Floats
    rank: int


def regress(p: Pairs) -> Fit:
    """Weighted least squares of the odd values on the pairs, on the space where the values sum to the total.

    The constraint is eliminated by projection: phi = D/n + delta with sum(delta) = 0, regressors z -
    size/n. Below 2n pairs, or for an ill-conditioned design, a ridge toward equal shares with the penalty
    of least leave-one-pair-out error; singular values below 1e-10 of the largest are dropped.

    Cost: O(P n min(P, n)). Source: Lundberg & Lee 2017; Covert & Lee 2021. Differs: projection, no large
    weights at the ends, one row a pair (the even part drops out exactly).
    """
    pairs, n = p.z.shape
    share = p.z.mean(axis=1, keepdims=True)
    root = np.sqrt(p.weight)[:, None]
    rows = root * (p.z - share)
    goal = root * (p.odd - p.total * (share - 0.5))
    q, r = np.linalg.qr(rows)
    left, s, right = np.linalg.svd(r, full_matrices=False)
    keep = s > 1e-10 * s[0] if s.size and s[0] > 0 else np.zeros(len(s), bool)
    u, s, v = q @ left[:, keep], s[keep], right[keep].T
    coef = u.T @ goal
    k = goal.shape[1]
    penalty = np.zeros(k)
    if s.size and (pairs < 2 * n or s[-1] < 1e-8 * s[0]):
        penalty = _best_penalty(u, s, coef, goal)
    shrink = s[:, None] ** 2 / (s[:, None] ** 2 + penalty * (s[0] ** 2 if s.size else 1.0))
    delta = v @ (shrink / s[:, None] * coef)
    delta -= delta.mean(axis=0)
    same = bool(np.all(penalty == penalty[0])) if k else True
    operator = np.stack([(v * (shrink[:, j] / s)) @ u.T for j in range(1 if same else k)])
    return Fit(
        p.total / n + delta,
        (goal - u @ (shrink * coef)) / root,
        (u**2) @ shrink,
        operator,
        penalty,
        int(keep.sum()),
    )


def _best_penalty(u: Floats, s: Floats, coef: Floats, goal: Floats) -> Floats:
    """Ridge penalty with the least leave-one-out error for each output, among 20 from 1e-12 to 1; (k,)."""
    grid = np.concatenate([[0.0], np.logspace(-12, 0, 20)]) if len(u) > len(s) else np.logspace(-12, 0, 20)
    error = np.empty((len(grid), goal.shape[1]))
    for g, penalty in enumerate(grid):
        shrink = s**2 / (s**2 + penalty * s[0] ** 2)
        lev = (u**2) @ shrink
        left = (goal - u @ (shrink[:, None] * coef)) / np.maximum(1 - lev, 1e-12)[:, None]
        error[g] = (left**2).sum(axis=0)
    return np.asarray(grid[error.argmin(axis=0)])


def sandwich(p: Pairs, fit: Fit) -> Floats:
    """Standard errors of `regress`: HC3 with the finite-population factor 1 - included, (d, k).

    Enumerated sizes carry no sampling noise. Source: MacKinnon & White 1985; simulated coverage in the tests.
    """
    free = 1 - p.included
    weighted = np.sqrt(p.weight)[:, None] * fit.residual / np.maximum(1 - fit.leverage, 1e-6)
    noise = free[:, None] * weighted**2
    if len(fit.operator) == 1:
        variance = fit.operator[0] ** 2 @ noise
    else:
        variance = np.stack([op**2 @ noise[:, j] for j, op in enumerate(fit.operator)], axis=1)
    return np.asarray(np.sqrt(variance))


def jackknife(p: Pairs, groups: int = 10) -> Floats:
    """Standard errors of `regress` by leaving out each of `groups` blocks of pairs in turn, (d, k)."""
    groups = min(groups, len(p.z))
    if groups < 2:
        return np.full((p.z.shape[1], p.odd.shape[1]), np.inf)
    block = np.arange(len(p.z)) % groups
    parts = []
    for g in range(groups):
        rest = block != g
        part = Pairs(
            p.z[rest],
            p.size[rest],
            p.odd[rest],
            p.even[rest],
            p.weight[rest],
            p.included[rest],
            p.base,
            p.full,
        )
        parts.append(regress(part).phi)
    spread = np.stack(parts)
    spread -= spread.mean(axis=0)
    return np.asarray(np.sqrt((groups - 1) / groups * (spread**2).sum(axis=0)))
