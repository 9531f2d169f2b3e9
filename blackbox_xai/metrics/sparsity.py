"""Sparsity: on how few players an attribution rests. No query; compare at equal d, never optimise alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .agreement import values_of


@dataclass(frozen=True, slots=True)
class Sparsity:
    """All of the absolute values.

    Attributes
    ----------
    gini : float. 0 for equal values, 1 - 1/d for one player alone; NaN for an all-zero map (Quantus answers about 0).
    entropy : float in 0..log(d), of |A| / sum|A|.
    effective_size : int. Fewest players that hold 90 % of the mass.
    """

    gini: float
    entropy: float
    effective_size: int


def sparsity(attribution: Any) -> Sparsity:
    """Gini index, entropy and effective size.

    Cost: no query. Source: Chalasani et al. 2020 (Gini); Bhatt et al. 2020 (entropy). Agree with Quantus' Sparseness
    and Complexity. Its EffectiveComplexity counts values above a threshold, so it depends on the map's scale;
    `effective_size` does not.
    """
    a = np.sort(np.abs(values_of(attribution)))
    d, total = len(a), float(a.sum())
    if total == 0:
        return Sparsity(float("nan"), float("nan"), 0)
    gini = float(((2 * np.arange(1, d + 1) - d - 1) @ a) / (d * total))
    share = a[a > 0] / total
    size = int(np.searchsorted(np.cumsum(a[::-1]), 0.9 * total * (1 - 1e-12)) + 1)
    return Sparsity(gini, float(-(share * np.log(share)).sum()), min(size, d))
