"""What the compiled CPU kernels share: compiling, threads, packing and zooming one row."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import numba
import numpy as np

from .numba_blend import LINE, SPAN, between, between_bits, pack_line

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
    whole = flags.shape[0] // LINE * LINE
    for p in range(0, whole, LINE):
        pack_line(flags, p, out)
    for b in range(whole // 8, out.shape[0]):
        byte = 0
        for k in range(8):
            byte |= flags[8 * b + k] << k
        out[b] = byte


@jit
def zoom_wide(cells, gh, gw, x, sx, wide):
    """Horizontal half of `zoom` for one row: cells (gh * gw,) to `wide` uint16 (gh, W), 255 times as much."""
    begin, width = 0, wide.shape[1]
    while begin < width:  # a run of positions between the same two cells
        left, right, end = x[0, sx + begin], x[1, sx + begin], begin + 1
        while end < width and x[0, sx + end] == left:
            end += 1
        weight = x[2, sx + begin : sx + end]
        for g in range(gh):
            low, high, line = np.uint16(cells[g * gw + left]), np.uint16(cells[g * gw + right]), wide[g, begin:end]
            for j in range(end - begin):
                share = np.uint16(weight[j])
                line[j] = np.uint16(np.uint16(np.uint16(255 - share) * low) + np.uint16(share * high))
        begin = end


@jit
def zoom_lines(wide, y, first, top, out):
    """Vertical half of `zoom` for lines of the grid, `y` positions from `first` on: uint8 (lines * W,).

    Cells are 0..`top`, which is 1 or 255.
    """
    width, flat = wide.shape[1], wide.reshape(-1)
    for i in range(out.shape[0] // width):
        low, high, weight, at = y[0, first + i] * width, y[1, first + i] * width, y[2, first + i], i * width
        for begin in range(0, width, SPAN):
            j = min(begin, width - SPAN)  # the last span overlaps the one before
            if j < 0:
                for e in range(width):
                    value = (255 - weight) * np.int32(flat[low + e]) + weight * np.int32(flat[high + e])
                    out[at + e] = (value + 255 * top // 2) // (255 * top)
            elif top == 1:
                between_bits(out, flat, at + j, low + j, high + j, weight)
            else:
                between(out, flat, at + j, low + j, high + j, weight)
