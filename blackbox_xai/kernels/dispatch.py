"""Which code runs: the array given picks the device, the size of the work picks numpy or numba."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import on_numpy

SMALL = 1_000_000  # mask cells; below this numpy is quicker than loading compiled code


def pick(cells: int, device: str = "cpu") -> ModuleType:
    """The kernel module for `cells` mask cells (rows times players) on "cpu" or "cuda". All give the same bits."""
    if device == "cuda":
        from . import on_cuda

        return on_cuda
    if cells < SMALL:
        return on_numpy
    from . import on_numba

    return on_numba


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
