"""Several estimates of the same Shapley values, combined by their errors on pairs left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .odd_process import Floats

_MOST = 4.0  # times the least squared error


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One estimate of one output.

    Attributes
    ----------
    name : str.
    phi, variance : float64 (d,).
    left_out : float64 (P,). Error of the odd value predicted for each pair, without that pair.
    """

    name: str
    phi: Floats
    variance: Floats
    left_out: Floats


def combine(found: list[Candidate], weight: Floats) -> tuple[Floats, Floats, dict[str, float]]:
    """Shapley values (d,), variances (d,) and the shares by name.

    The shares, >= 0 and of sum 1, have the least squared error on the pairs left out, weighted by `weight` (P,):
    that is what the error of Shapley values goes with. Candidates with more than four times the least error have none:
    what they could add is small, and where pairs are few they fit by chance. The variance adds the spread between all
    candidates, in the shares they would have had.
    """
    if len(found) == 1:
        return found[0].phi, found[0].variance, {found[0].name: 1.0}
    errors = np.stack([c.left_out for c in found], axis=1) * np.sqrt(weight / weight.sum())[:, None]
    square = errors.T @ errors
    square[np.diag_indices(len(found))] *= 1 + 2 / len(weight)
    size = np.diag(square)
    kept = np.flatnonzero(size <= _MOST * size.min())
    share, wide = np.zeros(len(found)), _shares(square)
    share[kept] = _shares(square[np.ix_(kept, kept)])
    phi = sum(s * c.phi for s, c in zip(share, found))
    variance = sum(s * c.variance + w * (c.phi - phi) ** 2 for s, w, c in zip(share, wide, found))
    return np.asarray(phi), np.asarray(variance), {c.name: float(s) for c, s in zip(found, share)}


def _shares(square: Floats) -> Floats:
    """Shares >= 0 of sum 1 with the least x' square x."""
    from scipy.optimize import nnls

    scale = np.sqrt(np.maximum(np.diag(square), 1e-300))
    best = float(scale.min())
    # shares times scale: least squares on errors relative to the best, the sum held by a heavy row
    root = np.linalg.cholesky(square / np.outer(scale, scale) + 1e-10 * np.eye(len(square))).T
    design = np.concatenate([root, 1e4 * best / scale[None]])
    share, _ = nnls(design, np.append(np.zeros(len(square)), 1e4))
    share = share * best / scale
    return np.asarray(share / share.sum())
