"""GEFA: the gradient of the presence probabilities, integrated from empty to full, by querying alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ..errors import InvalidInput
from ..samplers.levels import LevelGrid
from ..samplers.sizes import IndependentSizes, Law, law_of_sizes
from . import gefa_grid
from .base import Estimate, Estimator, Floats, Problem, Session
from .kernel_shap import Regression


@dataclass(frozen=True, slots=True)
class GEFA(Estimator):
    """Shapley values of the proxy gradient, for players with independent masks.

    Attributes
    ----------
    form : "regression" solves the queries as a weighted regression (small error; bias of order 1/pairs);
        "mean" is the unbiased weighted mean of the size form, with the share of the total removed as a
        control variate.
    variant : "corrected", or "reference": the published estimator to the letter (grid of 11 levels, empty
        and full masks dropped, control variate subtracted and not added back). Its values do not sum to the
        total.
    law : wanted shares of the coalition sizes, as in `KernelSHAP`.

    Cost: 2 + 2P coalitions. Standard errors from the pairs.
    Source: Cai, Ardoin, Wunder 2025, "GEFA". Differs: complement pairs, exact size weights, add-back.
    """

    form: Literal["regression", "mean"] = "regression"
    variant: Literal["corrected", "reference"] = "corrected"
    law: Law = "balanced"
    name: ClassVar[str] = "gefa"
    estimates: ClassVar[str] = "Shapley values (integrated proxy gradient)"
    suits: ClassVar[str] = "any players; on a grid smooth masks (`form` and `law` are not used)"
    on_grid: ClassVar[bool] = True

    def _session(self, p: Problem) -> Session:
        law_of_sizes(2, self.law)
        if p.grid is not None and self.variant in ("corrected", "reference"):
            return gefa_grid.session(p, self.variant, self.name)
        if self.variant == "reference":
            return _Reference(p, LevelGrid(p.n_players, p.seed), name=self.name)
        if self.variant != "corrected":
            raise InvalidInput(f"gefa: variant {self.variant!r} is unknown; use corrected or reference.")
        if self.form == "mean":
            return _Mean(p, IndependentSizes(p.n_players, p.seed, self.law), name=self.name)
        if self.form != "regression":
            raise InvalidInput(f"gefa: form {self.form!r} is unknown; use regression or mean.")
        return Regression(p, self.law, self.name)


class _Mean(Session):
    """Size form: phi_i = D/n + E[(n z_i - k) / (q_k k (n - k)) f(z)], one term a pair."""

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, pairs = self.problem.n_players, self.told // 2
        assert isinstance(self.sampler, IndependentSizes)
        law = np.concatenate([[0.0], self.sampler.shares()])
        odd, total = (values[0::2] - values[1::2]) / 2, full - base
        first, second = np.zeros((2, n, len(full)))
        for at in range(0, pairs, 4096):
            z = self.sampler.draw(2 * at, 2 * min(4096, pairs - at)).dense()[0::2]
            size = z.sum(axis=1, dtype=np.int64)
            weight = (n * z - size[:, None]) / (law[size] * size * (n - size))[:, None]
            y = odd[at : at + len(z)] - total * (size / n - 0.5)[:, None]
            first += weight.T @ y
            second += (weight**2).T @ (y**2)
        mean = first / pairs
        error = _standard_error(mean, second, pairs)
        return self._estimate(base, full, total / n + mean, error, pairs=pairs)


class _Reference(Session):
    """The published estimator: weights z/a - (1 - z)/(1 - a) on values less beta (|z|/n - 1/2)."""

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, pairs = self.problem.n_players, self.told // 2
        masks = [self.sampler.draw(2 * at, 2 * min(4096, pairs - at)) for at in range(0, pairs, 4096)]
        share = np.concatenate([m.sizes() for m in masks]) / n - 0.5
        spread = ((share - share.mean()) ** 2).mean()
        beta = ((share - share.mean()) @ values) / len(share) / spread if spread > 0 else np.zeros(len(full))
        y = values - share[:, None] * beta
        first, second = np.zeros((2, n, len(full)))
        for m in masks:
            assert m.alpha is not None
            z, a, part = m.dense(), m.alpha[:, None], y[m.start : m.start + len(m)]
            weight = z / a - (~z) / (1 - a)
            # the complement at level 1 - a has the opposite weight: a pair is one term
            weight, half = weight[0::2], (part[0::2] - part[1::2]) / 2
            first += weight.T @ half
            second += (weight**2).T @ (half**2)
        mean = first / pairs
        return self._estimate(base, full, mean, _standard_error(mean, second, pairs), pairs=pairs)


def _standard_error(mean: Floats, second: Floats, count: int) -> Floats | None:
    """Of a mean of `count` independent terms, from the sum of their squares."""
    if count < 2:
        return None
    return np.asarray(np.sqrt(np.maximum(second / count - mean**2, 0) / (count - 1)))
