"""Masks: packed coalitions as a plain record. Rows, where they stand in the run, and what the draw knew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput
from .kernels import dispatch, on_numpy

Array = Any  # numpy, or anything with __cuda_array_interface__


@dataclass(frozen=True, slots=True, eq=False)
class Zoom:
    """How coarse cells become a grid of players.

    Attributes
    ----------
    cells : (gh, gw). Coarse cells; ``gh * gw`` is the number of columns of ``Masks.data``.
    grid : (H, W). Players; ``H * W`` is ``Masks.n_players``.
    shift : int32 (m, 2) or None. Offset in players a row (RISE's random crop), 0 to ``ceil(side / cells) - 1``: the
        cells are then stretched over ``(cells + 1) * ceil(side / cells)`` players, of which the grid is a window.
    smooth : bool. Bilinear between cell centres, clamped at the ends (soft masks), or nearest.
    """

    cells: tuple[int, int]
    grid: tuple[int, int]
    shift: NDArray[np.int32] | None = None
    smooth: bool = False

    def axes(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """How positions along each axis read cells: see `kernels.on_numpy.zoom_axis`."""
        shifted = self.shift is not None
        y, x = (on_numpy.zoom_axis(c, g, shifted, self.smooth) for c, g in zip(self.cells, self.grid))
        return y, x

    def shifts(self, rows: int) -> NDArray[np.int32]:
        """`shift`, or zeros (rows, 2)."""
        return np.zeros((rows, 2), np.int32) if self.shift is None else self.shift


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

    @property
    def soft(self) -> bool:
        """Whether players can be partly present."""
        return self.depth == 8 or (self.zoom is not None and self.zoom.smooth)

    @property
    def columns(self) -> int:
        """Columns the data stands for: players, or coarse cells."""
        return self.n_players if self.zoom is None else self.zoom.cells[0] * self.zoom.cells[1]

    def host(self) -> Masks:
        """The same masks with data on the host."""
        data = dispatch.to_host(self.data)
        return self if data is self.data else replace(self, data=data)

    def levels(self) -> NDArray[np.uint8]:
        """Presence 0..255 on the host: uint8 (m, n_players). Small batches only."""
        data = np.asarray(dispatch.to_host(self.data))
        if self.depth == 1:
            data = on_numpy.unpack(data, self.columns).view(np.uint8) * np.uint8(255)
        if self.zoom is None:
            return data
        code = dispatch.pick(len(self) * self.n_players)
        y, x = self.zoom.axes()
        fine: NDArray[np.uint8] = code.zoom(
            np.ascontiguousarray(data), self.zoom.cells, self.zoom.grid, y, x, self.zoom.shifts(len(self))
        )
        return fine

    def dense(self) -> NDArray[Any]:
        """On the host: bool (m, n_players) for hard masks, float32 in 0..1 for soft ones. Small batches only."""
        if self.soft:
            return self.levels() / np.float32(255)
        if self.zoom is None:
            return on_numpy.unpack(np.asarray(dispatch.to_host(self.data)), self.n_players)
        return self.levels() > 127

    def heads(self) -> Masks:
        """The first row of each group, as rows of their own (of a pair: the row, without its complement)."""
        rows = slice((-self.start) % self.group, None, self.group)
        zoom = self.zoom
        if zoom is not None and zoom.shift is not None:
            zoom = replace(zoom, shift=np.ascontiguousarray(zoom.shift[rows]))
        alpha = None if self.alpha is None else self.alpha[rows]
        start = -(-self.start // self.group)
        return replace(self, data=self.data[rows], start=start, group=1, alpha=alpha, zoom=zoom)

    def sizes(self) -> NDArray[np.int64]:
        """Players present a row, (m,); hard masks only, by counting bits."""
        if self.soft:
            raise InvalidInput("Masks.sizes: soft masks have no set sizes; use levels().")
        if self.zoom is None:
            return on_numpy.set_sizes(np.asarray(dispatch.to_host(self.data)))
        return on_numpy.set_sizes(on_numpy.pack(self.levels() > 127))

    def __dlpack__(self, **options: Any) -> Any:
        """`data` without a copy, for ``torch.from_dlpack`` (host data)."""
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        """Where `data` lies, as DLPack says it."""
        return self.data.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """`data` without a copy, for ``torch.as_tensor`` and CuPy (device data)."""
        if dispatch.device_of(self.data) != "cuda":
            raise AttributeError("Masks.__cuda_array_interface__: these masks are on the host; use DLPack.")
        interface: dict[str, Any] = self.data.__cuda_array_interface__
        return interface
