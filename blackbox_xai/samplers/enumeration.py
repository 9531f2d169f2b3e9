"""Every coalition but the endpoints, each followed by its complement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import on_numpy
from ..masks import Masks


@dataclass(frozen=True, slots=True)
class Enumeration:
    """Bit patterns 1, ~1, 2, ~2, ...: all 2**n - 2 rows that are neither empty nor full. Needs n <= 20."""

    n_players: int
    group: int = 2

    def patterns(self, start: int, count: int) -> NDArray[np.int64]:
        """Bit patterns (player i is bit i) of rows ``start .. start + count - 1``."""
        row = np.arange(start, start + count, dtype=np.int64)
        low = row // 2 + 1
        return np.where(row % 2 == 0, low, (1 << self.n_players) - 1 - low)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`. Source: none needed; Gray order would save nothing, rows are valued in
        batches.
        """
        if start < 0 or count < 0 or start % 2 or count % 2 or start + count > (1 << self.n_players) - 2:
            raise InvalidInput(f"Enumeration: rows {start}..{start + count} are odd or beyond 2**{self.n_players}.")
        bits = (self.patterns(start, count)[:, None] >> np.arange(self.n_players)) & 1
        return Masks(on_numpy.pack(bits.astype(bool)), self.n_players, start=start, group=2)
