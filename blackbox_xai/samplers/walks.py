"""Antithetic permutation walks: the chain of a random order from empty to full, and the chain of its
reverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import on_numpy
from ..masks import Masks
from .checks import check_players, check_seed

_STREAM = 0x57A1


@dataclass(frozen=True, slots=True)
class Walks:
    """A group is one random order: its n - 1 inner prefixes, then their complements (the reversed order's
    prefixes).

    Attributes
    ----------
    n_players : int, >= 2.
    seed : int, 0 <= seed < 2**64.

    Source: Castro et al. 2009; Mitchell et al. 2022, antithetic permutations.
    """

    n_players: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_players("Walks", self.n_players)
        check_seed("Walks", self.seed)

    @property
    def group(self) -> int:
        """Rows a walk and its mirror: 2(n - 1)."""
        return 2 * (self.n_players - 1)

    def orders(self, first: int, count: int) -> NDArray[np.int64]:
        """Orders of walks first..first+count-1: (count, n), the player who joins at each step."""
        n = self.n_players
        blocks = np.arange(-(-n // 4), dtype=np.uint64)
        row = np.arange(first, first + count, dtype=np.uint64)
        words = on_numpy.philox(self.seed, _STREAM, row[:, None], blocks[None, :])
        key = words.reshape(count, 4 * blocks.size)[:, :n].astype(np.uint64) << np.uint64(32) | np.arange(
            n, dtype=np.uint64
        )
        return np.argsort(key, axis=1).astype(np.int64)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        n, group = self.n_players, self.group
        if n < 2:
            raise InvalidInput("Walks: one player has no walk; needs n_players >= 2.")
        if start < 0 or count < 0 or start % group or count % group:
            raise InvalidInput(f"Walks: rows {start}..{start + count} are negative or split a walk of {group} rows.")
        orders = self.orders(start // group, count // group)
        place = np.empty_like(orders)
        np.put_along_axis(place, orders, np.broadcast_to(np.arange(n), orders.shape), axis=1)
        forward = place[:, None, :] < np.arange(1, n)[None, :, None]
        dense = np.concatenate([forward, ~forward], axis=1).reshape(count, n)
        return Masks(on_numpy.pack(dense), n, start=start, group=group)
