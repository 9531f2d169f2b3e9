"""Owen sampling: along the diagonal of the multilinear extension, one coalition and its single flips a level."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..kernels import dispatch, on_numpy
from ..masks import Masks
from .checks import STREAMS, check_players, check_rows, check_seed
from .coins import balanced


@dataclass(frozen=True, slots=True)
class OwenGrid:
    """Blocks of rows: z, whose players are present with probability alpha, then z with player 0, 1, .. n - 1 flipped.

    A block holds a marginal contribution of every player, f(z with i) - f(z without i); its mean over blocks is the
    Shapley value. Levels alpha are stratified: a scrambled van der Corput sequence, uniform on 0..1.

    Attributes
    ----------
    n_players : int.
    seed : int, 0 <= seed < 2**64.
    antithetic : bool. Levels in 0..1/2, and each block followed by its complement, row by row (levels 1 - alpha).

    Source: Okhrati and Lipani 2021, halved Owen sampling. Differs: n + 1 rows a block in place of 2n, and stratified
    levels in place of an equally weighted grid with both ends, which is biased.
    """

    n_players: int
    seed: int = field(default=0, kw_only=True)
    antithetic: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        check_players("OwenGrid", self.n_players)
        check_seed("OwenGrid", self.seed)

    @property
    def group(self) -> int:
        """Rows a block, and its complement where antithetic."""
        return (self.n_players + 1) * (2 if self.antithetic else 1)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`. ``alpha`` (count,) is the level of the block."""
        check_rows("OwenGrid", start, count, self.group)
        first, blocks, n = start // self.group, count // self.group, self.n_players
        term = balanced(int(self.seed), first, blocks)
        cut = np.maximum(term >> np.uint64(1) if self.antithetic else term, np.uint64(1))
        code = dispatch.pick(blocks * n)
        base = code.coins(int(self.seed), STREAMS["OwenGrid"], first, cut, n, False)
        flip = on_numpy.pack(np.concatenate([np.zeros((1, n), bool), np.eye(n, dtype=bool)]))
        bits = base[:, None] ^ flip
        alpha = np.repeat((cut / 2**32)[:, None], n + 1, axis=1)
        if self.antithetic:
            everyone = on_numpy.pack(np.ones((1, n), bool))
            bits, alpha = np.concatenate([bits, bits ^ everyone], axis=1), np.concatenate([alpha, 1 - alpha], axis=1)
        return Masks(bits.reshape(count, -(-n // 8)), n, start=start, group=self.group, alpha=alpha.reshape(count))
