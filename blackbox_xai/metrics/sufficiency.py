"""Sufficiency and necessity of the top k players."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..errors import InvalidInput
from ..game import Target
from ..players.base import Players
from .evaluation import Evaluation, ranked, scores_of, target_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sufficiency:
    """Scores of the top k alone and of all but the top k.

    Attributes
    ----------
    k : int (n,). alone, without : float64 (n,). empty, full : float.
    """

    k: NDArray[np.int64]
    alone: Floats
    without: Floats
    empty: float
    full: float

    @property
    def recovered(self) -> Floats:
        """(alone - empty) / (full - empty): 1 where the top k suffice; NaN where full equals empty."""
        return self._share(self.alone - self.empty)

    @property
    def lost(self) -> Floats:
        """(full - without) / (full - empty): 1 where nothing is left without them."""
        return self._share(self.full - self.without)

    def _share(self, part: Floats) -> Floats:
        span = self.full - self.empty
        return part / span if span else np.full(len(part), np.nan)


def sufficiency(
    model: Any,
    players: Players | None,
    attribution: Any,
    *,
    k: int | Sequence[int] = 5,
    target: Target = None,
    budget: int | QueryBudget | None = None,
    seed: int = 0,
) -> Sufficiency:
    """Value the top k alone, and everything but them.

    Parameters
    ----------
    k : int or several, 1..d. Ranked with sign; ties in an order drawn from `seed`.

    Cost: ``2 * len(k) + 2`` coalitions.
    Quantus' Sufficiency is another quantity: whether inputs with alike maps get the same class.
    Source: DeYoung et al. 2020 (comprehensiveness and sufficiency, there as differences of probabilities).
    """
    parts = model.players if isinstance(model, Evaluation) else players
    if parts is None:
        raise InvalidInput("sufficiency: pass the players of the input.")
    d = parts.n_players
    counts = np.atleast_1d(np.asarray(k, np.int64))
    if counts.size == 0 or counts.min() < 1 or counts.max() > d:
        raise InvalidInput(f"sufficiency: k must lie in 1..{d}, got {counts.tolist()}.")
    scores = scores_of(attribution, d)
    e = Evaluation.of(model, players, target_of(attribution, target), budget, (2 * counts.size + 2) * parts.cost)
    place = np.empty(d, np.int64)
    place[ranked(scores, seed)] = np.arange(d)
    inside = place < counts[:, None]
    empty, full = e.ends()
    both = np.concatenate([inside, ~inside])
    values = e.values(len(both), lambda a, b: both[a:b])
    return Sufficiency(counts, values[: counts.size], values[counts.size :], empty, full)
