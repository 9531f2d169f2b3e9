"""Fidelity correlations: do subsets with more attribution cause larger drops?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..errors import InvalidInput
from ..game import Target
from ..players.base import Players
from .evaluation import Evaluation, scores_of
from .pool import Pool, pool

Floats = NDArray[np.float64]


def fidelity(
    pool: Pool, attribution: Any, *, kind: Literal["spearman", "pearson"] = "spearman", size_free: bool = True
) -> float:
    """Correlation of the attribution removed with the drop caused.

    Parameters
    ----------
    pool : Pool. With ``cells=9, probability=0.2, n=200`` and Spearman it is muFidelity; with a fixed `size` and
        Pearson, faithfulness correlation.
    size_free : bool. Regress the number of players removed out of both sides first: with random sizes both grow with
        it, and the uniform map would correlate highly. No effect where all sizes are equal.

    Returns
    -------
    float in -1..1; 0.0 where one side does not vary (a constant map says nothing).

    Cost: no query beyond the pool's n + 2.
    Source: Bhatt et al. 2020 (faithfulness correlation); Fel et al. 2021 (muFidelity, as xplique). Differs from both:
    `size_free`; pass False for theirs.
    """
    if kind not in ("spearman", "pearson"):
        raise InvalidInput(f"fidelity: kind must be 'spearman' or 'pearson', got {kind!r}.")
    mass, drop = pool.mass(scores_of(attribution, len(pool.cell))), pool.drop
    if kind == "spearman":
        from scipy.stats import rankdata

        mass, drop = rankdata(mass), rankdata(drop)
    sizes = pool.mass(np.ones(len(pool.cell)))
    if size_free and np.ptp(sizes) > 0:
        basis = np.stack([np.ones(len(sizes)), sizes], axis=1)
        flat = np.ptp(mass) == 0
        mass = np.zeros(len(sizes)) if flat else _residual(mass, basis)
        drop = _residual(drop, basis)
    return correlation(mass, drop)


def r_squared(pool: Pool, attribution: Any) -> float:
    """1 - infidelity / var(drop): share of the drops' variance that the attribution predicts in the units of the
    score, at slope 1; may be negative. Cost: no query beyond the pool's."""
    mass = pool.mass(scores_of(attribution, len(pool.cell)))
    variance = float(np.var(pool.drop))
    return 1 - float(np.mean((mass - pool.drop) ** 2)) / variance if variance > 0 else float("nan")


def mu_fidelity(
    model: Any,
    players: Players | None,
    attribution: Any,
    *,
    n: int = 200,
    cells: int | None = None,
    probability: float = 0.2,
    target: Target = None,
    budget: int | QueryBudget | None = None,
    seed: int = 0,
) -> float:
    """muFidelity of one attribution. To compare several, make one `pool` and call `fidelity` on it: same cost for all.

    Cost: n + 2 coalitions.
    Source: see `fidelity`; with one subset size and Pearson's correlation that is Quantus' FaithfulnessCorrelation.
    """
    parts = model.players if isinstance(model, Evaluation) else players
    if cells is None and parts is not None and parts.grid is not None:
        cells = 9
    own = pool(model, players, n=n, cells=cells, probability=probability, target=target, budget=budget, seed=seed)
    return fidelity(own, attribution)


def sensitivity_n(
    model: Any,
    players: Players | None,
    attribution: Any,
    *,
    sizes: Sequence[int],
    n: int = 100,
    target: Target = None,
    budget: int | QueryBudget | None = None,
    seed: int = 0,
) -> Floats:
    """Pearson correlation for each subset size, (len(sizes),).

    Cost: ``n * len(sizes) + 2`` coalitions.
    Source: Ancona et al. 2018. Quantus' metric of that name correlates along the MoRF order: another quantity.
    """
    parts = model.players if isinstance(model, Evaluation) else players
    rows = (n * len(sizes) + 2) * (parts.cost if parts is not None else 1)
    e = Evaluation.of(model, players, target, budget, rows)
    return np.array([fidelity(pool(e, None, n=n, size=int(k), seed=seed), attribution, kind="pearson") for k in sizes])


def correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation; 0.0 where one side is constant to rounding."""
    x, y = a - a.mean(), b - b.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    tiny = 1e-12 * max(float(np.abs(a).max()), 1e-300) * max(float(np.abs(b).max()), 1e-300) * len(a)
    return float(x @ y / scale) if scale > tiny else 0.0


def _residual(values: Floats, basis: Floats) -> Floats:
    left: Floats = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    return left if np.abs(left).max() > 1e-12 * max(1.0, float(np.abs(values).max())) else np.zeros_like(left)
