"""The other side of a score: one input valued under a budget of its own, shared by the metrics that judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attribution import Attribution
from ..budget import QueryBudget
from ..budget.store import AnswerStore
from ..errors import BudgetExhausted, InvalidInput
from ..game import Game, Target
from ..kernels import on_numpy
from ..masks import Masks
from ..oracles import Meter, as_oracle
from ..players.base import Players

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_WINDOW_BYTES = 1 << 25  # packed masks made at a time
_TIES = 0xE1  # Philox stream that orders ties
_ENDLESS = 1 << 62


class Evaluation:
    """One input, valued for metrics. Whatever two metrics both ask for is sent and paid once.

    Parameters
    ----------
    model : an oracle or anything `as_oracle` wraps.
    players : Players of the input. Their baseline is the replacement; see `metrics.replaced` for others.
    target : as in `explain`; None is the highest score on the clean input, fixed once.
    budget : int, QueryBudget or None. Rows sent at most; None sets no limit: each metric says what it costs.
    store : AnswerStore or None. Keeps every answer; needs an oracle with an identity.

    Raises
    ------
    InvalidInput : the players draw a background row at random, so that a coalition has no single value.

    Cost: nothing until a value is asked for; the two endpoints are sent with the first.
    """

    def __init__(
        self,
        model: Any,
        players: Players,
        *,
        target: Target = None,
        budget: int | QueryBudget | None = None,
        store: AnswerStore | None = None,
    ) -> None:
        if not isinstance(players, Players):
            raise InvalidInput(f"Evaluation: players must be a Players object, not {type(players).__name__}.")
        if players.noisy:
            raise InvalidInput(
                f"Evaluation: these players draw one of {players.noisy} background rows a coalition, so a score would "
                "be noise. Evaluate on Columns(row, baseline, all_rows=True), or with one baseline row."
            )
        self.players, self.target = players, target
        own = budget if isinstance(budget, QueryBudget) else QueryBudget(_ENDLESS if budget is None else budget)
        self.budget = own
        self.meter = Meter(as_oracle(model), own, store)
        self.game = Game(players, self.meter, target)
        self._ends: Floats | None = None

    @classmethod
    def of(
        cls, model: Any, players: Players | None, target: Target, budget: int | QueryBudget | None, rows: int
    ) -> Evaluation:
        """`model` itself if it is an evaluation already, else a new one; checks that `rows` can be paid."""
        if isinstance(model, Evaluation):
            if players is not None and players is not model.players:
                raise InvalidInput("Evaluation: it has its players; pass players=None, or make another Evaluation.")
            if budget is not None or (target is not None and target != model.target):
                raise InvalidInput("Evaluation: it has its target and budget; set them where you make it.")
            return model
        if players is None:
            raise InvalidInput("A metric needs the players of the input, e.g. players=Words(text).")
        e = cls(model, players, target=target, budget=budget)
        if rows > e.budget.left:
            raise BudgetExhausted("evaluation", rows, e.budget.left, e.budget.limit)
        return e

    @property
    def rows_sent(self) -> int:
        """Rows scored for this evaluation so far."""
        return self.meter.ledger.scored

    @property
    def seconds_model(self) -> float:
        """Seconds spent inside the model so far."""
        return self.meter.ledger.seconds_model

    @property
    def n_players(self) -> int:
        """Players of the input."""
        return self.players.n_players

    def ends(self) -> tuple[float, float]:
        """Value of the empty and of the full coalition. Cost: 2 coalitions, once."""
        if self._ends is None:
            self._ends = np.concatenate([v for _, v in self.game.values(Masks.endpoints(self.n_players))])
            if self._ends.ndim != 1:
                raise InvalidInput("A metric judges one output: give one target, and attribution.output(j).")
        return float(self._ends[0]), float(self._ends[1])

    def values(self, rows: int, masks: Callable[[int, int], Bools]) -> Floats:
        """Values of coalitions, in order.

        Parameters
        ----------
        rows : int. How many.
        masks : (start, stop) -> bool (stop - start, d), True = present. Called a window at a time.

        Returns
        -------
        float64 (rows,).

        Cost: `rows` coalitions, less those known already.
        """
        self.ends()
        out = np.empty(rows)
        done = 0
        for part in self._windows(rows, masks):
            for told, values in self.game.values(part):
                out[done : done + len(told)] = values
                done += len(told)
        return out

    def _windows(self, rows: int, masks: Callable[[int, int], Bools]) -> Iterator[Masks]:
        size = max(1, min(256, _WINDOW_BYTES // max(1, self.n_players)))
        each = max(size, _WINDOW_BYTES // (self.n_players // 8 + 1) // size * size)
        for at in range(0, rows, each):
            stop = min(rows, at + each)
            packed = [on_numpy.pack(masks(a, min(a + size, stop))) for a in range(at, stop, size)]
            yield Masks(np.concatenate(packed), self.n_players, start=at)


def scores_of(attribution: Any, n_players: int) -> Floats:
    """Attribution values (d,), checked.

    Parameters
    ----------
    attribution : Attribution of one output, or an array of d numbers in any shape, such as (H, W).

    Raises
    ------
    InvalidInput : NaN, infinity, several outputs, or another number of players.
    """
    values = np.asarray(attribution.values if isinstance(attribution, Attribution) else attribution, np.float64)
    if isinstance(attribution, Attribution) and values.ndim == 2 and values.shape[1] != 1:
        raise InvalidInput("The attribution explains several outputs: pass attribution.output(j).")
    if values.size != n_players:
        raise InvalidInput(f"The attribution has {values.size} values {values.shape}, the input {n_players} players.")
    if not np.isfinite(values).all():
        raise InvalidInput("The attribution holds NaN or infinity: it cannot be ranked.")
    return values.ravel()


def target_of(attribution: Any, target: Target) -> Target:
    """The target to judge: as given, else the one that was explained."""
    if target is not None or not isinstance(attribution, Attribution):
        return target
    if attribution.target is None and attribution.kind != "game":
        raise InvalidInput(
            "The attribution explains a function of the scores: pass the same function as target, "
            "else another quantity would be judged."
        )
    return None if attribution.target is None else attribution.target[0]


def ranked(values: Floats, seed: int = 0) -> NDArray[np.intp]:
    """Players in descending order of value; ties in an order drawn from the seed, not by index.

    Parameters
    ----------
    values : (d,).
    seed : int, 0 <= seed < 2**64.

    Returns
    -------
    intp (d,): most relevant first. The least-relevant-first order is this one reversed.
    """
    shuffled = permutation(len(values), seed, _TIES)
    return shuffled[np.argsort(-values[shuffled], kind="stable")]


def permutation(n: int, seed: int, stream: int) -> NDArray[np.intp]:
    """A random order of 0..n-1 that depends on (n, seed, stream) alone."""
    words = on_numpy.philox(seed, stream, np.arange(n, dtype=np.uint64), np.zeros((), np.uint64)).astype(np.uint64)
    return np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")
