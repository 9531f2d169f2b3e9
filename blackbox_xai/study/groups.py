"""Scores of several maps, made at the end of a run: which are due, what they cost, and making them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..budget.store import AnswerStore
from ..errors import InvalidInput
from ..metrics import Dataset
from ..players import Players
from .bench import judge_of
from .cells import Desk
from .group_scores import Group
from .names import Cell
from .results import Outcome
from .spec import Made

Floats = NDArray[np.float64]


class Work:
    """The inputs of a study's instances under a group score, and one budget for what is sent."""

    def __init__(self, made: Made, budget: int = 0, store: AnswerStore | None = None) -> None:
        self.made, self.store = made, store
        self.budget = QueryBudget(budget, name="group score")
        self.datasets: list[Dataset] = []
        self._instances = {i.name: i for i in made.subject.instances}

    def inputs(self, members: Sequence[Cell], replacement: Any) -> tuple[list[Players], list[int | None]]:
        """See `Room`."""
        players = []
        for cell in members:
            instance = self._instances[cell.instance]
            judge = judge_of(self.made, instance)
            images = judge.kind == "image" and replacement is None
            players.append(judge_of(self.made, instance, "noisy_linear" if images else replacement))
        return players, [self._instances[c.instance].label for c in members]

    def dataset(self, members: Sequence[Cell], replacement: Any) -> Dataset:
        """See `Room`."""
        players, labels = self.inputs(members, replacement)
        self.datasets.append(Dataset(self.made.oracle, players, labels, budget=self.budget, store=self.store))
        return self.datasets[-1]


def due(made: Made, cells: Sequence[Cell], signed: dict[tuple[Cell, str], str]) -> Iterator[tuple[int, Group]]:
    """Groups of these cells whose numbers are missing or were made from others: (place of the score, group).

    cells : done cells in the study's order, references included. signed : as `Results.signed`.
    """
    for place, score in enumerate(made.study.all_group_scores):
        for group in score.groups(cells):
            if signed.get((group.cell, f"group {place}")) != signature(made, place, group):
                yield place, group


def signature(made: Made, place: int, group: Group) -> str:
    """What the numbers of a group were made from."""
    score = made.study.all_group_scores[place]
    said = json.dumps([repr(score), group.members])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def planned(made: Made, instances: int | None = None) -> list[Cell]:
    """All cells that the study will have, references included."""
    names = [i.name for i in made.subject.instances[:instances]]
    cells = [c for chain in made.chains(instances) for c in made.cells(chain)]
    return cells + [Cell(name, reference, 0, 0) for name in names for reference in made.subject.references]


def make(made: Made, desk: Desk, item: tuple[int, Group]) -> int:
    """Score one group and keep its numbers; returns 0, for it is no cell of the study."""
    place, group = item
    score = made.study.all_group_scores[place]
    begin = time.perf_counter()
    reserved = score.cost(Work(made), group)
    desk.results.reserve(reserved)
    work = Work(made, reserved, desk.answers())
    numbers: dict[str, float] = {}
    status, why = "ok", ""
    try:
        numbers = score.score(work, group, {c: _map(desk, c) for c in group.members})
    except Exception as error:
        status, why = "failed", f"{score.name}: {type(error).__name__}: {error}"
    sent, inside = sum(d.rows_sent for d in work.datasets), sum(d.seconds_model for d in work.datasets)
    took = time.perf_counter() - begin
    outcome = Outcome(group.cell, status, numbers, 0, 0, sent, took, inside, why)
    signed = signature(made, place, group) if status == "ok" else ""
    desk.results.add_group(outcome, f"group {place}", signed, unspent=reserved - sent)
    return 0


def _map(desk: Desk, cell: Cell) -> Floats:
    kept = desk.results.kept(cell)
    if kept is None:
        raise InvalidInput(f"the map of {' / '.join(str(v) for v in cell)} was not kept; run in a new directory.")
    return np.asarray(kept.get("values", kept.get("map")), np.float64).ravel()
