"""Mean, standard error and failures of a metric over inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Summary:
    """Attributes: mean, std_error (NaN for one value), count (values used), failed (NaN or None)."""

    mean: float
    std_error: float
    count: int
    failed: int


def summary(values: Iterable[float | None]) -> Summary:
    """Summarise one metric over inputs; None and NaN count as failed. Cost: no query."""
    all_values = [float("nan") if v is None else float(v) for v in values]
    good = np.array([v for v in all_values if np.isfinite(v)])
    n = len(good)
    mean = float(good.mean()) if n else float("nan")
    error = float(good.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return Summary(mean, error, n, len(all_values) - n)
