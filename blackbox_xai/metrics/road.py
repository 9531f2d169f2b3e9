"""ROAD: accuracy as the most, or least, relevant pixels are removed and imputed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, maps_of, ranks

Floats = NDArray[np.float64]
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True, eq=False)
class Road:
    """Two accuracy curves over the share removed.

    Attributes
    ----------
    ratios : (R,). accuracy_morf, accuracy_lerf : (R,). label_morf, label_lerf : (R,), mean score of the label.
    """

    ratios: Floats
    accuracy_morf: Floats
    accuracy_lerf: Floats
    label_morf: Floats
    label_lerf: Floats

    @property
    def gap(self) -> float:
        """Mean of accuracy least relevant first minus most relevant first; high is good."""
        return float((self.accuracy_lerf - self.accuracy_morf).mean())

    @property
    def area_morf(self) -> float:
        """Mean accuracy, most relevant first; low is good."""
        return float(self.accuracy_morf.mean())

    @property
    def area_lerf(self) -> float:
        """Mean accuracy, least relevant first; high is good."""
        return float(self.accuracy_lerf.mean())


def road(data: Dataset, maps: Sequence[Any], *, ratios: Sequence[float] = RATIOS, seed: int = 0) -> Road:
    """Accuracy on the data's labels after removing ``int(d * r)`` players of each map, in both orders.

    Parameters
    ----------
    data : Dataset whose inputs impute: ``replaced(players, "noisy_linear")``. Other replacements are allowed; the
        result is then no ROAD and should not be called so.
    maps : one attribution an input.
    seed : int. Orders ties.

    Cost: ``2 * len(ratios)`` coalitions an input: 18.
    Source: Rong et al. 2022. Differs from Quantus' ROAD: a pixel is ranked once, not once a channel, and both
    orders are reported; on one channel, without noise, the first order is its number.
    """
    data.affordable(2 * len(ratios))
    total = np.zeros((2, len(ratios), 2))
    for index, values in enumerate(maps_of(data, maps)):
        d = len(values)
        place = ranks(values, seed)
        gone = np.array([int(d * r + 1e-9) for r in ratios])

        def masks(a: int, b: int, place: Any = place, gone: Any = gone, d: int = d) -> NDArray[np.bool_]:
            rows = np.arange(a, b)
            limit = gone[rows % len(gone), None]
            own: NDArray[np.bool_] = np.where(rows[:, None] < len(gone), place >= limit, place < d - limit)
            return own

        total += data.scores(index, 2 * len(ratios), masks).reshape(2, len(ratios), 2)
    total /= len(data)
    return Road(np.asarray(ratios, float), total[0, :, 1], total[1, :, 1], total[0, :, 0], total[1, :, 0])
