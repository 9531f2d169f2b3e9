"""Sparse odd regression: all players and as many screened interactions as pairs left out speak for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .boosting import fit_trees
from .odd_process import Floats, Terms
from .paired import Pairs
from .stacking import Candidate


def largest(share: Floats, most: int) -> NDArray[np.intp]:
    """Places of the `most` largest positive entries, falling; the first of equals first."""
    some = np.arange(len(share)) if len(share) <= most else np.flatnonzero(share >= -np.partition(-share, most)[most])
    some = some[share[some] > 0]
    return some[np.argsort(-share[some], kind="stable")][:most]


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
        order = largest(np.asarray(total, np.float64), int(0.4 * len(odd)))
        out.append(Terms(unique[order], np.asarray(total[order], np.float64)))
    return out


def fit_sparse(p: Pairs, first: Floats) -> Candidate:
    """Weighted least squares of one output's odd values on the players and the strongest interactions.

    Their ranking and their number (none, or 1/20 to 2/5 of the pairs) have the least leave-one-out error.
    The constraint at the full coalition is a row of weight 1e4. `first`: a first estimate (d,), for the trees.

    Cost: O(P F**2) for F columns, twice. Source: OddSHAP (Fumagalli et al. 2026). Differs: the number of
    terms is chosen, orders up to seven, no player is dropped.
    """
    n, pairs = p.z.shape[1], len(p.z)
    odd, even, half = p.odd[:, 0], p.even[:, 0] - p.even[:, 0].mean(), float(p.total[0]) / 2
    u = np.concatenate([np.ones((1, n)), p.signs])
    root = np.append(1e4, np.sqrt(p.weight / p.weight.mean()))
    y = np.append(half, odd) * root
    best: tuple[Terms, int, Floats, Floats, Floats] | None = None
    least = np.inf
    for terms in screened(p, odd, even, first):
        sizes = sorted({0, *(min(int(pairs * s), len(terms.sets)) for s in (0.05, 0.1, 0.2, 0.4))})
        sizes = [s for s in sizes if n + s < 0.8 * pairs]
        columns = np.concatenate([u, Terms(terms.sets[: sizes[-1]], terms.share[: sizes[-1]]).features(u)], axis=1)
        columns *= root[:, None]
        q, r = np.linalg.qr(columns)  # of all columns: its first ones serve the smaller designs
        diagonal = np.abs(np.diag(r))
        for size in sizes:
            count = n + size
            if diagonal[:count].min() > 1e-9 * diagonal[:count].max():
                basis, inverse = q[:, :count], None
            else:  # columns repeat
                left, s, right = np.linalg.svd(r[:, :count], full_matrices=False)
                keep = s > 1e-9 * s[0]
                basis, inverse = q @ left[:, keep], right[keep].T / s[keep]
            gap = (y - basis @ (basis.T @ y)) / np.maximum(1 - (basis**2).sum(axis=1), 1e-6)
            gap *= np.sqrt(1 + count / pairs)  # the terms have seen the pairs they are judged by
            error = float(p.weight @ (gap[1:] / root[1:]) ** 2)
            if error < 0.97 * least:
                if inverse is None:
                    inverse = np.linalg.inv(r[:count, :count])
                best, least = (terms, size, basis, inverse, gap), error
    if best is None:
        raise AssertionError("fewer pairs than players: the caller checks")
    terms, size, basis, inverse, gap = best
    read = 2 * np.concatenate([np.eye(n), Terms(terms.sets[:size], terms.share[:size]).spread(n, 1)], axis=1)
    back = read @ inverse
    phi = back @ (basis.T @ y)
    free = np.append(0.0, 1 - p.included)
    variance = (back @ basis.T) ** 2 @ (free * gap**2)
    return Candidate(f"sparse, {n + size} columns", phi + (2 * half - phi.sum()) / n, variance, gap[1:] / root[1:])
