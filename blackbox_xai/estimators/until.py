"""Rules that end a run before its budget is spent: functions of an `Estimate`, given to ``explain(...,
until=...)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from ..errors import InvalidInput
from .base import Estimate, Floats


@dataclass(frozen=True, slots=True)
class StdError:
    """Stop when every player's standard error is at most `target`, in units of the values.

    Attributes
    ----------
    target : float, > 0.
    relative : bool. `target` is a share of the largest absolute value instead.

    A standard error from few groups is itself uncertain, so nothing stops before ten groups beyond the
    endpoints were told.
    """

    target: float
    relative: bool = False

    def __post_init__(self) -> None:
        if not self.target > 0:
            raise InvalidInput(f"StdError: target must be above 0, got {self.target}.")

    def __call__(self, e: Estimate) -> bool:
        """Whether to stop."""
        if e.std_error is None or _early(e):
            return False
        limit = self.target * float(np.abs(e.values).max()) if self.relative else self.target
        return bool(np.all(e.std_error <= limit))


@dataclass(frozen=True, slots=True)
class TopK:
    """Stop when the k largest absolute values are the k largest with the given confidence, for every output.

    Every one of the k must lie above every other player by more than the error of their difference allows,
    at a level divided among all k (n - k) comparisons (Bonferroni); the errors of two players are taken as
    independent.

    Attributes
    ----------
    k : int, >= 1. Fewer players than k: stops at once.
    confidence : float, 0 < confidence < 1.
    """

    k: int = 5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 < self.confidence < 1:
            raise InvalidInput(f"TopK: needs k >= 1 and 0 < confidence < 1, got {self.k} and {self.confidence}.")

    def __call__(self, e: Estimate) -> bool:
        """Whether to stop."""
        if e.std_error is None or _early(e):
            return False
        size = np.abs(e.values).reshape(len(e.values), -1)
        variance = (e.std_error**2).reshape(size.shape)
        n = len(size)
        if self.k >= n:
            return True
        z = NormalDist().inv_cdf(1 - (1 - self.confidence) / (self.k * (n - self.k)))
        for j in range(size.shape[1]):
            order = np.argsort(-size[:, j], kind="stable")
            first, rest = order[: self.k], order[self.k :]
            gap = size[first, j][:, None] - size[rest, j][None]
            if np.any(gap < z * np.sqrt(variance[first, j][:, None] + variance[rest, j][None])):
                return False
        return True


@dataclass(slots=True)
class StableOrder:
    """Ends when the most relevant players have stopped changing: for pictures, when the deletion order is stable.

    Attributes
    ----------
    share : float, 0 < share < 1. Of the players, the most relevant ones that are compared.
    agree : float, 0 < agree <= 1. Part of them that must be the same as at the look before (for every output).
    looks : int, >= 1. Looks in a row that must agree.
    least : int. Rows below which a run is not ended.

    One rule serves one run: it remembers the last look.
    """

    share: float = 0.1
    agree: float = 0.9
    looks: int = 3
    least: int = 100
    _last: Floats | None = field(default=None, init=False, repr=False)
    _agreed: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or not 0 < self.agree <= 1 or self.looks < 1:
            raise InvalidInput(
                f"StableOrder: share must lie in (0, 1), agree in (0, 1], looks be >= 1; got {self.share}, "
                f"{self.agree}, {self.looks}."
            )

    def __call__(self, estimate: Estimate) -> bool:
        values = estimate.values.reshape(len(estimate.values), -1)
        count = max(1, round(self.share * len(values)))
        top = np.zeros(values.shape, bool)
        np.put_along_axis(top, np.argpartition(-values, count - 1, axis=0)[:count], True, axis=0)
        last, self._last = self._last, top.astype(np.float64)
        if last is None or last.shape != top.shape:
            self._agreed = 0
            return False
        same = float((last * top).sum(axis=0).min()) / count
        self._agreed = self._agreed + 1 if same >= self.agree else 0
        return self._agreed >= self.looks and estimate.n_rows >= self.least


def _early(e: Estimate) -> bool:
    return e.n_rows < 22 and not e.diagnostics.get("exact", False)
