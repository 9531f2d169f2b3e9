"""Where masks meet money: explain() and plan()."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .attribution import Attribution
from .budget import QueryBudget
from .budget.store import AnswerStore
from .errors import InvalidInput
from .estimators.base import Estimator
from .game import Target
from .players import Players
from .runs import WINDOW_BYTES, Progress, Run, Stop


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do, said before anything is sent.

    rows : rows it will send at most (<= budget); batches : calls to the model; memory_bytes : peak of masks and
    batches, roughly; minimum : fewest rows the method accepts; n_players, cost : players, and rows a coalition.
    """

    method: str
    players: str
    n_players: int
    cost: int
    budget: int
    rows: int
    minimum: int
    batches: int
    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.method} on {self.n_players} players ({self.players}): {self.rows} of {self.budget} rows in "
            f"{self.batches} batches, about {self.memory_bytes / 2**20:.0f} MB; at least {self.minimum} rows"
            + (f"; {self.cost} rows a coalition" if self.cost > 1 else "")
        )


def explain(
    model: Any,
    x: Any,
    *,
    budget: int | QueryBudget,
    method: str | Estimator = "auto",
    target: Target = None,
    players: Players | str | None = None,
    baseline: Any = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    progress: Progress = None,
    on_error: Literal["partial", "raise"] = "partial",
    until: Stop | None = None,
    batch_size: int | None = None,
    store: str | Path | AnswerStore | None = None,
) -> Attribution:
    """Explain one decision of a model that can only be queried.

    Parameters
    ----------
    model : an oracle, ``predict(batch) -> scores``, a fitted scikit-learn estimator, or a torch module.
    x : a PIL image or array (H, W, 3); a string; a 1-D row, Series or one-row DataFrame.
    budget : int or QueryBudget. Rows sent to the model at most: endpoints, background rows and repeats included.
    method : a name from ``estimators.METHODS``, a configured estimator, or "auto".
    target : which output; None is the highest score on `x`. A name, an index, a list, "all", or a function of the
        scores (rows, k) -> (rows,) or (rows, j).
    players : a Players object made for this input, or "pixels", "segments", "words", "columns"; None picks by the
        input and the method.
    baseline : what absent players become. Images: "blur", "mean", "black", "grey", a colour, an image. Text:
        "remove" or a replacement. Tables: a row or background rows (required).
    groups : for tables, {name: columns} that move together.
    seed : int, 0 <= seed < 2**64. The same seed gives the same bits, whatever the batch size.
    progress : True (a bar), or a function (rows done, rows planned).
    on_error : "partial" gives what the answers so far say, with ``status`` and ``error`` set; "raise" raises.
    until : a rule that ends the run early, e.g. ``StdError(0.01)``; unspent rows are given back.
    batch_size : rows a call to the model, at most, where `model` is not an oracle yet.
    store : file name, ``postgresql://`` URL or AnswerStore that keeps every answer; a run that was killed, started
        again with the same arguments, pays only what is missing. The oracle needs an identity.

    Returns
    -------
    Attribution.

    Raises
    ------
    InvalidInput, TooFewQueries : before any query, except a target that only the first answer shows to be wrong.
    OracleError : the model failed before anything could be said, or `on_error` is "raise".

    Cost: at most `budget` rows.
    """
    setup = Run.make(model, x, budget, method, target, players, baseline, groups, seed, on_error, batch_size, store)
    return setup.run(progress=progress, until=until, on_error=on_error)


def iter_explain(
    model: Any,
    x: Any,
    *,
    budget: int | QueryBudget,
    every: int = 100,
    method: str | Estimator = "auto",
    target: Target = None,
    players: Players | str | None = None,
    baseline: Any = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    on_error: Literal["partial", "raise"] = "partial",
    until: Stop | None = None,
    batch_size: int | None = None,
    store: str | Path | AnswerStore | None = None,
) -> Iterator[Attribution]:
    """`explain`, with what the answers so far say each `every` rows; the last one is what `explain` returns.

    Snapshots have the status "partial: running". Leaving the loop early sends nothing more.

    Raises
    ------
    InvalidInput, TooFewQueries, OracleError : as `explain`; the first two before anything is sent.

    Cost: as `explain`.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InvalidInput(f"every must be a whole number of rows >= 1, got {every!r}.")
    setup = Run.make(model, x, budget, method, target, players, baseline, groups, seed, on_error, batch_size, store)
    return setup.steps(progress=None, until=until, on_error=on_error, every=every)


async def aexplain(
    model: Any,
    x: Any,
    *,
    budget: int | QueryBudget,
    method: str | Estimator = "auto",
    target: Target = None,
    players: Players | str | None = None,
    baseline: Any = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    progress: Progress = None,
    on_error: Literal["partial", "raise"] = "partial",
    until: Stop | None = None,
    batch_size: int | None = None,
    store: str | Path | AnswerStore | None = None,
) -> Attribution:
    """`explain` for coroutines: it runs in a thread, so the event loop goes on. Same arguments, same result.

    Cancelling stops waiting, not the run: it ends when its budget does.
    """
    import asyncio

    setup = Run.make(model, x, budget, method, target, players, baseline, groups, seed, on_error, batch_size, store)
    return await asyncio.to_thread(setup.run, progress=progress, until=until, on_error=on_error)


def plan(
    model: Any,
    x: Any,
    *,
    budget: int | QueryBudget,
    method: str | Estimator = "auto",
    target: Target = None,
    players: Players | str | None = None,
    baseline: Any = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Plan:
    """What ``explain`` with the same arguments would send; sends nothing.

    Raises
    ------
    InvalidInput, TooFewQueries : as ``explain`` would.
    """
    s = Run.make(model, x, budget, method, target, players, baseline, groups, seed, "partial", batch_size)
    p = s.problem()
    rows = s.estimator.rows(p) * s.players.cost + s.oracle.setup_rows
    size = s.oracle.batch_size
    memory = min(WINDOW_BYTES, rows * (p.n_players // 8 + 1))
    memory += max(1, s.oracle.in_flight) * min(size, rows) * (s.players.row_bytes() + p.n_players)
    return Plan(
        method=s.estimator.name,
        players=type(s.players).__name__,
        n_players=p.n_players,
        cost=s.players.cost,
        budget=s.budget.limit,
        rows=rows,
        minimum=s.estimator.minimum(p) * s.players.cost + s.oracle.setup_rows,
        batches=-(-rows // size),
        memory_bytes=memory,
    )
