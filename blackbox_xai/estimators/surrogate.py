"""A smooth model of a game on a grid: what each coarse cell shows goes in, the value comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .base import Bools, Floats

CELLS = 28  # a side, at most
LENGTHS = (0.036, 0.0625, 0.107)  # prior widths, in shorter sides of the grid: 8, 14 and 24 px at 224
BETWEEN = LENGTHS[1:]  # those tried between rounds
NOISES = (0.03, 0.1, 0.3)  # shares of the prior variance
LINEAR = 10.0  # weight of a linear part, tried beside none
KEPT = 0.01  # smallest part of the prior kept, against the largest
SEARCHED, INDUCING = 600, 1000  # rows for choosing width and noise at the end; centres of the surrogate
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

    def nearby(self, cells: Floats) -> Floats:
        """Gaussian mean over the cells around each, of the middle prior width: (c,) or (c, k), same shape."""
        from scipy.ndimage import gaussian_filter

        width = [LENGTHS[1] * min(self.grid) * count / side for side, count in zip(self.grid, self.shape)]
        table = gaussian_filter(cells.reshape(*self.shape, -1), [*width, 0], mode="nearest")
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
    """A Gaussian process over coverage: k(x, x') = (1 + r) exp(-r) + 1 + l (B'(x - 1/2))'(B'(x' - 1/2)) / u.

    Matern 3/2, r = |B'(x - x')| sqrt(3 / u), and a linear part where it is of use: without it the gradient of a model
    that adds up would fade away from the rows.

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
    basis: Floats  # (c, r)
    points: Floats  # (p, r): the centres' features, B'(x - 1/2)
    weights: Floats  # (p,)
    width: float  # u

    def gradient(self, coverage: Floats) -> Floats:
        """Change of the value with each cell's coverage, in `scale`: (m, c) -> (m, c)."""
        return np.asarray(self._pull(coverage) @ self.basis.T)

    def mean_gradient(self, coverage: Floats) -> Floats:
        """Mean of `gradient` over the rows, (c,)."""
        return np.asarray(self._pull(coverage).mean(axis=0) @ self.basis.T)

    def _pull(self, coverage: Floats) -> Floats:
        """The gradient in the basis, (m, r)."""
        features = _features(self.basis, coverage)
        pull = _slope(_reach(features, self.points, self.width), self.width) * self.weights
        bent = (pull + self.linear / self.width * self.weights) @ self.points
        return np.asarray(bent - pull.sum(axis=1, keepdims=True) * features)

    def deviation(self, told: Floats, rows: Floats, of: Floats | None = None) -> Floats:
        """Posterior standard deviation of the mean gradient over `rows` (m, c), in `scale`: (c,).

        `told` (n, c) is the coverage that was fitted. `of` (k, r) in place of `basis` asks for k sums of the gradient.
        """
        of = self.basis if of is None else of
        features, linear = _features(self.basis, rows), self.linear / self.width
        slope = _slope(_reach(features, self.points, self.width), self.width)
        pull = (slope.mean(axis=0) + linear)[:, None] * self.points - slope.T @ features / len(features)
        cross = pull @ of.T  # (p, k): covariance of the centres' values with the mean gradient
        reach = _reach(features, features, self.width)
        slope = _slope(reach, self.width)
        bend = slope * (3 / self.width) / np.where(reach > 0, reach, np.inf)  # 4 k''(|x - x'|^2)
        smooth = features @ of.T
        quad = (bend.sum(axis=1) @ smooth**2 - np.einsum("mc,mc->c", smooth, bend @ smooth)) * 2 / len(features) ** 2
        prior = (slope.mean() + linear) * (of**2).sum(axis=1) - quad
        nothing, law = np.zeros((len(told), 0)), (self.width, self.noise, self.linear)
        gram, matrix, _ = _normal(_features(self.basis, told), nothing, self.points, *law)
        known = np.einsum("pc,pc->c", cross, np.linalg.solve(matrix, cross))
        if len(told) > len(gram):  # what the centres' own values would tell, less what is not known of these
            known = np.einsum("pc,pc->c", cross, np.linalg.solve(gram, cross)) - self.noise * known
        return np.asarray(np.sqrt(np.maximum(prior - known, 0) * self.variance))


def _reach(a: Floats, b: Floats, width: float) -> Floats:
    """r of every row of `a` with every row of `b`."""
    return np.sqrt((3 / width) * _apart(a, b))


def _apart(a: Floats, b: Floats) -> Floats:
    """Squared distances of rows."""
    square = a @ (-2 * b.T)
    square += (a**2).sum(axis=1)[:, None]
    square += (b**2).sum(axis=1)
    return np.asarray(np.maximum(square, 0, out=square))


def _matern(reach: Floats) -> Floats:
    return np.asarray((1 + reach) * np.exp(-reach))


def _slope(reach: Floats, width: float) -> Floats:
    """-2 dk / d|x - x'|^2: the kernel's gradient is this times x' - x."""
    return np.asarray((3 / width) * np.exp(-reach))


def fit(
    cells: Cells, coverage: Floats, values: Floats, lengths: tuple[float, ...] = LENGTHS, searched: int = SEARCHED
) -> list[Surrogate]:
    """One surrogate a column.

    Parameters
    ----------
    coverage : (m, c). Rows 2p and 2p + 1 are a pair: it is left out together.
    values : (m, q).
    lengths : prior widths to choose from, in shorter sides of the grid.

    Width and noise have the smallest leave-one-pair-out error on at most `searched` rows, then the linear part is taken
    or left; above 1000 rows the process is carried by 1000 of them, spread evenly.

    Cost: O(m * 1000^2) at most.
    """
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 1e-12 * np.abs(values).max(axis=0, initial=1e-300), scale, 0.0)
    table = (values - mean) / np.where(scale > 0, scale, 1.0) * (scale > 0)
    few = _evenly(len(values), searched)
    best: list[tuple[float, ...]] = [(np.inf, 0.0, 0.0, 0.0, 0.0)] * values.shape[1]

    def weigh(length: float, noises: tuple[float, ...], linear: float) -> None:
        features = _features(cells.basis(length), coverage[few])
        kernel = _kernel(features, features, _median(features), linear)
        for noise in noises:
            found = _left_out(kernel + noise * np.eye(len(kernel)), table[few])
            best[:] = [min(b, (float(e), float(v), length, noise, linear)) for b, e, v in zip(best, *found)]

    for share in lengths:
        weigh(max(1.0, share * min(cells.grid)), NOISES, 0.0)
    for _, _, length, noise, _ in set(best):
        weigh(length, (noise,), LINEAR)
    made = {law: _solve(cells.basis(law[0]), coverage, table, *law[1:]) for law in {b[2:] for b in best}}
    found = []
    for q, (error, variance, *law) in enumerate(best):
        basis, points, weights, width = made[tuple(law)]
        sizes = float(mean[q]), float(scale[q]) or 1.0, error, variance
        found.append(Surrogate(*sizes, *law, basis, points, weights[:, q], width))
    return found


def _evenly(rows: int, most: int) -> NDArray[np.intp]:
    """At most `most` rows, in whole pairs, evenly spread."""
    pairs = np.unique(np.linspace(0, rows // 2 - 1, min(rows, most) // 2).round().astype(np.intp))
    return np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()


def _median(features: Floats) -> float:
    """Squared width of the kernel: the median squared distance of the rows."""
    return max(float(np.median(_apart(features, features))), 1e-12)


def _features(basis: Floats, coverage: Floats) -> Floats:
    return np.asarray((coverage - 0.5) @ basis)


def _kernel(a: Floats, b: Floats, width: float, linear: float) -> Floats:
    kernel = _matern(_reach(a, b, width)) + 1
    return kernel + linear / width * (a @ b.T) if linear else kernel


def _left_out(matrix: Floats, table: Floats) -> tuple[Floats, Floats]:
    """Each pair left out in turn: mean squared error, and that over what is expected at variance 1; each (q,)."""
    inverse = np.linalg.inv(matrix)
    pairs = len(matrix) // 2
    pull = (inverse @ table).reshape(pairs, 2, -1)
    p = np.arange(pairs)
    errors = np.linalg.solve(inverse.reshape(pairs, 2, pairs, 2)[p, :, p, :], pull)
    return np.asarray((errors**2).mean(axis=(0, 1))), np.asarray((errors * pull).mean(axis=(0, 1)))


def _solve(
    basis: Floats, coverage: Floats, table: Floats, noise: float, linear: float
) -> tuple[Floats, Floats, Floats, float]:
    """Basis, centres, weights (p, q) and kernel width; all rows count, at most 1000 carry the process."""
    features = _features(basis, coverage)
    points = features[_evenly(len(coverage), INDUCING)]
    width = _median(points)
    _, matrix, right = _normal(features, table, points, width, noise, linear)
    return basis, points, np.asarray(np.linalg.solve(matrix, right)), width


def _normal(
    features: Floats, table: Floats, points: Floats, width: float, noise: float, linear: float
) -> tuple[Floats, Floats, Floats]:
    """Covariance of the centres; the matrix and the right side of the equations of their weights."""
    gram = _kernel(points, points, width, linear)
    if len(points) == len(features):
        return gram, gram + noise * np.eye(len(gram)), table
    matrix, right = noise * gram, np.zeros((len(points), table.shape[1]))
    for at in range(0, len(features), 1024):
        cross = _kernel(features[at : at + 1024], points, width, linear)
        matrix += cross.T @ cross
        right += cross.T @ table[at : at + 1024]
    matrix[np.diag_indices(len(matrix))] += 1e-8 * np.trace(matrix) / len(matrix)
    return gram, matrix, right


def unit(field: Floats) -> Floats:
    """Divided by its spread; a constant field stays 0 where it is 0."""
    spread = float(field.std())
    return field / spread if spread > 0 else field


def normal_scores(field: Floats) -> Floats:
    """The ranking alone: the places of the players, spread as a standard normal; equal ones in order."""
    from scipy.special import ndtri

    scores = np.empty(len(field))
    scores[np.argsort(field, kind="stable")] = ndtri((np.arange(len(field)) + 0.5) / len(field))
    return scores


def own_path(models: list[Surrogate], coverage: Floats, steps: int = 5) -> tuple[Floats, Floats]:
    """The field whose own ranking it explains: mean gradient along the prefixes of the ranking, and their complements.

    Parameters
    ----------
    models : surrogates of one target (its value, and its log-odds where it is a probability).
    coverage : (m, c). The field starts from the mean gradient there (at most 600 rows, evenly spread).

    Returns
    -------
    field (c,) : sum over models of the mean gradient, each divided by its spread.
    path (24, c) : the rows at which the gradient was taken last.
    """
    some = coverage[_evenly(len(coverage), SEARCHED)]
    field = np.sum([unit(g.mean_gradient(some)) for g in models], axis=0)
    path = prefixes(field)
    for _ in range(steps):
        new = np.sum([unit(g.mean_gradient(path)) for g in models], axis=0)
        field = unit(field) + unit(new)
        path = prefixes(field)
    return np.sum([unit(g.mean_gradient(path)) for g in models], axis=0), path


def refined(models: list[Surrogate], field: Floats, steps: int = 10, deleted: float = 1.5) -> Floats:
    """The field moved uphill in the area between the surrogate's insertion and deletion curves, (c,).

    At each level only cells near the cut count: those with a larger gradient than their neighbours in rank go up. The
    deletion curve weighs `deleted` times the insertion curve.
    """
    edge, field = 0.3, unit(field)
    for _ in range(steps):
        path = prefixes(field, edge)
        shown = path[: len(LEVELS)]
        near, uphill = shown * (1 - shown), np.zeros(len(field))
        for g in models:
            slopes = g.gradient(path)
            both = slopes[: len(LEVELS)] + deleted * slopes[len(LEVELS) :]
            usual = (near * both).sum(axis=1, keepdims=True) / near.sum(axis=1, keepdims=True)
            uphill += (near * (both - usual)).sum(axis=0)
        field = unit(field + 0.15 * unit(uphill))
    return field


def prefixes(field: Floats, edge: float = 0.05) -> Floats:
    """Coverage (24, c) of the best 4%, 13%, ... 96% of the cells, with soft edges, and of the rest."""
    scaled = unit(field)
    cut = np.quantile(scaled, 1 - LEVELS)[:, None]
    shown = 1 / (1 + np.exp(-np.clip((scaled - cut) / edge, -30, 30)))
    return np.concatenate([shown, 1 - shown])
