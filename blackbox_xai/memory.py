"""Work on many rows where memory may run out: fewer rows at once, and on."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from .errors import BlackboxXaiError

T = TypeVar("T")
_SAID = ("OUTOFMEMORY", "ALLOCFAILED", "CAN'TALLOCATEMEMORY")  # CUDA, torch and numba; cuBLAS and cuDNN; torch on a CPU


def ran_out(error: BaseException) -> bool:
    """Whether an error, of any library, says that memory ran out: a GPU's or the host's. Our own never do."""
    text = f"{type(error).__name__} {error}".upper().replace(" ", "").replace("_", "")
    short = isinstance(error, MemoryError) or any(said in text for said in _SAID)
    return short and not isinstance(error, BlackboxXaiError)


class Room:
    """How many rows memory holds at once, as far as is known. Threads may share one; the first time less is said.

    Attributes: ``rows``, halved whenever that many did not fit.
    """

    def __init__(self, rows: int = sys.maxsize) -> None:
        self.rows = max(1, rows)
        self._said = False

    def fit(self, work: Callable[[int], T], rows: int) -> tuple[int, T]:
        """``work(count)`` for as many of `rows` as fit: count, and what it gave.

        Raises
        ------
        Whatever `work` raises that is no lack of memory, or with a single row.
        """
        while True:
            count = min(rows, self.rows)
            try:
                return count, work(count)
            except Exception as error:
                if count <= 1 or not ran_out(error):
                    raise
            self._shrink(count // 2)  # outside the handler: the error no longer holds what `work` had taken

    def parts(self, work: Callable[[int, int], object], rows: int) -> None:
        """``work(lo, hi)`` over all rows in order, as many at once as fit."""

        def part(lo: int, count: int) -> object:
            return work(lo, lo + count)

        at = 0
        while at < rows:
            at += self.fit(partial(part, at), rows - at)[0]

    def _shrink(self, rows: int) -> None:
        self.rows = min(self.rows, rows)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what torch holds and does not use, for whoever asks next
        if self._said:
            return
        self._said = True
        warnings.warn(
            f"Memory ran out; going on with at most {self.rows} rows at once, fewer if need be. The result does not "
            "change.",
            RuntimeWarning,
            stacklevel=2,
        )
