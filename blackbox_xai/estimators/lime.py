"""LIME: a weighted ridge regression of the values on the players' presence, near the full coalition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..samplers.levels import LevelCoins, RemovedWords
from .base import Estimate, Estimator, Floats, Problem, Session

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LIME(Estimator):
    """Coefficients of the local linear fit.

    Attributes
    ----------
    form : "image": coins of 1/2, cosine distance to the full coalition, width 0.25; "text": number of
        absent players uniform, 100 times the cosine distance, width 25 (the same weights, other masks);
        "tabular": coins of 1/2, Euclidean distance, width 0.75 sqrt(n).
    ridge : float, >= 0. Penalty on the coefficients (not the intercept), 1 in the published code; 0 gives
        least squares.

    All players stay in the fit (no selection), the full coalition is its first row. The exact answer is the
    infinite-sample fit, in which the penalty no longer counts. Standard errors: HC3,
    of the fit's scatter, not of the shrinkage by the ridge.
    Source: Ribeiro, Singh, Guestrin 2016 and its published code. Differs: exact solve in float64, no
    selection, the empty coalition is asked for but enters the fit of no form.
    """

    form: Literal["image", "text", "tabular"] = "image"
    ridge: float = 1.0
    name: ClassVar[str] = "lime"
    estimates: ClassVar[str] = "coefficients of a local linear fit"
    suits: ClassVar[str] = "superpixels, words, columns; for comparison"

    def minimum(self, p: Problem) -> int:
        """The endpoints and eight masks; all coalitions where these are fewer."""
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + 8))

    def weight(self, size: NDArray[np.int64], n: int) -> Floats:
        """Weight of a coalition by its size; (m,)."""
        if self.form == "tabular":
            squared = (n - size) / (0.75**2 * n)
        else:  # the empty coalition is at distance 1
            squared = (1 - np.sqrt(size / n)) ** 2 / 0.25**2
        return np.asarray(np.exp(-squared / 2))

    def exact(self, table: Floats) -> Floats:
        """The fit to all coalitions, each weighted by its probability and its nearness; (d, k)."""
        d = len(table).bit_length() - 1
        z = ((np.arange(len(table))[:, None] >> np.arange(d)) & 1).astype(bool)
        size = z.sum(axis=1)
        weight = self.weight(size, d)
        if self.form == "text":
            count = np.bincount(size, minlength=d + 1)
            weight = np.where(size < d, weight / (d * count[size]), 0.0)
        coefficient, _ = _ridge(z, table, weight, 0.0)
        return coefficient

    def _session(self, p: Problem) -> Session:
        if self.form not in ("image", "text", "tabular"):
            raise InvalidInput(f"lime: form {self.form!r} is unknown; use image, text or tabular.")
        if not self.ridge >= 0:
            raise InvalidInput(f"lime: ridge must be at least 0, got {self.ridge}.")
        return _Local(p, self)


class _Local(Session):
    def __init__(self, problem: Problem, method: LIME) -> None:
        n, seed = problem.n_players, problem.seed
        sampler = RemovedWords(n, seed) if method.form == "text" else LevelCoins(n, seed, 0.5)
        super().__init__(problem, sampler, name=method.name)
        self._method = method

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n = self.problem.n_players
        z = np.concatenate([np.ones((1, n), bool), self.sampler.draw(0, self.told).dense()])
        weight = self._method.weight(z.sum(axis=1), n)
        coefficient, error = _ridge(z, np.concatenate([full[None], values]), weight, self._method.ridge)
        return self._estimate(base, full, coefficient, error, masks=self.told)


def _ridge(z: Bools, y: Floats, weight: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Weighted ridge with a free intercept: coefficients (d, k) and their HC3 standard errors."""
    mean_z, mean_y = weight @ z / weight.sum(), weight @ y / weight.sum()
    root = np.sqrt(weight)[:, None]
    x, t = root * (z - mean_z), root * (y - mean_y)
    left, s, right = np.linalg.svd(x, full_matrices=False)
    keep = s > 1e-10 * max(float(s[0]), 1e-300)
    left, s, right = left[:, keep], s[keep], right[keep]
    shrink = s**2 / (s**2 + ridge)
    operator = (right.T * (shrink / s)) @ left.T
    coefficient = operator @ t
    leverage = (left**2) @ shrink + weight / weight.sum()
    residual = (t - x @ coefficient) / np.maximum(1 - leverage, 1e-3)[:, None]
    return coefficient, np.sqrt(operator**2 @ residual**2)
