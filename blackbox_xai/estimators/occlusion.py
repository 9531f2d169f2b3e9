"""Occlusion: what the value loses when a player, or a window of neighbours, is absent alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import InvalidInput
from ..samplers.levels import LeaveOut
from .base import Estimate, Estimator, Floats, Problem, Session


@dataclass(frozen=True, slots=True)
class Occlusion(Estimator):
    """f(full) - f(full without the window), averaged over the windows that cover a player.

    Attributes
    ----------
    window : int, >= 1. Consecutive players absent together (words in a row); 1 is leave-one-out.

    Cost: the endpoints and one coalition a window, whatever more the budget holds. Deterministic: standard
    errors are 0 where the values are not noisy. Source: Zeiler & Fergus 2014. Differs: mean instead of sum
    over windows.
    """

    window: int = 1
    name: ClassVar[str] = "occlusion"
    estimates: ClassVar[str] = "loss when a player alone is absent"
    suits: ClassVar[str] = "tens of players; a first look"

    def minimum(self, p: Problem) -> int:
        """The endpoints and every window."""
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + max(1, p.n_players - self.window + 1)))

    def exact(self, table: Floats) -> Floats:
        """The same from all values; (d, k)."""
        d = len(table).bit_length() - 1
        masks = LeaveOut(d, min(self.window, d)).draw(0, max(1, d - self.window + 1)).dense()
        return _spread(masks, table[-1] - table[masks @ (1 << np.arange(d))])

    def _session(self, p: Problem) -> Session:
        if self.window < 1:
            raise InvalidInput(f"occlusion: window must be at least 1, got {self.window}.")
        return _Leaving(p, LeaveOut(p.n_players, min(self.window, p.n_players)), self.name)


def _spread(masks: np.ndarray, loss: Floats) -> Floats:
    """Mean loss over the windows that cover each player; (d, k)."""
    absent = (~masks).astype(float)
    return np.asarray((absent.T @ loss) / absent.sum(axis=0)[:, None])


class _Leaving(Session):
    def __init__(self, problem: Problem, sampler: LeaveOut, name: str) -> None:
        super().__init__(problem, sampler, size=sampler.size, name=name)

    def _enough(self) -> bool:
        assert isinstance(self.sampler, LeaveOut)
        return self.told == self.sampler.size

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        phi = _spread(self.sampler.draw(0, self.told).dense(), full - values)
        return self._estimate(base, full, phi, None if self.problem.noisy else np.zeros_like(phi))
