"""A run rehearsed without the model: its masks are drawn and counted, so that its bill is exact."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np

from ..budget import QueryBudget
from ..errors import BlackboxXaiError
from ..oracles.base import Batch, Floats, Oracle
from ..oracles.meter import Meter
from ..runs import Run


class _Blank(Oracle):
    """Answers zero to everything."""

    def __init__(self, like: Oracle, outputs: int) -> None:
        self.__dict__.update(like.__dict__)
        for name in ("name", "outputs", "stochastic", "batch_size", "setup_rows"):
            setattr(self, name, getattr(like, name))
        self.device, self.parallel, self.in_flight, self._k = "cpu", 1, 1, outputs

    def _predict(self, batch: Batch) -> Floats:
        return np.zeros((len(batch), self._k))


def rows_of(run: Run) -> int:
    """Rows that a run sends, equal coalitions once.

    Where the players are pixels, or the method decides by the answers, this is what the method plans: there nothing
    repeats, or nothing can be known.

    Cost: no query.
    """
    planned = run.estimator.rows(run.problem()) * run.players.cost + run.oracle.setup_rows
    if run.players.grid is not None or run.oracle.stochastic or callable(run.target):
        return planned
    blind: Any = copy.copy(run.players)
    if run.players.kind == "image":  # keys come from masks; nothing needs composing
        blind.realise = lambda masks, rows, out=None: np.zeros((len(rows), 1))
    oracle = _Blank(run.oracle, _outputs(run))
    budget = QueryBudget(run.budget.limit)
    meter = Meter(oracle, budget)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            Run.of(oracle, blind, run.estimator, budget, run.target, run.seed, meter).run(
                progress=None, until=None, on_error="raise"
            )
    except (BlackboxXaiError, ArithmeticError, np.linalg.LinAlgError):
        return planned
    return meter.ledger.scored


def _outputs(run: Run) -> int:
    names, target = run.oracle.output_names, run.target
    if names is not None:
        return len(names)
    listed = target if isinstance(target, list) else [target]
    return 1 + max((int(t) for t in listed if isinstance(t, (int, np.integer))), default=0)
