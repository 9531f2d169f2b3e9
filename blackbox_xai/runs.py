"""One run: the session asks, the game answers, and whatever happens what was told is kept."""

from __future__ import annotations

import contextlib
import math
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .attribution import Attribution
from .budget import QueryBudget
from .budget.store import open_store
from .choices import automatic, make_players, resolve_method
from .errors import BlackboxXaiError, BudgetExhausted, InvalidInput, TooFewQueries
from .estimators import METHODS
from .estimators.base import Estimate, Estimator, Problem, Session
from .game import Game, Target, check_target, device_for
from .masks import Masks
from .memory import Room
from .oracles import as_oracle
from .oracles.base import Oracle
from .oracles.meter import Meter
from .players import Players

Progress = bool | Callable[[int, int], None] | None
Stop = Callable[[Estimate], bool]
_SMOOTH = ("gefa", "smoothgp")  # methods that estimate slopes or fit a smooth surface
WINDOW_BYTES = 1 << 26  # packed masks asked for at a time


def run(
    session: Session,
    values: Callable[[Iterable[Masks]], Iterator[tuple[Masks, NDArray[np.float64]]]],
    *,
    window: int,
    batch: int | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[int]:
    """The one loop: ask, value, tell. Yields the rows told in each slice, after telling them.

    Masks are asked for `window` rows at a time; where drawing them is slow and `batch` is given, about as many, the
    next while the model is at work. What was told stays told whatever happens next, so an error loses nothing. Masks
    for which memory runs out are asked for again, half as many.
    """
    room, size = Room(window), window
    if batch and session.slow_masks:
        size = math.lcm(batch, session.sampler.group)

    def asked() -> Iterator[Masks]:
        """All masks that wait for no answer."""
        end = session.told
        while len(masks := room.fit(partial(session.ask, ahead=end - session.told), size)[1]):
            yield masks
            if masks.start < 0:  # the endpoints come alone
                return
            end += len(masks)

    while True:
        before = session.rows
        for told, answers in values(asked()):
            session.tell(told, answers)
            yield len(told)
            if stop is not None and stop():
                return
        if session.rows == before:
            return


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
        estimator = resolve_method(automatic(x, players) if method == "auto" else method)
        if not isinstance(players, Players):
            players = make_players(x, players, baseline, groups, int(seed), pixels=estimator.on_grid)
        elif baseline is not None or groups is not None:
            raise InvalidInput("baseline and groups belong to the Players object; give them there.")
        _warn_if_poor(oracle, estimator)
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
            contrast=self.playing.contrast(),
            device=device_for(self.playing, self.oracle),
        )

    def session(self) -> Session:
        return self.estimator.session(self.problem())

    def run(self, *, progress: Progress, until: Stop | None, on_error: str) -> Attribution:
        """The attribution at the end."""
        *_, last = self.steps(progress=progress, until=until, on_error=on_error)
        return last

    def steps(
        self, *, progress: Progress, until: Stop | None, on_error: str, every: int | None = None
    ) -> Iterator[Attribution]:
        """What the answers so far say, each `every` rows (None: never), and the attribution at the end."""
        begin = time.perf_counter()
        session = self.session()
        game = Game(self.playing, self.meter, self.target)
        window = max(1, WINDOW_BYTES // (self.playing.n_players // 8 + 1))
        batch = game.batch if self.oracle.own_threads else None
        show = _progress(progress, self.problem().n_endpoints + session.planned, self.playing.cost)
        rule = _Until(session, until)
        status = "complete"
        problem: BaseException | None = None
        try:
            known, seen = -self.budget.limit, 0
            while True:
                for told in run(session, game.stream, window=window, batch=batch, stop=rule if until else None):
                    show(told)
                    seen += told * self.playing.cost
                    if every is not None and seen >= every:
                        paused = time.perf_counter()
                        with contextlib.suppress(TooFewQueries):
                            yield self._attribution(session.result(), session, game, "partial: running", None)
                        begin, seen = begin + time.perf_counter() - paused, 0
                ledger = self.meter.ledger  # a row from a store is news like one that is paid
                news, known = ledger.scored + ledger.from_store - known, ledger.scored + ledger.from_store
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
        begin = time.perf_counter()
        try:
            estimate = session.result()
        except TooFewQueries:
            if problem is not None:
                raise problem from None
            raise
        self.meter.ledger.seconds_total += time.perf_counter() - begin
        yield self._attribution(estimate, session, game, status, problem)

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


def _warn_if_poor(oracle: Oracle, estimator: Estimator) -> None:
    """Say so where a method expects numbers that vary smoothly and the model answers labels only."""
    if oracle.outputs == "labels" and estimator.name in _SMOOTH:
        warnings.warn(
            f"{estimator.name} follows small changes of the score, and {oracle!r} answers labels only: its score jumps "
            "or stays. Expect wide standard errors; kernelshap, permutation or rise suit labels.",
            stacklevel=4,
        )


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
