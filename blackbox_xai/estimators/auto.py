"""`auto`: needs no knowledge of the game. Weighs what it can learn from the answers by their own evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..errors import InvalidInput
from .base import Estimator, Problem, Session
from .kernel_shap import Regression
from .odd_gp import OddSession


@dataclass(frozen=True, slots=True)
class Auto(Estimator):
    """Shapley values with the least error per query.

    One process on the odd part of the game (see `OddGP`) holds all candidates as parts of its prior: main
    effects, products of weighted players, interactions found by boosted trees, and a small network; parts
    learned from the answers enter by their predictions on pairs left out. Their weights maximise the
    marginal likelihood of the answers.

    Attributes
    ----------
    effort : "full", or "cheap": plain regression, milliseconds, for functions that answer in microseconds.
    interactions : bool. Also Shapley interaction indices of all pairs, from the same answers ("full" only).

    Cost: 2 + 2P coalitions; about 0.2 s for 30 players and 500 queries.
    """

    effort: Literal["full", "cheap"] = "full"
    interactions: bool = False
    name: ClassVar[str] = "auto"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "any players, up to a few hundred"

    def _session(self, p: Problem) -> Session:
        if self.effort == "cheap":
            return Regression(p, "leverage", self.name)
        if self.effort != "full":
            raise InvalidInput(f"auto: effort {self.effort!r} is unknown; use full or cheap.")
        return OddSession(p, "leverage", self.name, networks=True, interactions=self.interactions)
