"""What CUDA code must do, run by `test_cuda.py` on a GPU and in numba's simulator (tiny shapes)."""

import itertools

import numpy as np
import pytest

from blackbox_xai import samplers
from blackbox_xai.kernels import on_cuda, on_numpy
from blackbox_xai.masks import Masks, Zoom


def drawn():
    """Samplers that draw on the device, against the same on the host."""
    for make, rows in [
        (lambda d: samplers.Coins(13, seed=3, device=d), 6),
        (lambda d: samplers.Coins(8, (0.3, 0.9), seed=3, antithetic=False, device=d), 3),
        (lambda d: samplers.SmoothedCoins((5, 7), 1.5, seed=4, device=d), 6),
        (lambda d: samplers.SmoothedCoins((5, 7), 2, seed=4, levels="grid11", fixed_size=True, device=d), 6),
        (lambda d: samplers.RiseGrids((7, 9), (2, 3), seed=5, device=d), 4),
    ]:
        host, device = make("cpu").draw(2, rows - rows % 2), make("cuda").draw(2, rows - rows % 2)
        yield host, device


def check_draws():
    for host, device in drawn():
        assert not isinstance(device.data, np.ndarray)
        assert np.array_equal(host.data, device.host().data)
        assert np.array_equal(host.dense(), device.dense())
        assert np.array_equal(host[2:4].data, device[2:4].host().data)
        if not host.soft:
            assert np.array_equal(host.sizes(), device.sizes())


def check_ties():
    flat = (np.zeros(4, np.int32), np.ones((1, 4), np.int32))
    args = (0, 0, 0, np.array([0, 1, 5, 16]), True, flat, flat, True)
    assert np.array_equal(on_numpy.smooth_coins(*args), on_cuda.to_host(on_cuda.smooth_coins(*args)))


def check_consumers():
    rng = np.random.default_rng(0)
    shift = np.array([[0, 1], [1, 0], [1, 2], [0, 0]], np.int32)
    bits = samplers.Coins(6, seed=1).draw(0, 4).data
    hosts = [
        samplers.Coins(24, seed=1).draw(0, 4),
        samplers.SpaceFilling(24, seed=1).draw(0, 4),
        samplers.RiseGrids((4, 6), (2, 3), seed=1).draw(0, 4),
        Masks(bits, 24, zoom=Zoom((2, 3), (4, 6), shift)),
    ]
    for host, dtype in itertools.product(hosts, (np.uint8, np.float32)):
        device = host.to("cuda")
        x, baseline = (rng.random((2, 4, 6, 3)) * 255).astype(dtype)
        wanted, got = host.compose(x, baseline), on_cuda.to_host(device.compose(x, baseline))
        exact = dtype is np.uint8 or not host.soft
        assert np.array_equal(wanted, got) if exact else np.allclose(wanted, got, rtol=1e-6)
        labels = rng.integers(0, 24, 10).astype(np.int32)
        line = (rng.random(10) * 255).astype(dtype)
        rows = np.array([3, 0, 0])
        wanted = host.compose(line, 0, labels=labels, rows=rows)
        got = on_cuda.to_host(device.compose(line, 0, labels=labels, rows=rows))
        assert np.array_equal(wanted, got) if exact else np.allclose(wanted, got, rtol=1e-6)
        weights, values, centre = rng.normal(size=4), rng.normal(size=(4, 2)), rng.random(4)
        for a, b in zip(
            host.accumulate(weights, values, centre=centre), device.accumulate(weights, values, centre=centre)
        ):
            assert np.array_equal(a, b) if host is hosts[0] else np.allclose(a, b, rtol=1e-12)
    with pytest.raises(ValueError, match="out is"):
        hosts[0].to("cuda").compose(np.zeros((4, 6)), 0, on_cuda.on_device(np.zeros((4, 4, 5))))


def main():
    check_draws()
    check_ties()
    check_consumers()


if __name__ == "__main__":
    on_cuda._THREADS = 32  # the simulator starts a thread for each
    main()
