"""GEFA: the gradient of the presence probabilities, integrated from empty to full, by querying alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..samplers.levels import LevelGrid
from ..samplers.sizes import IndependentSizes, Law, law_of_sizes
from . import gefa_grid
from .base import Estimate, Estimator, Floats, Problem, Session
from .boosting import fit_trees
from .kernel_shap import Regression
from .odd_gp import OddSession


@dataclass(frozen=True, slots=True)
class GEFA(Estimator):
    """Shapley values of the proxy gradient, for players with independent masks.

    Attributes
    ----------
    form : "learned" (default) solves the queries with all that can be learned from the answers as control
        variate, see `Auto`; "regression" by weighted regression alone, in milliseconds (both: small error,
        bias that vanishes with more pairs); "mean" is the unbiased weighted mean of the size form.
    control : what "mean" subtracts and adds back: "share", every player's equal share of the total; or
        "learned", an additive and a tree fit to the other folds of pairs, so that the mean stays unbiased.
    variant : "corrected", or "reference": the published estimator to the letter (grid of 11 levels, empty
        and full masks dropped, control variate subtracted and not added back). Its values do not sum to the
        total.
    law : wanted shares of the coalition sizes, as in `KernelSHAP`.

    Cost: 2 + 2P coalitions. Standard errors from the pairs.
    Source: Cai, Ardoin, Wunder 2025, "GEFA". Differs: complement pairs, exact size weights, add-back.
    """

    form: Literal["learned", "regression", "mean"] = "learned"
    control: Literal["share", "learned"] = "share"
    variant: Literal["corrected", "reference"] = "corrected"
    law: Law = "leverage"
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
            if self.control not in ("share", "learned"):
                raise InvalidInput(f"gefa: control {self.control!r} is unknown; use share or learned.")
            return _Mean(p, self.law, self.control == "learned")
        if self.form == "regression":
            return Regression(p, self.law, self.name)
        if self.form != "learned":
            raise InvalidInput(f"gefa: form {self.form!r} is unknown; use learned, regression or mean.")
        return OddSession(p, self.law, self.name, linked=True)


class _Mean(Session):
    """Size form: phi_i = D/n + E[(n z_i - k) / (q_k k (n - k)) f(z)], one term a pair."""

    def __init__(self, problem: Problem, law: Law, learned: bool) -> None:
        sampler = IndependentSizes(problem.n_players, problem.seed, law)
        super().__init__(problem, sampler, name="gefa")
        self._law, self._learned = np.concatenate([[0.0], sampler.shares()]), learned

    def _draws(self, first: int, count: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        z = self.sampler.draw(2 * first, 2 * count).dense()[0::2]
        return z, z.sum(axis=1, dtype=np.int64)

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, pairs = self.problem.n_players, self.told // 2
        odd, total = (values[0::2] - values[1::2]) / 2, full - base
        added = total / n
        if self._learned and pairs >= 4 * n:
            odd, added = self._controlled(odd, total)
        first, second = np.zeros((2, n, len(full)))
        for at in range(0, pairs, 4096):
            z, size = self._draws(at, min(4096, pairs - at))
            weight = (n * z - size[:, None]) / (self._law[size] * size * (n - size))[:, None]
            y = odd[at : at + len(z)]
            if not self._learned:
                y = y - total * (size / n - 0.5)[:, None]
            first += weight.T @ y
            second += (weight**2).T @ (y**2)
        mean = first / pairs
        error = _standard_error(mean, second, pairs)
        return self._estimate(base, full, added + mean, error, pairs=pairs)

    def _controlled(self, odd: Floats, total: Floats, folds: int = 5) -> tuple[Floats, Floats]:
        """The odd values less what fits to the other folds predict, and those fits' own Shapley values."""
        n, pairs = self.problem.n_players, len(odd)
        z, size = self._draws(0, pairs)
        u = np.where(z, 0.5, -0.5)
        root = 1 / np.sqrt(self._law[size] * size * (n - size))[:, None]
        fold, rest, added = np.arange(pairs) % folds, odd.copy(), np.zeros((n, odd.shape[1]))
        both = np.concatenate([z, ~z])
        for k in range(folds):
            inside, share = fold != k, np.mean(fold == k)
            design = (root * u)[inside]
            gram = design.T @ design + 1e-9 * len(design) * np.eye(n)
            slopes = np.linalg.solve(gram, design.T @ (root * odd)[inside])
            left = odd - u @ slopes
            for j in range(odd.shape[1]):
                y = np.concatenate([left[:, j], -left[:, j]])
                trees = fit_trees(
                    both, y, rounds=150, leaves=8, depth=4, rate=0.05, smallest=3,
                    fitted=np.concatenate([inside, inside]), patience=0,
                )  # fmt: skip
                held = (trees.held[:pairs] - trees.held[pairs:]) / 2
                slopes_j, phi = slopes[:, j], trees.shapley(n)
                rest[fold == k, j] -= (u[fold == k] @ slopes_j) + held[fold == k]
                own = slopes_j + phi
                added[:, j] += share * (own + (total[j] - own.sum()) / n)
        return rest, added


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
