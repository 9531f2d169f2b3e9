"""Linear algebra on one thread: the model's own hold the other cores, and bits do not depend on their number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_lock = threading.Lock()
_inside = 0
_limit: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Context in which the BLAS libraries of numpy and scipy use one thread. Threads may be inside at the same time."""
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _limit = _pools().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()


@cache
def _pools() -> Any:
    import scipy.linalg  # noqa: F401 - before: only libraries that are loaded by then are found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
