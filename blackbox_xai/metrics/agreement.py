"""Agreement between two explanations of the same players. No query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attribution import Attribution
from ..errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Correlations (NaN where a map is constant) and overlaps of the top k by absolute value.

    Attributes
    ----------
    spearman (average ranks), kendall (tau-b), pearson, cosine : float.
    top_k : share of the top k in common. rank : share of the k places held by the same player.
    sign : share of the top k in common and of equal sign. signed_rank : same player, place and sign.
    """

    spearman: float
    kendall: float
    pearson: float
    cosine: float
    top_k: float
    rank: float
    sign: float
    signed_rank: float


def agreement(first: Any, second: Any, *, k: int = 5) -> Agreement:
    """Compare two maps of the same players.

    Print it beside the self-agreement of each method under another seed: within that, methods do not disagree.

    Cost: no query.
    """
    a, b = values_of(first), values_of(second)
    if a.shape != b.shape:
        raise InvalidInput(f"agreement: {a.size} and {b.size} players; compare maps of the same players.")
    if k < 1:
        raise InvalidInput(f"agreement: k must be >= 1, got {k}.")
    k = min(k, a.size)
    top_a, top_b = np.argsort(-np.abs(a), kind="stable")[:k], np.argsort(-np.abs(b), kind="stable")[:k]
    common = np.intersect1d(top_a, top_b)
    same = top_a == top_b
    return Agreement(
        spearman(a, b),
        kendall(a, b),
        pearson(a, b),
        cosine(a, b),
        len(common) / k,
        float(same.mean()),
        float((np.sign(a[common]) == np.sign(b[common])).sum() / k),
        float((same & (np.sign(a[top_a]) == np.sign(b[top_b]))).mean()),
    )


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation with average ranks for ties; NaN where a map is constant."""
    from scipy.stats import rankdata

    return pearson(rankdata(a), rankdata(b))


def kendall(a: Floats, b: Floats) -> float:
    """Kendall's tau-b; NaN where a map is constant."""
    from scipy.stats import kendalltau

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(kendalltau(a, b).statistic)


def pearson(a: Floats, b: Floats) -> float:
    """Linear correlation; NaN where a map is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    x, y = a - a.mean(), b - b.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def cosine(a: Floats, b: Floats) -> float:
    """Cosine; NaN where a map is zero."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / norm, -1, 1)) if norm > 0 else float("nan")


def values_of(x: Any) -> Floats:
    """One map as numbers (d,), checked."""
    values = np.asarray(x.values if isinstance(x, Attribution) else x, np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise InvalidInput("agreement: a map is empty or holds NaN or infinity.")
    return values
