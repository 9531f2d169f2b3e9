"""Independent coins at one level, or pairs of coins on a grid of levels that are neither empty nor full."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import dispatch, on_numpy
from ..masks import Masks
from .checks import check_players, check_seed

_STREAM_LEVEL, _STREAM_GRID, _STREAM_ORDER, _STREAM_REMOVED = 0x1E7E, 0x1E7F, 0x1E80, 0x1E81


@dataclass(frozen=True, slots=True)
class LevelCoins:
    """Each player present by an independent coin of probability `level`, 0 < level < 1; group 1."""

    n_players: int
    seed: int = 0
    level: float = 0.5
    group: int = 1

    def __post_init__(self) -> None:
        check_players("LevelCoins", self.n_players)
        check_seed("LevelCoins", self.seed)
        if not 0 < self.level < 1:
            raise InvalidInput(f"LevelCoins: level {self.level} is not strictly between 0 and 1.")

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        if start < 0 or count < 0:
            raise InvalidInput(f"LevelCoins: rows {start}..{start + count} are negative.")
        cut = np.full(count, round(self.level * 2**32), np.uint64)
        code = dispatch.pick(count * self.n_players)
        bits = code.coins(int(self.seed), _STREAM_LEVEL, start, cut, self.n_players, False)
        return Masks(bits, self.n_players, start=start, alpha=np.full(count, self.level))


@lru_cache(maxsize=8)
def _accepted(n: int, seed: int, levels: int, attempts: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Pairs whose coins are neither all heads nor all tails: bits (pairs, 2, bytes), and the level of the first row."""
    blocks = -(-attempts // levels)
    words = on_numpy.philox(
        seed, _STREAM_ORDER, np.arange(blocks, dtype=np.uint64)[:, None], np.arange(levels, dtype=np.uint64)
    )
    level = 1 + np.argsort(words[..., 0], axis=1, kind="stable").reshape(-1)[:attempts]
    cut = (level.astype(np.uint64) << np.uint64(32)) // np.uint64(levels + 1)
    bits = dispatch.pick(attempts * n).coins(seed, _STREAM_GRID, 0, cut, n, True).reshape(attempts, 2, -1)
    size = on_numpy.set_sizes(bits[:, 0])
    kept = (size > 0) & (size < n)
    return bits[kept], level[kept] / (levels + 1)


@dataclass(frozen=True, slots=True)
class LevelGrid:
    """Coins at levels g/(levels + 1), each accepted row followed by its complement; `alpha` holds the level.

    Every block of `levels` attempts visits each level once, in random order; empty and full rows are
    dropped, so the levels of the rows that remain lean to the middle. Source: Cai, Ardoin, Wunder 2025, the
    published masks. Differs: no budget enters, so that every prefix is a design.
    """

    n_players: int
    seed: int = 0
    levels: int = 11
    group: int = 2

    def __post_init__(self) -> None:
        check_players("LevelGrid", self.n_players)
        check_seed("LevelGrid", self.seed)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        if start < 0 or count < 0 or start % 2 or count % 2 or self.n_players < 2:
            raise InvalidInput(f"LevelGrid: rows {start}..{start + count} are negative or split a pair.")
        last, attempts = (start + count) // 2, 256
        while len((found := _accepted(self.n_players, int(self.seed), self.levels, attempts))[0]) < last:
            attempts *= 2
        bits, level = found[0][start // 2 : last].copy(), found[1][start // 2 : last]  # what is kept stays as it is
        alpha = np.stack([level, 1 - level], axis=1).reshape(count)
        return Masks(bits.reshape(count, bits.shape[2]), self.n_players, start=start, group=2, alpha=alpha)


@lru_cache(maxsize=8)
def _points(n: int, seed: int, count: int) -> NDArray[np.bool_]:
    """First `count` (a power of two) scrambled Sobol points, rounded to bits."""
    from scipy.stats import qmc

    engine = qmc.Sobol(n, scramble=True, rng=np.random.default_rng(np.random.PCG64(seed)))
    return np.asarray(engine.random(count) >= 0.5)


@dataclass(frozen=True, slots=True)
class Flips:
    """Points of a scrambled low-discrepancy sequence rounded to bits, each followed by its n one-player
    flips.

    Group n + 1. Source: Jansen 1999 pick-freeze with the second matrix replaced by the flipped bit, which
    differs in every row instead of half of them. At most 21201 players.
    """

    n_players: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_players("Flips", self.n_players)
        check_seed("Flips", self.seed)

    @property
    def group(self) -> int:
        """Rows a point: itself and its flips."""
        return self.n_players + 1

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        n, group = self.n_players, self.group
        if start < 0 or count < 0 or start % group or count % group:
            raise InvalidInput(f"Flips: rows {start}..{start + count} are negative or split a point of {group} rows.")
        if n > 21201:
            raise InvalidInput(f"Flips: {n} players, the sequence has 21201 dimensions; group the players.")
        last = (start + count) // group
        points = _points(n, self.seed, 1 << max(0, (last - 1).bit_length()))[start // group : last]
        change = np.concatenate([np.zeros((1, n), bool), np.eye(n, dtype=bool)])
        dense = (points[:, None, :] ^ change[None]).reshape(count, n)
        return Masks(on_numpy.pack(dense), n, start=start, group=group)


@dataclass(frozen=True, slots=True)
class RemovedWords:
    """The number of absent players uniform on 1..n, which ones uniform; group 1. Source: LIME for text."""

    n_players: int
    seed: int = 0
    group: int = 1

    def __post_init__(self) -> None:
        check_players("RemovedWords", self.n_players)
        check_seed("RemovedWords", self.seed)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        if start < 0 or count < 0:
            raise InvalidInput(f"RemovedWords: rows {start}..{start + count} are negative.")
        row = np.arange(start, start + count, dtype=np.uint64)
        blocks = np.arange(1 + -(-self.n_players // 4), dtype=np.uint64)
        words = on_numpy.philox(self.seed, _STREAM_REMOVED, row[:, None], blocks[None, :]).astype(np.uint64)
        keep = (words[:, 0, 0] * np.uint64(self.n_players) >> np.uint64(32)).astype(np.int64)  # 0..n-1 stay
        key = words[:, 1:].reshape(count, 4 * (blocks.size - 1))[:, : self.n_players] << np.uint64(32)
        key |= np.arange(self.n_players, dtype=np.uint64)
        place = np.argsort(np.argsort(key, axis=1), axis=1)
        return Masks(on_numpy.pack(place < keep[:, None]), self.n_players, start=start)


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """Row i is the full coalition without players i..i + window - 1; n - window + 1 rows in all."""

    n_players: int
    window: int = 1
    group: int = 1

    @property
    def size(self) -> int:
        """Rows in all."""
        return self.n_players - self.window + 1

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        if start < 0 or count < 0 or start + count > self.size:
            raise InvalidInput(f"LeaveOut: rows {start}..{start + count} are outside 0..{self.size}.")
        row = np.arange(start, start + count)[:, None]
        player = np.arange(self.n_players)
        dense = (player < row) | (player >= row + self.window)
        return Masks(on_numpy.pack(dense), self.n_players, start=start)
