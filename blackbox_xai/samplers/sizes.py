"""Complement pairs by coalition size, without replacement; small sizes fill up and are enumerated by
themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import on_numpy
from ..masks import Masks
from .checks import check_players, check_seed

Law = Literal["kernel", "leverage", "balanced"]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

LARGEST = 1 << 62  # larger counts of coalitions are cut to this; no run gets there
_STREAM = 0x5173  # philox streams of this file: subsets; sizes of independent draws
_STREAM_SIZE = 0x5174
_SHUFFLED = 1 << 10  # up to this many subsets a size get a sorted random order, above it a keyed permutation
_ROUNDS = 8


def law_of_sizes(n: int, law: Law) -> NDArray[np.float64]:
    """Wanted share of the pairs whose smaller member has size 1..n//2; (n//2,), not normalised.

    kernel 1/(k(n-k)); leverage constant; balanced 1/sqrt(k(n-k)). Half of it at k = n/2, where both members
    have the same size. Only correctly rounded operations: the same bits everywhere.
    """
    k = np.arange(1, n // 2 + 1, dtype=np.float64)
    if law == "kernel":
        q = 1.0 / (k * (n - k))
    elif law == "balanced":
        q = 1.0 / np.sqrt(k * (n - k))
    elif law == "leverage":
        q = np.ones_like(k)
    else:
        raise InvalidInput(f"Sizes: law {law!r} is unknown; use kernel, leverage or balanced.")
    if n % 2 == 0:
        q[-1] *= 0.5
    return q


@lru_cache(maxsize=64)
def available_pairs(n: int) -> tuple[int, ...]:
    """Complement pairs with smaller size 1..n//2, each cut to 2**62."""
    full = [math.comb(n, k) // (2 if 2 * k == n else 1) for k in range(1, n // 2 + 1)]
    return tuple(min(v, LARGEST) for v in full)


@lru_cache(maxsize=32)
def _sequence(n: int, law: Law, pairs: int) -> tuple[Ints, Ints]:
    """Size and place within the size of the first `pairs` pairs: the divisor rule, all at once.

    Next comes the size with the largest wanted/(drawn + 1) that is not full: the quotients wanted/j, j =
    1..available, of all sizes in falling order; ties in bit-reversed order of the sizes, so that a short
    prefix is spread out.
    """
    q, room = law_of_sizes(n, law), np.array([min(v, pairs) for v in available_pairs(n)], np.float64)
    low, high = 0.0, float(q.max()) * 2
    for _ in range(200):  # a threshold that lets at least `pairs` quotients through
        mid = 0.5 * (low + high)
        if np.minimum(room, np.floor(q / mid)).sum() >= pairs:
            low = mid
        else:
            high = mid
        if high - low <= 1e-3 * high:
            break
    take = np.minimum(room, np.floor(q / low) + 1 if low > 0 else room).astype(np.int64)
    size = np.repeat(np.arange(1, len(q) + 1), take)
    nth = np.arange(len(size)) - np.repeat(np.cumsum(take) - take, take)
    bits = max(1, len(q).bit_length())
    tie = np.array([int(f"{k:0{bits}b}"[::-1], 2) for k in range(len(q) + 1)])
    order = np.lexsort((tie[size], -(q[size - 1] / (nth + 1))))[:pairs]
    size, nth = size[order], nth[order]
    size.flags.writeable = nth.flags.writeable = False
    return size, nth


@lru_cache(maxsize=64)
def _binomials(n: int, k_max: int) -> NDArray[np.uint64]:
    """C(m, k) for m <= n, k <= k_max, cut to 2**63."""
    table = np.zeros((n + 1, k_max + 1), np.uint64)
    table[:, 0] = 1
    cut = np.uint64(1 << 63)
    for m in range(1, n + 1):
        table[m, 1:] = np.minimum(table[m - 1, 1:] + table[m - 1, :-1], cut)
    return table


def _unrank(rank: NDArray[np.uint64], size: Ints, n: int) -> Bools:
    """The subset of 0..n-1 of each given size with the given rank in lexicographic order; (m, n)."""
    table = _binomials(n, max(int(size.max(initial=0)), 1))
    out = np.zeros((len(rank), n), bool)
    left, rank = size.copy(), rank.copy()
    for i in range(n):
        ways = np.where(left > 0, table[n - 1 - i, np.maximum(left - 1, 0)], 0)
        here = (rank < ways) & (left > 0)
        out[:, i] = here
        rank -= np.where(here, np.uint64(0), ways)
        left -= here
    return out


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of splitmix64 (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=4096)
def _shuffled(seed: int, size: int, count: int) -> NDArray[np.uint64]:
    """A random order of 0..count-1 for this size."""
    words = on_numpy.philox(seed, _STREAM, np.array(size, np.uint64), np.arange(count, dtype=np.uint64))
    key = words[..., 0].astype(np.uint64) << np.uint64(32) | words[..., 1]
    order = np.argsort(key, kind="stable").astype(np.uint64)
    order.flags.writeable = False
    return order


def _permuted(seed: int, size: Ints, nth: Ints, count: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Image of `nth` under a keyed permutation of 0..count-1 that depends on (seed, size).

    A Feistel network on pairs (left, right) below the rounded-up root of `count`, walked until inside.
    Source: Black & Rogaway 2002, ciphers with arbitrary finite domains.
    """
    side = np.ceil(np.sqrt(count.astype(np.float64))).astype(np.uint64)
    side += side * side < count
    sizes, where = np.unique(size, return_inverse=True)
    words = on_numpy.philox(
        seed,
        _STREAM,
        sizes.astype(np.uint64)[:, None],
        np.uint64(1 << 20) + np.arange(_ROUNDS, dtype=np.uint64),
    ).astype(np.uint64)
    keys = (words[..., 0] << np.uint64(32) | words[..., 1])[where]
    out = nth.astype(np.uint64)
    todo = np.arange(len(out))
    while len(todo):
        a, key = side[todo], keys[todo]
        left, right = out[todo] // a, out[todo] % a
        for r in range(_ROUNDS):
            left, right = right, (left + _mix(right + key[:, r]) % a) % a
        out[todo] = left * a + right
        todo = todo[out[todo] >= count[todo]]
    return out


def _uniform_subsets(seed: int, stream: int, row: NDArray[np.uint64], size: Ints, n: int) -> Bools:
    """Independent uniform subsets of the given sizes, one a row: the `size` smallest of n random keys."""
    blocks = np.arange(-(-n // 4), dtype=np.uint64)
    words = on_numpy.philox(seed, stream, row[:, None], blocks[None, :] + np.uint64(1))
    key = words.reshape(len(row), 4 * blocks.size)[:, :n].astype(np.uint64)
    key = key << np.uint64(32) | np.arange(n, dtype=np.uint64)
    edge = np.sort(key, axis=1)[np.arange(len(row)), np.maximum(size - 1, 0)]
    return (key <= edge[:, None]) & (size > 0)[:, None]


def _subsets(seed: int, size: Ints, nth: Ints, n: int) -> Bools:
    """The nth subset of each size in this seed's order; sizes 1..n//2, at n/2 those that hold player 0."""
    room = available_pairs(n)
    out = np.empty((len(size), n), bool)
    half = 2 * size == n
    count = np.array([0, *room], np.int64)[size]
    few, huge = count <= _SHUFFLED, count >= LARGEST
    rank = np.zeros(len(size), np.uint64)
    for k in np.unique(size[few]):
        rows = few & (size == k)
        rank[rows] = _shuffled(seed, int(k), room[k - 1])[nth[rows]]
    mid = ~few & ~huge
    if mid.any():
        rank[mid] = _permuted(seed, size[mid], nth[mid], count[mid].astype(np.uint64))
    for rows, inner, skip in ((~huge & ~half, n, 0), (~huge & half, n - 1, 1)):
        if rows.any():
            out[rows, :skip] = True
            out[rows, skip:] = _unrank(rank[rows], size[rows] - skip, inner)
    # so many subsets that a repeat is beyond reach: 2**62 of them, draws are independent
    for rows, inner, skip in ((huge & ~half, n, 0), (huge & half, n - 1, 1)):
        if rows.any():
            key = nth[rows].astype(np.uint64) | size[rows].astype(np.uint64) << np.uint64(40)
            out[rows, :skip] = True
            out[rows, skip:] = _uniform_subsets(seed, _STREAM, key, size[rows] - skip, inner)
    return out


@dataclass(frozen=True, slots=True)
class Sizes:
    """Coalitions without replacement, each followed by its complement.

    Sizes come by a divisor rule, subsets of a size in an order of the seed: row i depends on (seed, i)
    alone and every prefix is a design, in which each subset of size k was included with probability
    told/available of that size.

    Attributes
    ----------
    n_players : int, >= 2.
    seed : int, 0 <= seed < 2**64.
    law : wanted shares of the sizes, see `law_of_sizes`.
    cycle : bool. Begin again after the last of the 2**n - 2 coalitions (noisy values), else stop there.
    group : 2.

    Source: Musco & Witter 2025 (uniform sizes), Fumagalli et al. 2023 (enumerated borders). Differs: nested.
    """

    n_players: int
    seed: int = 0
    law: Law = "balanced"
    cycle: bool = False
    group: int = 2

    def __post_init__(self) -> None:
        check_players("Sizes", self.n_players)
        check_seed("Sizes", self.seed)

    @property
    def size(self) -> int | None:
        """Rows in all: 2**n - 2, cut to 2**62; None where it cycles."""
        return None if self.cycle else min(LARGEST, 2 * sum(available_pairs(self.n_players)))

    def _places(self, first: int, last: int) -> tuple[Ints, Ints]:
        """Size and place within it of pairs first..last-1."""
        n, total = self.n_players, sum(available_pairs(self.n_players))
        if last <= total:
            size, nth = _sequence(n, self.law, min(total, 1 << max(6, (last - 1).bit_length())))
            return size[first:last], nth[first:last]
        size, nth = _sequence(n, self.law, total)
        row = np.arange(first, last) % total
        return size[row], nth[row]

    def counts(self, pairs: int) -> Ints:
        """Pairs of each smaller size 0..n//2 among the first `pairs`; (n//2 + 1,)."""
        return np.bincount(self._places(0, pairs)[0], minlength=self.n_players // 2 + 1)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`. Cost: O(count n) in numpy, no query."""
        if self.n_players < 2:
            raise InvalidInput("Sizes: one player has no coalition but the endpoints; needs n_players >= 2.")
        if start < 0 or count < 0 or start % 2 or count % 2:
            raise InvalidInput(f"Sizes: rows {start}..{start + count} are negative or split a pair.")
        if self.size is not None and start + count > self.size:
            raise InvalidInput(f"Sizes: rows up to {start + count} asked for, {self.size} exist.")
        dense = np.empty((count, self.n_players), bool)
        if count:
            size, nth = self._places(start // 2, (start + count) // 2)
            dense[0::2] = _subsets(self.seed, size, nth, self.n_players)
            np.logical_not(dense[0::2], out=dense[1::2])
        return Masks(on_numpy.pack(dense), self.n_players, start=start, group=2)


@dataclass(frozen=True, slots=True)
class IndependentSizes:
    """Independent pairs: size by `law` over 1..n-1, uniform subset of it, then the complement.

    For unbiased means. Attributes as in `Sizes`. Source: size form of the Shapley value, any symmetric law.
    """

    n_players: int
    seed: int = 0
    law: Law = "balanced"
    group: int = 2

    def __post_init__(self) -> None:
        check_players("IndependentSizes", self.n_players)
        check_seed("IndependentSizes", self.seed)

    def shares(self) -> NDArray[np.float64]:
        """Probability of each size 1..n-1; (n-1,), symmetric."""
        n = self.n_players
        pair = law_of_sizes(n, self.law)
        if n % 2 == 0:
            pair[-1] *= 2
        whole = np.concatenate([pair, pair[: n - 1 - len(pair)][::-1]])
        return np.asarray(whole / whole.sum())

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        if start < 0 or count < 0 or start % 2 or count % 2 or self.n_players < 2:
            raise InvalidInput(f"IndependentSizes: rows {start}..{start + count} are negative or split a pair.")
        pair = np.arange(start // 2, (start + count) // 2, dtype=np.uint64)
        word = on_numpy.philox(self.seed, _STREAM_SIZE, pair, np.zeros(1, np.uint64))[..., 0]
        edges = np.floor(np.cumsum(self.shares()) * 2.0**32)
        size = 1 + np.searchsorted(edges[:-1], word.astype(np.float64), side="right").astype(np.int64)
        dense = np.empty((count, self.n_players), bool)
        dense[0::2] = _uniform_subsets(self.seed, _STREAM_SIZE, pair, size, self.n_players)
        np.logical_not(dense[0::2], out=dense[1::2])
        return Masks(on_numpy.pack(dense), self.n_players, start=start, group=2)
