"""Pair interactions from the same pairs: a Gaussian process on the even part of the game, read off exactly.

Shapley interaction indices depend on the even part e(z) = (f(z) + f(not z))/2 alone: I_ij = 4 sum over even
T that hold i and j of contribution_T / (|T| - 1), so the complement pairs bought for Shapley values hold
them at no extra query. So are faithful interactions of order 2 (Tsai, Yeh, Ravikumar 2023): a set adds
another share of its contribution to its pairs, see `pair_share`, and the singles are phi_i - sum_j E_ij / 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .odd_process import Floats, Kernel, Products, Terms, fit_process
from .paired import Pairs, regress

Interactions = bool | Literal["shapley", "faithful"]  # True: "shapley"


def pair_share(order: int, kind: Interactions) -> float:
    """Interaction of each pair inside T, |T| = `order`, in the game chi_T = prod_(i in T) u_i."""
    if kind != "faithful":
        return 4 / (order - 1)
    total = 0.0
    for s in range(2, order + 1):  # chi_T = sum over S inside T of 2**|S| (-1)**(|T| - |S|) [S present]
        own = 1.0 if s == 2 else 0.5 * math.comb(s - 1, 2) / math.comb(s + 1, 4)
        total += math.comb(order - 2, s - 2) * 2**s * (-1) ** (order - s) * own
    return total


@dataclass(frozen=True, slots=True, eq=False)
class EvenProducts(Products):
    """Products of two or four players, read as interactions of pairs i < j; see `Products`."""

    kind: Interactions = True

    def _pairs(self, v: Floats) -> Floats:
        """(m, pairs): v_i v_j times e_(order - 2) of the other players."""
        i, j = np.triu_indices(v.shape[1], 1)
        both = v[:, i] * v[:, j]
        if self.order == 4:
            first = v.sum(axis=1)[:, None] - v[:, i] - v[:, j]
            second = (v**2).sum(axis=1)[:, None] - v[:, i] ** 2 - v[:, j] ** 2
            both = both * (first**2 - second) / 2
        return np.asarray(both)

    def read(self, u: Floats) -> Floats:
        return np.asarray((pair_share(self.order, self.kind) / self._diagonal() * self._pairs(u * self.weight)).T)

    def prior(self, d: int) -> Floats:
        share = pair_share(self.order, self.kind)
        return np.asarray(share**2 / self._diagonal() * self._pairs(self.weight[None])[0])


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Terms):
    """The empty set: no interaction."""

    def read(self, u: Floats) -> Floats:
        return np.zeros((u.shape[1] * (u.shape[1] - 1) // 2, len(u)))

    def prior(self, d: int) -> Floats:
        return np.zeros(d * (d - 1) // 2)


def pair_interactions(p: Pairs, kind: Interactions = True) -> Floats:
    """Interactions of all pairs, (d, d, k), symmetric, diagonal 0: Shapley interaction indices or faithful ones.

    Consistent for games of even orders up to four; biased toward 0 where pairs are few.

    Cost: O(P**3 + P d**2) time and P d**2 / 2 numbers of memory an output.
    """
    n, outputs = p.z.shape[1], p.odd.shape[1]
    out = np.zeros((n, n, outputs))
    u = np.concatenate([np.ones((1, n)), p.signs])
    phi = regress(p).phi
    for k in range(outputs):
        y = np.append((p.base[k] + p.full[k]) / 2, p.even[:, k])
        y = y - p.even[:, k].mean()
        if np.abs(y).max() <= 1e-14 * max(abs(float(p.base[k])), abs(float(p.full[k])), float(np.abs(p.even).max())):
            continue
        weight = np.abs(phi[:, k])
        weight = weight / max(float(weight.mean()), 1e-300) + 0.1
        parts: list[Kernel] = [
            Constant(np.full((1, 5), -1), np.ones(1)),
            EvenProducts(np.ones(n), 2, kind),
            EvenProducts(weight / weight.mean(), 2, kind),
        ]
        if n >= 4:
            parts.append(EvenProducts(weight / weight.mean(), 4, kind))
        fit = fit_process(parts, u, y, p.weight, variance=False)
        i, j = np.triu_indices(n, 1)
        out[i, j, k] = out[j, i, k] = fit.phi
    return out
