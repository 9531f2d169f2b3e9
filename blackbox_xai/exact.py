"""Exact answers for known games: brute force over all coalitions."""

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
