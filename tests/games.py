"""Random games with closed-form answers, the truth of every method's tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blackbox_xai import exact


@dataclass(frozen=True)
class Unanimity:
    """f(z) = sum_t c_t [all of T_t present] + 0.3; a sum with a closed form for the Shapley values."""

    d: int
    sets: tuple[tuple[int, ...], ...]
    coefficients: np.ndarray

    def __call__(self, z):
        value = np.full(len(z), 0.3)
        for members, c in zip(self.sets, self.coefficients):
            value += c * z[:, list(members)].all(axis=1)
        return value

    @property
    def shapley(self):
        return exact.unanimity(self.d, self.sets, self.coefficients)


def unanimity(d, seed=0, terms=None, degree=4):
    rng = np.random.default_rng(seed)
    count = 3 * d if terms is None else terms
    sets = tuple(tuple(rng.choice(d, min(d, rng.integers(1, degree + 1)), replace=False)) for _ in range(count))
    return Unanimity(d, sets, rng.normal(size=count))


def saturating(d, seed=0):
    """A logistic of a linear score: smooth, all orders present."""
    weights = np.random.default_rng(seed).normal(size=d)
    return lambda z: 1 / (1 + np.exp(-3 * (z @ weights) / np.sqrt(d) + 0.5))


def table_of(f, d):
    return f(((np.arange(2**d)[:, None] >> np.arange(d)) & 1).astype(bool))
