"""Going on with an attribution that was saved: every answer it holds is reused, only new rows are paid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from . import players as kinds
from .attribution import Attribution
from .budget import QueryBudget
from .errors import InvalidInput
from .estimators import METHODS
from .oracles import as_oracle
from .oracles.base import Batch, Floats, Oracle, Scored
from .oracles.meter import Meter
from .runs import Run


class _Chosen(Oracle):
    """An oracle's outputs that an attribution explains, and no others."""

    def __init__(self, oracle: Oracle, chosen: list[int], names: tuple[str, ...]) -> None:
        for field in (
            "name",
            "identity",
            "outputs",
            "stochastic",
            "device",
            "batch_size",
            "parallel",
            "in_flight",
            "own_threads",
            "setup_rows",
            "retry",
            "timeout_s",
            "count",
            "price",
        ):
            setattr(self, field, getattr(oracle, field))
        self.output_names = names
        self._oracle, self._outputs = oracle, chosen

    def buffer(self, rows: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Batch | None:
        return self._oracle.buffer(rows, shape, dtype)

    def _predict(self, batch: Batch) -> Floats:
        return self._scored(batch).scores  # type: ignore[no-any-return]

    def _scored(self, batch: Batch) -> Scored:
        told = self._oracle._scored(batch)
        scores = np.asarray(told.scores)
        return told._replace(scores=scores.reshape(len(scores), -1)[:, self._outputs])

    def _bound(self, batch: Batch) -> tuple[int, int]:
        return self._oracle._bound(batch)


def extend(a: Attribution, rows: int, model: Any) -> Attribution:
    """Refine a loaded attribution with `rows` more rows of `model`.

    Raises
    ------
    InvalidInput : it holds no answers to go on from (several rows a coalition, a target that was a function, or a
        method with parameters that cannot be written down).

    Cost: at most `rows` rows.
    """
    if a.answers is None or not a.recipe or a.target is None:
        raise InvalidInput(
            "Attribution.extend: this file holds no answers to go on from (they are kept for named methods, "
            "targets given by name or index, and one row a coalition). Run explain() again, with a store."
        )
    recipe = a.recipe
    everyone = getattr(kinds, recipe["players"]).restore(recipe["arguments"])
    parameters = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe["parameters"].items()}
    budget = QueryBudget(int(a.ledger["budget"]))
    oracle = _Chosen(as_oracle(model), a.target, a.output_names)
    run = Run.of(
        oracle,
        everyone,
        METHODS[a.method](**parameters),
        budget,
        "all" if a.values.ndim > 1 else 0,
        a.seed,
        Meter(oracle, budget),
    )
    session = run.estimator.session(replace(run.problem(), budget=tuple(recipe["coalitions"])))
    known = a.answers.reshape(len(a.answers), -1)
    at = 0
    while at < len(known) and len(masks := session.ask(4096)):
        masks = masks[: len(known) - at]
        run.meter.remember(run.playing.keys(masks), known[at : at + len(masks)])
        part = known[at : at + len(masks)]
        session.tell(masks, part[:, 0] if a.values.ndim == 1 else part)
        at += len(masks)
    run.meter.rewind()
    for name in ("scored", "answered", "failed", "repeated", "batches"):
        setattr(run.meter.ledger, name, int(a.ledger[name]))
    budget.reserve(min(budget.left, int(a.ledger["scored"])))
    return run.extend(rows, None)
