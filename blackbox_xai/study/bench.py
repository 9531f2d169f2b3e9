"""Where an instance is scored: the players that judge, evaluations under one budget, explanations made again."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attribution import Attribution
from ..budget import QueryBudget
from ..budget.store import AnswerStore
from ..choices import make_players
from ..driver import explain
from ..errors import InvalidInput
from ..metrics import Evaluation, replaced
from ..players import ImagePixels, Players
from ..players.image import as_image
from .names import Cell
from .scores import MaxSensitivity, Score, Shared
from .spec import Instance, Made, Method

Floats = NDArray[np.float64]


def judge_of(made: Made, instance: Instance, operator: Any = None) -> Players:
    """The players that scores use: equal for all methods, so that their figures can be compared.

    operator : what absent players become; None is the study's ``judge["replacement"]``.
    """
    kind = made.study.judge.get("players")
    operator = made.study.judge.get("replacement") if operator is None else operator
    players: Players
    if isinstance(instance.players, Players):
        players = instance.players
    else:
        players = make_players(instance.x, instance.players, instance.baseline, instance.groups, 0, pixels=True)
    if kind == "pixels" or (kind is None and players.kind == "image"):
        image = as_image(players.shown()["data"])
        players = ImagePixels(image, getattr(players, "baseline", instance.baseline))
    if operator is None:
        return replaced(players, "mean") if players.noisy else players
    return replaced(players, operator)


class Bench:
    """Where an instance is scored: its players under each replacement that a score asks for, and one budget.

    Parameters
    ----------
    budget : rows that may be sent; None: nothing will be.
    """

    def __init__(self, made: Made, instance: Instance, store: AnswerStore | None = None) -> None:
        self.made, self.instance, self.store = made, instance, store
        self.scores = made.study.all_scores
        self.judge = judge_of(made, instance)
        self._judges: dict[str, Players] = {"None": self.judge}

    def players(self, score: Score) -> Players:
        """The players under a score's own replacement."""
        if repr(score.replacement) not in self._judges:
            self._judges[repr(score.replacement)] = judge_of(self.made, self.instance, score.replacement)
        return score.players(self._judges[repr(score.replacement)])

    def cost(self, budget: int = 0) -> int:
        """Rows that scoring one cell may send; `budget`: of its explanation, where that can be made again."""
        own = sum(s.cost(self.players(s)) * self.players(s).cost for s in self.scores)
        return own + budget * sum(s.reruns() for s in self.scores)

    @property
    def again(self) -> bool:
        """Whether a score makes explanations again."""
        return any(s.reruns() for s in self.scores)

    def shared_cost(self) -> int:
        """Rows that all cells share."""
        return sum(s.shared_cost(self.players(s)) * self.players(s).cost for s in self.scores)

    def open(self, budget: int) -> Evaluations:
        """Evaluations that share a budget and, a replacement, their answers."""
        return Evaluations(self, QueryBudget(budget))


class Evaluations:
    """One evaluation a replacement, made when first asked for."""

    def __init__(self, bench: Bench, budget: QueryBudget) -> None:
        self.bench, self.budget = bench, budget
        self._made: dict[str, Evaluation] = {}

    def of(self, score: Score) -> Evaluation:
        """The evaluation under a score's replacement."""
        bench = self.bench
        players = bench.players(score)
        key = f"{score.replacement!r} {players.n_players}"
        if key not in self._made:
            self._made[key] = Evaluation(
                bench.made.oracle,
                players,
                target=bench.instance.target,
                budget=self.budget,
                store=bench.store,
            )
        return self._made[key]

    @property
    def rows_sent(self) -> int:
        """Rows scored so far."""
        return sum(e.rows_sent for e in self._made.values())

    @property
    def seconds_model(self) -> float:
        """Seconds inside the model so far."""
        return sum(e.seconds_model for e in self._made.values())


def mapped(attribution: Attribution, judge: Players) -> Floats:
    """An attribution as values of the judge's players."""
    values = attribution.values
    if values.ndim != 1:
        raise InvalidInput("study: a cell explains one output; give the instance one target.")
    if judge.grid is not None:
        values = attribution.spread().ravel()
    if len(values) != judge.n_players:
        raise InvalidInput(
            f"study: {attribution.method} gave {len(values)} values, the judge has {judge.n_players} players; "
            "set judge = {players = ...} or the instance's players."
        )
    return np.asarray(values, np.float64)


def players_of(instance: Instance, method: Method) -> tuple[Any, Any, Any]:
    if method.players is None and isinstance(instance.players, Players):
        return instance.players, None, None
    return method.players or instance.players, instance.baseline, instance.groups


def scored(
    bench: Bench, values: Floats, shared: dict[str, Shared], again: ExplainedAgain | None = None, seed: int = 0
) -> tuple[dict[str, float], int, float]:
    """All scores of one map: numbers, rows sent, seconds in the model; `again` makes the explanation once more."""
    e = bench.open(bench.cost())
    numbers: dict[str, float] = {}
    for place, score in enumerate(bench.scores):
        if isinstance(score, MaxSensitivity):
            found = score.rerun(again, values, seed) if again is not None else {}
        else:
            found = score.score(e.of(score), values, shared.get(f"score {place}", {}))
        numbers.update({score.called(name): float(v) for name, v in found.items()})
    sent, inside = (again.rows_sent, again.seconds_model) if again is not None else (0, 0.0)
    return numbers, e.rows_sent + sent, e.seconds_model + inside


class ExplainedAgain:
    """A cell's explanation, made again for scores that ask how much it moves. See `Again`."""

    def __init__(self, bench: Bench, method: Method, cell: Cell, target: Any, store: str | None) -> None:
        self.bench, self.method, self.cell, self.target, self.store = bench, method, cell, target, store
        self.rows_sent, self.seconds_model = 0, 0.0
        x = bench.instance.x
        self.clip: tuple[float, float] | None = None
        if bench.judge.kind == "image":
            image = as_image(x)
            self.clip = (0.0, 1.0)
            self._scale: Any = 255.0 if image.dtype == np.uint8 else 1.0
            self._dtype = image.dtype
        else:
            image = np.asarray(x, np.float64)
            away = np.abs(image - np.atleast_2d(np.asarray(bench.instance.baseline, np.float64)).mean(axis=0))
            self._scale, self._dtype = np.where(away > 0, away, 1.0), image.dtype
        self.x = np.asarray(image / self._scale, np.float64)

    def __call__(self, x: Floats, seed: int) -> Floats:
        """See `Again`."""
        own = x * self._scale
        own = (np.rint(own) if self._dtype == np.uint8 else own).astype(self._dtype)
        instance = dataclasses.replace(self.bench.instance, x=own)
        players, baseline, groups = players_of(instance, self.method)
        found = explain(
            self.bench.made.oracle,
            own,
            budget=self.cell.budget,
            method=self.method.estimator or "",
            target=self.target,
            players=players,
            baseline=baseline,
            groups=groups,
            seed=seed,
            on_error="raise",
            store=self.store,
        )
        self.rows_sent += int(found.ledger["scored"])
        self.seconds_model += float(found.ledger["seconds_model"])
        return mapped(found, self.bench.judge)
