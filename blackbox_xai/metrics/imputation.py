"""Noisy linear imputation: absent pixels become a weighted mean of their neighbours, plus a little noise."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Floats = NDArray[np.float64]
_NEIGHBOURS = tuple(
    (dy, dx, 1 / 12 if dy and dx else 1 / 6) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)
)


def noisy_linear(
    image: NDArray[Any],
    keep: NDArray[np.bool_],
    *,
    noise: float = 0.01,
    seed: int = 0,
    mean: Any = None,
    clip: tuple[float, float] | None = None,
) -> Floats:
    """Fill the unknown pixels of one image.

    Parameters
    ----------
    image : float (H, W, C). Work in 0..1, before any normalisation: `noise` is in these units.
    keep : bool (H, W). True = known.
    noise : float, >= 0. Standard deviation added to each filled value.
    seed : int. Of the noise; the draw also depends on how many pixels are unknown, not on which.
    mean : None (the image's own mean colour), or (C,). What everything becomes when nothing is known.
    clip : (low, high) or None. Applied to filled values.

    Returns
    -------
    float64 (H, W, C). Known pixels are returned as they are.

    Cost: no query. One sparse factorisation for all channels: at most .18 CPU s at 224 x 224 (98 % unknown).
    Source: Rong et al. 2022 (ROAD), weights 1/6 and 1/12. Differs: ordered by nested dissection of the grid, solved
    exactly. Without noise it is Quantus' noisy_linear_imputation.
    """
    filled = np.array(image, np.float64)
    keep = np.asarray(keep, bool)
    if filled.ndim != 3 or keep.shape != filled.shape[:2]:
        raise InvalidInput(f"noisy_linear: image {np.shape(image)} must be (H, W, C) and keep {keep.shape} (H, W).")
    if not noise >= 0:
        raise InvalidInput(f"noisy_linear: noise must be >= 0, got {noise}.")
    holes = int((~keep).sum())
    if holes == 0:
        return filled
    if holes == keep.size:
        values = np.broadcast_to(
            filled.mean(axis=(0, 1)) if mean is None else np.asarray(mean, np.float64), filled.shape
        )
        values = values.reshape(-1, filled.shape[2])
        unknown = np.arange(keep.size)
    else:
        unknown, values = _solve(filled, keep)
    if noise:
        draw = np.random.Generator(np.random.Philox(key=[seed & (1 << 64) - 1, holes]))
        values = values + noise * draw.standard_normal(values.shape)
    if clip is not None:
        values = np.clip(values, *clip)
    filled.reshape(-1, filled.shape[2])[unknown] = values
    return filled


def _solve(image: Floats, keep: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats]:
    """Flat positions of the unknown pixels and their values (n, C)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    height, width = keep.shape
    line = _dissection(height, width)
    unknown = line[~keep.ravel()[line]]
    n = len(unknown)
    number = np.full(keep.size, -1, np.int32)
    number[unknown] = np.arange(n, dtype=np.int32)
    y, x = np.divmod(unknown, width)
    flat = image.reshape(-1, image.shape[2])
    weight = np.zeros(n)
    right = np.zeros((n, image.shape[2]))
    rows, columns, entries = [], [], []
    for dy, dx, w in _NEIGHBOURS:
        inside = np.flatnonzero((y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width))
        other = unknown[inside] + dy * width + dx
        weight[inside] += w
        linked = number[other]
        known = linked < 0
        right[inside[known]] += w * flat[other[known]]
        rows.append(inside[~known])
        columns.append(linked[~known])
        entries.append(np.full(int((~known).sum()), -w))
    rows.append(np.arange(n))
    columns.append(np.arange(n, dtype=np.int32))
    entries.append(weight)
    matrix = coo_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n))
    factor = splu(matrix.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    values: Floats = factor.solve(right)
    return unknown, values


@lru_cache(maxsize=8)
def _dissection(height: int, width: int) -> NDArray[np.intp]:
    """Pixels of a grid in an order that keeps sparse factors small: halves first, separator last."""
    grid = np.arange(height * width).reshape(height, width)
    pieces: list[NDArray[np.intp]] = []

    def visit(block: NDArray[np.intp]) -> None:
        h, w = block.shape
        if h * w <= 9:
            pieces.append(block.ravel())
            return
        if h < w:
            block, h = block.T, w
        middle = h // 2
        visit(block[:middle])
        if h > middle + 1:
            visit(block[middle + 1 :])
        pieces.append(block[middle])

    visit(grid)
    return np.concatenate(pieces)
