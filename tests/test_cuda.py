"""CUDA kernels: in numba's simulator everywhere, on a GPU where there is one; running out of memory."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blackbox_xai import explain, samplers
from blackbox_xai.estimators.gefa import GEFA
from blackbox_xai.estimators.rise import RISE
from blackbox_xai.kernels import on_cuda
from blackbox_xai.memory import Room
from blackbox_xai.oracles import TorchOracle
from blackbox_xai.players import ImagePixels, ImageSegments

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
    """torch, where there is a GPU that our kernels reach."""
    if on_cuda.why_not():
        pytest.skip(on_cuda.why_not())
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield torch


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


SIDE = 96
PHOTO = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)


def network(torch, room=1 << 30):
    """A small convolutional network that refuses host batches and batches above `room`."""
    torch.manual_seed(0)

    class Network(torch.nn.Sequential):
        def forward(self, x):
            assert x.device == next(self.parameters()).device
            if len(x) > room:
                torch.empty(1 << 50, dtype=torch.uint8, device=x.device)  # a true out-of-memory error
            return super().forward(x)

    return Network(
        torch.nn.Conv2d(3, 8, 5, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 5, stride=3), torch.nn.Tanh(),
        torch.nn.AdaptiveAvgPool2d(3), torch.nn.Flatten(), torch.nn.Linear(72, 4),
    )  # fmt: skip


METHODS = [GEFA(), GEFA(variant="reference"), RISE(), "smoothgp", "kernelshap"]


@pytest.mark.cuda
@pytest.mark.parametrize("method", METHODS, ids=["gefa", "reference", "rise", "smoothgp", "segments"])
def test_a_run_on_the_gpu_equals_one_on_the_cpu(gpu, method, monkeypatch):
    torch, kinds, plain = gpu, set(), TorchOracle._predict

    def seen(self, batch):
        kinds.add((batch.device.type, batch.dtype))
        return plain(self, batch)

    monkeypatch.setattr(TorchOracle, "_predict", seen)
    players = ImageSegments(PHOTO, segments=20) if method == "kernelshap" else ImagePixels(PHOTO)
    runs = []
    for device in ("cpu", "cuda"):
        oracle = TorchOracle(network(torch).to(device), activation="softmax", batch_size=64)
        assert oracle.device.startswith(device)
        runs.append(explain(oracle, PHOTO, players=players, method=method, budget=402, target=0, seed=1))
    assert kinds == {("cpu", torch.uint8), ("cuda", torch.uint8)}  # composed where they are scored
    a, b = runs
    for name in ("scored", "batches", "repeated"):
        assert a.ledger[name] == b.ledger[name]
    if method == "smoothgp":  # its later masks follow from the scores, so rounding may move a pixel
        assert np.corrcoef(a.values, b.values)[0, 1] > 0.95
    else:
        assert np.abs(a.values - b.values).max() < 1e-3 * np.abs(a.values).max()


@pytest.mark.cuda
@pytest.mark.parametrize("method", METHODS[:3], ids=["gefa", "reference", "rise"])
def test_pixels_are_not_moved_between_host_and_gpu(gpu, method, tmp_path):
    torch = gpu
    oracle = TorchOracle(network(torch).cuda(), activation="softmax", batch_size=64)
    explain(oracle, PHOTO, method=method, budget=102, seed=1)  # compiles, and loads what is loaded once
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        a = explain(oracle, PHOTO, method=method, budget=1002, seed=1)
        torch.cuda.synchronize()
    seen.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    moved = {"HtoD": 0, "DtoH": 0}
    for e in events:
        for way in moved:
            if e.get("cat") == "gpu_memcpy" and way in e["name"]:
                moved[way] += e["args"]["bytes"]
    assert moved["DtoH"] > 0  # scores, at least
    pixels, packed, sums = a.ledger["scored"] * PHOTO.nbytes, 1002 * SIDE * SIDE // 8, 64 * SIDE * SIDE * 8
    assert moved["HtoD"] < 0.02 * pixels
    assert moved["DtoH"] < 2 * packed + sums < 0.3 * pixels


@pytest.mark.cuda
def test_a_gpu_out_of_memory_halves_the_batch(gpu):
    torch = gpu
    whole = explain(TorchOracle(network(torch).cuda(), batch_size=64), PHOTO, method="rise", budget=402, target=0)
    small = network(torch, room=20).cuda()
    with pytest.warns(RuntimeWarning, match="at most 32 rows") as said:
        halved = explain(TorchOracle(small, batch_size=64), PHOTO, method="rise", budget=402, target=0)
    assert len(said) == 1
    assert halved.ledger["scored"] == whole.ledger["scored"]
    assert halved.ledger["failed"] == 0
    assert np.abs(halved.values - whole.values).max() < 1e-2 * np.abs(whole.values).max()


@pytest.mark.cuda
def test_scratch_out_of_memory_draws_fewer_rows(gpu, monkeypatch):
    torch, grid = gpu, (512, 512)
    monkeypatch.setattr(on_cuda, "SCRATCH", 1 << 60)  # all rows at once: 200 MB
    taken = torch.empty(torch.cuda.mem_get_info()[0] - (128 << 20), dtype=torch.uint8, device="cuda")
    try:
        with pytest.warns(RuntimeWarning, match="Memory ran out"):
            got = samplers.SmoothedCoins(grid, 5, device="cuda").draw(0, 1000).host().data
    finally:
        del taken
        torch.cuda.empty_cache()
    assert np.array_equal(got, samplers.SmoothedCoins(grid, 5).draw(0, 1000).data)


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


def test_the_gpu_benchmark_runs_on_a_cpu():
    pytest.importorskip("torchvision")
    from experiments.bench_gpu import report

    small = argparse.Namespace(
        device="cpu", queries=12, batch=5, rounds=1, models=["mobilenet_v3_small"], methods=["rise"]
    )
    cells = report(small).splitlines()[-1].split("|")
    assert cells[1:4] == [" mobilenet_v3_small ", " rise ", " 12 "]
    assert all(float(c) > 0 for c in cells[4:9])
