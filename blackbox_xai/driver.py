"""Where masks meet money: explain(), plan(), and the one loop."""

from __future__ import annotations

import difflib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .attribution import Attribution
from .budget import QueryBudget
from .budget.store import AnswerStore, open_store
from .errors import BlackboxXaiError, BudgetExhausted, InvalidInput, TooFewQueries
from .estimators import METHODS
from .estimators.base import Estimate, Estimator, Problem, Session
from .game import Game, Target, check_target
from .masks import Masks
from .oracles import as_oracle
from .oracles.base import Oracle
from .oracles.meter import Meter
from .players import Columns, ImagePixels, ImageSegments, Players, Words
from .players.image import as_image

Progress = bool | Callable[[int, int], None] | None
Stop = Callable[[Estimate], bool]
_WINDOW_BYTES = 1 << 26  # packed masks asked for at a time


def run(
    session: Session,
    values: Callable[[Masks], Iterator[tuple[Masks, NDArray[np.float64]]]],
    *,
    window: int,
    stop: Callable[[], bool] | None = None,
) -> Iterator[int]:
    """The one loop: ask, value, tell. Yields the rows told in each slice, after telling them.

    What was told stays told whatever happens next, so an error loses nothing.
    """
    while len(masks := session.ask(window)):
        for told, answers in values(masks):
            session.tell(told, answers)
            yield len(told)
            if stop is not None and stop():
                return


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
    memory = min(_WINDOW_BYTES, rows * (p.n_players // 8 + 1))
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


def resolve_method(method: str | Estimator) -> Estimator:
    """A configured estimator from a name.

    Raises
    ------
    InvalidInput : no such method; the text lists them and suggests the nearest.
    """
    if isinstance(method, Estimator):
        return method
    if not isinstance(method, str) or method not in METHODS:
        near = difflib.get_close_matches(str(method), METHODS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidInput(f"method {method!r} is unknown; there are {', '.join(sorted(METHODS))}.{hint}")
    return METHODS[method]()


def _auto(x: Any, players: Any) -> str:
    """The method for an input, until something is known of it."""
    if (_is_image(x) and players in (None, "pixels")) or getattr(players, "grid", None):
        return "smoothgp"
    return "kernelshap"


def _is_image(x: Any) -> bool:
    return (hasattr(x, "convert") and hasattr(x, "mode")) or (isinstance(x, np.ndarray) and x.ndim == 3)


def make_players(x: Any, players: str | None, baseline: Any, groups: Any, seed: int, *, pixels: bool) -> Players:
    """The parts of `x`, by its type; `pixels`: whether the method can play single pixels."""
    if _is_image(x) or players in ("pixels", "segments"):
        if players not in (None, "pixels", "segments"):
            raise InvalidInput(f"players {players!r} does not suit an image; use 'pixels' or 'segments'.")
        image = as_image(x)
        if players == "pixels" or (players is None and pixels):
            return ImagePixels(image, baseline)
        return ImageSegments(image, baseline)
    if isinstance(x, str):
        if players not in (None, "words"):
            raise InvalidInput(f"players {players!r} does not suit a text; use 'words' or a Players object.")
        return Words(x, baseline)
    if players not in (None, "columns"):
        raise InvalidInput(
            f"players {players!r} is unknown; use 'pixels', 'segments', 'words', 'columns', or a Players object."
        )
    if not (hasattr(x, "iloc") or isinstance(x, (np.ndarray, list, tuple))):
        raise InvalidInput(
            f"There is no way to explain a {type(x).__name__}: pass a PIL image or (H, W, 3) array, "
            "a string, or a row of a table (1-D array, Series, one-row DataFrame)."
        )
    return Columns(x, baseline, groups=groups, seed=seed)


@dataclass
class Run:
    """One run, checked and ready; nothing sent yet. Kept by the attribution for `extend`."""

    oracle: Oracle
    players: Players  # all of them, as the user knows them
    playing: Players  # without dummies
    active: NDArray[np.intp]
    estimator: Estimator
    budget: QueryBudget
    stages: tuple[int, ...]  # rows
    target: Target
    seed: int
    meter: Meter

    @classmethod
    def make(
        cls,
        model: Any,
        x: Any,
        budget: Any,
        method: Any,
        target: Any,
        players: Any,
        baseline: Any,
        groups: Any,
        seed: Any,
        on_error: Any,
        batch_size: Any,
        store: Any = None,
    ) -> Run:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
            raise InvalidInput(f"seed must be a whole number, 0 <= seed < 2**64, got {seed!r}.")
        if on_error not in ("partial", "raise"):
            raise InvalidInput(f"on_error must be 'partial' or 'raise', got {on_error!r}.")
        own = budget.child(name="explain") if isinstance(budget, QueryBudget) else QueryBudget(budget)
        oracle = as_oracle(model, batch_size=batch_size)
        check_target(target, oracle.output_names)
        estimator = resolve_method(_auto(x, players) if method == "auto" else method)
        if not isinstance(players, Players):
            players = make_players(x, players, baseline, groups, int(seed), pixels=estimator.on_grid)
        elif baseline is not None or groups is not None:
            raise InvalidInput("baseline and groups belong to the Players object; give them there.")
        made = cls.of(oracle, players, estimator, own, target, int(seed), Meter(oracle, own, open_store(store)))
        made.session()  # raises what there is to raise, before any query
        return made

    @classmethod
    def of(
        cls,
        oracle: Oracle,
        players: Players,
        estimator: Estimator,
        budget: QueryBudget,
        target: Target,
        seed: int,
        meter: Meter,
    ) -> Run:
        """A run of players that are made already; dummies leave the game where there is no grid."""
        active, playing = np.arange(players.n_players), players
        dummies = players.dummies()
        if dummies.all():
            raise InvalidInput(
                "The baseline equals the input everywhere: no player can matter. Choose another baseline."
            )
        if players.grid is None and dummies.any():
            active = np.flatnonzero(~dummies)
            playing = players.restrict(active)
        if players.grid is not None and not estimator.on_grid:
            raise InvalidInput(
                f"{estimator.name} does not play single pixels ({players.n_players} of them); "
                "use players='segments', or a method such as 'gefa'."
            )
        return cls(oracle, players, playing, active, estimator, budget, (budget.limit,), target, seed, meter)

    def problem(self) -> Problem:
        stages = list(self.stages)
        stages[0] = max(0, stages[0] - self.oracle.setup_rows)
        return Problem(
            self.playing.n_players,
            tuple(rows // self.playing.cost for rows in stages),
            self.seed,
            grid=self.playing.grid,
            soft=self.playing.soft,
            noisy=self.playing.noisy,
            labels=self.oracle.outputs == "labels",
        )

    def session(self) -> Session:
        return self.estimator.session(self.problem())

    def run(self, *, progress: Progress, until: Stop | None, on_error: str) -> Attribution:
        begin = time.perf_counter()
        session = self.session()
        game = Game(self.playing, self.meter, self.target)
        window = max(1, _WINDOW_BYTES // (self.playing.n_players // 8 + 1))
        show = _progress(progress, self.problem().n_endpoints + session.planned, self.playing.cost)
        rule = _Until(session, until)
        status = "complete"
        problem: BaseException | None = None
        try:
            scored = -self.budget.limit
            while True:
                for told in run(session, game.values, window=window, stop=rule if until else None):
                    show(told)
                news, scored = self.meter.ledger.scored - scored, self.meter.ledger.scored
                longer = None if rule.met or not news else self._longer(session)
                if longer is None:  # done, or no row of the last round was new
                    break
                session = rule.session = longer
            status = "complete: until" if rule.met else "complete"
        except KeyboardInterrupt as error:
            status, problem = "partial: interrupted", error
        except BudgetExhausted as error:
            status, problem = "partial: budget", error
        except InvalidInput:
            raise
        except BlackboxXaiError as error:
            status, problem = "partial: error", error
        finally:
            show(None)
        self.meter.ledger.seconds_total += time.perf_counter() - begin
        if problem is not None and on_error == "raise":
            raise problem
        try:
            estimate = session.result()
        except TooFewQueries:
            if problem is not None:
                raise problem from None
            raise
        return self._attribution(estimate, session, game, status, problem)

    def _longer(self, done: Session) -> Session | None:
        """A session that also spends the rows that equal coalitions saved; it repeats what was told at no cost."""
        saved = (self.budget.left - self.meter.ledger.from_store) // self.playing.cost  # as if those had been paid
        if saved < done.sampler.group or self.oracle.stochastic:
            return None
        p = self.problem()
        self.meter.rewind()
        longer = self.estimator.session(replace(p, budget=(p.n_endpoints + done.planned, saved)))
        return longer if longer.planned > done.planned else None

    def _attribution(
        self, e: Estimate, session: Session, game: Game, status: str, problem: BaseException | None
    ) -> Attribution:
        d = self.players.n_players
        values, error, pairs = self._all(e.values, d), e.std_error, e.interactions
        error = None if error is None else self._all(error, d)
        if pairs is not None and len(self.active) < d:
            wide = np.zeros((d, d, *pairs.shape[2:]))
            wide[np.ix_(self.active, self.active)] = pairs
            pairs = wide
        if self.players.grid is not None:
            dummies = self.players.dummies()
            values[dummies] = 0.0
            if error is not None:
                error[dummies] = 0.0
        ledger = self.meter.ledger
        shown = self.players.shown()
        return Attribution(
            values=values,
            base_values=e.base_values,
            full_values=e.full_values,
            std_error=error,
            interactions=pairs,
            kind=self.players.kind,
            data=shown.pop("data"),
            layout=shown,
            feature_names=self.players.names,
            output_names=game.output_names(),
            target=game.chosen,
            method=self.estimator.name,
            seed=self.seed,
            status=status,
            error="" if problem is None else str(problem) or type(problem).__name__,
            ledger={
                "scored": ledger.scored,
                "answered": ledger.answered,
                "failed": ledger.failed,
                "from_store": ledger.from_store,
                "repeated": ledger.repeated,
                "retried": ledger.retried,
                "batches": ledger.batches,
                "budget": self.budget.limit,
                "seconds_model": ledger.seconds_model,
                "seconds_outside": max(0.0, ledger.seconds_total - ledger.seconds_model),
                "cost": ledger.cost,
                "tokens": ledger.tokens_in + ledger.tokens_out,
            },
            diagnostics=e.diagnostics,
            provenance={
                "blackbox_xai": __version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
                "estimator": repr(self.estimator),
                "players": type(self.players).__name__,
                "oracle": self.oracle.name,
                "coalitions": e.n_rows,
            },
            answers=session.answers if self.playing.cost == 1 else None,
            recipe=self._recipe(session),
            _extend=self.extend,
        )

    def _recipe(self, session: Session) -> dict[str, Any]:
        """What `resume` needs: nothing where the method is no plain configuration."""
        parameters = {f.name: getattr(self.estimator, f.name) for f in fields(self.estimator)}  # type: ignore[arg-type]
        if METHODS.get(self.estimator.name) is not type(self.estimator):
            return {}
        return {
            "parameters": parameters,
            "players": type(self.players).__name__,
            "arguments": self.players.state(),
            "coalitions": list(session.problem.budget),
            "labels": session.problem.labels,
        }

    def _all(self, values: NDArray[np.float64], d: int) -> NDArray[np.float64]:
        """From the players in play to all of them; dummies get 0."""
        out = np.zeros((d, *values.shape[1:]))
        out[self.active] = values
        return out

    def extend(self, rows: int, oracle: Any) -> Attribution:
        if oracle is not None and oracle is not self.oracle:
            raise InvalidInput("Attribution.extend: this attribution has its model; leave out `oracle`.")
        self.budget.grow(rows)
        self.meter.rewind()
        lost = self.meter.ledger.lost  # spent without an answer: no longer to be planned on
        stages = (self.budget.limit - rows - lost, rows)
        return replace(self, stages=stages).run(progress=None, until=None, on_error="partial")


class _Until:
    """Checks a stop rule each time the rows told have grown by a tenth."""

    def __init__(self, session: Session, rule: Stop | None) -> None:
        self.session, self.rule, self.met, self._next = session, rule, False, 0

    def __call__(self) -> bool:
        if self.rule is None or self.session.told < self._next:
            return False
        self._next = max(self.session.told + 1, int(1.1 * self.session.told))
        try:
            self.met = self.rule(self.session.result())
        except TooFewQueries:
            self.met = False
        return self.met


def _progress(progress: Progress, coalitions: int, cost: int) -> Callable[[int | None], None]:
    """A function told the coalitions of each slice, and None at the end."""
    total = coalitions * cost
    if callable(progress):
        done = 0

        def call(told: int | None) -> None:
            nonlocal done
            done += (told or 0) * cost
            if told is not None:
                progress(done, total)

        return call
    if not progress:
        return lambda told: None
    from tqdm.auto import tqdm

    bar = tqdm(total=total, unit="row", desc="querying")
    return lambda told: bar.close() if told is None else bar.update(told * cost) and None
