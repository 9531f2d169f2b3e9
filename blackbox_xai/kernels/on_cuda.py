"""Twins of `on_numpy` for CUDA GPUs: device arrays in and out, the same bits. Runs in numba's simulator too.

One thread makes one byte of a mask, one element of an input, or one player's sum; nothing is unpacked. Scratch memory
is taken a part of the rows at a time, halved where the device has less.
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from ..memory import Room
from . import dispatch, on_numpy

SCRATCH = 256 * 2**20  # bytes of scratch memory to take at once
_THREADS = 256


@lru_cache
def why_not() -> str:
    """Why no GPU can be used here, or "" where a trial kernel runs (numba's simulator counts)."""
    try:
        from numba import cuda
    except ImportError as error:
        return f"numba's CUDA support cannot be imported ({error})"
    try:
        if not cuda.is_available():
            return "no CUDA GPU or driver was found"
        right = set_sizes(on_device(np.array([[255, 1]], np.uint8)))[0] == 9
    except Exception as error:  # a driver, or a compiler that does not suit it, may fail in many ways
        return f"a trial kernel did not run ({type(error).__name__}: {error})"
    return "" if right else "a trial kernel counted wrong"


_copies: dict[int, tuple[Any, Any]] = {}  # of host arrays that are read-only: a weak reference, the copy


def on_device(array: Any) -> Any:
    """A device array: itself, another library's without a copy, or a copy of a host one.

    A read-only host array is copied once in its life.
    """
    from numba import cuda

    if hasattr(array, "__cuda_ndarray__"):
        return array
    if hasattr(array, "__cuda_array_interface__"):
        return cuda.as_cuda_array(array)
    array = np.asarray(array)
    if array.flags.writeable:
        return cuda.to_device(np.ascontiguousarray(array))
    key = id(array)
    alive, copy = _copies.get(key, (None, None))
    if alive is None or alive() is not array:
        copy = cuda.to_device(np.ascontiguousarray(array))
        _copies[key] = weakref.ref(array, lambda _: _copies.pop(key, None)), copy
    return copy


def to_host(array: Any) -> np.ndarray:
    """A host copy of a device array."""
    return on_device(array).copy_to_host()


def kind(array: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """dtype and shape of a host or device array."""
    if hasattr(array, "__cuda_ndarray__") or hasattr(array, "__cuda_array_interface__"):
        array = on_device(array)
    else:
        array = np.asarray(array)
    return np.dtype(array.dtype), tuple(int(s) for s in array.shape)


def take(array: Any, rows: Any) -> Any:
    """Rows of a device array (m, c), in any order."""
    from numba import cuda

    array, index = on_device(array), on_device(np.asarray(rows, np.int64))
    out = cuda.device_array((len(rows), array.shape[1]), array.dtype)
    if out.size:
        code().take[_grid(out.size), _THREADS](array, index, out)
    return out


def set_sizes(data: Any) -> np.ndarray:
    """See `on_numpy.set_sizes`; the counts come to the host."""
    from numba import cuda

    out = cuda.device_array(int(data.shape[0]), np.int64)
    if out.size:
        code().set_sizes[_grid(out.size), _THREADS](data, out)
    return to_host(out)


def _grid(n: int) -> int:
    return max(1, -(-int(n) // _THREADS))


def code() -> ModuleType:
    """The device code, loaded on first use."""
    from . import cuda_kernels

    return cuda_kernels


def _keys(seed: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)


def coins(seed, stream, first, cut, players, antithetic):
    """See `on_numpy.coins`."""
    from numba import cuda

    width, pair = (players + 7) // 8, int(antithetic)
    out = cuda.device_array((len(cut) * (1 + pair), width), np.uint8)
    if out.size:
        args = np.uint64(stream), np.uint64(first), on_device(cut), players, pair, out
        code().coins[_grid(len(cut) * width), _THREADS](*_keys(seed), *args)
    return out


def smooth_coins(seed, stream, first, cut, fixed_size, y, x, antithetic):
    """See `on_numpy.smooth_coins`."""
    from numba import cuda

    (ay, wy), (ax, wx) = y, x
    height, width, pair = ay.size, ax.size, int(antithetic)
    players, coarse = height * width, (int(ay[-1]) + len(wy), int(ax[-1]) + len(wx))
    out = cuda.device_array((len(cut) * (1 + pair), (players + 7) // 8), np.uint8)
    taps = [on_device(a) for a in (ay, wy, ax, wx)]
    limits = on_device(np.asarray(cut, np.int64))
    row_bytes = coarse[0] * coarse[1] + 4 * coarse[0] * width + (4 * players if fixed_size else 0)

    def work(lo, hi):
        n = hi - lo
        noise = cuda.device_array((n, coarse[0] * coarse[1]), np.int8)
        wide = cuda.device_array((n, coarse[0], width), np.int32)
        blocks = -(-coarse[0] * coarse[1] // 4)
        c = code()
        c.noise[_grid(n * blocks), _THREADS](*_keys(seed), np.uint64(stream), np.uint64(first + lo), noise)
        c.widen[_grid(wide.size), _THREADS](noise, coarse[1], taps[2], taps[3], wide)
        share = out[lo * (1 + pair) : hi * (1 + pair)]
        bytes_ = _grid(n * out.shape[1])
        if not fixed_size:
            c.cut[bytes_, _THREADS](wide, taps[0], taps[1], limits[lo:hi], pair, share)
            return
        field = cuda.device_array((n, players), np.int32)
        edges = cuda.device_array((n, 2), np.int64)
        c.field[_grid(field.size), _THREADS](wide, taps[0], taps[1], field)
        c.select[n, 32](field, limits[lo:hi], edges)
        c.cut_at[bytes_, _THREADS](field, edges, pair, share)

    Room(SCRATCH // max(row_bytes, 1)).parts(work, len(cut))
    return out


_NO_AXIS, _NO_SHIFT, _NO_LABELS = np.zeros((3, 1), np.int32), np.zeros((1, 2), np.int32), np.zeros(0, np.int32)
for _nothing in (_NO_AXIS, _NO_SHIFT, _NO_LABELS):
    _nothing.flags.writeable = False


def _plan(zoom_to):
    """Zoom as device code takes it: coarse height 0 where there is none."""
    if zoom_to is None:
        return 0, 1, 1, on_device(_NO_AXIS), on_device(_NO_AXIS), on_device(_NO_SHIFT)
    cells, grid, y, x, shift = zoom_to
    return cells[0], cells[1], grid[1], on_device(y), on_device(x), on_device(shift)


def compose_into(
    data: Any,
    depth: int,
    players: int,
    zoom_to: Any,
    labels: Any,
    soft: bool,
    x: Any,
    baseline: Any,
    out: Any,
    core: tuple[int, int, int],
) -> Any:
    """`compose` for a caller that has shapes as they came; gives `out`, made if None."""
    from numba import cuda

    dtype, shape = kind(x)
    rows = int(data.shape[0])
    given = cuda.device_array((rows, *shape), dtype) if out is None else out
    target = on_device(given)
    if kind(target) != (dtype, (rows, *shape)):
        raise ValueError(f"compose: out is {target.dtype} {target.shape}; give a {dtype} array {(rows, *shape)}.")
    if dispatch.device_of(baseline) == "cuda" or kind(baseline) == (dtype, shape):
        base = on_device(baseline)
    else:
        wide = np.broadcast_to(np.asarray(baseline), ((rows,) if np.ndim(baseline) == len(shape) + 1 else (1,)) + shape)
        base = on_device(np.ascontiguousarray(wide, dtype))
    base = base.reshape((base.size // max(1, int(np.prod(shape))), *core))
    compose(
        data, depth, players, zoom_to, labels, soft, on_device(x).reshape(core), base, target.reshape((rows, *core))
    )
    return given


def compose(data, depth, players, zoom_to, labels, soft, x, baseline, out):
    """See `on_numpy.compose`."""
    rows, elements = int(out.shape[0]), int(np.prod(x.shape))
    if not rows * elements:
        return
    positions, inner = int(x.shape[1]), int(x.shape[2])
    tags = on_device(_NO_LABELS if labels is None else labels)
    tags = tags if tags.ndim == 1 else tags.reshape(tags.size)
    mode = 0 if not soft else 1 if np.dtype(out.dtype) == np.uint8 else 2
    c = code()
    kernel = (c.compose_hard, c.compose_bytes, c.compose_floats)[mode]
    flat = on_device(x).reshape(elements), on_device(baseline).reshape((-1 if rows else 1, elements))
    step = int(flat[1].shape[0] > 1)
    grid = _grid(elements), min(65535, -(-rows // 8))
    args = on_device(data), depth, _plan(zoom_to), tags, positions, inner, *flat, step
    kernel[grid, _THREADS](*args, out.reshape((rows, elements)))


def accumulate(data, depth, players, zoom_to, weight, centre):
    """See `on_numpy.accumulate`; sums come to the host. Soft masks agree with the others to rounding."""
    from numba import cuda

    k = weight.shape[1]
    hard, rows = depth == 1 and zoom_to is None, int(data.shape[0])
    if rows == 0:
        return np.zeros((players, k)), np.zeros((players, k))
    sums, squares = (cuda.device_array((k, players), np.float64) for _ in range(2))
    twice = on_numpy.gain_of_presence(weight, centre) if hard else weight
    args = [on_device(a) for a in (data, weight, twice, centre, on_numpy.SHARES)]
    grid = _grid(players), k
    code().accumulate[grid, _THREADS](args[0], depth, _plan(zoom_to), int(hard), *args[1:], sums, squares)
    sums, squares = to_host(sums).T, to_host(squares).T
    return on_numpy.add_absence(sums, squares, weight, centre) if hard else (sums, squares)
