"""Array kernels: `on_numpy` is the reference, `on_numba` and `on_cuda` its twins; `dispatch` picks one."""
