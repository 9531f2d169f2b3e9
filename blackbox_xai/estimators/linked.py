"""Probabilities on the scale of log-odds: a process there, and the Shapley values of what it predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import exact
from ..samplers.sizes import Sizes
from .odd_process import Additive, Floats
from .paired import Pairs, regress, weights_of
from .relevance import Exponential, Relevance, learn

CLIP = 2e-9  # log-odds are cut to +-20
BRUTE, SAMPLED = 16, 8000  # players up to which the surrogate is valued everywhere; else pairs it is valued on


def is_probability(p: Pairs) -> bool:
    """Whether all values lie in 0..1 and their log-odds spread over more than 1: only then does the link matter."""
    values = np.concatenate([p.even + p.odd, p.even - p.odd, p.base[None], p.full[None]])
    return bool(values.min() >= -1e-9 and values.max() <= 1 + 1e-9 and np.ptp(_link(values)) > 1)


def fit_linked(p: Pairs) -> tuple[Floats, Floats]:
    """One output's Shapley values (d,) from a process on log-odds, mapped back to probabilities;
    and its errors (P,) at the odd values of pairs left out.

    The surrogate's values cost no query: its Shapley values are exact up to 16 players, a regression on 8000
    pairs above.

    Cost: O(P**3 + P 2**d), or O(P**3 + 8000 P).
    """
    n, m = p.z.shape[1], len(p.z) + 1
    low, high = (_link(v) for v in (p.even[:, 0] - p.odd[:, 0], p.even[:, 0] + p.odd[:, 0]))
    base, full = _link(p.base), _link(p.full)
    u = np.concatenate([np.ones((1, n)), p.signs])
    odd, even = np.append((full - base) / 2, (high - low) / 2), np.append((full + base) / 2, (high + low) / 2)
    centre = float(even.mean())
    noise = np.append(0.0, 1 / p.weight)
    noise /= noise[1:].mean()
    pairs = Pairs(p.z, p.size, odd[1:, None], even[1:, None], p.weight, p.included, base, full)
    r = learn(u, odd, even, noise, regress(pairs).phi[:, 0])
    grams = r.grams(u, u)
    alphas, left, fitted, inverses = [], [], [], []
    for c, y, level in zip(grams, (odd, even - centre), (r.odd_noise, r.even_noise)):
        extra = level * (noise + 1e-6) + 1e-8
        c[np.diag_indices(m)] += extra
        inverse = np.linalg.inv(c)
        alphas.append(inverse @ y)
        left.append(y - alphas[-1] / np.diag(inverse))
        fitted.append(y - extra * alphas[-1])
        inverses.append(inverse)
    held = _odd_value(left[0], left[1] + centre)[1:] - p.odd[:, 0]
    near = inverses[0] @ _odd_value(fitted[0], fitted[1] + centre)
    phi = _surrogate_shapley(r, u, alphas, centre, near)
    return phi + (float(p.total[0]) - phi.sum()) / n, held


def _link(value: Floats) -> Floats:
    value = np.clip(value, CLIP, 1 - CLIP)
    return np.log(value / (1 - value))


def _back(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -60, 60))))


def _odd_value(odd: Floats, even: Floats) -> Floats:
    """Odd part of the probability where the log-odds have these parts."""
    return (_back(even + odd) - _back(even - odd)) / 2


def _surrogate_shapley(r: Relevance, u: Floats, alphas: list[Floats], centre: float, near: Floats) -> Floats:
    """Shapley values (d,) of the surrogate.

    `near` (m,): coefficients of an odd process close to the surrogate itself, whose Shapley values are known: where
    not all coalitions can be valued, only what it leaves over is regressed on a sample.
    """
    n = u.shape[1]
    if n <= BRUTE:
        z: NDArray[np.bool_] = ((np.arange(1 << (n - 1))[:, None] >> np.arange(n)) & 1).astype(bool)
    else:
        z = np.concatenate([Sizes(n, 0, "leverage").draw(0, 2 * SAMPLED).dense()[0::2], np.ones((1, n), bool)])
    odd, even, known = np.empty((3, len(z)))
    for at in range(0, len(z), 2048):
        some = slice(at, at + 2048)
        parts = r.grams(np.where(z[some], 1.0, -1.0), u)
        odd[some], even[some], known[some] = parts[0] @ alphas[0], parts[1] @ alphas[1] + centre, parts[0] @ near
    high, low = _back(even + odd), _back(even - odd)
    if n <= BRUTE:
        return exact.shapley(np.concatenate([high, low[::-1]]))
    rest, even_value = ((high - low) / 2 - known)[:, None], ((high + low) / 2)[:, None]
    size, weight, included = weights_of(z[:-1])
    left = regress(Pairs(z[:-1], size, rest[:-1], even_value[:-1], weight, included, -rest[-1], rest[-1])).phi[:, 0]
    strength = r.strength
    joint = -r.joint * np.expm1(-2 * strength.sum())
    read = r.linear * Additive(strength / strength.sum()).read(u) + joint * Exponential(strength).read(u)
    return np.asarray(left + read @ near)
