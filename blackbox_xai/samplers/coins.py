"""Path masks: every player is present with the row's level; independent, or smooth on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import dispatch, on_numpy
from ..masks import Masks
from .checks import STREAMS, check_device, check_grid, check_players, check_rows, check_seed

Levels = Literal["arcsine", "uniform", "grid11"] | float | tuple[float, ...]
Ints = NDArray[np.int32]
_ONE = 2**32


def balanced(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """A scrambled van der Corput sequence in integers: term j is a pure function of (seed, j).

    Any 2**b consecutive terms (b <= 16) from a multiple of 2**b fall one each into the 2**b equal parts of the range,
    so every prefix is balanced; each term alone is uniform over seeds.

    Returns
    -------
    uint64 (count,), 0..2**32 - 1.

    Source: Owen 1995, nested uniform scrambling, base 2; the lowest 16 bits are independent.
    """
    j = np.arange(first, first + count, dtype=np.uint64)
    reverse = np.zeros_like(j)
    for b in range(16):
        reverse |= ((j >> np.uint64(b)) & np.uint64(1)) << np.uint64(15 - b)
    flips = np.zeros_like(j)
    for part in range(4):  # one random word decides a subtree of four bits
        prefix = reverse >> np.uint64(16 - 4 * part)
        word = on_numpy.philox(seed, STREAMS["levels"], prefix, np.uint64(part))[..., 0].astype(np.uint64)
        for i in range(4):
            place = np.uint64(15 - 4 * part - i)
            node = ((reverse >> (place + np.uint64(1))) & np.uint64((1 << i) - 1)) + np.uint64((1 << i) - 1)
            flips |= ((word >> node) & np.uint64(1)) << place
    low = on_numpy.philox(seed, STREAMS["levels"], j, np.uint64(4))[..., 0].astype(np.uint64) & np.uint64(0xFFFF)
    return ((reverse ^ flips) << np.uint64(16)) | low


def level_cuts(levels: Levels, seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """Inclusion probabilities of rows `first` on, times 2**32: uint64 (count,), 1..2**32 - 1."""
    if levels == "grid11":  # each block of 11 rows has all levels g / 12, in an order of its own
        block = np.arange(first // 11, (first + count + 10) // 11 + 1, dtype=np.uint64)
        order = on_numpy.philox(seed, STREAMS["levels"], block[:, None], np.arange(8, 11, dtype=np.uint64))
        grid = np.argsort(order.reshape(len(block), 12)[:, :11], axis=1, kind="stable").reshape(-1) + 1
        alpha = grid[first % 11 : first % 11 + count] / 12.0
    elif isinstance(levels, str):
        term = balanced(seed, first, count)
        if levels == "uniform":
            return np.maximum(term, np.uint64(1))
        alpha = np.sin((term + 0.5) * (math.pi / 2 / _ONE)) ** 2
    else:
        chosen = np.atleast_1d(np.asarray(levels, np.float64))
        alpha = chosen[((balanced(seed, first, count) * np.uint64(chosen.size)) >> np.uint64(32)).astype(np.intp)]
    return np.clip(np.rint(alpha * _ONE), 1, _ONE - 1).astype(np.uint64)


def check_levels(who: str, levels: Levels) -> None:
    """A known name, or numbers strictly between 0 and 1."""
    if isinstance(levels, str):
        good = levels in ("arcsine", "uniform", "grid11")
    else:
        chosen = np.atleast_1d(np.asarray(levels, np.float64))
        good = chosen.ndim == 1 and chosen.size > 0 and bool(np.all((chosen > 0) & (chosen < 1)))
    if not good:
        raise InvalidInput(
            f'{who}: levels {levels!r}; choose "arcsine", "uniform", "grid11", or numbers strictly between 0 and 1.'
        )


def _alpha(cuts: NDArray[np.uint64], antithetic: bool) -> NDArray[np.float64]:
    alpha = cuts / float(_ONE)
    return np.stack([alpha, 1 - alpha], axis=1).reshape(-1) if antithetic else alpha


@dataclass(frozen=True, slots=True)
class Coins:
    """Every player is present with probability alpha, independently; alpha varies over rows.

    Attributes
    ----------
    n_players : int.
    levels : "arcsine" (density 1 / (pi sqrt(a (1 - a))), stratified: the best law for path integrals), "uniform",
        "grid11" (g / 12, the published GEFA grid), a number, or a tuple of numbers taken equally often.
    seed : int, 0 <= seed < 2**64.
    antithetic : bool. Rows come in pairs: row 2j + 1 is the complement of row 2j, and its level is 1 - alpha.
    device : "cpu" or "cuda". Where the bits are drawn and stay; they are the same.

    Source: Cai, Ardoin, Wunder 2025 (GEFA), arcsine levels in place of its grid; levels are multiples of 2**-32, so
    that the inclusion probability is exactly ``Masks.alpha``.
    """

    n_players: int
    levels: Levels = "arcsine"
    seed: int = field(default=0, kw_only=True)
    antithetic: bool = field(default=True, kw_only=True)
    device: str = field(default="cpu", kw_only=True)

    def __post_init__(self) -> None:
        check_players("Coins", self.n_players)
        check_seed("Coins", self.seed)
        check_levels("Coins", self.levels)
        check_device("Coins", self.device)

    @property
    def group(self) -> int:
        """2 with antithetic pairs, else 1."""
        return 2 if self.antithetic else 1

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`. ``alpha`` (count,) is the level of each row."""
        check_rows("Coins", start, count, self.group)
        first, draws = start // self.group, count // self.group
        cuts = level_cuts(self.levels, self.seed, first, draws)
        code = dispatch.pick(count * self.n_players, self.device)
        bits = code.coins(int(self.seed), STREAMS["Coins"], first, cuts, self.n_players, self.antithetic)
        alpha = _alpha(cuts, self.antithetic)
        return Masks(bits, self.n_players, start=start, group=self.group, alpha=alpha)


_LENGTH = 2.5e7  # sum of squared weights a position along an axis: 2**31 is 30 standard deviations of the field


@lru_cache(maxsize=64)
def blur_taps(size: int, sigma: float) -> tuple[Ints, Ints]:
    """Taps that turn coarse white noise into a smooth field along one axis.

    Coarse cells lie ``s = max(1, floor(0.73 sigma))`` apart; position i sums them with Gaussian weights of width
    `sigma`, cut at 3 sigma. Integer weights; their squares sum to the same number at every position (to 1e-6), so the
    field has one variance everywhere, ends included: the noise simply goes on beyond them.

    Returns
    -------
    anchor : int32 (size,). First coarse cell of each position.
    weight : int32 (T, size).
    """
    step = max(1, math.floor(0.73 * sigma))
    reach = 3 * sigma
    taps = math.floor(2 * reach / step) + 2
    position = np.arange(size)
    anchor = np.ceil((position - reach) / step).astype(np.int64)
    distance = position[None] - step * (anchor[None] + np.arange(taps)[:, None])
    ideal = np.where(np.abs(distance) <= reach, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
    weight = np.rint(ideal * np.sqrt(_LENGTH / (ideal**2).sum(axis=0))).astype(np.int64)
    for t in np.argsort(-np.abs(weight), axis=0, kind="stable"):  # mend the rounding, largest weights first
        column = weight[t, position]
        missing = _LENGTH - (weight**2).sum(axis=0)
        column = column + np.rint(missing / (2 * np.maximum(column, 1))).astype(np.int64) * (column > 0)
        weight[t, position] = column
    return (anchor - anchor[0]).astype(np.int32), weight.astype(np.int32)


def normal_cut(alpha: NDArray[np.float64], weight_y: Ints, weight_x: Ints) -> NDArray[np.int64]:
    """Where to cut the field so that a pixel is below with probability alpha: int64, per row.

    The field is a weighted sum of many small symmetric integers: normal but for its fourth cumulant, which is known
    and corrected for (Cornish and Fisher); what is left is below 1e-5 in probability.
    """
    quantile = NormalDist().inv_cdf
    t = np.array([quantile(a) if a <= 0.5 else -quantile(1 - a) for a in alpha.tolist()])
    norm_y, norm_x = (weight_y.astype(np.float64) ** 2).sum(axis=0), (weight_x.astype(np.float64) ** 2).sum(axis=0)
    peak_y = np.mean((weight_y.astype(np.float64) ** 4).sum(axis=0) / norm_y**2)
    peak_x = np.mean((weight_x.astype(np.float64) ** 4).sum(axis=0) / norm_x**2)
    t = t + (-2 / 32) * peak_y * peak_x / 24 * (t**3 - 3 * t)
    spread = math.sqrt(8 * float(norm_y.mean()) * float(norm_x.mean()))
    cut: NDArray[np.int64] = np.ceil(np.clip(spread * t, -(2**31) + 1, 2**31 - 1)).astype(np.int64)
    return cut


def fixed_sizes(alpha: NDArray[np.float64], uniform: NDArray[np.float64], players: int) -> NDArray[np.int64]:
    """The law of the coalition size when ranks of a field are cut at alpha: one size or the next.

    With t = alpha (n - 1) and r = ceil(t) - 1, the size is r, plus one with probability min(1, n (t - r) / (n - 1)).
    Source: the published GEFA code, whose ranks r become r / (n - 1) + U / n before the cut.
    """
    t = alpha * (players - 1)
    rank = np.ceil(t) - 1
    more = uniform < np.minimum(1.0, (t - rank) * players / max(players - 1, 1))
    size: NDArray[np.int64] = (rank + more).astype(np.int64)
    return size


@dataclass(frozen=True, slots=True)
class SmoothedCoins:
    """Smooth path masks on a grid: a smooth random field, cut so that every pixel is present with probability alpha.

    Attributes
    ----------
    grid : (H, W). The players, in row-major order.
    sigma : float, pixels, 1 <= sigma <= min(H, W) / 2. Width of the Gaussian that smooths the noise; pixels a distance
        r apart have latent correlation exp(-r**2 / (4 sigma**2)).
    seed, levels, antithetic, device : as in `Coins`.
    fixed_size : bool. Take the lowest pixels of the field in place of those below a cut: the size of a coalition then
        follows from alpha alone (to one pixel), and pixels are no longer present with probability alpha near the
        border. With ``levels="grid11"`` this is the published construction, by selection in place of a sort.

    Cost: about ``6 sigma / s`` integer multiply-adds a pixel, s = 0.73 sigma; no noise at full resolution is drawn.
    Source: Cai, Ardoin, Wunder 2025 (GEFA), Algorithm 2. Differs: the noise is coarse and nearly normal, so that its
    Gaussian sum has exact marginals at every pixel, borders included (up to 1e-5 in probability), without ranking.
    """

    grid: tuple[int, int]
    sigma: float = 11
    seed: int = field(default=0, kw_only=True)
    levels: Levels = field(default="arcsine", kw_only=True)
    antithetic: bool = field(default=True, kw_only=True)
    fixed_size: bool = field(default=False, kw_only=True)
    device: str = field(default="cpu", kw_only=True)

    def __post_init__(self) -> None:
        check_grid("SmoothedCoins", self.grid)
        check_seed("SmoothedCoins", self.seed)
        check_levels("SmoothedCoins", self.levels)
        if not self.sigma >= 1:
            raise InvalidInput(f"SmoothedCoins: sigma {self.sigma} px is below 1; use Coins for independent pixels.")
        if 2 * self.sigma > min(self.grid):
            raise InvalidInput(
                f"SmoothedCoins: grid {tuple(self.grid)} is too small for sigma {self.sigma} px: a mask would be "
                f"almost all present or all absent. Use sigma of at most {min(self.grid) / 2:g}, or Coins."
            )
        check_device("SmoothedCoins", self.device)

    @property
    def n_players(self) -> int:
        """Pixels."""
        return int(self.grid[0]) * int(self.grid[1])

    @property
    def group(self) -> int:
        """2 with antithetic pairs, else 1."""
        return 2 if self.antithetic else 1

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`. ``alpha`` (count,) is the level of each row."""
        check_rows("SmoothedCoins", start, count, self.group)
        first, draws = start // self.group, count // self.group
        cuts = level_cuts(self.levels, self.seed, first, draws)
        alpha = cuts / float(_ONE)
        y, x = (blur_taps(int(side), float(self.sigma)) for side in self.grid)
        cut: Any
        if self.fixed_size:
            row = np.arange(first, first + draws, dtype=np.uint64)
            words = on_numpy.philox(self.seed, STREAMS["sizes"], row, np.uint64(0))[..., 0]
            cut = fixed_sizes(alpha, words / float(_ONE), self.n_players)
        else:
            cut = normal_cut(alpha, y[1], x[1])
        code = dispatch.pick(count * self.n_players, self.device, unloaded=dispatch.SMALL_SMOOTH)
        stream = STREAMS["SmoothedCoins"]
        bits = code.smooth_coins(int(self.seed), stream, first, cut, self.fixed_size, y, x, self.antithetic)
        return Masks(bits, self.n_players, start=start, group=self.group, alpha=_alpha(cuts, self.antithetic))
