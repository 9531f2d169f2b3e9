"""Hausdorff distance between metric curves: does a metric see that a map was changed?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Floats = NDArray[np.float64]
Scheme = Literal["constant", "random", "partial"]
Change = Literal["remove", "introduce"]


def hausdorff(first: Floats, second: Floats, *, points: int = 1000) -> float:
    """Hausdorff distance of two polylines (n, 2) and (m, 2), resampled to `points` points along their arcs.

    Cost: no query.
    """
    from scipy.spatial import cKDTree

    a, b = _resample(first, points), _resample(second, points)
    return float(max(cKDTree(b).query(a)[0].max(), cKDTree(a).query(b)[0].max()))


def least_distance(curves: Sequence[Floats]) -> float:
    """Smallest Hausdorff distance over all pairs, e.g. of {original, Remove, Introduce}.

    Near 0 for order-only metrics on maps of equal ranking: that is a fact about ranking. It grows with any
    sensitivity, useful or not, so it proves no metric better. Cost: no query.
    """
    pairs = [(i, j) for i in range(len(curves)) for j in range(i)]
    if not pairs:
        raise InvalidInput("least_distance: give two curves at least.")
    return min(hausdorff(curves[i], curves[j]) for i, j in pairs)


def modified(values: Floats, change: Change, scheme: Scheme, *, seed: int = 0) -> Floats:
    """A map in 0..1 with attribution removed or introduced.

    Parameters
    ----------
    values : map in 0..1, any shape.
    change : "remove" (clipped at 0 after it) or "introduce".
    scheme : "constant" (0.6 less or more), "random" (U(0, 0.6) less or more a player) or "partial" (ranks 60-80 % set
        to 0; ranks 0-40 % set to the 0.8 quantile).

    Cost: no query.
    """
    flat = np.asarray(values, np.float64).ravel().copy()
    if change not in ("remove", "introduce") or scheme not in ("constant", "random", "partial"):
        raise InvalidInput(f"modified: change {change!r}, scheme {scheme!r} are unknown.")
    n, sign = len(flat), -1.0 if change == "remove" else 1.0
    if scheme == "constant":
        flat += sign * 0.6
    elif scheme == "random":
        flat += sign * 0.6 * np.random.Generator(np.random.Philox(key=seed)).random(n)
    else:
        order = np.argsort(flat, kind="stable")
        if change == "remove":
            flat[order[int(0.6 * n) : int(0.8 * n)]] = 0.0
        else:
            flat[order[: int(0.4 * n)]] = np.quantile(flat, 0.8)
    return np.maximum(flat, 0.0).reshape(np.shape(values))


def _resample(curve: Floats, points: int) -> Floats:
    line = np.asarray(curve, np.float64)
    if line.ndim != 2 or line.shape[1] != 2 or len(line) < 1 or not np.isfinite(line).all():
        raise InvalidInput(f"hausdorff: a curve is (points, 2) finite numbers, got {line.shape}.")
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    if arc[-1] == 0:
        return line[:1]
    at = np.linspace(0, arc[-1], points)
    return np.stack([np.interp(at, arc, line[:, 0]), np.interp(at, arc, line[:, 1])], axis=1)
