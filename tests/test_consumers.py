"""Composing queries and adding up attributions from packed masks, against plain numpy on unpacked ones."""

import numpy as np
import pytest

from blackbox_xai import samplers
from blackbox_xai.errors import InvalidInput
from blackbox_xai.kernels import dispatch, numba_base, numba_consume
from blackbox_xai.masks import Masks, Zoom


@pytest.fixture(params=["numpy", "numba"])
def code(request, monkeypatch):
    monkeypatch.setattr(dispatch, "SMALL", 10**12 if request.param == "numpy" else 0)
    return request.param


def kinds(h, w):
    """One of each kind of masks on an h x w grid."""
    n = h * w
    shift = np.stack([np.arange(6) % 2, np.arange(6) % 3], axis=1).astype(np.int32)
    bits = samplers.Coins(6, seed=1, antithetic=False).draw(0, 6).data
    soft = samplers.SpaceFilling(n, seed=1).draw(0, 6)
    return {
        "bits": samplers.Coins(n, seed=1).draw(0, 6),
        "smooth": samplers.RiseGrids((h, w), (2, 3), seed=1).draw(0, 6),
        "levels": soft,
        "hard cells": samplers.RiseGrids((h, w), (2, 3), smooth=False, seed=1).draw(0, 6),
        "soft cells": samplers.PickFreeze(6, zoom=Zoom((2, 3), (h, w), smooth=True)).draw(0, 7)[:6],
        "stepped": Masks(bits, n, zoom=Zoom((2, 3), (h, w), shift)),
    }


def plain(masks, x, baseline, channels):
    """The same by arithmetic on dense masks."""
    z = masks.levels().reshape(len(masks), *(x.shape[1:] if channels == "first" else x.shape[:2]))
    z = (z[:, None] if channels == "first" else z[..., None] if x.ndim == 3 else z) / 255
    mixed = z * x + (1 - z) * baseline
    if x.dtype == np.uint8:
        return np.floor(mixed + 0.5 - 1e-9).astype(np.uint8)
    return mixed.astype(x.dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 9, 3), (3, 8, 9), (7, 11), (30, 20, 3), (13, 15, 1), (9, 8, 2), (5, 7, 11)])
@pytest.mark.parametrize("kind", ["bits", "smooth", "levels", "hard cells", "soft cells", "stepped"])
def test_compose(code, kind, shape, dtype):
    channels = "first" if shape[0] == 3 else "last" if len(shape) == 3 else None
    h, w = shape[1:] if channels == "first" else shape[:2]
    rng = np.random.default_rng(0)
    x, baseline = rng.integers(0, 256, (2, *shape)).astype(dtype)
    masks = kinds(h, w)[kind]
    out = np.full((6, *shape), 77, dtype)
    assert masks.compose(x, baseline, out, channels=channels) is out
    if dtype is np.float32:
        assert np.allclose(out, plain(masks, x, baseline, channels), rtol=1e-6, atol=2e-5)
    else:
        assert np.allclose(out, plain(masks, x, baseline, channels), rtol=1e-14)
    if not masks.soft or dtype is np.uint8:
        assert set(np.unique(out)) <= set(range(256))
    dense = Masks.from_dense(np.stack([np.ones(h * w, bool), np.zeros(h * w, bool)]))
    assert np.array_equal(dense.compose(x, baseline, channels=channels), np.stack([x, baseline]))


@pytest.mark.parametrize("kind", ["bits", "smooth", "levels", "hard cells"])
def test_compose_with_labels_rows_and_a_baseline_each(code, kind):
    rng = np.random.default_rng(1)
    x = rng.random((10, 12, 3)).astype(np.float32)
    masks = kinds(4, 5)[kind]
    labels = rng.integers(0, 20, (10, 12)).astype(np.int32)
    rows = np.array([5, 0, 0, 3])
    baseline = rng.random((4, 10, 12, 3)).astype(np.float32)
    got = masks.compose(x, baseline, rows=rows, labels=labels)
    z = (masks.levels() / np.float32(255))[rows][:, labels][..., None]
    assert np.allclose(got, z * x + (1 - z) * baseline, atol=1e-6)


@pytest.mark.parametrize("past_caches", [False, True])
@pytest.mark.parametrize("shape", [(16, 18, 3), (12, 40, 3), (3, 20, 52), (24, 22, 4), (32, 64)])
def test_compose_codes_agree_to_the_bit(monkeypatch, shape, past_caches):
    """Whole vectors and rests of them, overlapping spans, several chunks of rows, stores past the caches."""
    monkeypatch.setattr(numba_consume, "_PAST_CACHES", 0 if past_caches else 10**12)
    channels, (h, w) = ("first", shape[1:]) if shape[0] == 3 else ("last" if len(shape) == 3 else None, shape[:2])
    rng = np.random.default_rng(1)
    for dtype in (np.uint8, np.float32, np.float64):
        x, baseline = (rng.random((2, *shape)) * 256).astype(dtype)
        for masks in kinds(h, w).values():
            rows = rng.integers(0, 6, 21)
            both = []
            for small in (0, 10**12):
                monkeypatch.setattr(dispatch, "SMALL", small)
                both.append(masks.compose(x, baseline, rows=rows, channels=channels))
            assert np.array_equal(*both)


def test_compose_takes_other_shapes():
    masks = samplers.Coins(5, seed=1).draw(0, 4)
    x = np.arange(5) + 1.0
    assert np.array_equal(masks.compose(x, 0.0), masks.dense() * x)
    assert np.array_equal(masks.compose(x.astype(np.int16), 0), masks.dense() * x)
    grid = samplers.Coins(6, seed=1).draw(0, 4)
    colour = np.array([1.0, 2.0, 3.0])
    got = grid.compose(np.zeros((2, 3, 3)), colour)
    assert np.array_equal(got, ~grid.dense().reshape(4, 2, 3, 1) * colour)


def test_compose_into_a_torch_tensor():
    torch = pytest.importorskip("torch")
    masks = samplers.Coins(64, seed=1).draw(0, 4)
    x = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    out = torch.zeros((4, 3, 8, 8))
    assert masks.compose(x, 0.0, out, channels="first") is out
    assert np.array_equal(out.numpy(), masks.compose(x, 0.0, channels="first"))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: m.compose(np.zeros((5, 5, 3)), 0.0), "does not fit"),
        (lambda m: m.compose(np.zeros((4, 3, 4)), 0.0, channels=None), "both ways"),
        (lambda m: m.compose(np.zeros(12), np.zeros(5)), "baseline"),
        (lambda m: m.compose(np.zeros(12), 0.0, np.zeros((3, 12))), "out is"),
        (lambda m: m.compose(np.zeros(12), 0.0, np.zeros((4, 12), np.float32)), "float64"),
        (lambda m: m.compose(np.zeros(30), 0.0, labels=np.full(30, 12)), "0..11"),
        (lambda m: m.accumulate(np.ones(3), np.ones(4)), "weights"),
        (lambda m: m.accumulate(np.ones(4), np.ones((3, 2))), "values"),
        (lambda m: m.accumulate(np.ones(4), np.ones(4), centre=np.ones(1)), "centre"),
        (lambda m: samplers.SpaceFilling(4).draw(0, 2).compose(np.zeros(4, np.int64), 0), "soft masks mix"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InvalidInput, match=says):
        call(samplers.Coins(12, seed=1).draw(0, 4))


@pytest.mark.parametrize("kind", ["bits", "smooth", "levels", "hard cells", "soft cells", "stepped"])
@pytest.mark.parametrize("grid", [(8, 9), (3, 5), (40, 31)])
@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_accumulate(code, kind, grid, outputs):
    masks = kinds(*grid)[kind]
    rng = np.random.default_rng(0)
    weights, centre = rng.normal(size=(2, 6))
    values = rng.normal(size=(6, outputs) if outputs else 6)
    z = masks.levels() / 255
    for middle in (None, centre):
        sums, squares = masks.accumulate(weights, values, centre=middle)
        shifted = z - (0 if middle is None else middle[:, None])
        terms = shifted[..., None] * (weights[:, None] * values.reshape(6, -1))[:, None]
        shape = (z.shape[1], outputs) if outputs else z.shape[1:]
        assert sums.shape == squares.shape == shape
        assert np.allclose(sums, terms.sum(axis=0).reshape(shape), rtol=1e-12, atol=1e-13)
        assert np.allclose(squares, (terms**2).sum(axis=0).reshape(shape), rtol=1e-12, atol=1e-13)


def test_accumulate_has_the_same_bits_in_any_code_and_threads(monkeypatch):
    rng = np.random.default_rng(3)
    for masks in kinds(50, 41).values():
        weights, values, centre = rng.normal(size=6), rng.normal(size=(6, 2)), rng.random(6)
        results = []
        for small, threads in [(10**12, 1), (0, 1), (0, 2), (0, 5)]:
            monkeypatch.setattr(dispatch, "SMALL", small)
            monkeypatch.setattr(numba_base, "threads", lambda n=threads: n)
            results.append(masks.accumulate(weights, values, centre=centre))
        for sums, squares in results[1:]:
            assert np.array_equal(sums, results[0][0])
            assert np.array_equal(squares, results[0][1])


def test_no_rows(code):
    masks = samplers.Coins(9).draw(0, 0)
    assert masks.compose(np.zeros(9), 0.0).shape == (0, 9)
    sums, squares = masks.accumulate(np.zeros(0), np.zeros((0, 2)))
    assert not sums.any()
    assert squares.shape == (9, 2)


def test_accumulate_estimates_shapley_values_of_an_additive_game():
    """GEFA's path integral: phi_i = E[pi (z_i - a) / sqrt(a (1 - a)) f(z)], by pairs, with its standard error."""
    truth = np.array([3.0, -1.0, 0.5, 0.0, 2.0])
    masks = samplers.Coins(5, seed=11).draw(0, 8000)
    scores = masks.dense() @ truth + 0.7
    a = masks.alpha
    pairs = masks.heads()
    odd = (scores[0::2] - scores[1::2]) / 2
    weight = np.pi / np.sqrt(a[0::2] * (1 - a[0::2])) / len(pairs)
    sums, squares = pairs.accumulate(weight, odd, centre=pairs.alpha)
    error = np.sqrt(squares - sums**2 / len(pairs))
    assert np.all(np.abs(sums - truth) < 4 * error)
    assert error.max() < 0.15
