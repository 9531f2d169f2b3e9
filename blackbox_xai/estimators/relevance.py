"""Which players matter, learned from odd and even parts together: the product kernel with one strength a player."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .odd_process import Floats, Kernel

WIDTH = 3.0  # prior deviation of a player's log strength around the first estimate


@dataclass(frozen=True, slots=True, eq=False)
class Exponential(Kernel):
    """Odd part of prod_i exp(strength_i u_i u'_i), all odd orders at once; scaled to diagonal 1.

    In the basis of products a set's prior variance is the product of its players' tanh(strength): large
    strengths mean high orders.
    """

    strength: Floats

    def gram(self, u: Floats, other: Floats) -> Floats:
        top = float(self.strength.sum())
        rise, fall = _halves(u, other, self.strength)
        return np.asarray((rise - fall) / -np.expm1(-2 * top))

    def _read(self, u: Floats, nodes: Floats, mass: Floats) -> Floats:
        """sum over nodes x of mass_x rho_i u_i prod_(j not i) (1 + rho_j u_j x), (d, m), scaled to the kernel."""
        rho = np.tanh(self.strength)
        level = np.logaddexp(0, -2 * self.strength).sum() - len(rho) * np.log(2) + np.log(2)
        level -= np.log(-np.expm1(-2 * float(self.strength.sum())))
        rest = 1 - np.multiply.outer(nodes**2, rho**2)  # (nodes, d), (1 + rho u x)(1 - rho u x)
        product = np.exp(u @ np.arctanh(np.multiply.outer(nodes, rho)).T + 0.5 * np.log(rest).sum(axis=1) + level)
        product *= mass
        return np.asarray((u * (product @ (rho / rest)) - product @ (rho**2 * nodes[:, None] / rest)).T)

    def read(self, u: Floats) -> Floats:
        x, mass = np.polynomial.legendre.leggauss(2 * min(u.shape[1] // 2 + 1, 14))
        return 2 * self._read(u, x, mass / 2)  # 1/|T| is the integral of x**(|T| - 1); even sets cancel

    def prior(self, d: int) -> Floats:
        x, mass = np.polynomial.legendre.leggauss(40)
        x, mass = (x + 1) / 2, mass / 2  # 1/|T|**2 is the integral of -log(x) x**(|T| - 1)
        mass = -np.log(x) * mass / 2
        one = np.ones((1, d))
        return np.asarray(4 * self._read(one, np.append(x, -x), np.append(mass, mass))[:, 0])


def _halves(u: Floats, other: Floats, strength: Floats) -> tuple[Floats, Floats]:
    """exp(+-sum_i strength_i u_i u'_i - sum strength)."""
    at, top = (u * strength) @ other.T, float(strength.sum())
    return np.exp(at - top), np.exp(-at - top)


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """Strengths of the players (d,), and the two processes they belong to; see `odd_gram`, `even_gram`.

    Attributes: `linear`, `joint`, `even`: variances; `odd_noise`, `even_noise`: of a pair of weight 1 on average.
    """

    strength: Floats
    linear: float
    joint: float
    even: float
    odd_noise: float
    even_noise: float

    def grams(self, u: Floats, other: Floats) -> tuple[Floats, Floats]:
        """Gram matrices of the odd and of the even part between rows u and other."""
        rise, fall = _halves(u, other, self.strength)
        linear = (u * (self.strength / self.strength.sum())) @ other.T
        return self.linear * linear + self.joint * (rise - fall), self.even * (rise + fall) + 1.0


def learn(
    u: Floats, odd: Floats, even: Floats, noise: Floats, first: Floats, *, rows: int = 150, steps: int = 30
) -> Relevance:
    """Strengths and variances by marginal likelihood of the odd and the even part, the players' strengths shared.

    Parameters
    ----------
    u : float64 (m, d), the full coalition first.
    odd, even : float64 (m,). `even` is centred here.
    noise : float64 (m,). Relative variances, 0 for the first.
    first : float64 (d,). First estimate of the Shapley values: the prior's centre is |first|.
    rows, steps : rows used at most, iterations at most.

    Cost: O(steps rows**3). Source: automatic relevance determination, MacKay 1996. Differs: on both halves of
    complement pairs at once; they share the strengths only.
    """
    from scipy.linalg import lapack
    from scipy.optimize import minimize

    pick = np.arange(len(u)) if len(u) <= rows else np.unique(np.linspace(0, len(u) - 1, rows).astype(int))
    u, odd, noise = u[pick], odd[pick], noise[pick]
    even = even[pick] - even[pick].mean()
    m, d = u.shape
    sizes = [float(np.sqrt((y**2).mean())) for y in (odd, even)]
    shared = sizes[1] > 1e-9 * sizes[0] > 0
    odd, even = (y / (s or 1.0) for y, s in zip((odd, even), sizes))
    centre = np.abs(first) / max(float(np.abs(first).mean()), 1e-300) + 0.1
    centre = np.log(centre / centre.sum())
    place = np.arange(m)

    def half(c: Floats, y: Floats) -> tuple[float, Floats] | None:
        """Negative log evidence, overall scale profiled out, and its derivative in the matrix (overwritten)."""
        c[place, place] += 1e-8
        factor, bad = lapack.dpotrf(c, lower=True, overwrite_a=True)
        if bad:
            return None
        alpha, _ = lapack.dpotrs(factor, y, lower=True)
        value = 0.5 * m * np.log(max(float(y @ alpha), 1e-300)) + np.log(np.diag(factor)).sum()
        inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        return value, 0.5 * (inverse - (m / max(float(y @ alpha), 1e-300)) * np.outer(alpha, alpha))

    def loss(theta: Floats) -> tuple[float, Floats]:
        strength, (joint, linear, odd_noise, wide, even_noise) = np.exp(theta[:d]), np.exp(theta[d:])
        top, slope = strength.sum(), np.zeros(d + 5)
        at = (u * strength) @ u.T
        rise, fall = np.exp(at - top), np.exp(-at - top)
        c = linear / top * at + joint * (rise - fall)
        c[place, place] += odd_noise * noise
        got = half(c, odd)
        if got is None:
            return 1e10, slope
        value, by = got
        slope[d] = joint * np.vdot(by, rise - fall)
        slope[d + 1] = linear / top * np.vdot(by, at)
        slope[d + 2] = odd_noise * (np.diag(by) @ noise)
        inner = by * (linear / top + joint * (rise + fall))
        common = -slope[d + 1] / top - slope[d]
        if shared:
            c = wide * (rise + fall) + 1.0
            c[place, place] += even_noise * (noise + 1e-6)
            got = half(c, even)
            if got is None:
                return 1e10, slope
            value, by = value + got[0], got[1]
            slope[d + 3] = wide * np.vdot(by, rise + fall)
            slope[d + 4] = even_noise * (np.diag(by) @ (noise + 1e-6))
            inner += by * (wide * (rise - fall))
            common -= slope[d + 3]
        slope[:d] = (np.einsum("mi,mi->i", u, inner @ u) + common) * strength
        away = theta[:d] - centre
        level = away.mean()
        away = (away - level) / WIDTH
        slope[:d] += away / WIDTH + level / 4 / d
        return (value + 0.5 * float(away @ away) + level**2 / 8) / m, slope / m

    start = np.append(centre, [-1.0, 0.0, -3.0, 0.0, -3.0])
    bounds = [(-12, 3)] * d + [(-14, 8)] * 5
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}).x
    joint, linear, odd_noise, wide, even_noise = (float(v) for v in np.exp(found[d:]))
    return Relevance(np.exp(found[:d]), linear, joint, wide, odd_noise, even_noise)
