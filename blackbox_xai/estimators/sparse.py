"""Sparse odd regression: all players and as many screened interactions as pairs left out speak for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .boosting import fit_trees
from .odd_process import Floats, Learned, Terms
from .paired import Pairs, regress


@dataclass(frozen=True, slots=True, eq=False)
class SparseFit:
    """One output's fit.

    Attributes
    ----------
    phi, variance : float64 (d,).
    left_out : float, >= 0. Weighted squared leave-one-out error of the pairs, widened by 1 + columns/pairs.
    columns : int. Players, interactions and learned functions in the design.
    """

    phi: Floats
    variance: Floats
    left_out: float
    columns: int


def screened(p: Pairs, odd: Floats, even: Floats, phi: Floats) -> list[Terms]:
    """Odd interactions of boosted trees, largest first, in two rankings.

    One from a fit to the values, which keeps the leaves of a game that is itself a sum of trees; one from
    fits to the values less the main effects and to the odd residuals, which spends its leaves on
    interactions alone.
    """
    n = p.z.shape[1]
    rest = odd - p.signs @ phi / 2
    both = np.concatenate([p.z, ~p.z])
    goals = [[np.concatenate([even + odd, even - odd])]]
    goals.append([np.concatenate([rest + even, even - rest]), np.concatenate([rest, -rest])])
    out = []
    for group in goals:
        sets, share = [], []
        for y in group:
            trees = fit_trees(both, y, rounds=250 if len(odd) > 600 else 120, leaves=20, depth=8, rate=0.1, smallest=2)
            found, coefficient = trees.odd_terms(n)
            sets.append(found)
            share.append(np.abs(coefficient))
        unique, where = np.unique(np.concatenate(sets).astype(np.int64), axis=0, return_inverse=True)
        total = np.bincount(where.ravel(), np.concatenate(share), minlength=len(unique))
        order = np.argsort(-total, kind="stable")
        order = order[total[order] > 0]
        out.append(Terms(unique[order], np.asarray(total[order], np.float64)))
    return out


def fit_sparse(p: Pairs, learned: Learned | None = None) -> SparseFit:
    """Weighted least squares of one output's odd values on the players and the strongest interactions.

    Their ranking, their number (none, or 1/20 to 2/5 of the pairs) and whether the learned function enters
    have the least leave-one-out error. The constraint at the full coalition is a row of weight 1e4.

    Cost: O(P F**2) for F columns, a few times. Source: OddSHAP (Fumagalli et al. 2026). Differs: the number
    of terms is chosen, orders up to seven, no player is dropped.
    """
    n, pairs = p.z.shape[1], len(p.z)
    odd, even, half = p.odd[:, 0], p.even[:, 0] - p.even[:, 0].mean(), float(p.total[0]) / 2
    rankings = screened(p, odd, even, regress(p).phi[:, 0])
    u = np.concatenate([np.ones((1, n)), p.signs])
    root = np.append(1e4, np.sqrt(p.weight / p.weight.mean()))
    y = np.append(half, odd)
    free = np.append(0.0, 1 - p.included)
    best: SparseFit | None = None
    for terms in rankings:
        sizes = sorted({0, *(min(int(pairs * s), len(terms.sets)) for s in (0.05, 0.1, 0.2, 0.4))})
        for known in [None] if learned is None else [None, learned]:
            for size in sizes:
                if n + size >= 0.8 * pairs:
                    continue
                part = Terms(terms.sets[:size], np.ones(size))
                columns, reads = [u], [2 * np.eye(n)]
                if size:
                    columns.append(part.features(u))
                    reads.append(2 * part.spread(n, 1))
                if known is not None:
                    columns.append(known.values[:, None])
                    reads.append(known.phi[:, None])
                design = np.concatenate(columns, axis=1) * root[:, None]
                fit = _solve(design, y * root, np.concatenate(reads, axis=1), p.weight, free, root)
                if best is None or fit.left_out < 0.97 * best.left_out:
                    best = fit
    if best is None:
        raise AssertionError("fewer pairs than players: the caller checks")
    return SparseFit(best.phi + (2 * half - best.phi.sum()) / n, best.variance, best.left_out, best.columns)


def _solve(design: Floats, y: Floats, read: Floats, weight: Floats, free: Floats, root: Floats) -> SparseFit:
    """Least squares by QR; singular value decomposition where columns repeat."""
    q, r = np.linalg.qr(design)
    size = np.abs(np.diag(r))
    if size.min() > 1e-9 * size.max():
        back = np.linalg.solve(r.T, read.T).T
    else:
        left, s, right = np.linalg.svd(r)
        keep = s > 1e-9 * s[0]
        q, back = q @ left[:, keep], (read @ right[keep].T) / s[keep]
    along = q.T @ y
    residual = (y - q @ along) / np.maximum(1 - (q**2).sum(axis=1), 1e-6)
    error = residual[1:] / root[1:]
    columns = design.shape[1]
    variance = (back @ q.T) ** 2 @ (free * residual**2)
    score = float(weight @ error**2) * (1 + columns / len(error))
    return SparseFit(back @ along, variance, score, columns)
