"""Max-sensitivity: how much the explanation moves when the input is nudged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attribution import Attribution
from ..errors import InvalidInput
from .agreement import spearman

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Relative change of the explanation under small noise on the input.

    Attributes
    ----------
    maximum, mean : float. Of ||E(x + delta) - E(x)|| / ||E(x)|| over the draws; NaN where E(x) is 0 (`degenerate`).
    rank_stability : float. Mean Spearman correlation of E(x + delta) with E(x).
    floor : float or None. The maximum with no noise and fresh seeds: what sampling alone does.
    used, dropped : int. Draws used, and draws left out because the model's choice changed.
    """

    maximum: float
    mean: float
    rank_stability: float
    floor: float | None
    used: int
    dropped: int
    degenerate: bool


def max_sensitivity(
    explainer: Callable[[Any, int], Any],
    x: NDArray[Any],
    *,
    radius: float = 0.02,
    n: int = 5,
    clip: tuple[float, float] | None = None,
    choice: Callable[[NDArray[Any]], int] | None = None,
    floor: bool = True,
    seed: int = 0,
) -> Sensitivity:
    """Explain `n` nudged copies of an input.

    Parameters
    ----------
    explainer : (input, seed) -> Attribution or array. It must keep the explained class fixed. Noised inputs are
        explained with the same seed, hence the same masks, as `x` itself.
    x : float array. An image in 0..1, or a row.
    radius : float. delta is uniform in -radius..radius a cell; then `clip` to the valid range.
    choice : input -> the model's class; draws that change it are dropped and counted.
    floor : bool. Also explain `x` with `n` other seeds.

    Cost: ``(n + 1) * B`` rows for an explainer of budget B, ``n * B`` more with `floor`, n + 1 more with `choice`.
    Source: Yeh et al. 2019. Agrees with captum's sensitivity_max on the same draws.
    """
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise InvalidInput(f"max_sensitivity: the input must be float to be nudged by {radius}; it is {x.dtype}.")
    if n < 1 or not radius > 0:
        raise InvalidInput(f"max_sensitivity: n must be >= 1 and radius > 0, got {n}, {radius}.")
    clean = _values(explainer(x, seed))
    chosen = choice(x) if choice is not None else None
    moved: list[Floats] = []
    dropped = 0
    for j in range(n):
        noise = np.random.Generator(np.random.Philox(key=[seed, j])).uniform(-radius, radius, x.shape)
        nudged = (x + noise).astype(x.dtype)
        nudged = nudged if clip is None else np.clip(nudged, *clip)
        if choice is not None and choice(nudged) != chosen:
            dropped += 1
            continue
        moved.append(_values(explainer(nudged, seed)))
    norm = float(np.linalg.norm(clean))
    change = np.array([np.linalg.norm(m - clean) for m in moved]) / norm if norm > 0 and moved else np.array([np.nan])
    rest = None
    if floor and norm > 0:
        rest = max(float(np.linalg.norm(_values(explainer(x, seed + 1 + j)) - clean)) / norm for j in range(n))
    ranks = float(np.mean([spearman(m, clean) for m in moved])) if moved else float("nan")
    return Sensitivity(float(change.max()), float(change.mean()), ranks, rest, len(moved), dropped, not norm > 0)


def _values(result: Any) -> Floats:
    return np.asarray(result.values if isinstance(result, Attribution) else result, np.float64).ravel()
