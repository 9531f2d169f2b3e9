"""Compiled consumers of packed masks for CPUs: twins of those in `on_numpy`, the same bits."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from . import on_numpy
from .numba_base import U, jit, pack_row, spread, zoom_line, zoom_wide

_LINE = 64  # elements blended at once


@intrinsic
def _blend64(typingctx, out, x, baseline, at, bits):
    """``out[at + i] = x[at + i] if bit i of bits else baseline[at + i]``, i < 64: one vector select, any itemsize."""

    def codegen(context, builder, signature, args):
        size = signature.args[0].dtype.bitwidth // 8

        def line(k):
            data = context.make_array(signature.args[k])(context, builder, args[k]).data
            place = builder.gep(data, [args[3]])
            return builder.bitcast(place, ir.VectorType(data.type.pointee, _LINE).as_pointer())

        mask = builder.bitcast(args[4], ir.VectorType(ir.IntType(1), _LINE))
        present, absent = builder.load(line(1), align=size), builder.load(line(2), align=size)
        builder.store(builder.select(mask, present, absent), line(0), align=size)
        return context.get_dummy_value()

    return types.void(out, x, baseline, at, bits), codegen


@intrinsic
def _triple64(typingctx, levels, at, out):
    """``out[3 * at + i] = levels[at + i // 3]``, i < 192, for bytes."""

    def codegen(context, builder, signature, args):
        def line(k, width, place):
            data = context.make_array(signature.args[k])(context, builder, args[k]).data
            return builder.bitcast(builder.gep(data, [place]), ir.VectorType(ir.IntType(8), width).as_pointer())

        order = ir.Constant(ir.VectorType(ir.IntType(32), 3 * _LINE), [i // 3 for i in range(3 * _LINE)])
        source = builder.load(line(0, _LINE, args[1]), align=1)
        wide = builder.shuffle_vector(source, ir.Constant(source.type, ir.Undefined), order)
        builder.store(wide, line(2, 3 * _LINE, builder.mul(args[1], args[1].type(3))), align=1)
        return context.get_dummy_value()

    return types.void(levels, at, out), codegen


@intrinsic
def _add64(typingctx, first, second, at, bits, u, v):
    """``first[at + i] += u; second[at + i] += v`` for each set bit i of `bits`, i < 64, float64."""

    def codegen(context, builder, signature, args):
        mask = builder.bitcast(args[3], ir.VectorType(ir.IntType(1), _LINE))
        kind = ir.VectorType(ir.DoubleType(), _LINE)
        for k, amount in ((0, args[4]), (1, args[5])):
            data = context.make_array(signature.args[k])(context, builder, args[k]).data
            place = builder.bitcast(builder.gep(data, [args[2]]), kind.as_pointer())
            one = builder.insert_element(ir.Constant(kind, ir.Undefined), amount, ir.IntType(32)(0))
            all_ = ir.Constant(ir.VectorType(ir.IntType(32), _LINE), [0] * _LINE)
            many = builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), all_)
            old = builder.load(place, align=8)
            builder.store(builder.select(mask, builder.fadd(old, many), old), place, align=8)
        return context.get_dummy_value()

    return types.void(first, second, at, bits, u, v), codegen


@jit
def _widen(bits, inner, lut, wide):
    """Repeat each bit `inner` times (at most 8): bytes to 64-bit words; the words beyond are left alone."""
    if inner == 1:
        words = wide.view(np.uint8)
        for g in range(bits.shape[0]):
            words[g] = bits[g]
    elif inner == 3:  # three channels last
        for g in range(bits.shape[0] // 8):
            b = 8 * g
            v0, v1, v2, v3 = lut[bits[b]], lut[bits[b + 1]], lut[bits[b + 2]], lut[bits[b + 3]]
            v4, v5, v6, v7 = lut[bits[b + 4]], lut[bits[b + 5]], lut[bits[b + 6]], lut[bits[b + 7]]
            wide[3 * g] = v0 | (v1 << U(24)) | (v2 << U(48))
            wide[3 * g + 1] = (v2 >> U(16)) | (v3 << U(8)) | (v4 << U(32)) | (v5 << U(56))
            wide[3 * g + 2] = (v5 >> U(8)) | (v6 << U(16)) | (v7 << U(40))
        words = wide.view(np.uint8)
        for b in range(bits.shape[0] // 8 * 8, bits.shape[0]):
            for k in range(3):
                words[3 * b + k] = np.uint8(lut[bits[b]] >> U(8 * k))
    else:
        words = wide.view(np.uint8)
        for b in range(bits.shape[0]):
            for k in range(inner):
                words[inner * b + k] = np.uint8(lut[bits[b]] >> U(8 * k))


@jit
def _hard_row(bits, inner, lut, wide, x, baseline, out):
    """One row (A, P * inner) from its bits (ceil(P / 8),)."""
    if inner > 8:
        for a in range(out.shape[0]):
            for e in range(out.shape[1]):
                p = e // inner
                out[a, e] = x[a, e] if (bits[p >> 3] >> (p & 7)) & 1 else baseline[a, e]
        return
    _widen(bits, inner, lut, wide)
    lines = out.shape[1] // _LINE
    for a in range(out.shape[0]):
        to, present, absent = out[a], x[a], baseline[a]
        for g in range(lines):
            _blend64(to, present, absent, g * _LINE, wide[g])
        for e in range(lines * _LINE, out.shape[1]):
            to[e] = present[e] if (wide[e >> 6] >> U(e & 63)) & U(1) else absent[e]


@jit
def _soft_row(levels, x, baseline, out):
    """One row of floats (A, E) from levels (E,)."""
    real = out.dtype.type
    for a in range(out.shape[0]):
        to, present, absent = out[a], x[a], baseline[a]
        for e in range(levels.shape[0]):
            share = real(levels[e]) / real(255)
            to[e] = present[e] * share + absent[e] * (real(1) - share)


@jit
def _soft_row_bytes(levels, x, baseline, out):
    """One row of uint8 (A, E) from levels (E,), rounded to the nearest."""
    for a in range(out.shape[0]):
        to, present, absent = out[a], x[a], baseline[a]
        for e in range(levels.shape[0]):
            level = np.uint16(levels[e])
            more = np.uint16(np.uint16(present[e]) * level)
            less = np.uint16(np.uint16(absent[e]) * np.uint16(255 - level))
            total = np.uint16(more + less + 128)  # at most 65153
            to[e] = np.uint8(np.uint16(total + np.uint16(total >> 8)) >> 8)  # total / 255, rounded, exactly


@jit
def _element_levels(levels, labels, inner, out):
    """Levels of players to levels of elements (positions times `inner`)."""
    positions, done = out.shape[0] // inner, 0
    if inner == 3 and labels.shape[0] == 0:
        done = positions // _LINE * _LINE
        for p in range(0, done, _LINE):
            _triple64(levels, p, out)
    for p in range(done, positions):
        level = levels[labels[p]] if labels.shape[0] else levels[p]
        for e in range(p * inner, (p + 1) * inner):
            out[e] = level


@jit
def _levels_row(cells, gh, gw, y, x, sy, sx, width, wide, out):
    """Levels of all players of one row: coarse `cells` zoomed, or copied where there is no zoom (gh 0)."""
    if gh == 0:
        out[: cells.shape[0]] = cells
        return
    zoom_wide(cells, gh, gw, x, sx, wide)
    for i in range(out.shape[0] // width):
        zoom_line(wide, y, sy + i, out[i * width : (i + 1) * width])


@jit
def _compose_bits(lo, hi, bits, labels, inner, lut, x, baseline, step, out):
    positions = out.shape[2] // inner
    wide = np.zeros(out.shape[2] // _LINE + 9, np.uint64)
    flags = np.zeros(8 * ((positions + 7) // 8), np.uint8)
    packed = np.zeros(flags.shape[0] // 8, np.uint8)
    for r in range(lo, hi):
        row = bits[r]
        if labels.shape[0]:
            for p in range(positions):
                flags[p] = (row[labels[p] >> 3] >> (labels[p] & 7)) & 1
            pack_row(flags, packed)
            row = packed
        _hard_row(row, inner, lut, wide, x, baseline[r * step], out[r])


@jit
def _compose_hard_levels(lo, hi, cells, zoom, labels, inner, lut, x, baseline, step, out):
    gh, gw, width, players, y, ax, shift = zoom
    positions = out.shape[2] // inner
    wide = np.zeros(out.shape[2] // _LINE + 9, np.uint64)
    coarse = np.empty((gh, width), np.int32)
    levels = np.empty(players, np.uint8)
    flags = np.zeros(8 * ((positions + 7) // 8), np.uint8)
    packed = np.zeros(flags.shape[0] // 8, np.uint8)
    for r in range(lo, hi):
        _levels_row(cells[r], gh, gw, y, ax, shift[r, 0], shift[r, 1], width, coarse, levels)
        for p in range(positions):
            flags[p] = levels[labels[p] if labels.shape[0] else p] > 127
        pack_row(flags, packed)
        _hard_row(packed, inner, lut, wide, x, baseline[r * step], out[r])


@jit
def _compose_soft(lo, hi, blend, cells, zoom, labels, inner, x, baseline, step, out):
    gh, gw, width, players, y, ax, shift = zoom
    coarse = np.empty((gh, width), np.int32)
    levels = np.empty(players, np.uint8)
    wide = np.empty(out.shape[2], np.uint8)
    for r in range(lo, hi):
        _levels_row(cells[r], gh, gw, y, ax, shift[r, 0], shift[r, 1], width, coarse, levels)
        used = levels
        if labels.shape[0] or inner > 1:
            _element_levels(levels, labels, inner, wide)
            used = wide
        blend(used, x, baseline[r * step], out[r])


_NO_AXIS = np.zeros((3, 1), np.int32)


def _zoom_tuple(zoom, players, rows):
    if zoom is None:
        return 0, 0, 1, players, _NO_AXIS, _NO_AXIS, np.zeros((rows, 2), np.int32)
    cells, grid, y, x, shift = zoom
    return cells[0], cells[1], grid[1], grid[0] * grid[1], y, x, np.ascontiguousarray(shift)


def _cell_levels(data, depth, columns):
    if depth == 8:
        return np.ascontiguousarray(data)
    return on_numpy.unpack(data, columns).view(np.uint8) * np.uint8(255)


@lru_cache(maxsize=8)
def _wide_bits(inner):
    """For each byte, its bits repeated `inner` times each: uint64 (256,)."""
    bit = (np.arange(256, dtype=np.uint64)[:, None] >> np.arange(8, dtype=np.uint64)) & U(1)
    places = np.arange(8, dtype=np.uint64) * U(inner)
    return ((bit * U(2**inner - 1)) << places).sum(axis=1, dtype=np.uint64)


def compose(data, depth, players, zoom, labels, soft, x, baseline, out):
    """See `on_numpy.compose`."""
    outer, positions, inner = x.shape
    rows, step = data.shape[0], int(baseline.shape[0] > 1)
    tags = np.zeros(0, np.int32) if labels is None else labels
    flat = (outer, positions * inner)
    if soft:
        cells = _cell_levels(data, depth, players if zoom is None else zoom[0][0] * zoom[0][1])
        blend = _soft_row_bytes if out.dtype == np.uint8 else _soft_row
        args = cells, _zoom_tuple(zoom, players, rows), tags, inner
        x, baseline, flat_out = x.reshape(flat), baseline.reshape(-1, *flat), out.reshape(rows, *flat)
        return spread(lambda lo, hi: _compose_soft(lo, hi, blend, *args, x, baseline, step, flat_out), rows)
    word = np.dtype(f"u{out.dtype.itemsize}")
    x, baseline, flat_out = (a.view(word).reshape(-1, *flat) for a in (x, baseline, out))
    lut = _wide_bits(min(inner, 8))
    if zoom is None:
        args = np.ascontiguousarray(data), tags, inner, lut, x[0], baseline, step, flat_out
        return spread(lambda lo, hi: _compose_bits(lo, hi, *args), rows)
    cells = _cell_levels(data, depth, zoom[0][0] * zoom[0][1])
    more = cells, _zoom_tuple(zoom, players, rows), tags, inner, lut, x[0], baseline, step, flat_out
    return spread(lambda lo, hi: _compose_hard_levels(lo, hi, *more), rows)


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
                    _add64(first, second, 8 * b, low | high << U(32), u, v)
                if whole < end - begin:
                    word = U(0)
                    for b in range(whole, end - begin):
                        word |= U(row[b]) << U(8 * (b - whole))
                    _add64(first, second, 8 * whole, word, u, v)
            n = 8 * (end - begin)
            sums[k, 8 * begin : 8 * begin + n] = first[:n]
            squares[k, 8 * begin : 8 * begin + n] = second[:n]


@jit
def _add_terms(levels, table, weight, centre, sums, squares):
    for p in range(levels.shape[0]):
        term = weight * (table[levels[p]] - centre)
        sums[p] += term
        squares[p] += term * term


@jit
def _accumulate_levels(lo, hi, cells, zoom, table, weight, centre, sums, squares):
    """Blocks lo..hi of lines of the grid (of single players where there is no zoom), row after row."""
    gh, gw, width, players, y, ax, shift = zoom
    coarse = np.empty((gh, width), np.int32)
    line = np.empty(width if gh else _PLAYERS, np.uint8)
    for block in range(lo, hi):
        begin = block * (_LINES * width if gh else _PLAYERS)
        end = min(begin + (_LINES * width if gh else _PLAYERS), players)
        for k in range(weight.shape[1]):
            for r in range(cells.shape[0]):
                u, c = weight[r, k], centre[r]
                if gh == 0:
                    line[: end - begin] = cells[r, begin:end]
                    _add_terms(line[: end - begin], table, u, c, sums[k, begin:end], squares[k, begin:end])
                    continue
                top = shift[r, 0] + begin // width
                low, high = y[0, top], y[1, top + (end - begin) // width - 1] + 1
                zoom_wide(cells[r, low * gw : high * gw], high - low, gw, ax, shift[r, 1], coarse[low:high])
                for i in range((end - begin) // width):
                    zoom_line(coarse, y, top + i, line)
                    at = begin + i * width
                    _add_terms(line, table, u, c, sums[k, at : at + width], squares[k, at : at + width])


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
    cells = _cell_levels(data, depth, players if zoom is None else zoom[0][0] * zoom[0][1])
    blocks = -(-players // _PLAYERS) if zoom is None else -(-zoom[1][0] // _LINES)
    args = cells, _zoom_tuple(zoom, players, len(cells)), on_numpy.SHARES, weight, centre, sums, squares
    spread(lambda lo, hi: _accumulate_levels(lo, hi, *args), blocks)
    return sums.T, squares.T
