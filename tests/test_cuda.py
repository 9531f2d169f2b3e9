"""CUDA kernels: in numba's simulator everywhere, on a GPU where there is one; running out of memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blackbox_xai.kernels import on_cuda
from blackbox_xai.memory import Room

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


@pytest.mark.cuda
def test_on_a_gpu():
    if on_cuda.why_not():
        pytest.skip(on_cuda.why_not())
    import cuda_cases
    import numpy as np

    from blackbox_xai import samplers

    cuda_cases.main()
    for s in (samplers.SmoothedCoins, lambda g, device: samplers.Coins(g[0] * g[1], device=device)):
        host, device = s((224, 224), device="cpu").draw(0, 200), s((224, 224), device="cuda").draw(0, 200)
        assert np.array_equal(host.data, device.host().data)


@pytest.mark.cuda
def test_masks_and_queries_stay_on_the_gpu():
    if on_cuda.why_not():
        pytest.skip(on_cuda.why_not())
    torch = pytest.importorskip("torch")
    from blackbox_xai import samplers

    masks = samplers.SmoothedCoins((64, 64), 5, device="cuda").draw(0, 16)
    assert torch.as_tensor(masks, device="cuda").shape == (16, 512)
    x, out = torch.rand((3, 64, 64), device="cuda"), torch.empty((16, 3, 64, 64), device="cuda")
    assert masks.compose(x, 0.0, out, channels="first") is out
    z = torch.from_numpy(masks.dense()).cuda().reshape(16, 1, 64, 64)
    assert torch.equal(out, x * z)


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
