"""The work of a study: what instances share, and chains of cells that continue one another."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attribution import Attribution
from ..budget import QueryBudget
from ..budget.store import AnswerStore, open_store
from ..driver import explain
from ..errors import InvalidInput
from ..kernels import on_numpy
from ..players import Players
from ..runs import Run
from .bench import Bench, ExplainedAgain, mapped, players_of, scored
from .names import Cell
from .results import Outcome, Results
from .scores import Shared
from .spec import Chain, Instance, Made, Method

Floats = NDArray[np.float64]
_RANDOM_STREAM = 0xE3
SCRATCH = "unfinished"  # directory of answers of unfinished chains, beside the results
_EXACT = 4096  # maps of so many players are kept to the bit; larger ones are for pictures


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a study's work lies: results, saved halves of chains, answers. Picklable.

    results : Results. scratch : directory or None. store : where an answer store is, or None.
    """

    results: Results
    scratch: Path | None = None
    store: str | None = None

    def answers(self) -> AnswerStore | None:
        """The answer store, opened once a process."""
        return open_store(self.store)


class Shares:
    """What the cells of an instance share: endpoints' target, pools, exact values, references' maps."""

    def __init__(self, made: Made, desk: Desk) -> None:
        self.made, self.desk, self.results = made, desk, desk.results

    def prepare(self, number: int) -> int:
        """Make and keep them; returns the rows sent. References become cells of budget 0."""
        made, instance = self.made, self.made.subject.instances[number]
        bench = Bench(made, instance, self.desk.answers())
        reserved = bench.shared_cost()
        self.results.reserve(reserved)
        maps: dict[str, Floats] = {}
        references: dict[str, tuple[Attribution, float]] = {}
        sent = 0
        e = bench.open(reserved)
        try:
            for name, function in made.subject.references.items():
                begin = time.perf_counter()
                found = function(instance)
                references[name] = (found, time.perf_counter() - begin)
                maps[name] = mapped(found, bench.judge)
            for place, score in enumerate(made.study.all_scores):
                if score.shares:
                    self.results.share(instance.name, f"score {place}", score.prepare(e.of(score), maps))
            sent = e.rows_sent
        finally:
            self.results.give_back(reserved - e.rows_sent)
        shared = self.results.shared(instance.name)
        for name, (found, seconds) in references.items():
            self._reference(Cell(instance.name, name, 0, 0), found, maps[name], bench, shared, seconds, number)
        self.results.share(instance.name, "ready", {"rows": np.array(sent)})
        return sent

    def _reference(
        self,
        cell: Cell,
        found: Attribution,
        values: Floats,
        bench: Bench,
        shared: dict[str, Shared],
        seconds: float,
        number: int,
    ) -> None:
        rows = bench.cost()
        self.results.reserve(rows)
        numbers, judged, _ = scored(bench, values, shared)
        outcome = Outcome(cell, "ok", numbers, 0, 0, judged, seconds, seconds)
        self.results.add(outcome, kept_of(self.made, number, found, values), unspent=rows - judged)


def nested(small: Run, large: Run) -> bool:
    """Whether the large run begins with the small one's coalitions, so that it can continue it."""
    a, b = small.session(), large.session()
    if type(a) is not type(b) or a.planned > b.planned or type(a.sampler) is not type(b.sampler):
        return False
    size = max(1, 4096 // a.sampler.group) * a.sampler.group
    for at in range(0, a.planned, size):
        count = min(size, a.planned - at)
        first, second = a.sampler.draw(at, count), b.sampler.draw(at, count)
        if not np.array_equal(np.asarray(first.data), np.asarray(second.data)):
            return False
        shifts = [None if m.zoom is None else m.zoom.shift for m in (first, second)]
        if (shifts[0] is None) != (shifts[1] is None) or not np.array_equal(shifts[0], shifts[1]):  # type: ignore[arg-type]
            return False
    return True


def made_run(made: Made, instance: Instance, method: Method, budget: int, seed: int) -> Run:
    """A checked run; queries nothing."""
    players, baseline, groups = players_of(instance, method)
    return Run.make(
        made.oracle,
        instance.x,
        budget,
        method.estimator,
        instance.target,
        players,
        baseline,
        groups,
        seed,
        "raise",
        None,
    )


def chain_file(scratch: Path, cell: Cell) -> Path:
    """Where the answers of an unfinished chain are kept; `cell` is any of its cells."""
    said = "\0".join((cell.instance, cell.method, str(cell.seed)))
    return scratch / f"chain-{hashlib.sha256(said.encode()).hexdigest()[:16]}.npz"


class ChainRun:
    """One chain: its cells in order, each recorded as soon as it is done."""

    def __init__(self, made: Made, desk: Desk, chain: Chain) -> None:
        self.made, self.desk, self.results, self.chain = made, desk, desk.results, chain
        self.instance = made.subject.instances[chain.instance]
        self.method = made.study.all_methods[chain.method]
        self.cells = made.cells(chain)
        self.scratch = desk.scratch
        self._last: Attribution | None = None
        self._last_budget = 0
        self._cap: QueryBudget | None = None  # of the run that `_last` can continue, while it lives
        self._continued = False

    def run(self, done: set[Cell]) -> Iterator[Outcome]:
        """Outcomes of the cells that are not done yet."""
        todo = [c for c in self.cells if c not in done]
        if not todo:
            return
        self._recall(todo[0])
        bench = Bench(self.made, self.instance, self.desk.answers())
        shared = self.results.shared(self.instance.name)
        for cell in todo:
            yield self._cell(cell, bench, shared)
        self._file().unlink(missing_ok=True)

    def _cell(self, cell: Cell, bench: Bench, shared: dict[str, Shared]) -> Outcome:
        begin = time.perf_counter()
        reserved = sent = 0
        before = self._used()
        try:
            fresh = max(0, cell.budget - before) if self._continues(cell) else cell.budget
            wanted = (0 if self.method.estimator is None else fresh) + self._judging(bench, cell)
            self.results.reserve(wanted)
            reserved = wanted
            attribution, inside = self._explained(cell, bench.judge)
            paid = int(attribution.ledger.get("scored", 0))
            sent, used = paid - (before if self._continued else 0), paid + int(attribution.ledger.get("from_store", 0))
            values = mapped(attribution, bench.judge)
            again = None
            if bench.again and self.method.estimator is not None:
                target = self.instance.target if attribution.target is None else attribution.target[0]
                again = ExplainedAgain(bench, self.method, cell, target, self.desk.store)
            numbers, judged, more = scored(bench, values, shared, again, cell.seed)
            seconds = time.perf_counter() - begin
            outcome = Outcome(cell, "ok", numbers, sent, used, judged, seconds, inside + more)
            kept = kept_of(self.made, self.chain.instance, attribution, values, cell.seed)
            self._remember(cell, attribution)
            self.results.add(outcome, kept, unspent=reserved - sent - judged)
        except Exception as error:
            # A direct run knows what it sent; of the rest it is not known, so it stays spent.
            spent = (
                reserved
                if self._cap is None or sent
                else min(reserved, self._cap.used - (before if self._continued else 0))
            )
            self._last = self._cap = None
            text = f"{type(error).__name__}: {error}"
            outcome = Outcome(cell, "failed", {}, spent, 0, 0, time.perf_counter() - begin, 0.0, text)
            self.results.add(outcome, unspent=reserved - spent)
        return outcome

    def _judging(self, bench: Bench, cell: Cell) -> int:
        return bench.cost(cell.budget if self.method.estimator is not None else 0)

    def _used(self) -> int:
        return 0 if self._last is None else int(self._last.ledger.get("scored", 0))

    def _continues(self, cell: Cell) -> bool:
        self._continued = False
        if self._last is None or self.method.estimator is None or cell.budget <= self._last_budget:
            return False
        small = made_run(self.made, self.instance, self.method, self._last_budget, cell.seed)
        large = made_run(self.made, self.instance, self.method, cell.budget, cell.seed)
        self._continued = nested(small, large)
        return self._continued

    def _explained(self, cell: Cell, judge: Players) -> tuple[Attribution, float]:
        """The attribution of a cell and the seconds its new rows took inside the model."""
        if self.method.estimator is None:
            return _random(judge, self.chain.instance, cell.seed), 0.0
        if self._continued:
            assert self._last is not None
            before = self._last.ledger["seconds_model"] if self._last._extend is not None else 0.0
            oracle = None if self._last._extend is not None else self.made.oracle
            if oracle is None and self._cap is not None:
                self._cap.grow(cell.budget - self._last_budget)
            grown = self._last.extend(cell.budget - self._last_budget, oracle=oracle)
            if grown.status.startswith("partial"):
                raise InvalidInput(f"{grown.status}: {grown.error}")
            return grown, float(grown.ledger["seconds_model"] - before)
        players, baseline, groups = players_of(self.instance, self.method)
        self._cap = QueryBudget(cell.budget, name="cell")
        whole = explain(
            self.made.oracle,
            self.instance.x,
            budget=self._cap,
            method=self.method.estimator,
            target=self.instance.target,
            players=players,
            baseline=baseline,
            groups=groups,
            seed=cell.seed,
            on_error="raise",
            store=self.desk.store,
        )
        return whole, float(whole.ledger["seconds_model"])

    def _file(self) -> Path:
        return chain_file(self.scratch or Path("/nonexistent"), self.cells[0])

    def _remember(self, cell: Cell, attribution: Attribution) -> None:
        self._last, self._last_budget = attribution, cell.budget
        last = cell == self.cells[-1]
        if self.scratch is None or last or self.method.estimator is None or attribution.answers is None:
            return
        self.scratch.mkdir(parents=True, exist_ok=True)
        part = self._file().with_suffix(".part.npz")
        attribution.save(part)
        part.replace(self._file())

    def _recall(self, first: Cell) -> None:
        """After a kill: the attribution that the first missing cell continues, if it was saved."""
        place = self.cells.index(first)
        if place == 0 or self.scratch is None or not self._file().exists():
            return
        try:
            saved = Attribution.load(self._file())
        except InvalidInput:
            return
        if int(saved.ledger["budget"]) == self.cells[place - 1].budget and saved.seed == first.seed:
            self._last, self._last_budget = saved, self.cells[place - 1].budget


def _random(judge: Players, instance: int, seed: int) -> Attribution:
    """The control: independent uniform numbers."""
    row = np.arange(judge.n_players, dtype=np.uint64)
    words = on_numpy.philox(seed, _RANDOM_STREAM, row, np.array(instance, np.uint64))[..., 0]
    layout = {"grid": list(judge.grid)} if judge.grid is not None else {}
    return Attribution(words / 2.0**32 - 0.5, 0.0, 0.0, kind=judge.kind, layout=layout, method="random", seed=seed)


def kept_of(
    made: Made, number: int, attribution: Attribution, values: Floats, seed: int | None = None
) -> dict[str, NDArray[Any]] | None:
    """What is stored of a cell beside its numbers: a picture's needs, the values that dataset scores read, or None."""
    first = seed is None or seed == made.study.seeds[0]
    if first and number < made.study.keep_maps:
        kept = shown(attribution)
    elif made.study.all_group_scores:
        kept = {}
    else:
        return None
    if "map" not in kept or kept["map"].size != values.size:
        kept["values"] = values if values.size <= _EXACT else values.astype(np.float32)
    return kept


def shown(attribution: Attribution) -> dict[str, NDArray[Any]]:
    """What a picture needs: the map, the input, the players' names."""
    exact = attribution.values.size <= _EXACT
    kept: dict[str, NDArray[Any]] = {"map": np.asarray(attribution.spread(), np.float64 if exact else np.float32)}
    if attribution.kind == "image" and attribution.data is not None:
        kept["image"] = np.asarray(attribution.data)
    elif attribution.feature_names is not None:
        kept["names"] = np.array([str(n).strip() for n in attribution.feature_names])
    return kept
