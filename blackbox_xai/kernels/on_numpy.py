"""Reference kernels: numpy, written to be read. The compiled twins must agree with them to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)

Coarse = tuple[tuple[int, int], tuple[int, int], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
# cells, grid, how each axis reads cells (`zoom_axis`), and the shift of each row (m, 2): what `zoom` is given

SHARES = np.arange(256) / 255  # presence of a level, float64


def philox(
    seed: int, stream: int, row: NDArray[np.uint64] | np.uint64, block: NDArray[np.uint64] | np.uint64
) -> NDArray[np.uint32]:
    """Philox4x32-10 words: a pure function of (seed, stream, row, block).

    Parameters
    ----------
    seed : int, 0 <= seed < 2**64: the key (low word, high word).
    stream : int, 0 <= stream < 2**32: fourth counter word; separates the uses of one seed.
    row : uint64 array, any shape: second and third counter words.
    block : uint64 array, broadcast against `row`, < 2**32: first counter word.

    Returns
    -------
    uint32 array, broadcast shape + (4,).

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    row, block = np.broadcast_arrays(np.asarray(row, np.uint64), np.asarray(block, np.uint64))
    c0, c1, c2 = block & _LOW, row & _LOW, row >> _SHIFT
    c3 = np.full(row.shape, stream, np.uint64)
    k0, k1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def pack(dense: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Rows of booleans (m, c) to little-endian bits (m, ceil(c/8)); the spare bits are 0."""
    return np.packbits(np.ascontiguousarray(dense, dtype=bool), axis=1, bitorder="little")


def unpack(bits: NDArray[np.uint8], columns: int) -> NDArray[np.bool_]:
    """Little-endian bits (m, ceil(columns/8)) to booleans (m, columns)."""
    return np.unpackbits(bits, axis=1, count=columns, bitorder="little").view(bool)


def set_sizes(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number of set bits a row: (m, bytes) -> (m,)."""
    return np.bitwise_count(bits).sum(axis=1, dtype=np.int64)


def _words(seed: int, stream: int, first: int, rows: int, words: int) -> NDArray[np.uint32]:
    """`words` random words for each of `rows` rows from `first` on: uint32 (rows, words)."""
    row = np.arange(first, first + rows, dtype=np.uint64)[:, None]
    block = np.arange(-(-words // 4), dtype=np.uint64)[None]
    return philox(seed, stream, row, block).reshape(rows, 4 * block.size)[:, :words]


def _with_complements(present: NDArray[np.bool_], antithetic: bool) -> NDArray[np.uint8]:
    """Packed rows (p, ...), or each followed by its complement (2p, ...)."""
    bits = pack(present)
    if not antithetic:
        return bits
    everyone = pack(np.ones((1, present.shape[1]), bool))
    return np.stack([bits, bits ^ everyone], axis=1).reshape(2 * len(bits), bits.shape[1])


def coins(
    seed: int, stream: int, first: int, cut: NDArray[np.uint64], players: int, antithetic: bool
) -> NDArray[np.uint8]:
    """Independent coins: player i of row r is present when its random word is below ``cut[r]``.

    Parameters
    ----------
    first : int. Row number of the first row drawn (of the first pair when `antithetic`).
    cut : uint64 (p,), 0..2**32: the inclusion probability times 2**32.

    Returns
    -------
    uint8 (p or 2p, ceil(players / 8)) bits; with `antithetic`, row 2j + 1 is the complement of row 2j.
    """
    words = _words(seed, stream, first, cut.shape[0], players)
    return _with_complements(words < cut[:, None], antithetic)


Taps = tuple[NDArray[np.int32], NDArray[np.int32]]  # of one axis: anchor and weight, see `smooth_field`
_ONE_THREAD = 250_000  # multiplications of a matrix product that BLAS does not share out, at some cost, to threads


def _matrix(anchor: NDArray[np.int32], weight: NDArray[np.int32]) -> NDArray[np.float64]:
    """Taps along one axis as a matrix (size, coarse cells)."""
    matrix = np.zeros((anchor.size, int(anchor[-1]) + len(weight)))
    np.put_along_axis(matrix, anchor[:, None] + np.arange(len(weight)), weight.T.astype(np.float64), axis=1)
    return matrix


def _product(a: NDArray[np.float64], b: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """``a @ b`` into `out`, a few rows at a time."""
    step = max(1, _ONE_THREAD // b.size)
    for at in range(0, len(a), step):
        np.matmul(a[at : at + step], b, out=out[at : at + step])


def _fields(seed: int, stream: int, first: int, rows: int, y: Taps, x: Taps) -> Iterator[NDArray[np.float64]]:
    """`smooth_field` a few rows at a time, (r, H * W). Sums of integers far below 2**53: exact in float64."""
    by_y, by_x = _matrix(*y), np.ascontiguousarray(_matrix(*x).T)
    coarse_h, coarse_w = by_y.shape[1], by_x.shape[0]
    most = max(1, 2**18 // (y[0].size * x[0].size))
    for at in range(first, first + rows, most):
        r = min(most, first + rows - at)
        noise = np.bitwise_count(_words(seed, stream, at, r, coarse_h * coarse_w)) - 16.0
        wide = np.empty((r * coarse_h, x[0].size))
        _product(noise.reshape(r * coarse_h, coarse_w), by_x, wide)
        field = np.empty((r, y[0].size, x[0].size))
        for k in range(r):
            _product(by_y, wide[k * coarse_h : (k + 1) * coarse_h], field[k])
        yield field.reshape(r, -1)


def smooth_field(seed: int, stream: int, first: int, rows: int, y: Taps, x: Taps) -> NDArray[np.int32]:
    """A smooth random field: coarse symmetric integer noise, blurred onto the grid by taps along x, then y.

    Parameters
    ----------
    y : (anchor int32 (H,), weight int32 (T, H)). Grid row i sums coarse rows ``anchor[i] + t`` times weight ``[t, i]``.
    x : the same for columns, (W,) and (T, W).

    Returns
    -------
    int32 (rows, H, W). The noise is the set bits of a 32-bit word minus 16, so variance 8.
    """
    parts = [field.astype(np.int32) for field in _fields(seed, stream, first, rows, y, x)]
    return np.concatenate(parts).reshape(rows, y[0].size, x[0].size)


def smooth_coins(
    seed: int, stream: int, first: int, cut: NDArray[np.int64], fixed_size: bool, y: Taps, x: Taps, antithetic: bool
) -> NDArray[np.uint8]:
    """Smooth path masks: pixels of `smooth_field` below ``cut[r]``, or its ``cut[r]`` lowest pixels (`fixed_size`).

    Equal pixels at the edge of a fixed size enter in order of position.

    Returns
    -------
    uint8 (p or 2p, ceil(H * W / 8)) bits, complements as in `coins`.
    """
    each = 1 + antithetic
    out, at = np.empty((len(cut) * each, (y[0].size * x[0].size + 7) // 8), np.uint8), 0
    for field in _fields(seed, stream, first, len(cut), y, x):
        limits = cut[at : at + len(field)]
        present = _lowest(field, limits) if fixed_size else field < limits[:, None]
        out[at * each : (at + len(field)) * each] = _with_complements(present, antithetic)
        at += len(field)
    return out


def _lowest(field: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The `sizes` lowest entries of each row; equal ones in order of position."""
    present = np.zeros(field.shape, bool)
    for r, size in enumerate(sizes):
        if size > 0:
            edge = np.partition(field[r], size - 1)[size - 1]
            present[r] = field[r] < edge
            present[r, np.flatnonzero(field[r] == edge)[: size - present[r].sum()]] = True
    return present


@lru_cache(maxsize=64)
def zoom_axis(cells: int, size: int, shifted: bool, smooth: bool) -> NDArray[np.int32]:
    """How positions along an axis read its cells.

    Parameters
    ----------
    cells, size : int. Coarse cells and players along this axis.
    shifted : bool. The cells are stretched over ``(cells + 1) * ceil(size / cells)`` positions (RISE), of which a
        window of `size` is used; otherwise over `size` positions.
    smooth : bool. Linear between cell centres, clamped at the ends; otherwise nearest.

    Returns
    -------
    int32 (3, positions): lower cell, upper cell, weight 0..255 of the upper one (the lower has 255 minus that).
    """
    length = (cells + 1) * -(-size // cells) if shifted else size
    position = np.arange(length, dtype=np.int64)
    if not smooth:
        cell = position * cells // length
        return _frozen([cell, cell, np.zeros_like(cell)])
    place = np.clip((2 * position + 1) * cells - length, 0, 2 * length * (cells - 1))
    cell = place // (2 * length)
    weight = ((place % (2 * length)) * 255 + length) // (2 * length)
    return _frozen([cell, np.minimum(cell + 1, cells - 1), weight])


def _frozen(rows: list[NDArray[np.int64]]) -> NDArray[np.int32]:
    """One array that is shared and so must not be written to."""
    table = np.stack(rows).astype(np.int32)
    table.flags.writeable = False
    return table


def zoom(
    levels: NDArray[np.uint8],
    cells: tuple[int, int],
    grid: tuple[int, int],
    y: NDArray[np.int32],
    x: NDArray[np.int32],
    shift: NDArray[np.int32],
) -> NDArray[np.uint8]:
    """Levels of coarse cells (m, gh * gw) to levels of players (m, H * W), 0..255, by fixed-point interpolation.

    `y`, `x`: from `zoom_axis`; `shift` int32 (m, 2): first position used along each axis, a row.
    """
    m = levels.shape[0]
    coarse = levels.reshape(m, *cells).astype(np.int32)
    row = np.arange(m)[:, None]
    y_low, y_high, y_weight = y[:, shift[:, :1] + np.arange(grid[0], dtype=np.int32)]
    x_low, x_high, x_weight = (a[:, None] for a in x[:, shift[:, 1:] + np.arange(grid[1], dtype=np.int32)])
    wide = (255 - x_weight) * coarse[row[..., None], np.arange(cells[0])[:, None], x_low]
    wide += x_weight * coarse[row[..., None], np.arange(cells[0])[:, None], x_high]
    fine = (255 - y_weight[..., None]) * wide[row, y_low] + y_weight[..., None] * wide[row, y_high]
    return ((fine + 32512) // 65025).astype(np.uint8).reshape(m, grid[0] * grid[1])


def _levels(data: NDArray[np.uint8], depth: int, players: int, zoom_to: Coarse | None) -> NDArray[np.uint8]:
    """Presence 0..255 of every player, (m, d)."""
    if depth == 1:
        columns = players if zoom_to is None else zoom_to[0][0] * zoom_to[0][1]
        data = unpack(data, columns).view(np.uint8) * np.uint8(255)
    return data if zoom_to is None else zoom(data, *zoom_to)


def compose(
    data: NDArray[np.uint8],
    depth: int,
    players: int,
    zoom_to: Coarse | None,
    labels: NDArray[np.int32] | None,
    soft: bool,
    x: NDArray[Any],
    baseline: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Model inputs from masks, written into `out`.

    Parameters
    ----------
    data, depth, players : as in `Masks`.
    zoom_to : how coarse cells become players, or None.
    labels : int32 (P,) or None. The player of each position; None where position p is player p.
    soft : bool. Mix linearly (floats; uint8 rounds to the nearest), or choose one of the two.
    x : (A, P, B). The input: P positions, channels before or behind.
    baseline : (1, A, P, B), or (m, A, P, B): one a row.
    out : (m, A, P, B), same dtype.
    """
    levels = _levels(data, depth, players, zoom_to)
    if labels is not None:
        levels = levels[:, labels]
    level = levels[:, None, :, None]
    if not soft:
        out[...] = np.where(level > 127, x, baseline)
    elif out.dtype == np.uint8:
        wide = level.astype(np.uint32)
        out[...] = (x * wide + baseline * (np.uint32(255) - wide) + np.uint32(127)) // np.uint32(255)
    else:
        share = level.astype(out.dtype) / out.dtype.type(255)
        out[...] = x * share + baseline * (out.dtype.type(1) - share)


def gain_of_presence(weight: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """What presence adds to the square of ``weight * (z - centre)``: (m, k)."""
    return weight**2 * (1 - 2 * centre[:, None])


def add_absence(
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    weight: NDArray[np.float64],
    centre: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add the part of the sums (d, k) that does not depend on presence."""
    absent = weight * centre[:, None]
    return sums - absent.sum(axis=0), squares + (absent**2).sum(axis=0)


def _sum_rows(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the first axis, strictly row after row."""
    return np.add.accumulate(terms, axis=0)[-1] if len(terms) else np.zeros(terms.shape[1:])


def accumulate(
    data: NDArray[np.uint8],
    depth: int,
    players: int,
    zoom_to: Coarse | None,
    weight: NDArray[np.float64],
    centre: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over rows r of ``weight[r] * (presence[r] - centre[r])``, and of its square, a player.

    Parameters
    ----------
    weight : float64 (m, k). One a row and output.
    centre : float64 (m,).

    Returns
    -------
    sums, squares : float64 (d, k). Rows are added one after the other, so any code gives the same bits.
    """
    k = weight.shape[1]
    sums, squares = np.zeros((players, k)), np.zeros((players, k))
    levels = _levels(data, depth, players, zoom_to)
    if depth == 1 and zoom_to is None:
        present, twice = levels / 255.0, gain_of_presence(weight, centre)
        for j in range(k):
            sums[:, j] = _sum_rows(present * weight[:, j, None])
            squares[:, j] = _sum_rows(present * twice[:, j, None])
        return add_absence(sums, squares, weight, centre)
    for j in range(k):
        terms = weight[:, j, None] * (SHARES[levels] - centre[:, None])
        sums[:, j], squares[:, j] = _sum_rows(terms), _sum_rows(terms * terms)
    return sums, squares
