"""The bill: what a study would send, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass

from .cells import Bench, made_run, nested
from .rehearsal import rows_of
from .results import Results
from .spec import Cell, Made, Study


@dataclass(frozen=True, slots=True)
class Bill:
    """Rows a study would send.

    Explanations are rehearsed without the model, so theirs are exact; scores send at most what is billed (texts that
    read the same are sent once).

    Attributes
    ----------
    cells : int. Cells in all, references not included. todo : int. Those not done yet.
    explaining : {(method, budget): rows}. judging, shared : rows for scores; for what instances share.
    refused : {(method, budget): reason}. Cells that cannot run, such as a budget below the method's minimum.
    """

    cells: int
    todo: int
    explaining: dict[tuple[str, int], int]
    judging: int
    shared: int
    refused: dict[tuple[str, int], str]

    @property
    def total(self) -> int:
        """Rows in all."""
        return sum(self.explaining.values()) + self.judging + self.shared

    def __str__(self) -> str:
        lines = [f"{'method':<24} {'budget':>8} {'rows':>12}"]
        lines += [f"{m:<24} {b:>8} {r:>12}" for (m, b), r in self.explaining.items()]
        lines += [f"{'scores':<33} {self.judging:>12}", f"{'shared by all methods':<33} {self.shared:>12}"]
        lines += [f"{'total rows':<33} {self.total:>12}", f"{self.todo} of {self.cells} cells to do"]
        lines += [f"cannot run: {m}, budget {b}: {why}" for (m, b), why in self.refused.items()]
        return "\n".join(lines)


def bill(study: Study, results: Results | None = None) -> Bill:
    """What a study costs; with `results`, what is left to send.

    A cell that continues a smaller budget is billed for the difference. Cost: no query. The subject is made.
    """
    return bill_of(study.made(), results)


def bill_of(made: Made, results: Results | None = None, *, whole: bool = False) -> Bill:
    """The bill of a study whose subject is at hand; `whole`: with every budget spent to the last row."""
    done: set[Cell] = results.done() if results is not None else set()
    prepared = results.prepared() if results is not None else set()
    explaining = {(m.label, b): 0 for m in made.study.all_methods for b in made.study.budgets}
    refused: dict[tuple[str, int], str] = {}
    judging = shared = todo = 0
    judged = []
    for instance in made.subject.instances:
        bench = Bench(made, instance)
        judged.append(bench.cost())
        if instance.name not in prepared:
            shared += bench.shared_cost()
            judging += judged[-1] * len(made.subject.references)
    for chain in made.chains():
        cells = made.cells(chain)
        if all(c in done for c in cells):
            continue
        prices = _steps(made, chain.instance, chain.method, chain.seed, whole)
        for cell, price in zip(cells, prices):
            if cell in done:
                continue
            todo += 1
            if isinstance(price, str):
                refused[cell.method, cell.budget] = price
                continue
            explaining[cell.method, cell.budget] += price
            judging += judged[chain.instance]
    return Bill(made.n_cells, todo, explaining, judging, shared, refused)


def _steps(made: Made, instance: int, method: int, seed: int, whole: bool) -> list[int | str]:
    """Rows of each budget of a chain, or why it cannot run."""
    how = made.study.all_methods[method]
    if how.estimator is None:
        return [0 for _ in made.study.budgets]
    out: list[int | str] = []
    last = None
    paid = 0
    for budget in made.study.budgets:
        try:
            run = made_run(made, made.subject.instances[instance], how, budget, seed)
            rows = budget if whole else rows_of(run)
        except ValueError as error:
            out.append(str(error))
            continue
        continues = last is not None and nested(last, run)
        out.append(rows - paid if continues else rows)
        last, paid = run, rows
    return out
