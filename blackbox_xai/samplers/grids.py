"""Masks on a coarse grid of cells, zoomed to pixels: RISE's soft masks with a random shift, or hard cells."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import dispatch, on_numpy
from ..masks import Masks, Zoom
from .checks import STREAMS, check_device, check_grid, check_rows, check_seed


@dataclass(frozen=True, slots=True)
class RiseGrids:
    """Independent coins on ``cells``, zoomed to the pixels of ``grid``.

    Attributes
    ----------
    grid : (H, W). The players, in row-major order.
    cells : int or (gh, gw), at most the grid. Coarse cells.
    p : float, 0 < p < 1. Probability that a cell is present; the mean presence of every pixel.
    seed : int, 0 <= seed < 2**64.
    smooth : bool. Bilinear upsampling (levels 0..255), or nearest (hard masks).
    shift : bool. Stretch the cells by (cells + 1) / cells and shift the window at random, as RISE does.
    antithetic : bool. Row 2j + 1 is the complement of row 2j, same shift; its p is 1 - p, so useful at p = 1/2.
    device : "cpu" or "cuda". Where the bits are drawn and stay; they are the same.

    Cost: ``gh * gw`` bits and two offsets a row are kept; pixels are interpolated where they are used.
    Source: Petsiuk, Das, Saenko 2018 (RISE). Differs: fixed-point interpolation (weights in 1/255), exact sizes.
    """

    grid: tuple[int, int]
    cells: int | tuple[int, int] = 7
    p: float = field(default=0.5, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    smooth: bool = field(default=True, kw_only=True)
    shift: bool = field(default=True, kw_only=True)
    antithetic: bool = field(default=False, kw_only=True)
    device: str = field(default="cpu", kw_only=True)

    def __post_init__(self) -> None:
        check_grid("RiseGrids", self.grid)
        check_seed("RiseGrids", self.seed)
        if not 0 < self.p < 1:
            raise InvalidInput(f"RiseGrids: p {self.p} is not strictly between 0 and 1.")
        if not all(1 <= c <= g for c, g in zip(self.coarse, self.grid)):
            raise InvalidInput(f"RiseGrids: {self.coarse} cells on a grid of {tuple(self.grid)}; use 1 to the grid.")
        check_device("RiseGrids", self.device)

    @property
    def coarse(self) -> tuple[int, int]:
        """(gh, gw)."""
        return (self.cells, self.cells) if isinstance(self.cells, int) else (self.cells[0], self.cells[1])

    @property
    def n_players(self) -> int:
        """Pixels."""
        return int(self.grid[0]) * int(self.grid[1])

    @property
    def group(self) -> int:
        """2 with antithetic pairs, else 1."""
        return 2 if self.antithetic else 1

    def offsets(self, first: int, draws: int) -> NDArray[np.int32]:
        """Shifts of draws `first` on, (draws, 2): uniform over one cell along each axis."""
        row = np.arange(first, first + draws, dtype=np.uint64)
        words = on_numpy.philox(int(self.seed), STREAMS["shifts"], row, np.uint64(0))[:, :2].astype(np.uint64)
        cell = np.array([-(-g // c) for g, c in zip(self.grid, self.coarse)], np.uint64)
        return ((words * cell) >> np.uint64(32)).astype(np.int32)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`. ``alpha`` (count,) is p, or 1 - p for complements."""
        check_rows("RiseGrids", start, count, self.group)
        first, draws = start // self.group, count // self.group
        cut = int(min(max(round(self.p * 2**32), 1), 2**32 - 1))
        n_cells = self.coarse[0] * self.coarse[1]
        bits = dispatch.pick(count * n_cells, self.device).coins(
            int(self.seed), STREAMS["RiseGrids"], first, np.full(draws, cut, np.uint64), n_cells, self.antithetic
        )
        alpha = np.tile([cut / 2**32, 1 - cut / 2**32][: self.group], draws)
        shift = np.repeat(self.offsets(first, draws), self.group, axis=0) if self.shift else None
        zoom = Zoom(self.coarse, (int(self.grid[0]), int(self.grid[1])), shift, self.smooth)
        return Masks(bits, self.n_players, start=start, group=self.group, alpha=alpha, zoom=zoom)
