"""Completeness: what accuracy is lost when everything that got attribution is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .dataset import Dataset, maps_of

Floats = NDArray[np.float64]
THRESHOLDS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class Completeness:
    """Accuracy lost by threshold.

    Attributes
    ----------
    thresholds : (T,). loss : (T,), clean accuracy minus accuracy after removal; high is complete.
    label_loss : (T,). The same of the mean score of the label, which moves where an accuracy of few inputs does not.
    removed : (T,). Mean share of players removed: read `loss` beside it, for a map's shape alone moves both.
    """

    thresholds: Floats
    loss: Floats
    label_loss: Floats
    removed: Floats

    @property
    def mean(self) -> float:
        """Mean loss over the thresholds."""
        return float(self.loss.mean())


def completeness(
    data: Dataset,
    maps: Sequence[Any],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    scale: Literal["max", "p99"] = "max",
) -> Completeness:
    """Remove the players with attribution above ``t`` times the map's scale, strictly, and measure the loss.

    Parameters
    ----------
    data : Dataset; its inputs impute (``replaced(players, "noisy_linear")``).
    maps : one attribution an input; negative values count as 0. An all-zero map removes nothing.
    scale : "max" (published), or "p99", the 99th percentile of the map, which one peak does not move.

    Cost: ``len(thresholds)`` coalitions an input (9), and one for the clean input, once a `Dataset`.
    Quantus' Completeness is another quantity, the gap of the sum of values (`Attribution.residual` here).
    Source: the published dual-perspective evaluation. Its JSON stores ``1 - t``; here t is the threshold itself.
    """
    if scale not in ("max", "p99"):
        raise InvalidInput(f"completeness: scale must be 'max' or 'p99', got {scale!r}.")
    data.affordable(len(thresholds) + 1)
    clean = data.clean().mean(axis=0)
    left, removed = np.zeros((len(thresholds), 2)), np.zeros(len(thresholds))
    for index, values in enumerate(maps_of(data, maps)):
        values = np.maximum(values, 0.0)
        top = values.max() if scale == "max" else np.percentile(values, 99)
        gone = (values > np.asarray(thresholds)[:, None] * top) & (values > 0)
        left += data.scores(index, len(thresholds), lambda a, b, g=gone: ~g[a:b])  # type: ignore[misc]
        removed += gone.mean(axis=1)
    n = len(data)
    lost = clean - left / n
    return Completeness(np.asarray(thresholds, float), lost[:, 1], lost[:, 0], removed / n)
