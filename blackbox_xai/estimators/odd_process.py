"""A Gaussian process on the odd part of a game, whose Shapley values are read off exactly.

Only the odd part d(z) = (f(z) - f(not z))/2 bears on Shapley values. In the basis of products of u = 2z - 1
it has odd orders only; each kernel here is a sum over sets T of products chi_T(u) chi_T(u'), and a set's
contribution to d at the full coalition is shared equally by its players: phi_i = 2 sum over odd T that hold
i of contribution_T / |T|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Kernel:
    """Gram matrices between rows of +1 and -1, and the read-out of Shapley values; built for given player
    weights.
    """

    def gram(self, u: Floats, other: Floats) -> Floats:
        """(m, m')."""
        raise NotImplementedError

    def read(self, u: Floats) -> Floats:
        """(d, m): phi = read @ alpha for the process sum_m alpha_m k(., u_m)."""
        raise NotImplementedError

    def prior(self, d: int) -> Floats:
        """(d,): variance of phi under the prior."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Additive(Kernel):
    """sum_i c_i u_i u'_i."""

    share: Floats

    def gram(self, u: Floats, other: Floats) -> Floats:
        return np.asarray((u * self.share) @ other.T)

    def read(self, u: Floats) -> Floats:
        return np.asarray(2 * self.share[:, None] * u.T)

    def prior(self, d: int) -> Floats:
        return np.asarray(4 * self.share)


@dataclass(frozen=True, slots=True, eq=False)
class Products(Kernel):
    """All products of `order` (3 or 5) different players, each weighted by its players' weights; scaled to
    diagonal 1.
    """

    weight: Floats
    order: int

    def _symmetric(self, sums: list[Floats]) -> list[Floats]:
        """Elementary symmetric polynomials e_0.. from the power sums p_1.. by Newton's identities."""
        out = [np.ones_like(sums[0])]
        for k in range(1, len(sums) + 1):
            total = np.zeros_like(sums[0])
            for i in range(1, k + 1):
                term = out[k - i] * sums[i - 1]
                total += term if i % 2 else -term
            out.append(total / k)
        return out

    def _diagonal(self) -> float:
        powers = [np.atleast_1d((self.weight**k).sum()) for k in range(1, self.order + 1)]
        return max(float(self._symmetric(powers)[-1][0]), 1e-300)

    def gram(self, u: Floats, other: Floats) -> Floats:
        sums: list[Floats] = []
        for k in range(1, self.order + 1):
            if k % 2 == 0:
                sums.append(np.asarray((self.weight**k).sum()))
            elif k > 1 and np.all(self.weight == 1):
                sums.append(sums[0])
            elif other is u:  # a matrix times its own transpose costs half
                half = u * self.weight ** (k / 2)
                sums.append(half @ half.T)
            else:
                sums.append((u * self.weight**k) @ other.T)
        return np.asarray(self._symmetric(sums)[-1] / self._diagonal())

    def _without(self, v: Floats) -> Floats:
        """e_(order - 1) of the other players for each player; v (m, d) -> (m, d)."""
        sums = [(v**k).sum(axis=1) for k in range(1, self.order)]
        e = self._symmetric(sums)
        out = np.ones_like(v)
        for k in range(1, self.order):
            out = e[k][:, None] - v * out
        return out

    def read(self, u: Floats) -> Floats:
        v = u * self.weight
        return np.asarray((2 / (self.order * self._diagonal()) * v * self._without(v)).T)

    def prior(self, d: int) -> Floats:
        v = self.weight[None]
        return np.asarray(4 / (self.order**2 * self._diagonal()) * (v * self._without(v))[0])


@dataclass(frozen=True, slots=True, eq=False)
class Terms(Kernel):
    """Chosen sets of players: sum_T t_T chi_T chi'_T.

    Attributes: `sets` int (terms, width), -1 where unused; `share` (terms,), sums to 1.
    """

    sets: NDArray[np.int64]
    share: Floats

    def features(self, u: Floats) -> Floats:
        """chi_T(u), (m, terms)."""
        wide = np.concatenate([u, np.ones((len(u), 1))], axis=1)
        out = wide[:, self.sets[:, 0]].copy()
        for column in self.sets.T[1:]:
            out *= wide[:, column]
        return np.asarray(out)

    def gram(self, u: Floats, other: Floats) -> Floats:
        if other is u:
            half = self.features(u) * np.sqrt(self.share)
            return np.asarray(half @ half.T)
        return np.asarray((self.features(u) * self.share) @ self.features(other).T)

    def spread(self, d: int, power: int) -> Floats:
        """(d, terms): 1/|T|**power where the player is in T."""
        out = np.zeros((d + 1, len(self.sets)))
        size = (self.sets >= 0).sum(axis=1)
        for column in self.sets.T:
            out[column, np.arange(len(self.sets))] = 1.0 / size**power
        return out[:d]

    def read(self, u: Floats) -> Floats:
        return np.asarray(2 * self.spread(u.shape[1], 1) @ (self.features(u) * self.share).T)

    def prior(self, d: int) -> Floats:
        return np.asarray(4 * self.spread(d, 2) @ self.share)


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A fitted process.

    Attributes
    ----------
    phi : float64 (d,).
    variance : float64 (d,) or None. Posterior variance of phi.
    left_out : float64 (m - 1,) or None. Leave-one-out residuals of the pairs; None above 2700 rows.
    scales : float64 (kernels + 1,). Variances of the kernels, then of the noise, relative to mean square 1.
    evidence : float. Negative log marginal likelihood a row, less its constant.
    """

    phi: Floats
    variance: Floats | None
    left_out: Floats | None
    scales: Floats
    evidence: float


def merged(kernels: list[Kernel], scales: Floats) -> list[tuple[float, Kernel]]:
    """Kernels with their scales, without those that do not matter, all chosen sets in one."""
    out: list[tuple[float, Kernel]] = []
    sets, share = [], []
    for scale, k in zip(scales, kernels):
        if scale < 1e-6:
            continue
        if type(k) is Terms:
            sets.append(k.sets)
            share.append(scale * k.share)
        else:
            out.append((float(scale), k))
    if sets:
        unique, where = np.unique(np.concatenate(sets).astype(np.int64), axis=0, return_inverse=True)
        total = np.bincount(where.ravel(), np.concatenate(share), minlength=len(unique))
        out.append((1.0, Terms(unique, np.asarray(total, np.float64))))
    return out


def _evidence(theta: Floats, grams: Floats, noise: Floats, y: Floats) -> tuple[float, Floats]:
    """Negative log marginal likelihood with the overall scale profiled out, and its gradient in the log
    scales.
    """
    from scipy.linalg import lapack

    scale = np.exp(theta)
    m = len(y)
    c = np.tensordot(scale[:-1], grams, axes=1)
    c[np.diag_indices(m)] += scale[-1] * noise + 1e-8
    factor, bad = lapack.dpotrf(c, lower=True)
    if bad:
        return 1e10, np.zeros_like(theta)
    alpha, _ = lapack.dpotrs(factor, y, lower=True)
    inverse, _ = lapack.dpotri(factor, lower=True)
    fit = float(y @ alpha)
    value = 0.5 * m * np.log(max(fit, 1e-300)) + np.log(np.diag(factor)).sum()
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    d = 0.5 * (inverse - (m / fit) * np.outer(alpha, alpha))
    gradient = np.append(grams.reshape(len(grams), -1) @ d.ravel(), np.diag(d) @ noise) * scale
    return value / m, gradient / m


def fit_process(
    kernels: list[Kernel], u: Floats, y: Floats, weight: Floats, *, subset: int = 220, steps: int = 30,
    start: Floats | None = None, variance: bool = True,
) -> Process:  # fmt: skip
    """Scales by marginal likelihood, one solve, the read-out.

    Parameters
    ----------
    kernels : the prior's parts.
    u : float64 (m, d), +1 and -1; the first row all +1.
    y : float64 (m,). Odd part; the first is half the total.
    weight : float64 (m - 1,). Regression weights of the pairs; the noise of a pair is proportional to
        1/weight.
    subset : int. Rows, the first included, that choose the scales.

    Cost: O(steps kernels subset**3 + m**3).
    """
    from scipy.linalg import lapack, solve_triangular
    from scipy.optimize import minimize

    m = len(y)
    size = float(np.sqrt((y**2).mean()))
    if size == 0:
        zero = np.zeros_like(kernels[0].prior(u.shape[1]))
        return Process(zero, zero, np.zeros(m - 1), np.zeros(len(kernels) + 1), 0.0)
    y = y / size
    pair_noise = 1 / weight
    noise = np.concatenate([[0.0], pair_noise / pair_noise.mean()])
    pick = np.arange(m) if m <= subset else np.unique(np.linspace(0, m - 1, subset).astype(int))
    few = u[pick]
    grams = np.stack([k.gram(few, few) for k in kernels])
    first = np.append(np.full(len(kernels), -2.0), -1.0) if start is None else start
    found = minimize(
        _evidence, first, (grams, noise[pick], y[pick]), jac=True, method="L-BFGS-B", bounds=[(-14, 6)] * len(first),
        options={"maxiter": steps},
    )  # fmt: skip
    scale = np.exp(found.x)
    live = merged(kernels, scale)
    c = np.zeros((m, m))
    for s, k in live:
        part = k.gram(u, u)
        part *= s
        c += part
    c[np.diag_indices(m)] += scale[-1] * noise + np.where(np.arange(m) == 0, 1e-6, 1e-8)
    factor, _ = lapack.dpotrf(c, lower=True, overwrite_a=True)
    alpha, _ = lapack.dpotrs(factor, y, lower=True)
    read = sum((s * k.read(u) for s, k in live), np.zeros((1, m)))
    phi = np.broadcast_to(size * (read @ alpha), (kernels[0].prior(u.shape[1]).shape))
    spread = None
    if variance:
        prior = sum((s * k.prior(u.shape[1]) for s, k in live), np.zeros(phi.shape))
        known = solve_triangular(factor, read.T, lower=True, check_finite=False)
        spread = size**2 * float(y @ alpha) / m * np.maximum(prior - (known**2).sum(axis=0), 0)
    left_out = None
    if m <= 2700:
        inverse, _ = lapack.dpotri(factor, lower=True)
        left_out = size * (alpha / np.diag(inverse))[1:]
    return Process(phi, spread, left_out, scale, float(found.fun))
