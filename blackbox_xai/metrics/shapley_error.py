"""Error and rank agreement against exact Shapley values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import exact
from ..budget import QueryBudget
from ..errors import InvalidInput
from ..game import Target
from ..players.base import Players
from .agreement import agreement
from .evaluation import Evaluation, scores_of

Floats = NDArray[np.float64]


def exact_shapley(
    model: Any,
    players: Players | None,
    *,
    target: Target = None,
    budget: int | QueryBudget | None = None,
) -> Floats:
    """Shapley values (d,) by valuing every coalition.

    Parameters
    ----------
    players : at most 16 players. With background rows use ``all_rows=True``.

    Raises
    ------
    InvalidInput : more than 16 players.

    Cost: 2**d coalitions.
    """
    parts = model.players if isinstance(model, Evaluation) else players
    d = 0 if parts is None else parts.n_players
    if d > 16:
        raise InvalidInput(f"exact_shapley: 2**{d} coalitions are too many; 16 players at most.")
    e = Evaluation.of(model, players, target, budget, (1 << d) * (parts.cost if parts is not None else 1))
    bits = np.arange(d)
    table = e.values(1 << d, lambda a, b: (np.arange(a, b)[:, None] >> bits & 1).astype(bool))
    return exact.shapley(table)


@dataclass(frozen=True, slots=True)
class ShapleyError:
    """How far estimates are from the truth.

    Attributes
    ----------
    mse, max_abs : float. relative : ||phi_hat - phi||^2 / ||phi||^2; NaN where the truth is 0.
    spearman, top_k : float. efficiency_gap : |sum phi_hat - sum phi|.
    """

    mse: float
    relative: float
    max_abs: float
    spearman: float
    top_k: float
    efficiency_gap: float


def shapley_error(attribution: Any, truth: Floats, *, k: int = 5) -> ShapleyError:
    """Compare with exact values, from `exact_shapley` or a closed form in `blackbox_xai.exact`.

    Cost: no query beyond the truth's.
    """
    phi = np.asarray(truth, np.float64).ravel()
    values = scores_of(attribution, len(phi))
    error = values - phi
    power = float(phi @ phi)
    pair = agreement(values, phi, k=k)
    return ShapleyError(
        float(np.mean(error**2)),
        float(error @ error) / power if power > 0 else float("nan"),
        float(np.abs(error).max()),
        pair.spearman,
        pair.top_k,
        float(abs(error.sum())),
    )
