"""Infidelity: how far the attribution is from predicting what removals do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .evaluation import scores_of
from .pool import Pool

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Infidelity:
    """Mean squared misprediction.

    Attributes
    ----------
    value : float. E[(I.A - df)^2] as published.
    scaled : float. With the best scale beta >= 0 on the attribution.
    normalised : float in 0..1. `scaled` over E[df^2]; 0 is perfect, 1 says nothing; NaN if no removal did anything.
    beta : float. The scale; 0 where the best would be negative (`clipped`) or where I.A is 0 throughout.
    clipped : bool.
    """

    value: float
    scaled: float
    normalised: float
    beta: float
    clipped: bool


def infidelity(
    pool: Pool, attribution: Any, *, units: Literal["output", "gradient"], difference: Any = None
) -> Infidelity:
    """From subsets valued already.

    Parameters
    ----------
    pool : Pool; made with ``probability=0.5`` it is the usual choice.
    attribution : Attribution, or d numbers.
    units : "output" if a value is a share of the score (Shapley, IG, LIME on players): I is then the 0/1 vector of
        removed players. "gradient" if it is score per unit of input: I is then x - baseline on the removed players.
    difference : (d,). x - baseline a player; needed for "gradient" alone.

    Cost: no query beyond the pool's n + 2.
    Source: Yeh et al. 2019. Agrees with captum's infidelity on the same perturbations. The scaled form is theirs too
    ("normalize"); clipping beta at 0 is ours, for else -A scores as well as A.
    """
    values = scores_of(attribution, len(pool.cell))
    if units not in ("output", "gradient"):
        raise InvalidInput(f"infidelity: units must be 'output' or 'gradient', got {units!r}.")
    if (units == "gradient") != (difference is not None):
        raise InvalidInput("infidelity: difference = x - baseline goes with units='gradient', and only with it.")
    if difference is not None:
        values = values * scores_of(difference, len(values))
    return infidelity_of(pool.mass(values), pool.drop)


def infidelity_of(predicted: Floats, drop: Floats) -> Infidelity:
    """From predictions I.A (n,) and drops df (n,)."""
    square = float(np.mean(predicted**2))
    best = float(np.mean(predicted * drop)) / square if square > 0 else 0.0
    beta = max(best, 0.0)
    scaled = float(np.mean((beta * predicted - drop) ** 2))
    power = float(np.mean(drop**2))
    value = float(np.mean((predicted - drop) ** 2))
    return Infidelity(value, scaled, scaled / power if power > 0 else float("nan"), beta, best < 0)
