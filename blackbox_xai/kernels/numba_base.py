"""What the compiled CPU kernels share: compiling, threads, packing and zooming one row."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import numba
import numpy as np

U = np.uint64


def threads() -> int:
    """Threads to share work out to: numba's setting, so ``NUMBA_NUM_THREADS`` and joblib workers are obeyed."""
    return int(numba.config.NUMBA_NUM_THREADS)


def spread(task: Callable[[int, int], None], n: int) -> None:
    """Run ``task(lo, hi)`` over 0..n in one contiguous range a thread, the caller's thread among them."""
    workers, failed = max(1, min(threads(), n)), []

    def part(k: int) -> None:
        try:
            task(n * k // workers, n * (k + 1) // workers)
        except BaseException as error:
            failed.append(error)

    helpers = [Thread(target=part, args=(k,)) for k in range(1, workers)]
    for helper in helpers:
        helper.start()
    part(0)
    for helper in helpers:
        helper.join()
    if failed:
        raise failed[0]


def jit(function=None, **options):
    """``numba.njit`` without the interpreter lock, cached on disk where some place can be written."""
    if function is None:
        return lambda f: jit(f, **options)
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # no writable place for a cache
        return numba.njit(nogil=True, **options)(function)


@jit
def pack_row(flags, out):
    """Bytes 0/1, a multiple of 8 of them, to bits; the first flag becomes the lowest bit."""
    eights = flags.view(np.uint64)
    for b in range(out.shape[0]):
        out[b] = np.uint8((eights[b] * U(0x0102040810204080)) >> U(56))


@jit
def zoom_wide(cells, gh, gw, x, sx, wide):
    """Horizontal half of `zoom` for one row: cells (gh * gw,) to `wide` int32 (gh, W)."""
    for g in range(gh):
        for j in range(wide.shape[1]):
            weight = x[2, sx + j]
            low, high = np.int32(cells[g * gw + x[0, sx + j]]), np.int32(cells[g * gw + x[1, sx + j]])
            wide[g, j] = (255 - weight) * low + weight * high


@jit
def zoom_line(wide, y, position, out):
    """Vertical half of `zoom` for one line of the grid: uint8 (W,)."""
    low, high = wide[y[0, position]], wide[y[1, position]]
    weight = np.int32(y[2, position])
    rest = np.int32(255 - weight)
    for j in range(out.shape[0]):
        value = np.uint32(rest * low[j] + weight * high[j] + 32512)
        out[j] = np.uint8(value // np.uint32(65025))
