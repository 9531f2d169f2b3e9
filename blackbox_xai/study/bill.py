"""The bill: what a study would send, before anything is sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .bench import Bench
from .cells import SCRATCH, chain_file, made_run, nested
from .groups import Work, due, planned
from .names import Cell
from .rehearsal import rows_of
from .results import Results
from .spec import Chain, Made, Study


@dataclass(frozen=True, slots=True)
class Bill:
    """Rows a study would send.

    Explanations are rehearsed without the model, so theirs are exact; scores send at most what is billed (texts that
    read the same are sent once).

    Attributes
    ----------
    cells : int. Cells in all, references not included. todo : int. Those not done yet.
    explaining : {(method, budget): rows}. judging, shared : rows for scores; for what instances share.
    grouped : rows for scores over all instances.
    refused : {(method, budget): reason}. Cells that cannot run, such as a budget below the method's minimum.
    """

    cells: int
    todo: int
    explaining: dict[tuple[str, int], int]
    judging: int
    shared: int
    grouped: int
    refused: dict[tuple[str, int], str]

    @property
    def total(self) -> int:
        """Rows in all."""
        return sum(self.explaining.values()) + self.judging + self.shared + self.grouped

    def __str__(self) -> str:
        lines = [f"{'method':<24} {'budget':>8} {'rows':>12}"]
        lines += [f"{m:<24} {b:>8} {r:>12}" for (m, b), r in self.explaining.items()]
        lines += [f"{'scores':<33} {self.judging:>12}", f"{'shared by all methods':<33} {self.shared:>12}"]
        if self.grouped:
            lines += [f"{'scores over all instances':<33} {self.grouped:>12}"]
        lines += [f"{'total rows':<33} {self.total:>12}", f"{self.todo} of {self.cells} cells to do"]
        lines += [f"cannot run: {m}, budget {b}: {why}" for (m, b), why in self.refused.items()]
        return "\n".join(lines)


def bill(study: Study, results: Results | None = None, *, instances: int | None = None, whole: bool = False) -> Bill:
    """What a study costs.

    Parameters
    ----------
    results : of a run begun earlier: what is left to send.
    instances : int or None. The first so many alone.
    whole : bool. With every budget spent to its last row: what a limit must cover, for rows are reserved before they
        are sent, and what is not sent is given back.

    A cell that continues a smaller budget is billed for the difference, unless that one's answers are gone (a budget
    added to a finished study, results in a database elsewhere): then it is billed, and paid, in full.

    Cost: no query. The subject is made.
    """
    scratch = None if results is None or "://" in results.where else Path(results.where) / SCRATCH
    return bill_of(study.made(), results, whole=whole, instances=instances, scratch=scratch)


def bill_of(
    made: Made,
    results: Results | None = None,
    *,
    whole: bool = False,
    instances: int | None = None,
    scratch: Path | None = None,
) -> Bill:
    """The bill of a study whose subject is at hand; `scratch`: where answers of unfinished chains lie."""
    done: set[Cell] = results.done() if results is not None else set()
    prepared = results.prepared() if results is not None else set()
    explaining = {(m.label, b): 0 for m in made.study.all_methods for b in made.study.budgets}
    refused: dict[tuple[str, int], str] = {}
    judging = shared = todo = n_cells = 0
    judged = []
    again = sum(s.reruns() for s in made.study.all_scores)
    for instance in made.subject.instances[:instances]:
        bench = Bench(made, instance)
        judged.append(bench.cost())
        if instance.name not in prepared:
            shared += bench.shared_cost()
            judging += judged[-1] * len(made.subject.references)
    for chain in made.chains(instances):
        cells = made.cells(chain)
        n_cells += len(cells)
        if all(c in done for c in cells):
            continue
        first = next(i for i, c in enumerate(cells) if c not in done)
        lost = first if scratch is None or not chain_file(scratch, cells[0]).exists() else None
        prices = _steps(made, chain, whole, lost)
        for cell, price in zip(cells, prices):
            if cell in done:
                continue
            todo += 1
            if isinstance(price, str):
                refused[cell.method, cell.budget] = price
                continue
            explaining[cell.method, cell.budget] += price
            if made.study.all_methods[chain.method].estimator is not None:
                judging += again * cell.budget
            judging += judged[chain.instance]
    return Bill(n_cells, todo, explaining, judging, shared, _grouped(made, results, instances, refused), refused)


def _grouped(made: Made, results: Results | None, instances: int | None, refused: Collection[tuple[str, int]]) -> int:
    """Rows of the group scores that are due once all cells are done."""
    if not made.study.all_group_scores:
        return 0
    signed = results.signed() if results is not None else {}
    cells = [c for c in planned(made, instances) if (c.method, c.budget) not in refused]
    work = Work(made)
    return sum(score.cost(work, group) for score, group in due(made, cells, signed))


def _steps(made: Made, chain: Chain, whole: bool, lost: int | None) -> list[int | str]:
    """Rows of each budget of a chain, or why it cannot run; at place `lost` the answers before it are gone."""
    how = made.study.all_methods[chain.method]
    if how.estimator is None:
        return [0 for _ in made.study.budgets]
    out: list[int | str] = []
    last = None
    paid = 0
    for place, budget in enumerate(made.study.budgets):
        try:
            run = made_run(made, made.subject.instances[chain.instance], how, budget, chain.seed)
            rows = budget if whole else rows_of(run)
        except ValueError as error:
            out.append(str(error))
            continue
        continues = last is not None and place != lost and nested(last, run)
        out.append(rows - paid if continues else rows)
        last, paid = run, rows
    return out
