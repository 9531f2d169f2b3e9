"""Scores of many labelled inputs under masks: what the dataset-level metrics share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..budget.store import AnswerStore
from ..errors import BudgetExhausted, InvalidInput
from ..game import Game
from ..kernels import on_numpy
from ..masks import Masks
from ..oracles import as_oracle
from ..oracles.meter import Meter
from ..players.base import Players
from .evaluation import ranked, scores_of

Floats = NDArray[np.float64]
_WINDOW = 256  # masks made at a time


class Dataset:
    """Labelled inputs and a model; every masked input is one row.

    Parameters
    ----------
    model : an oracle or anything `as_oracle` wraps, with at least two outputs.
    inputs : Players, one an input; their replacement is the imputer (see `metrics.replaced`).
    labels : int, one an input: the label of the data; None takes the model's choice on the clean input, one row.
    budget : int, QueryBudget or None. Rows in all; None sets no limit.
    store : AnswerStore or None. Keeps every answer; needs an oracle with an identity.

    Attributes
    ----------
    rows_sent : int. Rows scored so far. seconds_model : float. Seconds inside the model.
    """

    def __init__(
        self,
        model: Any,
        inputs: Sequence[Players],
        labels: Sequence[int | None],
        *,
        budget: int | QueryBudget | None = None,
        store: AnswerStore | None = None,
    ) -> None:
        if not inputs or len(inputs) != len(labels):
            raise InvalidInput(f"Dataset: {len(inputs)} inputs and {len(labels)} labels; give one label an input.")
        if any(p.noisy for p in inputs):
            raise InvalidInput("Dataset: an input draws background rows at random; use replaced(players, ...) first.")
        self.oracle, self.inputs, self.store = as_oracle(model), list(inputs), store
        self.labels = [None if v is None else int(v) for v in labels]
        self.rows_sent, self.seconds_model = 0, 0.0
        self.budget = budget if isinstance(budget, QueryBudget) else QueryBudget(1 << 62 if budget is None else budget)
        self._clean: Floats | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def affordable(self, coalitions: int) -> None:
        """Raise unless `coalitions` an input can be paid."""
        rows = coalitions * sum(p.cost for p in self.inputs)
        if rows > self.budget.left:
            raise BudgetExhausted("evaluation", rows, self.budget.left, self.budget.limit)

    def scores(self, index: int, rows: int, masks: Callable[[int, int], NDArray[np.bool_]]) -> Floats:
        """(rows, 2): probability of the label, and 1 where the label is the model's choice.

        Parameters
        ----------
        index : which input.
        rows, masks : as `Evaluation.values`.

        Cost: `rows` coalitions, identical ones once.
        """
        label = self._label(index)

        def target(scores: Floats) -> Floats:
            if not 0 <= label < scores.shape[1] or scores.shape[1] < 2:
                raise InvalidInput(
                    f"Dataset: label {label} of input {index}, but the model has {scores.shape[1]} outputs."
                )
            return np.stack([scores[:, label], scores.argmax(axis=1) == label], axis=1)

        return self._valued(index, rows, masks, target)

    def _valued(
        self, index: int, rows: int, masks: Callable[[int, int], NDArray[np.bool_]], target: Callable[[Floats], Floats]
    ) -> Floats:
        players = self.inputs[index]
        meter = Meter(self.oracle, self.budget, self.store)
        game = Game(players, meter, target)
        out = []
        try:
            for at in range(0, rows, _WINDOW):
                packed = on_numpy.pack(masks(at, min(rows, at + _WINDOW)))
                out += [values for _, values in game.values(Masks(packed, players.n_players, start=at))]
        finally:
            self.rows_sent += meter.ledger.scored
            self.seconds_model += meter.ledger.seconds_model
        return np.concatenate(out)

    def _label(self, index: int) -> int:
        """The label of an input; the model is asked where it is not given."""
        label = self.labels[index]
        if label is None:
            alone = np.ones((1, self.inputs[index].n_players), bool)
            scores = self._valued(index, 1, _rows(alone), lambda scores: scores)
            label = self.labels[index] = int(scores[0].argmax())
        return label

    def clean(self) -> Floats:
        """(N, 2) of the inputs themselves. Cost: N coalitions, once."""
        if self._clean is None:
            alone = [np.ones((1, p.n_players), bool) for p in self.inputs]
            self._clean = np.concatenate([self.scores(i, 1, _rows(row)) for i, row in enumerate(alone)])
        return self._clean


def _rows(masks: NDArray[np.bool_]) -> Callable[[int, int], NDArray[np.bool_]]:
    return lambda start, stop: masks[start:stop]


def maps_of(data: Dataset, maps: Sequence[Any]) -> list[Floats]:
    """One checked map (d,) an input."""
    if len(maps) != len(data):
        raise InvalidInput(f"{len(maps)} maps for {len(data)} inputs.")
    return [scores_of(m, p.n_players) for m, p in zip(maps, data.inputs)]


def ranks(values: Floats, seed: int) -> NDArray[np.int64]:
    """Place of each player, 0 = most relevant; ties drawn from the seed."""
    place = np.empty(len(values), np.int64)
    place[ranked(values, seed)] = np.arange(len(values))
    return place
