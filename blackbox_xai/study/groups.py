"""Scores of several maps, made at the end of a run: which are due, what they cost, and making them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..budget.store import AnswerStore
from ..errors import InvalidInput
from ..metrics import Dataset
from ..players import Players
from .bench import judge_of
from .cells import Desk
from .group_scores import Group, GroupScore
from .names import Cell
from .results import Outcome
from .spec import Made

Floats = NDArray[np.float64]


class Work:
    """The inputs of a study's instances under a group score, and one budget for what is sent."""

    def __init__(self, made: Made, store: AnswerStore | None = None) -> None:
        self.made, self.store = made, store
        self.budget = QueryBudget(0, name="group score")
        self.datasets: list[Dataset] = []
        self._instances = {i.name: i for i in made.subject.instances}
        self._players: dict[tuple[str, str], Players] = {}

    def inputs(self, members: Sequence[Cell], replacement: Any) -> tuple[list[Players], list[int | None]]:
        """See `Room`."""
        players = [self._imputed(cell.instance, replacement) for cell in members]
        return players, [self._instances[c.instance].label for c in members]

    def _imputed(self, name: str, replacement: Any) -> Players:
        """An instance's players; images are imputed unless the score says otherwise."""
        key = (name, repr(replacement))
        if key not in self._players:
            instance = self._instances[name]
            images = replacement is None and judge_of(self.made, instance).kind == "image"
            self._players[key] = judge_of(self.made, instance, "noisy_linear" if images else replacement)
        return self._players[key]

    def dataset(self, members: Sequence[Cell], replacement: Any) -> Dataset:
        """See `Room`."""
        players, labels = self.inputs(members, replacement)
        self.datasets.append(Dataset(self.made.oracle, players, labels, budget=self.budget, store=self.store))
        return self.datasets[-1]


def due(made: Made, cells: Sequence[Cell], signed: dict[tuple[Cell, str], str]) -> Iterator[Due]:
    """Groups of these cells whose numbers are missing or were made from others, each with its score.

    cells : done cells in the study's order, references included. signed : as `Results.signed`.
    """
    for score in made.study.all_group_scores:
        for group in score.groups(cells):
            if signed.get((group.cell, score.called(score.name))) != signature(score, group):
                yield Due(score, group)


class Due(NamedTuple):
    """A score to make, of a group."""

    score: GroupScore
    group: Group


def signature(score: GroupScore, group: Group) -> str:
    """What the numbers of a group were made from."""
    return hashlib.sha256(json.dumps([repr(score), group.members]).encode()).hexdigest()[:32]


def planned(made: Made, instances: int | None = None) -> list[Cell]:
    """All cells that the study will have, references included."""
    names = [i.name for i in made.subject.instances[:instances]]
    cells = [c for chain in made.chains(instances) for c in made.cells(chain)]
    return cells + [Cell(name, reference, 0, 0) for name in names for reference in made.subject.references]


def make(made: Made, desk: Desk, item: Due) -> int:
    """Score one group and keep its numbers; returns 0, for it is no cell of the study."""
    score, group = item
    begin = time.perf_counter()
    work = Work(made, desk.answers())
    reserved = 0
    numbers: dict[str, float] = {}
    status, why = "ok", ""
    try:
        rows = score.cost(work, group)
        desk.results.reserve(rows)
        reserved = rows
        work.budget = QueryBudget(rows, name="group score")
        found = score.score(work, group, {c: _map(desk, c) for c in group.members})
        numbers = {score.called(name): value for name, value in found.items()}
    except Exception as error:
        status, why = "failed", f"{score.name}: {type(error).__name__}: {error}"
    sent, inside = sum(d.rows_sent for d in work.datasets), sum(d.seconds_model for d in work.datasets)
    took = time.perf_counter() - begin
    outcome = Outcome(group.cell, status, numbers, 0, 0, sent, took, inside, why)
    signed = signature(score, group) if status == "ok" else ""
    desk.results.add_group(outcome, score.called(score.name), signed, unspent=reserved - sent)
    return 0


def _map(desk: Desk, cell: Cell) -> Floats:
    kept = desk.results.kept(cell)
    if kept is None:
        raise InvalidInput(f"the map of {' / '.join(str(v) for v in cell)} was not kept; run in a new directory.")
    return np.asarray(kept.get("values", kept.get("map")), np.float64).ravel()
