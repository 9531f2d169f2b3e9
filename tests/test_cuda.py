"""CUDA kernels: in numba's simulator everywhere, on a GPU where there is one; running out of memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blackbox_xai import explain, samplers
from blackbox_xai.kernels import on_cuda
from blackbox_xai.memory import Room
from blackbox_xai.oracles import TorchOracle

HERE = Path(__file__).parent


def test_in_the_simulator():
    environment = {
        **os.environ,
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "cuda_cases"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def gpu():
    if on_cuda.why_not():
        pytest.skip(on_cuda.why_not())
    return pytest.importorskip("torch")


@pytest.mark.cuda
def test_on_a_gpu(gpu):
    import cuda_cases

    cuda_cases.main()


DRAWS = [
    lambda device: samplers.Coins(224 * 224, seed=1, device=device),
    lambda device: samplers.Coins(50_001, "uniform", seed=2, antithetic=False, device=device),
    lambda device: samplers.SmoothedCoins((224, 224), seed=3, device=device),
    lambda device: samplers.SmoothedCoins((100, 161), 7.5, seed=4, levels="grid11", fixed_size=True, device=device),
    lambda device: samplers.RiseGrids((224, 224), seed=5, device=device),
    lambda device: samplers.RiseGrids((224, 224), (9, 8), seed=6, smooth=False, antithetic=True, device=device),
]
MOVED = [
    samplers.Sizes(300, seed=1),
    samplers.Walks(30, seed=1),
    samplers.OwenGrid(40, seed=1),
    samplers.SpaceFilling(64, seed=1),
    samplers.PickFreeze(20, seed=1),
    samplers.LevelCoins(300, 1),
]


@pytest.mark.cuda
@pytest.mark.parametrize("k", range(len(DRAWS)))
def test_bits_of_every_sampler_that_draws_there(gpu, k):
    host, device = DRAWS[k]("cpu").draw(0, 400), DRAWS[k]("cuda").draw(0, 400)
    assert np.array_equal(host.data, device.host().data)
    assert np.array_equal(host[200:220].dense(), device[200:220].dense())


@pytest.mark.cuda
@pytest.mark.parametrize("s", [*MOVED, *(make("cpu") for make in DRAWS)], ids=lambda s: type(s).__name__)
def test_consumers_on_what_was_moved_there(gpu, s):
    host = s.draw(0, 4 * s.group)
    device = host.to("cuda")
    assert np.array_equal(host.dense(), device.dense())
    rng = np.random.default_rng(0)
    x, baseline = (rng.random((2, host.n_players)) * 255).astype(np.uint8)
    out = gpu.empty((len(host), host.n_players), dtype=gpu.uint8, device="cuda")
    assert device.compose(x, baseline, out) is out
    assert np.array_equal(host.compose(x, baseline), out.cpu().numpy())
    weights, values = rng.normal(size=len(host)), rng.normal(size=(len(host), 3))
    for a, b in zip(host.accumulate(weights, values), device.accumulate(weights, values)):
        assert np.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.cuda
def test_masks_and_queries_stay_on_the_gpu(gpu):
    masks = samplers.SmoothedCoins((64, 64), 5, device="cuda").draw(0, 16)
    assert gpu.as_tensor(masks, device="cuda").shape == (16, 512)
    x, out = gpu.rand((3, 64, 64), device="cuda"), gpu.empty((16, 3, 64, 64), device="cuda")
    assert masks.compose(x, 0.0, out, channels="first") is out
    z = gpu.from_numpy(masks.dense()).cuda().reshape(16, 1, 64, 64)
    assert gpu.equal(out, x * z)


def network(torch):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(128, 5))


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["gefa", "rise"])
def test_an_explanation_stays_on_the_gpu(gpu, method, monkeypatch):
    """Scores, packed masks for the keys, and sums come to the host; the picture goes up once, no pixel comes back."""
    from numba import cuda

    x = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    wanted = explain(TorchOracle(network(gpu), batch_size=64), x, budget=600, method=method, target=1)
    down, up, types = [], [], set()
    to_host, to_device, to_cpu = on_cuda.to_host, cuda.to_device, gpu.Tensor.cpu
    predict = TorchOracle._predict

    def seen(self, batch):
        types.add((type(batch), batch.device.type, batch.dtype))
        return predict(self, batch)

    def copied(array):
        down.append(int(np.prod(array.shape)) * np.dtype(array.dtype).itemsize)
        return to_host(array)

    def sent(array, *args, **kwargs):
        up.append(np.asarray(array).nbytes)
        return to_device(array, *args, **kwargs)

    def scores(self, *args, **kwargs):
        down.append(self.nbytes)
        return to_cpu(self, *args, **kwargs)

    monkeypatch.setattr(TorchOracle, "_predict", seen)
    monkeypatch.setattr(on_cuda, "to_host", copied)
    monkeypatch.setattr(cuda, "to_device", sent)
    monkeypatch.setattr(gpu.Tensor, "cpu", scores)
    a = explain(TorchOracle(network(gpu).cuda(), batch_size=64), x, budget=600, method=method, target=1)
    assert types == {(gpu.Tensor, "cuda", gpu.uint8)}
    packed, sums = 600 * 128 * 128 // 8, 2 * 8 * 128 * 128
    assert sum(down) <= packed + 4 * sums + 600 * 5 * 8 + 2**16  # all pixels of the queries would be 24 times more
    assert sum(n >= x.nbytes for n in up) <= 2 + 2 * 3  # picture and baseline; sums begin as zeros
    assert a.ledger["scored"] == wanted.ledger["scored"] == 600
    assert np.allclose(a.answers, wanted.answers, rtol=1e-3, atol=1e-4)
    assert np.allclose(a.values, wanted.values, rtol=1e-2, atol=1e-3 * np.abs(wanted.values).max())


@pytest.mark.cuda
def test_a_gpu_that_is_full_gets_smaller_batches(gpu):
    class Hungry(gpu.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network(gpu)

        def forward(self, x):
            if len(x) > 20:
                gpu.empty(1 << 50, dtype=gpu.uint8, device="cuda")  # no GPU has a pebibyte
            return self.inner(x)

    x = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.warns(RuntimeWarning, match="at most 32 rows") as said:
        a = explain(TorchOracle(Hungry().cuda(), batch_size=64), x, budget=300, method="rise", target=1)
    assert len(said) == 1
    assert a.status == "complete"
    assert a.ledger["scored"] == 300


def test_out_of_memory_halves_the_batch_and_says_so_once():
    done, limit = [], 5

    def work(lo, hi):
        if hi - lo > limit:
            raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
        done.append((lo, hi))

    with pytest.warns(RuntimeWarning, match="at most 12 rows") as said:
        Room(25).parts(work, 50)
    assert len(said) == 1
    assert [i for lo, hi in done for i in range(lo, hi)] == list(range(50))
    assert max(hi - lo for lo, hi in done) == 3

    limit = 0
    with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match="OUT_OF_MEMORY"):
        Room(4).parts(work, 4)

    def broken(lo, hi):
        raise RuntimeError("illegal address")

    with pytest.raises(RuntimeError, match="illegal"):
        Room(4).parts(broken, 4)
