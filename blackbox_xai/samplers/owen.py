"""Multilinear sampling: coins at a random level, every one-player flip of them, and all the complements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput
from ..kernels import on_numpy
from ..masks import Masks

_STREAM = 0x0E17


@dataclass(frozen=True, slots=True)
class OwenFlips:
    """A group: a coin row at a uniform level, its n flips, then the complements of these n + 1 rows.

    Levels of consecutive groups follow the golden ratio from a random start: each is uniform, together they
    are even. Source: Okhrati & Lipani 2021, halved Owen sampling. Differs: a continuous level instead of a
    grid with endpoints.
    """

    n_players: int
    seed: int = 0

    @property
    def group(self) -> int:
        """Rows a base row: 2(n + 1)."""
        return 2 * (self.n_players + 1)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        n, group = self.n_players, self.group
        if start < 0 or count < 0 or start % group or count % group:
            raise InvalidInput(f"OwenFlips: rows {start}..{start + count} are negative or split a group of {group}.")
        base = np.arange(start // group, (start + count) // group, dtype=np.uint64)
        first = on_numpy.philox(self.seed, _STREAM, np.zeros(1, np.uint64), np.zeros(1, np.uint64))[0, 0]
        edge = (np.uint64(first) + base * np.uint64(2654435769)) & np.uint64(0xFFFFFFFF)  # 2**32 / golden ratio
        words = on_numpy.philox(self.seed, _STREAM, base[:, None], 1 + np.arange(-(-n // 4), dtype=np.uint64)[None])
        z = words.reshape(len(base), -1)[:, :n] < edge[:, None]
        change = np.concatenate([np.zeros((1, n), bool), np.eye(n, dtype=bool)])
        rows = z[:, None, :] ^ change[None]
        dense = np.concatenate([rows, ~rows], axis=1).reshape(count, n)
        return Masks(on_numpy.pack(dense), n, start=start, group=group)
