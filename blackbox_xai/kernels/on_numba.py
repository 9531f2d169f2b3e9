"""Compiled twins of `on_numpy` for CPUs: the same functions, the same bits.

Each kernel works on a range of rows without the interpreter lock, and short-lived threads share the rows out. numba's
own `parallel=True` is not used: its default thread layer kills a process that forked after use, its other one a
process that calls from two threads, and it costs three times the compile time.
"""

from __future__ import annotations

import numpy as np

from . import on_numpy
from .numba_base import U, jit, pack_row, spread, zoom_lines, zoom_wide
from .numba_blend import set_bits
from .numba_consume import accumulate, compose

__all__ = ["accumulate", "coins", "compose", "pack", "set_sizes", "smooth_coins", "unpack", "zoom", "zoom_axis"]

_M0, _M1 = U(0xD2511F53), U(0xCD9E8D57)
_W0, _W1 = U(0x9E3779B9), U(0xBB67AE85)
_LOW, _32 = U(0xFFFFFFFF), U(32)


@jit(inline="always")
def _philox(block, row, stream, key0, key1):
    """Four words of Philox4x32-10, each a uint64 below 2**32."""
    c0, c1, c2, c3 = block, row & _LOW, row >> _32, stream
    for _ in range(10):
        p0 = c0 * _M0
        p1 = c2 * _M1
        c0 = (p1 >> _32) ^ c1 ^ key0
        c1 = p1 & _LOW
        c2 = (p0 >> _32) ^ c3 ^ key1
        c3 = p0 & _LOW
        key0 = (key0 + _W0) & _LOW
        key1 = (key1 + _W1) & _LOW
    return c0, c1, c2, c3


@jit
def _complement(row, players, out):
    for b in range(row.shape[0]):
        out[b] = ~row[b]
    if players % 8:
        out[-1] &= np.uint8((1 << (players % 8)) - 1)


@jit
def _coins(lo, hi, key0, key1, stream, first, cut, players, pair, out):
    blocks = (players + 3) // 4
    flags = np.zeros(8 * ((players + 7) // 8) + 8, np.uint8)
    for r in range(lo, hi):
        row, limit = U(first + r), cut[r]
        for b in range(blocks):
            w0, w1, w2, w3 = _philox(U(b), row, stream, key0, key1)
            flags[4 * b] = w0 < limit
            flags[4 * b + 1] = w1 < limit
            flags[4 * b + 2] = w2 < limit
            flags[4 * b + 3] = w3 < limit
        flags[players:] = 0
        if pair:
            pack_row(flags, out[2 * r])
            _complement(out[2 * r], players, out[2 * r + 1])
        else:
            pack_row(flags, out[r])


def coins(seed, stream, first, cut, players, antithetic):
    """See `on_numpy.coins`."""
    out = np.empty((len(cut) * (1 + antithetic), (players + 7) // 8), np.uint8)
    key = U(seed & 0xFFFFFFFF), U(seed >> 32)
    spread(lambda lo, hi: _coins(lo, hi, *key, U(stream), first, cut, players, antithetic, out), len(cut))
    return out


@jit
def _field(key0, key1, stream, row, anchor_y, weight_y, anchor_x, weight_x, noise, wide, field):
    """One row of `smooth_field` into `field` (H, W)."""
    coarse_h, coarse_w = wide.shape[0], noise.shape[1]
    cells = coarse_h * coarse_w
    flat = noise.reshape(-1)
    for b in range((cells + 3) // 4):
        w0, w1, w2, w3 = _philox(U(b), row, stream, key0, key1)
        flat[4 * b] = np.int32(set_bits(w0)) - 16
        flat[4 * b + 1] = np.int32(set_bits(w1)) - 16
        flat[4 * b + 2] = np.int32(set_bits(w2)) - 16
        flat[4 * b + 3] = np.int32(set_bits(w3)) - 16
    taps_y, taps_x = weight_y.shape[0], weight_x.shape[0]
    height, width = field.shape
    for i in range(coarse_h):
        line = wide[i]
        line[:] = 0
        for t in range(taps_x):
            for j in range(width):
                line[j] += noise[i, anchor_x[j] + t] * weight_x[t, j]
    for i in range(height):
        line = field[i]
        line[:] = 0
        for t in range(taps_y):
            weight = weight_y[t, i]
            source = wide[anchor_y[i] + t]
            for j in range(width):
                line[j] += source[j] * weight


@jit
def _smooth(lo, hi, key0, key1, stream, first, cut, ay, wy, ax, wx, pair, out):
    height, width = ay.shape[0], ax.shape[0]
    players = height * width
    coarse_h, coarse_w = ay[-1] + wy.shape[0], ax[-1] + wx.shape[0]
    noise = np.empty((coarse_h + (4 + coarse_w) // coarse_w, coarse_w), np.int32)  # room for the last block
    wide = np.empty((coarse_h, width), np.int32)
    field = np.empty((height, width), np.int32)
    flags = np.zeros(8 * ((players + 7) // 8), np.uint8)
    for r in range(lo, hi):
        _field(key0, key1, stream, U(first + r), ay, wy, ax, wx, noise, wide, field)
        limit = np.int32(cut[r])
        flat = field.reshape(-1)
        for i in range(players):
            flags[i] = flat[i] < limit
        if pair:
            pack_row(flags, out[2 * r])
            _complement(out[2 * r], players, out[2 * r + 1])
        else:
            pack_row(flags, out[r])


@jit
def _smooth_sized(lo, hi, key0, key1, stream, first, cut, ay, wy, ax, wx, pair, out):
    height, width = ay.shape[0], ax.shape[0]
    players = height * width
    coarse_h, coarse_w = ay[-1] + wy.shape[0], ax[-1] + wx.shape[0]
    noise = np.empty((coarse_h + (4 + coarse_w) // coarse_w, coarse_w), np.int32)
    wide = np.empty((coarse_h, width), np.int32)
    field = np.empty((height, width), np.int32)
    flags = np.zeros(8 * ((players + 7) // 8), np.uint8)
    for r in range(lo, hi):
        _field(key0, key1, stream, U(first + r), ay, wy, ax, wx, noise, wide, field)
        flat, size = field.reshape(-1), cut[r]
        flags[:] = 0
        if size > 0:
            limit = np.partition(flat, size - 1)[size - 1]
            left = size
            for i in range(players):
                flags[i] = flat[i] < limit
                left -= flags[i]
            for i in range(players):
                if left > 0 and flat[i] == limit:
                    flags[i] = 1
                    left -= 1
        if pair:
            pack_row(flags, out[2 * r])
            _complement(out[2 * r], players, out[2 * r + 1])
        else:
            pack_row(flags, out[r])


def smooth_coins(seed, stream, first, cut, fixed_size, y, x, antithetic):
    """See `on_numpy.smooth_coins`."""
    players = y[0].size * x[0].size
    out = np.empty((len(cut) * (1 + antithetic), (players + 7) // 8), np.uint8)
    key = U(seed & 0xFFFFFFFF), U(seed >> 32)
    code = _smooth_sized if fixed_size else _smooth
    spread(lambda lo, hi: code(lo, hi, *key, U(stream), first, cut, *y, *x, antithetic, out), len(cut))
    return out


@jit
def _zoom(lo, hi, levels, gh, gw, width, y, x, shift, out):
    wide = np.empty((gh, width), np.uint16)
    for r in range(lo, hi):
        zoom_wide(levels[r], gh, gw, x, shift[r, 1], wide)
        zoom_lines(wide, y, shift[r, 0], 255, out[r])


def zoom(levels, cells, grid, y, x, shift):
    """See `on_numpy.zoom`."""
    out = np.empty((len(levels), grid[0] * grid[1]), np.uint8)
    spread(lambda lo, hi: _zoom(lo, hi, levels, *cells, grid[1], y, x, shift, out), len(levels))
    return out


pack, unpack, set_sizes, zoom_axis = on_numpy.pack, on_numpy.unpack, on_numpy.set_sizes, on_numpy.zoom_axis
