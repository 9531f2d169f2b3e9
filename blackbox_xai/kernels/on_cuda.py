"""Twins of `on_numpy` for CUDA GPUs, compiled by numba-cuda: device arrays in and out, the same bits."""

from __future__ import annotations

import numpy as np


def why_not() -> str:
    """Why no GPU can be used here, or "" where one can (numba's simulator counts)."""
    try:
        from numba import cuda
    except ImportError as error:
        return f"numba's CUDA support cannot be imported ({error})"
    try:
        if cuda.is_available():
            return ""
    except Exception as error:
        return f"the CUDA driver does not answer ({error})"
    return "no CUDA GPU or driver was found"


def to_host(array) -> np.ndarray:
    """A host copy of a device array."""
    from numba import cuda

    return cuda.as_cuda_array(array).copy_to_host()
