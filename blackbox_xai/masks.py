"""Masks: packed coalitions as a plain record. Rows, where they stand in the run, and what the draw knew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput
from .kernels import dispatch, on_numpy

Array = Any  # numpy, or anything with __cuda_array_interface__


@lru_cache(maxsize=64)
def _axis(cells: int, size: int, shifted: bool, smooth: bool) -> NDArray[np.int32]:
    """`on_numpy.zoom_axis`, read-only: a GPU needs one copy of it."""
    axis = on_numpy.zoom_axis(cells, size, shifted, smooth)
    axis.flags.writeable = False
    return axis


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

    def plan(self, rows: int) -> on_numpy.Coarse:
        """What kernels need to zoom `rows` rows."""
        shifted = self.shift is not None
        y, x = (_axis(c, g, shifted, self.smooth) for c, g in zip(self.cells, self.grid))
        shift = np.zeros((rows, 2), np.int32) if self.shift is None else self.shift
        return self.cells, self.grid, y, x, shift


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

    def to(self, device: str) -> Masks:
        """The same masks with packed data on "cpu" or "cuda"."""
        if device == "cpu" or dispatch.device_of(self.data) == device:
            return self.host() if device == "cpu" else self
        from .kernels import on_cuda

        return replace(self, data=on_cuda.on_device(self.data))

    def levels(self) -> NDArray[np.uint8]:
        """Presence 0..255 on the host: uint8 (m, n_players). Small batches only."""
        data = np.asarray(dispatch.to_host(self.data))
        if self.depth == 1:
            data = on_numpy.unpack(data, self.columns).view(np.uint8) * np.uint8(255)
        if self.zoom is None:
            return data
        code = dispatch.pick(len(self) * self.n_players)
        fine: NDArray[np.uint8] = code.zoom(np.ascontiguousarray(data), *self.zoom.plan(len(self)))
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
            counts: NDArray[np.int64] = dispatch.pick(0, dispatch.device_of(self.data)).set_sizes(self.data)
            return counts
        return on_numpy.set_sizes(on_numpy.pack(self.levels() > 127))

    def compose(
        self,
        x: NDArray[Any],
        baseline: Any,
        out: Any = None,
        *,
        rows: NDArray[np.intp] | None = None,
        labels: NDArray[np.int32] | None = None,
        channels: Literal["first", "last"] | None = None,
    ) -> Any:
        """Model inputs: `x` where players are present, `baseline` where absent, a mix where partly present.

        Parameters
        ----------
        x : (H, W, C), (C, H, W), (H, W) or (d,). The input; any dtype for hard masks, uint8, float32 or float64
            for soft ones (uint8 rounds to the nearest).
        baseline : what absent players become: like `x`, or anything that broadcasts to it, or (m, ...) like `x`: one
            for each composed row.
        out : (m, ...) like `x`, contiguous, same dtype: a numpy array, a torch CPU tensor, or a device array or tensor.
            Written in place, where it lies: packed masks that lie elsewhere are copied. None: a new array, where the
            masks lie.
        rows : int (m,) or None. Which rows of these masks to compose, in this order; None for all.
        labels : int32 (H, W) or (P,), or None. The player of each position, for segments and groups of columns;
            None where every position is a player of its own, in row-major order.
        channels : where the channels of `x` are, if its shape leaves that open.

        Returns
        -------
        `out`.

        Raises
        ------
        InvalidInput : shapes or dtypes that do not fit.

        Cost: memory speed; no mask is unpacked.
        """
        return compose(self, x, baseline, out, rows, labels, channels)

    def accumulate(
        self, weights: NDArray[np.float64], values: NDArray[np.float64], *, centre: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums over rows r of ``c = weights[r] * values[r] * (z[r] - centre[r])`` and of ``c ** 2``, a player.

        z is presence, 0..1. An attribution map and, with the squares, its standard error, in one pass over the packed
        masks. For antithetic pairs whose unit is the pair, use ``masks.heads()`` and a value a pair.

        Parameters
        ----------
        weights : (m,). One a row.
        values : (m,) or (m, k). What the rows scored.
        centre : (m,) or None. Subtracted from presence, e.g. ``masks.alpha``; None for 0.

        Returns
        -------
        sums, squares : float64 (d, k), or (d,) for `values` (m,). Rows are added in order, one after the other: the
            same bits whatever the number of threads.

        Cost: about 0.3 ns a player, row and output on one core.
        """
        return accumulate(self, weights, values, centre)

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


def compose(
    masks: Masks,
    x: NDArray[Any],
    baseline: Any,
    out: Any,
    rows: NDArray[np.intp] | None,
    labels: NDArray[np.int32] | None,
    channels: str | None,
) -> Any:
    """See `Masks.compose`."""
    device = dispatch.device_of(masks.data if out is None else out)
    masks = (masks if rows is None else _pick(masks, np.asarray(rows, np.intp))).to(device)
    if device == "cuda":
        from .kernels import on_cuda

        dtype, shape = on_cuda.kind(x)
    else:
        x = np.asarray(x)
        dtype, shape = x.dtype, x.shape
    positions = masks.n_players if labels is None else int(np.size(labels))
    outer, inner = _channels(shape, positions, channels)
    if masks.soft and dtype not in (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64)):
        raise InvalidInput(f"Masks.compose: soft masks mix uint8, float32 or float64, not {dtype}; convert the input.")
    if labels is not None:
        labels = np.asarray(labels, np.int32)
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < masks.n_players:
            raise InvalidInput(f"Masks.compose: labels must be players 0..{masks.n_players - 1}.")
        if device == "cpu":
            labels = np.ascontiguousarray(labels).reshape(-1)
    plan = None if masks.zoom is None else masks.zoom.plan(len(masks))
    head = masks.data, masks.depth, masks.n_players, plan, labels, masks.soft
    core = outer, positions, inner
    if device == "cuda":
        try:
            return on_cuda.compose_into(*head, x, baseline, out, core)
        except ValueError as error:
            raise InvalidInput(f"Masks.compose: {error}") from error
    view, out = _out(out, (len(masks), *shape), dtype)
    base = np.asarray(baseline)
    each = base.ndim == x.ndim + 1
    try:
        base = np.broadcast_to(base, ((len(masks),) if each else (1,)) + shape)
    except ValueError:
        raise InvalidInput(
            f"Masks.compose: baseline {base.shape} does not fit an input {shape} or {len(masks)} rows of it."
        ) from None
    base = np.ascontiguousarray(base, dtype).reshape(-1, *core)
    code = dispatch.pick(len(masks) * max(x.size, masks.n_players))
    code.compose(*head, np.ascontiguousarray(x).reshape(core), base, view.reshape(-1, *core))
    return out


def _pick(masks: Masks, rows: NDArray[np.intp]) -> Masks:
    """Any rows, in any order; they may lose their place in the run."""
    first = int(rows[0]) if len(rows) else 0
    if 0 <= first <= len(masks) - len(rows) and np.array_equal(rows, np.arange(first, first + len(rows))):
        return masks[first : first + len(rows)]
    zoom = masks.zoom
    if zoom is not None and zoom.shift is not None:
        zoom = replace(zoom, shift=zoom.shift[rows])
    if dispatch.device_of(masks.data) == "cuda":
        from .kernels import on_cuda

        data = on_cuda.take(masks.data, rows)
    else:
        data = masks.data[rows]
    alpha = None if masks.alpha is None else masks.alpha[rows]
    return replace(masks, data=data, start=0, group=1, alpha=alpha, zoom=zoom)


def _channels(shape: tuple[int, ...], positions: int, channels: str | None) -> tuple[int, int]:
    """Channels before and behind the positions."""
    fits = {
        name: size
        for name, used, size in (
            ("none", shape, (1, 1)),
            ("last", shape[:-1], (1, shape[-1] if shape else 0)),
            ("first", shape[1:], (shape[0] if shape else 0, 1)),
        )
        if int(np.prod(used)) == positions and (name == "none" or len(shape) > 1)
    }
    if channels is not None:
        fits = {k: v for k, v in fits.items() if k == channels}
    elif "none" in fits:
        fits = {"none": fits["none"]}
    if len(fits) != 1:
        what = "fits both ways; say channels=" if fits else "does not fit; give (H, W, C), (C, H, W), (H, W) or (d,)"
        raise InvalidInput(f"Masks.compose: input {shape} for {positions} positions {what}{' or '.join(fits)}.")
    ((outer, inner),) = fits.values()
    return outer, inner


def _out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[NDArray[Any], Any]:
    """A numpy view to write to, and what to give back."""
    if out is None:
        out = np.empty(shape, dtype)
    view = out if isinstance(out, np.ndarray) else out.detach().numpy()
    if view.shape != shape or view.dtype != dtype or not view.flags.c_contiguous or not view.flags.writeable:
        raise InvalidInput(
            f"Masks.compose: out is {view.dtype} {view.shape}; give a writable contiguous {dtype} array {shape}."
        )
    return view, out


def accumulate(
    masks: Masks,
    weights: NDArray[np.float64],
    values: NDArray[np.float64],
    centre: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """See `Masks.accumulate`."""
    m = len(masks)
    weights, values = np.asarray(weights, np.float64), np.asarray(values, np.float64)
    middle = np.zeros(m) if centre is None else np.ascontiguousarray(centre, np.float64)
    if weights.shape != (m,) or values.ndim not in (1, 2) or len(values) != m or middle.shape != (m,):
        raise InvalidInput(
            f"Masks.accumulate: {m} masks, but weights {weights.shape}, values {values.shape}, centre {middle.shape}; "
            "give one weight, value row and centre a mask."
        )
    weight = np.ascontiguousarray(values.reshape(m, 1 if values.ndim == 1 else values.shape[1]) * weights[:, None])
    code = dispatch.pick(m * masks.n_players, dispatch.device_of(masks.data))
    plan = None if masks.zoom is None else masks.zoom.plan(m)
    sums, squares = code.accumulate(masks.data, masks.depth, masks.n_players, plan, weight, middle)
    return (sums[:, 0], squares[:, 0]) if values.ndim == 1 else (sums, squares)
