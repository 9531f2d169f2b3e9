"""Kernels: published vectors, compiled code against the reference, one bit at a time."""

import numpy as np
import pytest

from blackbox_xai.kernels import numba_base, on_numba, on_numpy
from blackbox_xai.samplers.coins import blur_taps

KNOWN = [  # Random123, philox4x32-10: (counter words 0..3, key words, output)
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def as_hex(words):
    return " ".join(f"{int(w):08x}" for w in words)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_known_answers(counter, key, expected):
    block, low, high, stream = counter
    seed, row = key[0] | key[1] << 32, low | high << 32
    assert as_hex(on_numpy.philox(seed, stream, np.uint64(row), np.uint64(block))) == expected
    u = np.uint64
    assert as_hex(on_numba._philox(u(block), u(row), u(stream), u(key[0]), u(key[1]))) == expected


@pytest.mark.parametrize("players", [1, 7, 8, 9, 31, 200])
@pytest.mark.parametrize("antithetic", [False, True])
def test_coins_agree(players, antithetic):
    cut = np.array([1, 2**31, 2**32 - 1, 12345678, 2**30], np.uint64)
    args = (2**63 + 12345, 7, 2**33 + 5, cut, players, antithetic)
    reference = on_numpy.coins(*args)
    assert np.array_equal(reference, on_numba.coins(*args))
    if antithetic:
        dense = on_numpy.unpack(reference, players)
        assert np.array_equal(dense[0::2], ~dense[1::2])
        assert np.array_equal(on_numpy.set_sizes(reference), dense.sum(axis=1))


@pytest.mark.parametrize("grid", [(8, 8), (13, 9), (30, 22)])
@pytest.mark.parametrize("fixed_size", [False, True])
def test_smooth_coins_agree(grid, fixed_size):
    y, x = blur_taps(grid[0], 2.5), blur_taps(grid[1], 2.5)
    n = grid[0] * grid[1]
    cut = np.array([0, 1, n // 3, n - 1, n]) if fixed_size else np.array([-(2**31) + 1, -(10**7), 0, 10**8, 2**31 - 1])
    args = (99, 3, 2**32 - 2, cut, fixed_size, y, x, True)
    reference = on_numpy.smooth_coins(*args)
    assert np.array_equal(reference, on_numba.smooth_coins(*args))
    if fixed_size:
        assert on_numpy.set_sizes(reference)[0::2].tolist() == cut.tolist()


def test_fixed_size_breaks_ties_by_position():
    one = (np.zeros(4, np.int32), np.ones((1, 4), np.int32))  # four equal pixels
    args = (0, 0, 0, np.array([1, 2, 3]), True, one, one, False)
    bits = on_numpy.smooth_coins(*args)
    assert on_numpy.unpack(bits, 16).astype(int).tolist() == [[1] * k + [0] * (16 - k) for k in (1, 2, 3)]
    assert np.array_equal(bits, on_numba.smooth_coins(*args))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("cells", "grid"), [((3, 4), (10, 13)), ((1, 1), (5, 4)), ((7, 7), (8, 30))])
def test_zoom_agrees(smooth, shifted, cells, grid):
    rng = np.random.default_rng(1)
    y, x = (on_numpy.zoom_axis(c, g, shifted, smooth) for c, g in zip(cells, grid))
    top = [-(-g // c) if shifted else 1 for c, g in zip(cells, grid)]
    shift = np.stack([rng.integers(0, t, 6) for t in top], axis=1).astype(np.int32)
    levels = rng.integers(0, 256, (6, cells[0] * cells[1]), dtype=np.uint8)
    fine = on_numpy.zoom(levels, cells, grid, y, x, shift)
    assert np.array_equal(fine, on_numba.zoom(levels, cells, grid, y, x, shift))
    assert np.array_equal(on_numpy.zoom(255 - levels, cells, grid, y, x, shift), 255 - fine)


@pytest.mark.parametrize("shifted", [False, True])
def test_smooth_zoom_is_bilinear(shifted):
    """Against the textbook formula: sources at (o + 1/2) cells / length - 1/2, clamped."""
    cells, grid = (5, 4), (23, 31)
    y, x = (on_numpy.zoom_axis(c, g, shifted, True) for c, g in zip(cells, grid))
    coarse = np.random.default_rng(0).integers(0, 256, cells).astype(np.uint8)
    shift = np.array([[3, 2]], np.int32) if shifted else np.zeros((1, 2), np.int32)
    got = on_numpy.zoom(coarse.reshape(1, -1), cells, grid, y, x, shift).reshape(grid)

    def matrix(c, g, s):
        length = (c + 1) * -(-g // c) if shifted else g
        source = np.clip((np.arange(g) + s + 0.5) * c / length - 0.5, 0, c - 1)
        return np.maximum(0, 1 - np.abs(source[:, None] - np.arange(c)))

    wanted = matrix(5, 23, shift[0, 0]) @ coarse @ matrix(4, 31, shift[0, 1]).T
    assert np.abs(got - wanted).max() < 0.5 + 2 * 255 * 0.5 / 255 + 1e-9


def test_threads_do_not_matter(monkeypatch):
    cut = np.full(23, 2**31, np.uint64)
    single = None
    for n in (1, 2, 5):
        monkeypatch.setattr(numba_base, "threads", lambda n=n: n)
        bits = on_numba.coins(5, 1, 0, cut, 99, True)
        single = bits if single is None else single
        assert np.array_equal(bits, single)
