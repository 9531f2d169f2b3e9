"""Reference kernels: numpy, written to be read. The compiled twins must agree with them to the bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(seed: int, stream: int, row: NDArray[np.uint64], block: NDArray[np.uint64]) -> NDArray[np.uint32]:
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
