"""`auto`: needs no knowledge of the game. Weighs what it can learn from the answers by their own evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..errors import InvalidInput
from .base import Estimator, Problem, Session
from .interactions import Interactions
from .kernel_shap import Regression
from .odd_gp import OddSession


@dataclass(frozen=True, slots=True)
class Auto(Estimator):
    """Shapley values with the least error per query.

    Several estimates of the odd part of the game, from the same complement pairs: the process of `OddGP`, a
    sparse regression on interactions that boosted trees find, plain regression and, where all values lie in
    0..1, a process on log-odds whose own Shapley values are read off its free predictions. They are mixed by
    their errors on pairs left out.

    Attributes
    ----------
    effort : "full", or "cheap": plain regression, milliseconds, for functions that answer in microseconds.
    interactions : also interactions of all pairs from the same answers ("full" only): True or "shapley" for
        Shapley interaction indices (diagonal 0), "faithful" for the faithful 2-additive game (singles on the
        diagonal; singles and pairs i < j sum to full - base).

    Cost: 2 + 2P coalitions; about 0.25 CPU s for 30 players and 500 queries, 5 s for 300 and 5000.
    """

    effort: Literal["full", "cheap"] = "full"
    interactions: Interactions = False
    name: ClassVar[str] = "auto"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "any players, up to a few hundred"

    def _session(self, p: Problem) -> Session:
        if self.effort == "cheap":
            return Regression(p, "leverage", self.name)
        if self.effort != "full":
            raise InvalidInput(f"auto: effort {self.effort!r} is unknown; use full or cheap.")
        if self.interactions not in (False, True, "shapley", "faithful"):
            raise InvalidInput(f"auto: interactions {self.interactions!r} is unknown; use shapley or faithful.")
        return OddSession(p, "leverage", self.name, linked=True, interactions=self.interactions)
