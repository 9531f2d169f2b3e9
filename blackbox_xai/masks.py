"""Masks: packed coalitions as a plain record. Rows, where they stand in the run, and what the draw knew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput
from .kernels import on_numpy

Array = Any  # numpy, or anything with __cuda_array_interface__


@dataclass(frozen=True, slots=True, eq=False)
class Zoom:
    """How coarse cells become a grid of players.

    Attributes
    ----------
    cells : (gh, gw). Coarse cells; ``gh * gw`` is the number of columns of ``Masks.data``.
    grid : (H, W). Players; ``H * W`` is ``Masks.n_players``.
    shift : int32 (m, 2) or None. Offset in players a row (RISE's random crop).
    smooth : bool. Bilinear between cell centres (soft masks) or nearest (hard ones).
    """

    cells: tuple[int, int]
    grid: tuple[int, int]
    shift: NDArray[np.int32] | None = None
    smooth: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Coalitions, packed.

    Attributes
    ----------
    data : uint8 (m, ceil(c/8)) little-endian bits (`depth` 1), or (m, c) levels 0..255 (`depth` 8, soft).
        ``c`` is `n_players`, or the number of coarse cells when `zoom` is given.
    n_players : int.
    depth : 1 or 8.
    start : int. Row number of the first row in the sampler's sequence; the endpoints, asked for first, have
        negative numbers (the full coalition is row -1).
    group : int. Rows drawn together (a pair, a walk, a design block); row r is in group ``r // group``.
    alpha : float64 (m,) or None. The inclusion level of each row, where the draw has one.
    zoom : Zoom or None.
    """

    data: Array
    n_players: int
    depth: Literal[1, 8] = 1
    start: int = 0
    group: int = 1
    alpha: NDArray[np.float64] | None = None
    zoom: Zoom | None = None

    @classmethod
    def from_dense(cls, dense: NDArray[np.bool_], *, start: int = 0, group: int = 1) -> Masks:
        """Pack booleans (m, n_players)."""
        dense = np.asarray(dense)
        if dense.ndim != 2:
            raise InvalidInput(f"Masks.from_dense: expected (rows, players), got shape {dense.shape}.")
        return cls(on_numpy.pack(dense), dense.shape[1], start=start, group=group)

    @classmethod
    def endpoints(cls, n_players: int, empty: int = 1) -> Masks:
        """The coalitions asked for first: `empty` empty rows, then the full one, which is row -1."""
        dense = np.zeros((empty + 1, n_players), bool)
        dense[-1] = True
        return cls.from_dense(dense, start=-(empty + 1))

    def __len__(self) -> int:
        return int(self.data.shape[0])

    def __getitem__(self, rows: slice) -> Masks:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise InvalidInput("Masks: only contiguous slices keep their place in the run; use step 1.")
        zoom = self.zoom
        if zoom is not None and zoom.shift is not None:
            zoom = Zoom(zoom.cells, zoom.grid, zoom.shift[start:stop], zoom.smooth)
        alpha = None if self.alpha is None else self.alpha[start:stop]
        return Masks(self.data[start:stop], self.n_players, self.depth, self.start + start, self.group, alpha, zoom)

    def dense(self) -> NDArray[Any]:
        """On the host: bool (m, n_players) for hard masks, float32 in 0..1 for soft ones. Small batches only."""
        if self.zoom is not None:
            raise NotImplementedError
        if self.depth == 1:
            return on_numpy.unpack(np.asarray(self.data), self.n_players)
        return np.asarray(self.data, np.float32) / np.float32(255)

    def sizes(self) -> NDArray[np.int64]:
        """Players present a row, (m,); hard masks without zoom."""
        if self.depth != 1 or self.zoom is not None:
            raise InvalidInput("Masks.sizes: only hard masks of single players have set sizes.")
        return on_numpy.set_sizes(np.asarray(self.data))
