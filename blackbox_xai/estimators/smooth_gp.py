"""Pixels as players: a smooth surrogate fitted to few answers, and questions asked where its ranking will be judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import on_numpy
from ..masks import Masks
from ..samplers.coins import SmoothedCoins, balanced
from .base import Bools, Estimate, Estimator, Floats, Problem, Session
from .one_thread import one_thread
from .surrogate import BETWEEN, LENGTHS, SEARCHED, Cells, Surrogate, fit, in_order, normal_scores, own_path, refined

_STREAM_NOISE, _STREAM_LEVEL, _STREAM_SCATTER = 0x5300, 0x5301, 0x5302
_SEARCHED = 120  # pairs for choosing width and noise between rounds
_TINY = 1e-4  # added to both odds: a probability of 0 or 1 has finite log-odds


@dataclass(frozen=True, slots=True)
class SmoothGP(Estimator):
    """Effects of pixels along the path of their own ranking.

    The value is regressed on what each of 28 x 28 cells shows, by a Gaussian process with a smooth prior (a
    probability also as log-odds). Its ranking of the pixels is the fixed point: each pixel's effect is the mean
    gradient of the surrogate at the best 4%, 13%, ... 96% of the pixels, and at what is left without them. From
    there it moves uphill in the area between the surrogate's own insertion and deletion curves. The first rows are
    smooth random masks; later ones are prefixes of the ranking so far, with noise, and their complements, so queries
    go where insertion and deletion will take the picture. Last, the rankings of a fine, a middle and a coarse prior
    are averaged; the values are dealt out in that order.

    Pixels of one cell are not told apart by answers. They share its effect by how much each changes the picture
    (`Problem.contrast`), and by chance, so that neighbours are not ranked by their place.

    Attributes
    ----------
    first : int, even, >= 8. Rows of smooth random masks before the first look.
    growth : float, > 0. Each later round has this share of the rows told before it (at least 32 rows).
    sigma : (float, float). Width of the masks' edges, in shorter sides of the grid: at first, and from row 500 on.
    noise : (float, float). Noise added to the ranking, whose places are spread as a standard normal: likewise.
    tilt : float, > 0. Share shown is u ** tilt, u uniform: above 1 small shares are shown (or hidden) more often.
    scatter : float, 0 <= scatter < 2. The part of chance: a pixel's effect is multiplied by a uniform draw of mean 1
        and this width (less where a cell holds few pixels), pure in (seed, pixel). 0 leaves it out: a smoother map, of
        which more survives when pixels turn grey one by one (`experiments/results/images.md`).

    Cost: 2 + 2P coalitions, always pairs of a mask and its complement. With several outputs the rounds serve them in
    turn.

    Standard errors are those of a value as an estimate of the mean effect nearby (Gaussian, 14 px wide at 224), of
    which a pixel has its share by contrast: the posterior deviation of that mean, within and between the priors, and
    how far the value is from it. A few hundred answers know little of what is finer
    (`experiments/results/certainty.md`).
    """

    first: int = 160
    growth: float = 0.25
    sigma: tuple[float, float] = (0.049, 0.031)
    noise: tuple[float, float] = (0.6, 0.3)
    tilt: float = 1.5
    scatter: float = 0.8
    name: ClassVar[str] = "smoothgp"
    estimates: ClassVar[str] = "effects along the path of the own ranking, smoothed, scaled to the total"
    suits: ClassVar[str] = "the pixels of an image, or any grid with neighbours that belong together"
    on_grid: ClassVar[bool] = True
    grid_only: ClassVar[bool] = True

    def minimum(self, p: Problem) -> int:
        """The endpoints and eight masks; all coalitions where these are fewer."""
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + 8))

    def _session(self, p: Problem) -> Session:
        if p.grid is None:
            raise InvalidInput(
                "smoothgp: the players are not on a grid; use it on pixels, or e.g. method='kernelshap' here."
            )
        if self.first < 8 or self.first % 2 or not self.growth > 0 or not self.tilt > 0 or not 0 <= self.scatter < 2:
            raise InvalidInput(
                f"smoothgp: first must be even and >= 8, growth and tilt > 0, scatter in [0, 2); got {self.first}, "
                f"{self.growth}, {self.tilt}, {self.scatter}."
            )
        return _Rounds(p, self)


class _Rounds(Session):
    """Rows come in rounds; those of a round follow from (seed, row) and the values of earlier rounds."""

    slow_masks: ClassVar[bool] = True

    def __init__(self, problem: Problem, method: SmoothGP) -> None:
        assert problem.grid is not None
        self._method, self._cells = method, Cells(problem.grid, problem.contrast)
        side = min(problem.grid)
        sigma = float(np.clip(method.sigma[0] * side, 1, max(1.0, side / 2)))
        # shares 1/12 .. 11/12 to the pixel: near-empty and near-full pairs would say only what the endpoints say
        sampler = SmoothedCoins(problem.grid, sigma, seed=problem.seed, levels="grid11", fixed_size=True)
        super().__init__(problem, sampler, name=method.name)
        bounds = [0, method.first]
        while bounds[-1] < self.planned:
            more = max(32, int(method.growth * bounds[-1]))
            bounds.append(bounds[-1] + more + more % 2)
        self._bounds = bounds
        self._texture = self._cells.texture()
        self._chance = self._drawn()
        self._fields: dict[int, list[Floats]] = {}  # of each round: memory of a pure function
        pairs = self.planned // 2
        self._seen = np.zeros((pairs, int(np.prod(self._cells.shape))), np.float32)  # coverage of their first masks
        self._known = np.zeros(pairs, bool)

    def _follows(self) -> int:
        return self._bounds[int(np.searchsorted(self._bounds, self.told, side="right"))]

    def _draw(self, start: int, count: int) -> Masks:
        if count == 0:
            return super()._draw(start, 0)
        turn = int(np.searchsorted(self._bounds, start, side="right")) - 1
        count = min(count, self._bounds[turn + 1] - start)
        if turn == 0:
            masks = self.sampler.draw(start, count)
            for at in range(0, count, 64):
                self._note((start + at) // 2, masks[at : min(at + 64, count)].dense()[::2])
            return masks
        with one_thread():
            return self._prefixes(turn, start, count)

    def _prefixes(self, turn: int, start: int, count: int) -> Masks:
        """Pairs around the rankings known at the round's beginning."""
        fields, bits = self._fields_of(turn), []
        levels = (balanced(self.problem.seed ^ _STREAM_LEVEL, start // 2, count // 2) + 0.5) / 2**32
        for row, level in zip(range(start, start + count, 2), levels):
            dense = self._prefix(row // 2, fields[(row // 2) % len(fields)], float(level))
            self._note(row // 2, dense[None])
            bits.append(on_numpy.pack(np.stack([dense, ~dense])))
        return Masks(np.concatenate(bits), self.problem.n_players, start=start, group=2)

    def _drawn(self) -> Floats:
        """(H*W,): the part of chance, of mean 1; the less, the fewer pixels a cell has."""
        d, cells = self.problem.n_players, int(np.prod(self._cells.shape))
        blocks = np.arange(-(-d // 4), dtype=np.uint64)
        words = on_numpy.philox(self.problem.seed, _STREAM_SCATTER, np.uint64(0), blocks)
        uniform = (words.ravel()[:d] + 0.5) / 2**32
        return np.asarray(1 + self._method.scatter * (1 - cells / d) * (uniform - 0.5))

    def _pixels(self, cells: Floats) -> Floats:
        """Effects of cells, (c,), to effects of pixels, (H*W,), all in the cells' units."""
        return self._cells.spread(cells) * self._texture * self._chance

    def _note(self, pair: int, dense: Bools) -> None:
        """Remember what the first masks (m, d) of the pairs from `pair` on show."""
        self._seen[pair : pair + len(dense)] = self._cells.coverage(dense)
        self._known[pair : pair + len(dense)] = True

    def _shown(self, pairs: int) -> Floats:
        """(pairs, c) of the first pairs; drawn again where this session never drew them."""
        while not self._known[:pairs].all():
            start = 2 * int(np.argmin(self._known[:pairs]))
            self._draw(start, min(256, self.planned - start))
        return self._seen[:pairs].astype(np.float64)

    def _fields_of(self, turn: int) -> list[Floats]:
        """The rankings (H, W) that round `turn` explores, one a target."""
        if turn not in self._fields:
            rows = self._bounds[turn]
            values = np.concatenate(self._values)[:rows]
            shown = self._shown(rows // 2)
            found = []
            for models in self._models(shown, values, self._cells.widths(BETWEEN), _SEARCHED):
                effects = self._pixels(refined(models, own_path(models, shown)[0]))
                found.append(normal_scores(effects).reshape(self._cells.grid))
            self._fields = {turn: found}
        return self._fields[turn]

    def _models(self, shown: Floats, values: Floats, widths: tuple[float, ...], searched: int) -> list[list[Surrogate]]:
        """For each target its surrogates: of the value, and of the log-odds where all values are probabilities."""
        odds = [c for c in range(values.shape[1]) if self._is_probability(values[:, c])]
        columns = [values, np.log((values[:, odds] + _TINY) / (1 - values[:, odds] + _TINY))]
        made = fit(self._cells, shown, np.concatenate(columns, axis=1), widths, searched)
        k = values.shape[1]
        return [[made[c]] + ([made[k + odds.index(c)]] if c in odds else []) for c in range(k)]

    def _is_probability(self, column: Floats) -> bool:
        return bool(not self.problem.labels and column.min() >= 0 and column.max() <= 1)

    def _prefix(self, pair: int, field: Floats, level: float) -> Bools:
        """Mask (H*W,) of the best share (by `level`, 0..1) of `field` plus smooth noise, pure in (seed, pair)."""
        m, grid = self._method, self._cells.grid
        late = min(1.0, 2 * pair / 500)
        share = float(np.clip(level**m.tilt, 0.005, 0.995))
        sigma = max(1.0, (m.sigma[0] + late * (m.sigma[1] - m.sigma[0])) * min(grid))
        amount = m.noise[0] + late * (m.noise[1] - m.noise[0])
        mixed = field + amount * _smooth_noise(self.problem.seed, pair, grid, sigma)
        thin = max(1, int(np.sqrt(mixed.size / 4096)))
        cut = np.quantile(mixed[::thin, ::thin], 1 - share)
        dense = (mixed > cut).ravel()
        if dense.all() or not dense.any():
            dense[int(np.argmax(mixed))] ^= True
        return dense

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        with one_thread():
            shown = self._shown(self.told // 2)
            widths = self._cells.widths(LENGTHS)
            families = zip(*(self._models(shown, values, (width,), SEARCHED) for width in widths))
            found = [self._explained(family, shown, float(total)) for family, total in zip(families, full - base)]
        maps, errors, notes = zip(*found)
        rounds = int(np.searchsorted(self._bounds, self.told))
        return self._estimate(
            base, full, np.stack(maps, axis=1), np.stack(errors, axis=1), surrogates=list(notes), rounds=rounds
        )

    def _explained(
        self, family: tuple[list[Surrogate], ...], shown: Floats, total: float
    ) -> tuple[Floats, Floats, dict[str, Any]]:
        """Values and standard errors (H*W,) of one target, and notes; `family` holds its surrogates of each width."""
        players = self._cells.sizes()
        paths = [own_path(models, shown) for models in family]
        best = int(np.argmin([models[0].error for models in family]))
        value, (field, path) = family[best][0], paths[best]
        own = value.mean_gradient(path) * value.scale
        size = float(own @ field) / max(float(field @ field), 1e-300)
        effects = self._pixels(size * field / players)
        if size > 0:  # the values stay, their order is the refined one
            ranked = np.sum([refined(m, f) for m, (f, _) in zip(family, paths)], axis=0)
            effects[in_order(self._pixels(ranked))] = np.sort(effects)
        summed = float(effects.sum())
        told = summed * total > 0 and abs(summed) > 0.1 * float(np.abs(effects).sum())  # else both signs cancel
        stretch = float(np.clip(total / summed, 0.25, 4)) if told else 1.0
        nearby, doubt = self._nearby([models[0] for models in family], best, path)
        nearby, doubt = (self._cells.spread(part / players) * self._texture for part in (nearby, doubt))
        error = stretch * np.hypot(effects - nearby, doubt)
        return stretch * effects, error, {"left_out_error": [g.error for g in family[best]], "scaled_by": stretch}

    def _nearby(self, models: list[Surrogate], best: int, path: Floats) -> tuple[Floats, Floats]:
        """Mean effect of the cells near each by the best model, (c,), and its deviation: within models and between."""
        near = self._cells.nearby
        means = np.stack([near(g.mean_gradient(path)) * g.scale for g in models])
        within = np.stack([g.deviation(path, near(g.basis)) * g.scale for g in models])
        return means[best], np.sqrt((within**2 + (means - means[best]) ** 2).mean(axis=0))


def _smooth_noise(seed: int, pair: int, grid: tuple[int, int], sigma: float) -> Floats:
    """A smooth random field (H, W) of unit variance, correlation width `sigma` pixels, pure in (seed, pair)."""
    factors = [_taps(side, sigma) for side in grid]
    shape = factors[0].shape[1], factors[1].shape[1]
    blocks = -(-shape[0] * shape[1] // 4)
    words = on_numpy.philox(seed, _STREAM_NOISE, np.full(1, pair, np.uint64), np.arange(blocks, dtype=np.uint64))
    white = (words.reshape(-1)[: shape[0] * shape[1]].reshape(shape) / 2.0**32 - 0.5) * np.sqrt(12)
    field: NDArray[np.float64] = factors[0] @ white @ factors[1].T
    return field


@lru_cache(16)  # from row 500 on the width does not change
def _taps(side: int, sigma: float) -> Floats:
    """(side, lattice): Gaussian weights of width `sigma` on noise 0.6 sigma apart, rows of unit length."""
    step = max(1.0, 0.6 * sigma)
    lattice = np.arange(-3 * sigma, side + 3 * sigma, step)
    weight = np.exp(-((np.arange(side)[:, None] - lattice) ** 2) / (2 * sigma**2))
    taps = np.asarray(weight / np.sqrt((weight**2).sum(axis=1, keepdims=True)))
    taps.setflags(write=False)
    return taps
