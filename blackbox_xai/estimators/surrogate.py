"""A smooth model of a game on a grid: what each coarse cell shows goes in, the value comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .base import Bools, Floats

CELLS = 28  # a side, at most
LENGTHS = (0.036, 0.0625, 0.107)  # prior widths, in shorter sides of the grid: 8, 14 and 24 px at 224
BETWEEN = LENGTHS[1:]  # those tried between rounds
NOISES = (0.03, 0.1, 0.3)  # shares of the prior variance
LINEAR = 10.0  # weight of a linear part, tried beside none
KEPT = 0.01  # smallest part of the prior kept, against the largest
SEARCHED, CENTRES = 300, 500  # pairs for choosing width and noise at the end; that carry the surrogate
STARTED = 120  # pairs whose mean gradient a path starts from
JITTER = 1e-8  # of the mean variance, added to the centres' covariance: equal ones make it singular
LEVELS = (np.arange(12) + 0.5) / 12


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Coarse cells over a grid of players (H, W): at most 28 x 28, as equal as can be.

    `contrast` (H*W,), where known, says how much each player changes the input: the prior variance of a cell's effect
    is proportional to the contrast in it and next to it, and a cell's players share its effect by `texture`.
    """

    grid: tuple[int, int]
    contrast: Floats | None = None
    _bases: dict[float, Floats] = field(default_factory=dict, repr=False)  # memory of a pure function

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along each side."""
        return min(self.grid[0], CELLS), min(self.grid[1], CELLS)

    def edges(self, axis: int) -> NDArray[np.intp]:
        """First player of each cell along an axis, and the end."""
        return np.linspace(0, self.grid[axis], self.shape[axis] + 1).astype(np.intp)

    def sizes(self) -> Floats:
        """Players in each cell, (c,)."""
        return np.outer(np.diff(self.edges(0)), np.diff(self.edges(1))).ravel().astype(np.float64)

    def coverage(self, dense: Bools) -> Floats:
        """Share of each cell that is present: bool (m, H*W) -> (m, c), 0..1."""
        z = dense.reshape(len(dense), *self.grid).view(np.uint8)
        rows = np.add.reduceat(z, self.edges(1)[:-1], axis=2, dtype=np.uint16)
        both = np.add.reduceat(rows, self.edges(0)[:-1], axis=1, dtype=np.uint32)
        return np.asarray(both.reshape(len(dense), -1) / self.sizes())

    def centres(self, axis: int) -> Floats:
        """Middle of each cell along an axis, in players."""
        edges = self.edges(axis)
        return (edges[:-1] + edges[1:] - 1) / 2

    def stretch(self, axis: int) -> Floats:
        """(side, cells): linear between the cells' centres, level beyond the outer ones."""
        at, centres = np.arange(self.grid[axis]), self.centres(axis)
        return np.stack([np.interp(at, centres, unit) for unit in np.eye(len(centres))], axis=1)

    def spread(self, cells: Floats) -> Floats:
        """(c,) or (c, k) to players: (H, W) or (H, W, k), flattened to (d,) or (d, k)."""
        table = cells.reshape(*self.shape, -1)
        wide = np.einsum("yi,ijk,xj->yxk", self.stretch(0), table, self.stretch(1), optimize=True)
        return np.asarray(wide.reshape(self.grid[0] * self.grid[1], *cells.shape[1:]))

    def widths(self, shares: tuple[float, ...]) -> tuple[float, ...]:
        """Prior widths in players, at least 1, from shares of the shorter side; equal ones once."""
        return tuple(dict.fromkeys(max(1.0, share * min(self.grid)) for share in shares))

    def nearby(self, cells: Floats) -> Floats:
        """Gaussian mean over the cells around each, of the middle prior width: (c,) or (c, k), same shape."""
        from scipy.ndimage import gaussian_filter

        (width,) = self.widths(LENGTHS[1:2])
        sigma = [width * count / side for side, count in zip(self.grid, self.shape)]
        table = gaussian_filter(cells.reshape(*self.shape, -1), [*sigma, 0], mode="nearest")
        return np.asarray(table.reshape(cells.shape))

    def weights(self) -> Floats:
        """Prior deviation of each cell's effect, (c,), root mean square 1."""
        if self.contrast is None or not self.contrast.any():
            return np.ones(int(np.prod(self.shape)))
        table = np.add.reduceat(self.contrast.reshape(self.grid), self.edges(0)[:-1], axis=0)
        table = np.add.reduceat(table, self.edges(1)[:-1], axis=1) / self.sizes().reshape(self.shape)
        for axis in (0, 1):  # an object's flat parts lie beside its edges: a cell's neighbours count half
            wide = np.pad(table, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            near = [np.take(wide, range(at, at + table.shape[axis]), axis=axis) for at in (0, 1, 2)]
            table = (near[0] + 2 * near[1] + near[2]) / 4
        return np.asarray(np.sqrt(table / table.mean()).ravel())

    def texture(self) -> Floats:
        """Share of each player in the effect around it, (H*W,), about 1: the root of its contrast, over that nearby."""
        if self.contrast is None or not self.contrast.any():
            return np.ones(self.grid[0] * self.grid[1])
        from scipy.ndimage import gaussian_filter

        root = np.sqrt(self.contrast + 4e-4 * self.contrast.max()).reshape(self.grid)
        near = gaussian_filter(root, [side / cells for side, cells in zip(self.grid, self.shape)])
        return np.asarray((root / (near + 0.1 * root.mean())).ravel())

    def basis(self, length: float) -> Floats:
        """(c, r): B with B B' the prior covariance of the cells' effects, less its parts below 1% of the largest.

        Gaussian in the distance, `length` in players, times the cells' weights.
        """
        if length in self._bases:
            return self._bases[length]
        parts = []
        for axis in (0, 1):
            at = self.centres(axis)
            parts.append(np.linalg.eigh(np.exp(-((at[:, None] - at) ** 2) / (2 * length**2))))
        power = np.multiply.outer(parts[0][0], parts[1][0])
        i, j = np.nonzero(power > KEPT * power.max())
        waves = parts[0][1][:, None, i] * parts[1][1][None, :, j]
        found = np.asarray(waves.reshape(-1, len(i)) * np.sqrt(power[i, j]) * self.weights()[:, None])
        self._bases[length] = found
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Surrogate:
    """A Gaussian process over coverage: k(x, x') = (1 + d) exp(-d) + 1 + l (B'(x - 1/2))'(B'(x' - 1/2)) / u.

    Matern 3/2, d = |B'(x - x')| sqrt(3 / u), and a linear part where it is of use: without it the gradient of a model
    that adds up would fade away from the rows.

    Rows are pairs of a mask and its complement, whose features B'(x - 1/2) are opposite. So their sum and difference
    over sqrt(2) are independent processes, the even and the odd part of the value, with half as many rows each. The
    mean gradient over a mask and its complement is that of the odd part.

    Attributes
    ----------
    mean, scale : of the values fitted; `scale` > 0.
    error : float. Leave-one-pair-out mean squared error, in squared `scale`.
    variance : float. Of the process, in squared `scale`: with it, errors left out have the size the process expects.
    length, noise, linear : the prior width in players; the noise, a share of `variance`; l, 0 or `LINEAR`.
    """

    mean: float
    scale: float
    error: float
    variance: float
    length: float
    noise: float
    linear: float
    width: float  # u
    basis: Floats  # B, (c, r)
    points: Floats  # (p, r): features of the centres, the first of each pair
    square: Floats  # (p,): their squared lengths
    even: Floats  # (p,): weights of k(x, point) + k(x, -point)
    odd: Floats  # (p,): of k(x, point) - k(x, -point)
    root: Floats  # (p, p): of the odd part, see `_Part`
    inner: Floats  # (p, p)

    def gradient(self, shown: Floats, hidden: float) -> Floats:
        """Change of the value with each cell's coverage, in `scale`: (m, c) -> (m, c).

        At coverage `shown`, plus `hidden` times that at its complement.
        """
        features, near, far = self._slopes(shown)
        first, second = self.even + self.odd, self.odd - self.even
        pull = (near + hidden * far) * first + (far + hidden * near) * second
        push = ((near - hidden * far) * first - (far - hidden * near) * second).sum(axis=1, keepdims=True)
        bent = (pull + (1 + hidden) * 2 * self.linear / self.width * self.odd) @ self.points - push * features
        return np.asarray(bent @ self.basis.T)

    def mean_gradient(self, shown: Floats) -> Floats:
        """Mean of the gradient over rows `shown` (m, c) and their complements, (c,)."""
        features, near, far = self._slopes(shown)
        pull = ((near + far).mean(axis=0) + 2 * self.linear / self.width) * self.odd
        bent = pull @ self.points - ((near - far) @ self.odd) @ features / len(features)
        return np.asarray(self.basis @ bent)

    def _slopes(self, shown: Floats) -> tuple[Floats, Floats, Floats]:
        """Features (m, r), and the kernel's slopes towards the centres and their complements, (m, p)."""
        features = _features(self.basis, shown)
        near, far = (_slope(d, self.width) for d in _reach(features, self.points, self.width, self.square))
        return features, near, far

    def deviation(self, shown: Floats, of: Floats) -> Floats:
        """Posterior standard deviation of the mean gradient over rows `shown` (m, c) and their complements, in `scale`.

        `of` (k, r) is the basis of the sums of cells asked for: (k,).
        """
        features, near, far = self._slopes(shown)
        linear, count = self.linear / self.width, len(features)
        pull = ((near + far).mean(axis=0) / 2 + linear)[:, None] * self.points - (near - far).T @ features / (2 * count)
        cross = np.sqrt(2) * pull @ of.T  # (p, k): covariance of the odd part at the centres with the mean gradient
        near, far = _reach(features, features, self.width)
        reach = np.block([[near, far], [far, near]])
        slope = _slope(reach, self.width)
        bend = slope * (3 / self.width) / np.where(reach > 0, reach, np.inf)  # 4 k''(|x - x'|^2)
        smooth = np.concatenate([features, -features]) @ of.T
        quad = (bend.sum(axis=1) @ smooth**2 - np.einsum("mc,mc->c", smooth, bend @ smooth)) / (2 * count**2)
        prior = (slope.mean() + linear) * (of**2).sum(axis=1) - quad
        told = _forward(self.root, cross)
        known = (told**2).sum(axis=0) - self.noise * (_forward(self.inner, told) ** 2).sum(axis=0)
        return np.asarray(np.sqrt(np.maximum(prior - known, 0) * self.variance))


def _features(basis: Floats, coverage: Floats) -> Floats:
    return np.asarray((coverage - 0.5) @ basis)


def _square(a: Floats) -> Floats:
    """Squared length of each row."""
    return np.asarray((a**2).sum(axis=1))


def _apart(a: Floats, b: Floats, square: Floats | None = None) -> tuple[Floats, Floats]:
    """Squared distances of every row of `a` to every row of `b`, and to its negative; `square` is that of `b`."""
    both, ends = (2 * a) @ b.T, _square(a)[:, None] + (_square(b) if square is None else square)
    return np.maximum(ends - both, 0), np.maximum(ends + both, 0)


def _reach(a: Floats, b: Floats, width: float, square: Floats | None = None) -> tuple[Floats, Floats]:
    """The kernel's d, likewise."""
    near, far = _apart(a, b, square)
    return np.sqrt((3 / width) * near), np.sqrt((3 / width) * far)


def _slope(reach: Floats, width: float) -> Floats:
    """-2 dk / d|x - x'|^2: the kernel's gradient is this times x' - x."""
    return np.asarray((3 / width) * np.exp(-reach))


def _kernels(a: Floats, b: Floats, width: float, linear: float = 0.0) -> tuple[Floats, Floats]:
    """Covariances of the even and of the odd parts."""
    near, far = ((1 + d) * np.exp(-d) for d in _reach(a, b, width))
    odd = near - far
    return near + far + 2, odd + (2 * linear / width) * (a @ b.T) if linear else odd


def fit(
    cells: Cells, shown: Floats, values: Floats, lengths: tuple[float, ...], searched: int = SEARCHED
) -> list[Surrogate]:
    """One surrogate a column.

    Parameters
    ----------
    shown : (m, c). Coverage of the first row of each pair; the other is its complement.
    values : (2m, q). Rows 2p and 2p + 1 are pair p: it is left out together.
    lengths : prior widths to choose from, in players.

    Width, noise and linear part have the smallest leave-one-pair-out error on at most `searched` pairs; above 500 pairs
    the process is carried by 500 of them, spread evenly.

    Cost: O(m * 500^2) at most, for each choice that is best for a column.
    """
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 1e-12 * np.abs(values).max(axis=0, initial=1e-300), scale, 0.0)
    table = (values - mean) / np.where(scale > 0, scale, 1.0) * (scale > 0)
    even, odd = (table[0::2] + table[1::2]) / np.sqrt(2), (table[0::2] - table[1::2]) / np.sqrt(2)
    few, centres = _evenly(len(shown), searched), _evenly(len(shown), CENTRES)
    best = [_Choice()] * values.shape[1]
    kept: dict[float, tuple[Floats, float]] = {}
    for length in lengths:
        features = _features(cells.basis(length), shown)
        some = features[few]
        width = max(float(np.median(_apart(some, some))), 1e-12)
        kept[length] = features, width
        kernels, line = _kernels(some, some, width), some @ some.T * (2 / width)
        for noise in NOISES:
            first = _left_out(kernels[0], even[few], noise)
            for linear in (0.0, LINEAR):
                second = _left_out(kernels[1] + linear * line, odd[few], noise)
                sums = zip(best, *(first + second))
                best = [min(b, _Choice(float(e), float(v), length, noise, linear)) for b, e, v in sums]
    made = {}
    for law in {b[2:] for b in best}:
        features, width = kept[law[0]]
        points = features[centres]
        made[law] = width, points, _fitted(features, (even, odd), points, width, *law[1:])
    found = []
    for q, b in enumerate(best):
        width, points, parts = made[b[2:]]
        found.append(
            Surrogate(
                mean=float(mean[q]),
                scale=float(scale[q]) or 1.0,
                **b._asdict(),
                width=width,
                basis=cells.basis(b.length),
                points=points,
                square=_square(points),
                even=parts[0].weights[:, q] / np.sqrt(2),
                odd=parts[1].weights[:, q] / np.sqrt(2),
                root=parts[1].root,
                inner=parts[1].inner,
            )
        )
    return found


class _Choice(NamedTuple):
    error: float = np.inf
    variance: float = 0.0
    length: float = 0.0
    noise: float = 0.0
    linear: float = 0.0


class _Part(NamedTuple):
    weights: Floats  # (p, q)
    root: Floats  # L, (p, p): L L' is the centres' covariance
    inner: Floats  # M, (p, p): M M' = noise I + V V' with V = L^-1 k(centres, rows)


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    """At most `most` of `count` places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _left_out(kernel: Floats, table: Floats, noise: float) -> Floats:
    """Each row left out in turn: half the mean squared error, and half that in units of its variance, (2, q)."""
    from scipy.linalg.lapack import dtrtri

    matrix = kernel + noise * np.eye(len(kernel))
    root, _ = dtrtri(np.linalg.cholesky(matrix), lower=1)  # root' root is the inverse
    pull = root.T @ (root @ table)
    errors = pull / (root**2).sum(axis=0)[:, None]
    return np.stack([(errors**2).mean(axis=0), (errors * pull).mean(axis=0)]) / 2


def _fitted(
    features: Floats, tables: tuple[Floats, Floats], points: Floats, width: float, noise: float, linear: float
) -> list[_Part]:
    """The even and the odd part, carried by the centres `points`; all rows count."""
    covariance = _kernels(points, points, width, linear)
    jitter = [JITTER * np.trace(k) / len(k) * np.eye(len(k)) for k in covariance]
    roots = [np.asarray(np.linalg.cholesky(k + j), np.float64) for k, j in zip(covariance, jitter)]
    squares = [noise * np.eye(len(points)) for _ in roots]
    rights = [np.zeros((len(points), t.shape[1])) for t in tables]
    for at in range(0, len(features), 512):
        for i, kernel in enumerate(_kernels(points, features[at : at + 512], width, linear)):
            white = _forward(roots[i], kernel)
            squares[i] += white @ white.T
            rights[i] += white @ tables[i][at : at + 512]
    parts = []
    for root, square, right in zip(roots, squares, rights):
        inner = np.asarray(np.linalg.cholesky(square), np.float64)
        parts.append(_Part(_backward(root, _backward(inner, _forward(inner, right))), root, inner))
    return parts


def _forward(root: Floats, table: Floats) -> Floats:
    """L^-1 of a table, L lower triangular."""
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(root, table, lower=True, check_finite=False))


def _backward(root: Floats, table: Floats) -> Floats:
    """L'^-1 of a table."""
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(root, table, lower=True, trans="T", check_finite=False))


def unit(field: Floats) -> Floats:
    """Divided by its spread; a constant field stays 0 where it is 0."""
    spread = float(field.std())
    return field / spread if spread > 0 else field


def in_order(field: Floats) -> NDArray[np.intp]:
    """Places from the least to the largest, equal ones in order."""
    order = np.argsort(field)  # several times as fast as the stable kind
    found = field[order]
    return order if (found[1:] > found[:-1]).all() else np.argsort(field, kind="stable")


def normal_scores(field: Floats) -> Floats:
    """The ranking alone: the places of the players, spread as a standard normal; equal ones in order."""
    from scipy.special import ndtri

    scores = np.empty(len(field))
    scores[in_order(field)] = ndtri((np.arange(len(field)) + 0.5) / len(field))
    return scores


def own_path(models: list[Surrogate], shown: Floats, steps: int = 5) -> tuple[Floats, Floats]:
    """The field whose own ranking it explains: mean gradient along the prefixes of the ranking, and their complements.

    Parameters
    ----------
    models : surrogates of one target (its value, and its log-odds where it is a probability).
    shown : (m, c). The field starts from the mean gradient at 120 of them, evenly spread, and at the complements.

    Returns
    -------
    field (c,) : sum over models of the mean gradient, each divided by its spread.
    path (12, c) : the rows at which, and at whose complements, the gradient was taken last.
    """

    def explained(rows: Floats) -> Floats:
        return np.asarray(np.sum([unit(g.mean_gradient(rows)) for g in models], axis=0))

    field = explained(shown[_evenly(len(shown), STARTED)])
    path = prefixes(field)
    for _ in range(steps):
        field = unit(field) + unit(explained(path))
        path = prefixes(field)
    return explained(path), path


def refined(models: list[Surrogate], field: Floats, steps: int = 10, deleted: float = 1.5) -> Floats:
    """The field moved uphill in the area between the surrogate's insertion and deletion curves, (c,).

    At each level only cells near the cut count: those with a larger gradient than their neighbours in rank go up. The
    deletion curve weighs `deleted` times the insertion curve.
    """
    edge, field = 0.3, unit(field)
    for _ in range(steps):
        shown = prefixes(field, edge)
        near, uphill = shown * (1 - shown), np.zeros(len(field))
        for g in models:
            both = g.gradient(shown, deleted)
            usual = (near * both).sum(axis=1, keepdims=True) / near.sum(axis=1, keepdims=True)
            uphill += (near * (both - usual)).sum(axis=0)
        field = unit(field + 0.15 * unit(uphill))
    return field


def prefixes(field: Floats, edge: float = 0.05) -> Floats:
    """Coverage (12, c) of the best 4%, 13%, ... 96% of the cells, with soft edges."""
    scaled = unit(field)
    cut = np.quantile(scaled, 1 - LEVELS)[:, None]
    return np.asarray(1 / (1 + np.exp(-np.clip((scaled - cut) / edge, -30, 30))))
