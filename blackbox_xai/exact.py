"""Exact answers for known games: brute force over all coalitions, closed forms."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput

Floats = NDArray[np.float64]


def shapley(table: Floats) -> Floats:
    """Shapley values by brute force.

    Parameters
    ----------
    table : float64 (2**d,) or (2**d, k). The game, indexed by bit pattern (player i is bit i), d <= 20.

    Returns
    -------
    float64 (d,) or (d, k).

    Cost: O(d 2**d k). Source: Shapley 1953; weights s!(d-1-s)!/d!.
    """
    values = np.asarray(table, np.float64)
    d = int(values.shape[0]).bit_length() - 1
    if values.shape[0] != 1 << d or d > 20:
        raise InvalidInput(f"exact.shapley: {values.shape[0]} values are not 2**d with d <= 20.")
    sizes = np.bitwise_count(np.arange(1 << d, dtype=np.uint32)).astype(np.int64)
    weight = np.array([1.0 / (d * math.comb(d - 1, s)) for s in range(d)])
    flat = values.reshape(1 << d, -1)
    out = np.empty((d, flat.shape[1]))
    for i in range(d):
        view = flat.reshape(1 << (d - 1 - i), 2, 1 << i, -1)
        w = weight[sizes.reshape(1 << (d - 1 - i), 2, 1 << i)[:, 0]]
        out[i] = np.einsum("ab,abk->k", w, view[:, 1] - view[:, 0])
    return out.reshape((d, *values.shape[1:]))


def _table(values: Floats, who: str) -> tuple[Floats, int]:
    """The game as (2**d, k), and d; checks the length."""
    values = np.asarray(values, np.float64)
    d = int(values.shape[0]).bit_length() - 1
    if values.shape[0] != 1 << d or d > 20:
        raise InvalidInput(f"exact.{who}: {values.shape[0]} values are not 2**d with d <= 20.")
    return values.reshape(1 << d, -1), d


def coins(table: Floats, keep: float = 0.5, *, effect: bool = True) -> Floats:
    """Mean effect of presence under independent coins: E[f | i present] - E[f | i absent].

    Parameters
    ----------
    table : float64 (2**d,) or (2**d, k), indexed by bit pattern.
    keep : float, 0 < keep < 1. Probability that a player is present; 1/2 gives Banzhaf values.
    effect : bool. False: E[f | i present] alone.

    Returns
    -------
    float64 (d,) or (d, k).
    """
    flat, d = _table(table, "coins")
    size = np.bitwise_count(np.arange(1 << max(d - 1, 0), dtype=np.uint32)).astype(np.float64)
    weight = keep**size * (1 - keep) ** (d - 1 - size)  # of the other players' coalitions
    out = np.empty((d, flat.shape[1]))
    for i in range(d):
        view = flat.reshape(1 << (d - 1 - i), 2, 1 << i, -1)
        inside = view[:, 1] - view[:, 0] if effect else view[:, 1]
        out[i] = weight @ inside.reshape(len(weight), -1)
    return out.reshape((d, *np.shape(table)[1:]))


def sobol_total(table: Floats) -> Floats:
    """Total-order Sobol indices under fair coins, (d,) or (d, k); zeros for a constant game."""
    flat, d = _table(table, "sobol_total")
    variance = flat.var(axis=0)
    live = variance > 1e-24 * np.maximum(np.abs(flat).max(axis=0), 1e-300) ** 2
    out = np.empty((d, flat.shape[1]))
    for i in range(d):
        view = flat.reshape(1 << (d - 1 - i), 2, 1 << i, -1)
        out[i] = ((view[:, 1] - view[:, 0]) ** 2).mean(axis=(0, 1)) / 4
    out = np.where(live, out / np.where(live, variance, 1.0), 0.0)
    return out.reshape((d, *np.shape(table)[1:]))
