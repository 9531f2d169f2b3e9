"""Compiled consumers of packed masks for CPUs: twins of those in `on_numpy`, the same bits."""

from __future__ import annotations

import numpy as np

from . import on_numpy
from .numba_base import U, jit, pack_row, spread, zoom_lines, zoom_wide
from .numba_blend import (
    LINE,
    add_where,
    choose,
    choose3,
    copy_within,
    mix_bytes,
    mix_bytes3,
    mix_floats,
    mix_floats3,
    wait_for_stores,
)

_PAST_CACHES = 4 * 2**20  # bytes: batches this large are stored past the caches, which they would only empty
_ROWS, _TILE = 2, 16  # rows, and lines of each, that are mixed while they lie in a near cache


@jit
def _levels_row(cells, top, zoom, sy, sx, wide, out):
    """Levels of all players of one row: coarse `cells` zoomed, or copied where there is no zoom (gh 0)."""
    gh, gw, _, y, ax = zoom
    if gh == 0:
        for p in range(out.shape[0]):
            out[p] = cells[p]
        return
    zoom_wide(cells, gh, gw, ax, sx, wide)
    zoom_lines(wide, y, sy, top, out)


@jit
def _flags_row(bits, zoom, sy, sx, out):
    """Presence 0/1 of all players of one row from bits of players, or of the nearest coarse cells."""
    gh, gw, width, y, ax = zoom
    if gh == 0:
        for p in range(out.shape[0]):
            out[p] = (bits[p >> 3] >> (p & 7)) & 1
        return
    for i in range(out.shape[0] // width):
        at, cell = i * width, y[0, sy + i]
        if i > 0 and cell == y[0, sy + i - 1]:
            copy_within(out, at, at - width, width)
            continue
        for j in range(width):
            c = cell * gw + ax[0, sx + j]
            out[at + j] = (bits[c >> 3] >> (c & 7)) & 1


@jit
def _repeat(players, labels, each, out):
    """A value a player to `each` elements a position."""
    for p in range(out.shape[0] // each):
        value = players[labels[p]] if labels.shape[0] else players[p]
        for e in range(p * each, (p + 1) * each):
            out[e] = value


@jit
def _choose_row(bits, times, x, baseline, stream, out):
    """One row (A, P * times) from a bit a position."""
    lines = out.shape[1] // (LINE * times)
    for a in range(out.shape[0]):
        to, present, absent = out[a], x[a], baseline[a]
        for g in range(lines):
            if times == 3:
                choose3(to, present, absent, bits, g, stream)
            else:
                choose(to, present, absent, bits, g, stream)
        for e in range(lines * LINE * times, out.shape[1]):
            p = e // times
            to[e] = present[e] if (bits[p >> 3] >> (p & 7)) & 1 else absent[e]


@jit
def _mix_row(levels, times, x, baseline, stream, out):
    """One row of floats (A, P * times) from a level a position."""
    real = out.dtype.type
    lines = out.shape[1] // (LINE * times)
    for a in range(out.shape[0]):
        to, present, absent = out[a], x[a], baseline[a]
        for g in range(lines):
            if times == 3:
                mix_floats3(to, present, absent, levels, g, stream)
            else:
                mix_floats(to, present, absent, levels, g, stream)
        for e in range(lines * LINE * times, out.shape[1]):
            share = real(levels[e // times]) / real(255)
            to[e] = present[e] * share + absent[e] * (real(1) - share)


@jit
def _slopes(x, baseline, gain, start):
    """``level * gain + start`` is ``level * x + (255 - level) * baseline + 128``, at most 65153, in 16 bits."""
    for a in range(x.shape[0]):
        for e in range(x.shape[1]):
            gain[a, e] = np.uint16(x[a, e]) - np.uint16(baseline[a, e])
            start[a, e] = np.uint16(255) * np.uint16(baseline[a, e]) + 128


@jit
def _mix_rows_bytes(levels, times, gain, start, stream, out):
    """Rows of uint8 (n, A, P * times) from a level a position (n, P), rounded to the nearest; tile after tile, so that
    `gain` and `start` are read from memory once for all rows."""
    elements = out.shape[2]
    lines = elements // (LINE * times)
    for a in range(out.shape[1]):
        slope, zero = gain[a], start[a]
        for tile in range(0, lines, _TILE):
            for r in range(out.shape[0]):
                to, level = out[r, a], levels[r]
                for g in range(tile, min(tile + _TILE, lines)):
                    if times == 3:
                        mix_bytes3(to, slope, zero, level, g, stream)
                    else:
                        mix_bytes(to, slope, zero, level, g, stream)
        for r in range(out.shape[0]):
            for e in range(lines * LINE * times, elements):
                total = np.uint16(np.uint16(slope[e] * np.uint16(levels[r, e // times])) + zero[e])
                out[r, a, e] = np.uint8((total + (total >> 8)) >> 8)  # over 255, exactly


@jit
def _compose_hard(lo, hi, bits, zoom, shift, players, labels, inner, x, baseline, step, stream, out):
    times = inner if inner in (1, 3) else 1  # channels last of an image, or else a bit for every element
    elements = out.shape[2] // times
    flags = np.zeros(8 * ((players + 7) // 8), np.uint8)
    wide = np.zeros(8 * ((elements + 7) // 8), np.uint8)
    packed = np.zeros(wide.shape[0] // 8, np.uint8)
    for r in range(lo, hi):
        row = bits[r]
        if zoom[0] or labels.shape[0] or times != inner:
            _flags_row(row, zoom, shift[r, 0], shift[r, 1], flags[:players])
            used = flags
            if labels.shape[0] or times != inner:
                _repeat(flags, labels, inner // times, wide[:elements])
                used = wide
            pack_row(used, packed)
            row = packed
        _choose_row(row, times, x, baseline[r * step], stream, out[r])
    if stream:
        wait_for_stores()


@jit
def _elements_row(cells, top, zoom, shift, labels, each, coarse, levels, out):
    """Levels of positions of one row, `each` times (P * each,)."""
    if labels.shape[0] == 0 and each == 1:
        _levels_row(cells, top, zoom, shift[0], shift[1], coarse, out)
    else:
        _levels_row(cells, top, zoom, shift[0], shift[1], coarse, levels)
        _repeat(levels, labels, each, out)


@jit
def _compose_soft(lo, hi, cells, top, zoom, shift, players, labels, inner, x, baseline, step, stream, out):
    times = inner if inner in (1, 3) else 1
    coarse = np.empty((zoom[0], zoom[2]), np.uint16)
    levels, used = np.empty(players, np.uint8), np.empty(out.shape[2] // times, np.uint8)
    for r in range(lo, hi):
        _elements_row(cells[r], top, zoom, shift[r], labels, inner // times, coarse, levels, used)
        _mix_row(used, times, x, baseline[r * step], stream, out[r])
    if stream:
        wait_for_stores()


@jit
def _compose_soft_bytes(lo, hi, cells, top, zoom, shift, players, labels, inner, x, baseline, step, stream, out):
    times, most = inner if inner in (1, 3) else 1, 1 if step else _ROWS
    coarse = np.empty((zoom[0], zoom[2]), np.uint16)
    levels, used = np.empty(players, np.uint8), np.empty((most, out.shape[2] // times), np.uint8)
    gain, start = np.empty(x.shape, np.uint16), np.empty(x.shape, np.uint16)
    for first in range(lo, hi, most):
        if first == lo or step:
            _slopes(x, baseline[first * step], gain, start)
        rows = min(most, hi - first)
        for k in range(rows):
            r = first + k
            _elements_row(cells[r], top, zoom, shift[r], labels, inner // times, coarse, levels, used[k])
        _mix_rows_bytes(used, times, gain, start, stream, out[first : first + rows])
    if stream:
        wait_for_stores()


_NO_AXIS = np.zeros((3, 1), np.int32)
_NO_AXIS.flags.writeable = False  # as tables of axes are, which makes it one type


def _plan(zoom, rows):
    """Zoom as compiled code takes it: cells (0, 0) where there is none, width, axes; and the shift of each row."""
    if zoom is None:
        return (0, 0, 1, _NO_AXIS, _NO_AXIS), np.zeros((rows, 2), np.int32)
    cells, grid, y, x, shift = zoom
    return (cells[0], cells[1], grid[1], y, x), np.ascontiguousarray(shift)


def _cells(data, depth, players, zoom):
    """Presence of players, or of coarse cells, one byte each, and its largest value: 255, or 1 where it is bits."""
    if depth == 8:
        return np.ascontiguousarray(data), 255
    return on_numpy.unpack(data, players if zoom is None else zoom[0][0] * zoom[0][1]).view(np.uint8), 1


def compose(data, depth, players, zoom, labels, soft, x, baseline, out):
    """See `on_numpy.compose`."""
    outer, positions, inner = x.shape
    rows, step = data.shape[0], int(baseline.shape[0] > 1)
    tags = np.zeros(0, np.int32) if labels is None else labels
    stream = out.nbytes >= _PAST_CACHES and out.ctypes.data % 16 == 0 and positions * inner * out.itemsize % 16 == 0
    plan, shift = _plan(zoom, rows)
    if soft:
        code = _compose_soft_bytes if out.dtype == np.uint8 else _compose_soft
        head = *_cells(data, depth, players, zoom), plan, shift
    else:
        code = _compose_hard
        head = np.ascontiguousarray(data), plan, shift
        x, baseline, out = (a.view(f"u{out.dtype.itemsize}") for a in (x, baseline, out))
    x, baseline, out = (a.reshape(-1, outer, positions * inner) for a in (x, baseline, out))
    spread(lambda lo, hi: code(lo, hi, *head, players, tags, inner, x[0], baseline, step, stream, out), rows)


_BLOCK = 64  # bytes of a mask row that one accumulation holds in cache
_LINES, _PLAYERS = 16, 1024  # the same for soft masks: lines of a zoomed grid, or players


@jit
def _accumulate_bits(lo, hi, bits, once, twice, sums, squares):
    """Players of byte blocks lo..hi: sums of ``once`` and of ``twice`` over rows where present, row after row."""
    first, second = np.empty(8 * _BLOCK), np.empty(8 * _BLOCK)
    for block in range(lo, hi):
        begin = block * _BLOCK
        end = min(begin + _BLOCK, bits.shape[1])
        whole = (end - begin) // 8 * 8
        for k in range(once.shape[1]):
            first[:] = 0
            second[:] = 0
            for r in range(bits.shape[0]):
                u, v = once[r, k], twice[r, k]
                row = bits[r, begin:end]
                for b in range(0, whole, 8):
                    low = U(row[b]) | U(row[b + 1]) << U(8) | U(row[b + 2]) << U(16) | U(row[b + 3]) << U(24)
                    high = U(row[b + 4]) | U(row[b + 5]) << U(8) | U(row[b + 6]) << U(16) | U(row[b + 7]) << U(24)
                    add_where(first, second, 8 * b, low | high << U(32), u, v)
                if whole < end - begin:
                    word = U(0)
                    for b in range(whole, end - begin):
                        word |= U(row[b]) << U(8 * (b - whole))
                    add_where(first, second, 8 * whole, word, u, v)
            for p in range(8 * (end - begin)):  # assigning a slice would compile the text of its error for seconds
                sums[k, 8 * begin + p], squares[k, 8 * begin + p] = first[p], second[p]


@jit
def _add_terms(levels, table, weight, centre, sums, squares):
    for p in range(levels.shape[0]):
        term = weight * (table[levels[p]] - centre)
        sums[p] += term
        squares[p] += term * term


@jit
def _accumulate_levels(lo, hi, cells, top, zoom, shift, players, table, weight, centre, sums, squares):
    """Blocks lo..hi of lines of the grid (of single players where there is no zoom), row after row."""
    gh, gw, width, y, ax = zoom
    coarse = np.empty((gh, width), np.uint16)
    levels = np.empty(_LINES * width if gh else _PLAYERS, np.uint8)
    for block in range(lo, hi):
        begin = block * (_LINES * width if gh else _PLAYERS)
        end = min(begin + (_LINES * width if gh else _PLAYERS), players)
        for k in range(weight.shape[1]):
            for r in range(cells.shape[0]):
                u, c = weight[r, k], centre[r]
                here = levels[: end - begin]
                if gh == 0:
                    for p in range(begin, end):
                        here[p - begin] = cells[r, p]
                else:
                    first = shift[r, 0] + begin // width
                    low, high = y[0, first], y[1, first + (end - begin) // width - 1] + 1
                    zoom_wide(cells[r, low * gw : high * gw], high - low, gw, ax, shift[r, 1], coarse[low:high])
                    zoom_lines(coarse, y, first, top, here)
                _add_terms(here, table, u, c, sums[k, begin:end], squares[k, begin:end])


def accumulate(data, depth, players, zoom, weight, centre):
    """See `on_numpy.accumulate`."""
    k = weight.shape[1]
    if depth == 1 and zoom is None:
        data = np.ascontiguousarray(data)
        sums, squares = np.zeros((k, 8 * data.shape[1])), np.zeros((k, 8 * data.shape[1]))
        twice = on_numpy.gain_of_presence(weight, centre)
        args = data, weight, twice, sums, squares
        spread(lambda lo, hi: _accumulate_bits(lo, hi, *args), -(-data.shape[1] // _BLOCK))
        return on_numpy.add_absence(sums[:, :players].T, squares[:, :players].T, weight, centre)
    sums, squares = np.zeros((k, players)), np.zeros((k, players))
    blocks = -(-players // _PLAYERS) if zoom is None else -(-zoom[1][0] // _LINES)
    cells, plan = _cells(data, depth, players, zoom), _plan(zoom, len(data))
    args = *cells, *plan, players, on_numpy.SHARES, weight, centre, sums, squares
    spread(lambda lo, hi: _accumulate_levels(lo, hi, *args), blocks)
    return sums.T, squares.T
