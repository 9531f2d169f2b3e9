"""What CUDA code must do, run by `test_cuda.py` on a GPU and in numba's simulator (tiny shapes)."""

import itertools

import numpy as np
import pytest

from blackbox_xai import explain, samplers
from blackbox_xai.estimators.base import Problem
from blackbox_xai.estimators.gefa import GEFA
from blackbox_xai.estimators.kernel_shap import KernelSHAP
from blackbox_xai.estimators.rise import RISE
from blackbox_xai.kernels import dispatch, on_cuda, on_numpy
from blackbox_xai.masks import Masks, Zoom
from blackbox_xai.oracles import Oracle
from blackbox_xai.players import ImagePixels, ImageSegments


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


def check_where_out_lies():
    """Masks go where the memory to compose into is."""
    host = samplers.Coins(24, seed=1).draw(0, 4)
    x, baseline = np.arange(72, dtype=np.uint8).reshape(4, 6, 3), np.uint8(7)
    wanted = host.compose(x, baseline, channels="last")
    out = on_cuda.on_device(np.zeros((4, 4, 6, 3), np.uint8))
    assert host.compose(x, baseline, out, channels="last") is out
    assert np.array_equal(wanted, on_cuda.to_host(out))
    back = np.zeros_like(wanted)
    host.to("cuda").compose(x, baseline, back, channels="last")
    assert np.array_equal(wanted, back)
    fixed = x.view()
    fixed.flags.writeable = False
    assert on_cuda.on_device(fixed) is on_cuda.on_device(fixed)  # one copy of what cannot change
    assert on_cuda.on_device(x) is not on_cuda.on_device(x)
    key = id(fixed)
    del fixed
    assert key not in on_cuda._copies


class OnDevice(Oracle):
    """A linear model of images that lie on the device; on the host if `host`."""

    def __init__(self, weight, host):
        self.name, self.batch_size = "linear", 6
        self.device, self.identity, self.output_names = "cpu" if host else "cuda", None, None
        self.weight, self.host, self.rows = weight, host, []

    def buffer(self, rows, shape, dtype):
        return None if self.host else on_cuda.on_device(np.empty((rows, *shape), dtype))

    def _predict(self, batch):
        assert (dispatch.device_of(batch) == "cpu") == self.host
        images = batch if self.host else on_cuda.to_host(batch)
        self.rows.append(len(images))
        return images.reshape(len(images), -1) / 255.0 @ self.weight


def check_explain(grid=(4, 6), budget=14):
    """A whole run, masks drawn and inputs composed on the device; equal to the host's."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (*grid, 3), dtype=np.uint8)
    weight = rng.normal(size=(photo.size, 2))
    for method, players in [
        (GEFA(), ImagePixels(photo, "grey")),
        (GEFA(variant="reference"), ImagePixels(photo, "grey")),
        (RISE(), ImagePixels(photo, "grey")),
        (KernelSHAP(), ImageSegments(photo, "grey", segments=np.arange(photo[..., 0].size).reshape(grid) // 5)),
    ]:
        host, device = (OnDevice(weight, h) for h in (True, False))
        a = explain(host, photo, players=players, method=method, budget=budget, target=1, seed=5)
        b = explain(device, photo, players=players, method=method, budget=budget, target=1, seed=5)
        assert host.rows == device.rows
        assert np.allclose(a.values, b.values, rtol=1e-9, atol=1e-12)
        assert np.allclose(a.std_error, b.std_error, rtol=1e-6, atol=1e-9)
        drawn = device_masks(method, players, budget)
        assert (dispatch.device_of(drawn) == "cuda") == (players.grid is not None)


def device_masks(method, players, budget):
    """What a session for a model on the device asks for after the endpoints."""
    session = method.session(Problem(players.n_players, (budget,), 5, grid=players.grid, soft=True, device="cuda"))
    session.tell(session.ask(9), np.zeros(2))
    return session.ask(6).data


def main():
    check_draws()
    check_ties()
    check_consumers()
    check_where_out_lies()
    check_explain()


if __name__ == "__main__":
    on_cuda._THREADS = 32  # the simulator starts a thread for each
    main()
