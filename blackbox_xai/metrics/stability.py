"""Stability across seeds: how much of an explanation is the draw. No query beyond the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ..errors import InvalidInput
from .agreement import agreement, values_of


@dataclass(frozen=True, slots=True)
class Stability:
    """Over all pairs of seeds.

    Attributes
    ----------
    spearman, cosine, top_k : float. Means over pairs.
    relative_sd : float. Root of the summed variances over seeds, over the norm of the mean map.
    """

    spearman: float
    cosine: float
    top_k: float
    relative_sd: float


def stability(maps: Sequence[Any], *, k: int = 5) -> Stability:
    """How alike one method's maps of one input are under different seeds.

    Parameters
    ----------
    maps : two or more attributions of the same players.
    k : int. For the overlap of the top k.

    Cost: no query.
    Quantus' stability metrics nudge the input, as `max_sensitivity` does; they say nothing about seeds.
    """
    if len(maps) < 2:
        raise InvalidInput("stability: give the maps of two seeds at least.")
    table = np.stack([values_of(m) for m in maps])
    pairs = [agreement(a, b, k=k) for a, b in combinations(table, 2)]
    norm = float(np.linalg.norm(table.mean(axis=0)))
    spread = float(np.sqrt(table.var(axis=0, ddof=1).sum()))
    return Stability(
        float(np.mean([p.spearman for p in pairs])),
        float(np.mean([p.cosine for p in pairs])),
        float(np.mean([p.top_k for p in pairs])),
        spread / norm if norm > 0 else float("nan"),
    )
