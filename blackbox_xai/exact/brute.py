"""Brute force over all 2**d coalitions, d <= 20, and closed forms.

A game is a table of float64 (2**d,) or (2**d, k), indexed by bit pattern: player i is bit i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Floats = NDArray[np.float64]


def _table(values: Floats, who: str) -> tuple[Floats, int]:
    """The game as (2**d, k), and d; checks the length."""
    values = np.asarray(values, np.float64)
    d = int(values.shape[0]).bit_length() - 1 if values.ndim in (1, 2) and len(values) else -1
    if d < 0 or values.shape[0] != 1 << d or d > 20:
        raise InvalidInput(f"exact.{who}: shape {values.shape} is not (2**d,) or (2**d, k) with d <= 20.")
    return values.reshape(1 << d, -1), d


def _like(out: Floats, values: Any) -> Floats:
    """(d, k) without the last axis where the game had none."""
    return out[..., 0] if np.ndim(values) == 1 else out


def _sizes(d: int) -> NDArray[np.int64]:
    return np.bitwise_count(np.arange(1 << d, dtype=np.uint32)).astype(np.int64)


def _holding(flat: Floats, d: int) -> Floats:
    """Sum over the coalitions that hold i, for every i; (d, k). Folds the table in halves: O(2**d) for all
    players.
    """
    out = np.empty((d, flat.shape[1]))
    for i in range(d - 1, -1, -1):
        half = flat.reshape(2, 1 << i, -1)
        out[i] = half[1].sum(axis=0)
        flat = half[0] + half[1]
    return out


def _holding_pairs(flat: Floats, d: int) -> Floats:
    """Sum over the coalitions that hold i and j; (d, d, k), the diagonal 0. Cost: O(2**d)."""
    out = np.zeros((d, d, flat.shape[1]))
    for i in range(d - 1, 0, -1):
        half = flat.reshape(2, 1 << i, -1)
        out[i, :i] = out[:i, i] = _holding(half[1], i)
        flat = half[0] + half[1]
    return out


def shapley(table: Floats) -> Floats:
    """Shapley values by brute force.

    Parameters
    ----------
    table : float64 (2**d,) or (2**d, k), d <= 20.

    Returns
    -------
    float64 (d,) or (d, k).

    Cost: O(2**d k) time and memory. Source: Shapley 1953; weights s!(d-1-s)!/d!. Differs: coalition S adds
    f(S)(w_(s-1) + w_s) to its members, and -f(S) w_s to everyone, so that one folding serves all players.
    """
    flat, d = _table(table, "shapley")
    if d == 0:
        return _like(np.zeros((0, flat.shape[1])), table)
    weight = np.array([1.0 / (d * math.comb(d - 1, s)) for s in range(d)])
    size = _sizes(d)
    joined, left = np.append(0.0, weight)[size][:, None], np.append(weight, 0.0)[size][:, None]
    centred = flat - flat[0]  # changes nothing but the rounding
    return _like(_holding(centred * (joined + left), d) - (centred * left).sum(axis=0), table)


def walsh(table: Floats) -> Floats:
    """Walsh coefficients b_T = 2**-d sum_z f(z) prod_(i in T) (-1)**z_i, shape of `table`; O(d 2**d)."""
    flat, d = _table(table, "walsh")
    out = flat.copy()
    for i in range(d):
        view = out.reshape(-1, 2, 1 << i, flat.shape[1])
        low = view[:, 0] + view[:, 1]
        view[:, 1] = view[:, 0] - view[:, 1]
        view[:, 0] = low
    return _like(out / (1 << d), table)


def moebius(table: Floats) -> Floats:
    """Moebius coefficients a_T, with f(z) = sum over T inside z of a_T; shape of `table`; O(d 2**d)."""
    flat, d = _table(table, "moebius")
    out = flat.copy()
    for i in range(d):
        view = out.reshape(-1, 2, 1 << i, flat.shape[1])
        view[:, 1] -= view[:, 0]
    return _like(out, table)


def shapley_from_walsh(coefficients: Floats) -> Floats:
    """phi_i = -2 sum over odd T that hold i of b_T / |T|; (d,) or (d, k)."""
    flat, d = _table(coefficients, "shapley_from_walsh")
    size = _sizes(d)[:, None]
    return _like(_holding(np.where(size % 2 == 1, -2 * flat / np.maximum(size, 1), 0.0), d), coefficients)


def shapley_from_moebius(coefficients: Floats) -> Floats:
    """phi_i = sum over T that hold i of a_T / |T|; (d,) or (d, k)."""
    flat, d = _table(coefficients, "shapley_from_moebius")
    return _like(_holding(flat / np.maximum(_sizes(d), 1)[:, None], d), coefficients)


def pairs(table: Floats) -> Floats:
    """Shapley interaction indices of all pairs, (d, d) or (d, d, k), symmetric, diagonal 0.

    I_ij = 4 sum over even T that hold i and j of b_T / (|T| - 1). Source: Grabisch & Roubens 1999. Cost: O(d
    2**d).
    """
    flat, d = _table(table, "pairs")
    size = _sizes(d)[:, None]
    even = np.where((size % 2 == 0) & (size > 0), 4 * walsh(flat) / np.maximum(size - 1, 1), 0.0)
    return _like(_holding_pairs(even, d), table)


def faithful_pairs(table: Floats) -> tuple[Floats, Floats]:
    """Faithful 2-additive values: singles (d,) or (d, k) and pairs (d, d) or (d, d, k).

    The best quadratic game under the Shapley kernel, exact at both ends; all together sum to f(full) -
    f(empty). Source: Tsai, Yeh, Ravikumar 2023, Faith-Shap, order 2, from Moebius coefficients.
    """
    flat, d = _table(table, "faithful_pairs")
    size = _sizes(d)
    a = moebius(flat)
    single = np.array([0.0, 1.0, 0.0, *(-2 / 3 * math.comb(s - 1, 2) / math.comb(s + 1, 3) for s in range(3, d + 1))])
    double = np.array([0.0, 0.0, 1.0, *(0.5 * math.comb(s - 1, 2) / math.comb(s + 1, 4) for s in range(3, d + 1))])
    one = _holding(a * single[: max(d, 2) + 1][size][:, None], d)
    two = _holding_pairs(a * double[: max(d, 2) + 1][size][:, None], d)
    return _like(one, table), _like(two, table)


def coins(table: Floats, keep: float = 0.5, *, effect: bool = True) -> Floats:
    """Mean effect of presence under independent coins: E[f | i present] - E[f | i absent].

    Parameters
    ----------
    table : float64 (2**d,) or (2**d, k).
    keep : float, 0 < keep < 1. Probability that a player is present; 1/2 gives Banzhaf values.
    effect : bool. False: E[f | i present] alone.

    Returns
    -------
    float64 (d,) or (d, k).
    """
    flat, d = _table(table, "coins")
    size = _sizes(d)
    law = flat * (keep**size * (1 - keep) ** (d - size))[:, None]
    present = _holding(law, d)
    out = present / keep
    if effect:
        out = out - (law.sum(axis=0) - present) / (1 - keep)
    return _like(out, table)


def sobol_total(table: Floats) -> Floats:
    """Total-order Sobol indices under fair coins, (d,) or (d, k); zeros for a constant game."""
    flat, d = _table(table, "sobol_total")
    variance = flat.var(axis=0)
    live = variance > 1e-24 * np.maximum(np.abs(flat).max(axis=0), 1e-300) ** 2
    out = np.empty((d, flat.shape[1]))
    for i in range(d):
        view = flat.reshape(1 << (d - 1 - i), 2, 1 << i, -1)
        out[i] = ((view[:, 1] - view[:, 0]) ** 2).mean(axis=(0, 1)) / 4
    return _like(np.where(live, out / np.where(live, variance, 1.0), 0.0), table)


def additive(effects: Floats) -> Floats:
    """Shapley values of f(z) = c + sum_i effects_i z_i: the effects."""
    return np.array(effects, np.float64)


def pairwise(effects: Floats, products: Floats) -> Floats:
    """Shapley values of f(z) = c + sum_i effects_i z_i + sum_(i<j) products_ij z_i z_j; (d,).

    products : float64 (d, d), symmetric; its diagonal is ignored.
    """
    q = np.array(products, np.float64)
    if q.ndim != 2 or q.shape[0] != q.shape[1] or not np.allclose(q, q.T):
        raise InvalidInput(f"exact.pairwise: products must be a symmetric (d, d) matrix, got shape {q.shape}.")
    np.fill_diagonal(q, 0.0)
    return np.asarray(np.asarray(effects, np.float64) + q.sum(axis=1) / 2)


def unanimity(d: int, sets: Sequence[Sequence[int]], coefficients: Floats) -> Floats:
    """Shapley values of f(z) = sum_t coefficients_t [all of sets_t present]; (d,)."""
    out = np.zeros(d)
    for members, value in zip(sets, coefficients, strict=True):
        if len(members):
            out[list(members)] += value / len(members)
    return out
