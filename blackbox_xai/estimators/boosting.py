"""Boosted regression trees on coalitions, compiled: small, fast, and read exactly (Shapley values, Walsh
terms).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exact.trees import leaf_shares, read_leaves

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A sum of trees on coalitions; a split sends the rows where its player is absent to the left.

    Attributes
    ----------
    player : int32 (trees, nodes). -1 at a leaf or an unused node.
    left, right : int32 (trees, nodes). Children, as places within the tree.
    value : float64 (trees, nodes). What a leaf adds.
    constant : float.
    held : float64 (m,). Prediction of the training rows, with rows held out predicted but never fitted.
    rounds : int. Trees kept: the number with the least error on the rows held out, all where none were.
    """

    player: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Floats
    constant: float
    held: Floats
    rounds: int

    def predict(self, z: Bools) -> Floats:
        """Values of coalitions (m, d) -> (m,)."""
        out = np.full(len(z), self.constant)
        _predict()(np.ascontiguousarray(z, np.uint8), self.player, self.left, self.right, self.value, out)
        return out

    def shapley(self, d: int) -> Floats:
        """Exact Shapley values (d,) of the sum of trees."""
        trees, nodes = self.player.shape
        shift = (np.arange(trees) * nodes).astype(np.int32)[:, None]
        phi = np.zeros(d)
        never = np.zeros(trees * nodes, bool)
        read_leaves()(
            shift[:, 0], self.player.ravel(), (self.left + shift).ravel(), (self.right + shift).ravel(),
            self.value.ravel(), never, ~never, leaf_shares(nodes // 2 + 2), phi, np.zeros((0, 0)),
        )  # fmt: skip
        return phi

    def odd_terms(self, d: int, most: int = 7) -> tuple[NDArray[np.int64], Floats]:
        """Walsh coefficients of the odd orders 3..most: player sets (terms, 7), -1 where unused, and
        coefficients.

        The leaf that needs the players of P present and those of N absent adds value 2**-p (-1)**|T and P|
        to the coefficient of every set T of its players (with (-1)**z as the basis).
        """
        if d > 500:
            most = min(most, 5)  # a set is coded as one number below 2**63
        code, coefficient, count = np.zeros(4096, np.int64), np.zeros(4096), -1
        while count < 0:
            code, coefficient = np.zeros(4 * len(code), np.int64), np.zeros(4 * len(code))
            count = _terms()(self.player, self.left, self.right, self.value, d, most, code, coefficient)
        unique, where = np.unique(code[:count], return_inverse=True)
        total = np.bincount(where, coefficient[:count], minlength=len(unique))
        sets = np.full((len(unique), 7), -1, np.int64)
        rest = unique.copy()
        for place in range(7):
            sets[:, place] = rest % (d + 1) - 1
            rest //= d + 1
        return sets, np.asarray(total, np.float64)


def fit_trees(
    z: Bools, y: Floats, *, rounds: int, leaves: int, depth: int, rate: float, smallest: int,
    fitted: Bools | None = None, patience: int = 40,
) -> Trees:  # fmt: skip
    """Least-squares gradient boosting, leaf-wise, on binary columns.

    Parameters
    ----------
    z : bool (m, d).
    y : float64 (m,).
    rounds, leaves, depth : int. Trees, leaves a tree, splits on a path, each >= 1.
    rate : float. Shrinkage of each tree.
    smallest : int, rows a leaf must keep.
    fitted : bool (m,) or None. Rows to fit; the others are predicted, and choose the number of trees: the
        fit stops when their error has not fallen for `patience` trees.

    Cost: O(rounds m d log(leaves)). Source: Friedman 2001; Ke et al. 2017 (leaf-wise growth).
    """
    m = len(z)
    use = np.ones(m, bool) if fitted is None else fitted
    constant = float(y[use].mean())
    nodes = 2 * leaves - 1
    player = np.full((rounds, nodes), -1, np.int32)
    left, right, value = (
        np.zeros((rounds, nodes), np.int32),
        np.zeros((rounds, nodes), np.int32),
        np.zeros((rounds, nodes)),
    )
    prediction = np.full(m, constant)
    kept = _boost()(
        np.ascontiguousarray(z, np.uint8), np.asarray(y, np.float64), np.flatnonzero(use), np.flatnonzero(~use),
        leaves, depth, rate, smallest, patience, player, left, right, value, prediction,
    )  # fmt: skip
    kept = int(kept)
    return Trees(player[:kept], left[:kept], right[:kept], value[:kept], constant, prediction, kept)


@lru_cache(maxsize=1)
def _predict() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True, nogil=True)
    def predict(z, player, left, right, value, out):  # type: ignore[no-untyped-def]
        for r in range(z.shape[0]):
            for t in range(player.shape[0]):
                at = 0
                while player[t, at] >= 0:
                    at = right[t, at] if z[r, player[t, at]] else left[t, at]
                out[r] += value[t, at]

    return predict  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _split() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True, nogil=True)
    def split(count, here, total, n_rows, smallest):  # type: ignore[no-untyped-def]
        """Gain and player of one leaf's best split, from the sums over its rows where each player is
        present.
        """
        best, who = 1e-14 * total * total / max(n_rows, 1), -1
        for j in range(len(here)):
            c1 = count[j]
            c0 = n_rows - c1
            if c1 < smallest or c0 < smallest:
                continue
            s0 = total - here[j]
            gain = here[j] * here[j] / c1 + s0 * s0 / c0 - total * total / n_rows
            if gain > best:
                best, who = gain, j
        return best, who

    return split  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _sums() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True, nogil=True)
    def sums(z, residual, rows, count, here):  # type: ignore[no-untyped-def]
        """Rows and summed residual where each player is present; returns the sum over all rows."""
        total = 0.0
        count[:] = 0.0
        here[:] = 0.0
        for r in rows:
            g = residual[r]
            total += g
            for j in range(z.shape[1]):
                count[j] += z[r, j]
                here[j] += g * z[r, j]
        return total

    return sums  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _grow() -> Callable[..., Any]:
    import numba

    split, sums = _split(), _sums()

    @numba.njit(cache=True, nogil=True)
    def grow(z, residual, order, other, leaves, depth, rate, smallest, player, left, right, value, out):  # type: ignore[no-untyped-def]
        """One tree, best leaf first; adds it to `out` at its rows; returns its nodes."""
        nodes, d = 2 * leaves - 1, z.shape[1]
        first, last, level = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
        count, here, total = np.zeros((nodes, d)), np.zeros((nodes, d)), np.zeros(nodes)
        gain, who = np.zeros(nodes), np.full(nodes, -1)
        last[0] = len(order)
        total[0] = sums(z, residual, order, count[0], here[0])
        gain[0], who[0] = split(count[0], here[0], total[0], len(order), smallest)
        used = 1
        for _ in range(leaves - 1):
            pick, best = -1, 0.0
            for v in range(used):
                if player[v] < 0 and who[v] >= 0 and level[v] < depth and gain[v] > best:
                    pick, best = v, gain[v]
            if pick < 0:
                break
            low, high = first[pick], 0
            for p in range(first[pick], last[pick]):
                r = order[p]
                if z[r, who[pick]]:
                    other[high] = r
                    high += 1
                else:
                    order[low] = r
                    low += 1
            order[low : low + high] = other[:high]
            player[pick], left[pick], right[pick] = who[pick], used, used + 1
            first[used], last[used], first[used + 1], last[used + 1] = first[pick], low, low, last[pick]
            level[used], level[used + 1] = level[pick] + 1, level[pick] + 1
            small = used if low - first[pick] <= high else used + 1
            large = 2 * used + 1 - small
            total[small] = sums(z, residual, order[first[small] : last[small]], count[small], here[small])
            total[large] = total[pick] - total[small]
            for i in range(d):
                count[large, i] = count[pick, i] - count[small, i]
                here[large, i] = here[pick, i] - here[small, i]
            for v in (used, used + 1):
                if level[v] < depth:
                    gain[v], who[v] = split(count[v], here[v], total[v], last[v] - first[v], smallest)
            used += 2
        for v in range(used):
            if player[v] < 0:
                value[v] = rate * total[v] / (last[v] - first[v])
                for p in range(first[v], last[v]):
                    out[order[p]] += value[v]
        return used

    return grow  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _boost() -> Callable[..., Any]:
    import numba

    grow = _grow()

    @numba.njit(cache=True, nogil=True)
    def boost(z, y, rows, held, leaves, depth, rate, smallest, patience, player, left, right, value, out):  # type: ignore[no-untyped-def]
        """Trees one after another; returns how many to keep, with `out` their sum at all rows."""
        order, other = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        residual, start = np.zeros(len(y)), out.copy()
        best, keep = np.inf, player.shape[0]
        for t in range(player.shape[0]):
            residual[:] = y - out
            order[:] = rows
            used = grow(
                z, residual, order, other, leaves, depth, rate, smallest, player[t], left[t], right[t], value[t], out
            )
            if used == 1:
                keep = t + 1 if best == np.inf else keep
                break
            if len(held) == 0:
                continue
            error = 0.0
            for r in held:
                at = 0
                while player[t, at] >= 0:
                    at = right[t, at] if z[r, player[t, at]] else left[t, at]
                out[r] += value[t, at]
                error += (y[r] - out[r]) ** 2
            if patience <= 0:
                continue
            if error < best:
                best, keep = error, t + 1
            elif t + 1 - keep >= patience:
                break
        if len(held):
            out[:] = start
            for r in range(len(y)):
                for t in range(keep):
                    at = 0
                    while player[t, at] >= 0:
                        at = right[t, at] if z[r, player[t, at]] else left[t, at]
                    out[r] += value[t, at]
        return keep

    return boost  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _emit() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True, nogil=True)
    def emit(who, side, v, base, most, code, coefficient, n):  # type: ignore[no-untyped-def]
        """Terms of odd order 3..most of one leaf with sorted players; returns the new count, -1 when out of
        room.
        """
        if n + (1 << len(who)) > len(code):
            return -1
        for subset in range(7, 1 << len(who)):
            order, sign, number = 0, 0, 0
            for a in range(len(who) - 1, -1, -1):
                if subset >> a & 1:
                    order += 1
                    sign += side[a]
                    number = number * base + who[a] + 1
            if order % 2 == 1 and 3 <= order <= most:
                code[n], coefficient[n] = number, v if sign % 2 == 0 else -v
                n += 1
        return n

    return emit  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _terms() -> Callable[..., Any]:
    import numba

    emit = _emit()

    @numba.njit(cache=True, nogil=True)
    def terms(player, left, right, value, d, most, code, coefficient):  # type: ignore[no-untyped-def]
        """Terms of all leaves, with repeats; returns their number, -1 when out of room."""
        nodes = player.shape[1]
        todo = np.empty((nodes, 4), np.int64)
        who, side = np.empty(nodes, np.int64), np.empty(nodes, np.int64)
        n = 0
        for t in range(player.shape[0]):
            top = 1
            todo[0, 0], todo[0, 1], todo[0, 2], todo[0, 3] = 0, 0, -1, 0
            while top > 0:
                top -= 1
                node, depth = todo[top, 0], todo[top, 1]
                if todo[top, 2] >= 0:
                    who[depth], side[depth] = todo[top, 2], todo[top, 3]
                    depth += 1
                while player[t, node] >= 0:
                    todo[top, 0], todo[top, 1] = left[t, node], depth
                    todo[top, 2], todo[top, 3] = player[t, node], 0
                    top += 1
                    who[depth], side[depth] = player[t, node], 1
                    depth += 1
                    node = right[t, node]
                if value[t, node] == 0.0 or depth < 3:
                    continue
                place = np.argsort(who[:depth])
                v = value[t, node] / 2.0**depth
                n = emit(who[place], side[place], v, d + 1, most, code, coefficient, n)
                if n < 0:
                    return -1
        return n

    return terms  # type: ignore[no-any-return]
