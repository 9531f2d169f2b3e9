"""Which code runs: the array given picks the device, the size of the work picks numpy or numba."""

from __future__ import annotations

import sys
import warnings
from functools import lru_cache
from types import ModuleType
from typing import Any

from . import on_numpy

SMALL = 1_000_000  # mask cells; below this numpy is quicker than loading compiled code
SMALL_SMOOTH = 300 * SMALL  # the same for smooth masks, which numpy makes by matrix products


def pick(cells: int, device: str = "cpu", *, unloaded: int = 0) -> ModuleType:
    """The kernel module for `cells` mask cells (rows times players) on "cpu" or "cuda". All give the same bits.

    `unloaded`: the limit for numpy as long as the compiled kernels are not loaded, if larger than SMALL.
    """
    if device == "cuda":
        from . import on_cuda

        return on_cuda
    if cells < SMALL or (cells < unloaded and f"{__package__}.on_numba" not in sys.modules):
        return on_numpy
    from . import on_numba

    return on_numba


@lru_cache
def nearest(device: str) -> str:
    """Where kernels run for a model on `device`: "cuda" for the first CUDA GPU, else "cpu".

    Warns, once, where a model is on that GPU and we have no way to reach it.
    """
    if device not in ("cuda", "cuda:0"):
        return "cpu"
    from . import on_cuda

    reason = on_cuda.why_not()
    if reason:
        warnings.warn(
            f"The model is on a GPU, but {reason}: inputs are composed on the host and copied, the result is the same. "
            'pip install "blackbox-xai[cuda]" keeps them on the GPU.',
            RuntimeWarning,
            stacklevel=2,
        )
    return "cpu" if reason else "cuda"


def device_of(array: Any) -> str:
    """ "cuda" for an array with ``__cuda_array_interface__`` (or of numba's simulator), else "cpu"."""
    device = hasattr(array, "__cuda_array_interface__") or hasattr(array, "__cuda_ndarray__")
    return "cuda" if device else "cpu"


def to_host(array: Any) -> Any:
    """A numpy view of a host array, or a copy of a device one."""
    if device_of(array) == "cuda":
        from . import on_cuda

        return on_cuda.to_host(array)
    return array
