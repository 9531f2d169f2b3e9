"""Deletion and insertion: what happens to the score as players go, or come, in the order of the attribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..errors import InvalidInput
from ..game import Target
from ..players.base import Players
from .evaluation import Evaluation, ranked, scores_of, target_of

Floats = NDArray[np.float64]
Order = Literal["morf", "lerf"]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A deletion or an insertion curve.

    Attributes
    ----------
    kind : "deletion" or "insertion".
    order : "morf" (most relevant first) or "lerf" (least relevant first).
    counts : int (J+1,). Players deleted, or inserted, at each point; 0 first.
    values : float64 (J+1,). The model's score there.
    n_players : int.
    degenerate : bool. All attributions are equal: the order is a draw.
    rows_sent : int. Rows that this curve added to the bill.
    """

    kind: Literal["deletion", "insertion"]
    order: Order
    counts: NDArray[np.int64]
    values: Floats
    n_players: int
    degenerate: bool
    rows_sent: int

    @property
    def fractions(self) -> Floats:
        """Share of players deleted or inserted at each point, (J+1,)."""
        return self.counts / self.n_players

    @property
    def auc(self) -> float:
        """Normalised trapezoid area; a short last step weighs by its length. Equal steps:
        (sum(t) - t_0/2 - t_J/2) / J."""
        width = np.diff(self.counts)
        return float(((self.values[1:] + self.values[:-1]) / 2 @ width) / width.sum())

    @property
    def auc_mean(self) -> float:
        """Plain mean of the points."""
        return float(self.values.mean())

    @property
    def aopc_absolute(self) -> float:
        """t_0 - mean(t_0..t_J): the mean drop, in units of the score. Deletion only."""
        self._deletion()
        return float(self.values[0] - self.values.mean())

    @property
    def aopc(self) -> float:
        """1 - mean(t_0..t_J) / t_0: the mean drop relative to the start. Deletion only.

        Raises
        ------
        InvalidInput : the start value is not positive (a logit, say), where a ratio means nothing.
        """
        self._deletion()
        if not self.values[0] > 0:
            raise InvalidInput(
                f"Curve.aopc: the start value {self.values[0]:.4g} is not > 0 (a logit?); use aopc_absolute."
            )
        return float(1 - self.values.mean() / self.values[0])

    def _deletion(self) -> None:
        if self.kind != "deletion":
            raise InvalidInput("AOPC is defined for deletion curves; use auc for insertion.")


def deletion(
    model: Any,
    players: Players | None,
    attribution: Any,
    *,
    steps: int = 25,
    stride: int | None = None,
    max_fraction: float = 1.0,
    order: Order = "morf",
    target: Target = None,
    budget: int | QueryBudget | None = None,
    seed: int = 0,
) -> Curve:
    """The score as players are replaced, most (or least) relevant first.

    Parameters
    ----------
    model : a model, or an `Evaluation` (then `players`, `target` and `budget` are its own).
    players : Players; absent ones take their baseline. Another baseline: ``replaced(players, "mean")``.
    attribution : Attribution of one output, or d numbers, ranked with their sign.
    steps : int. Points after the first; sets ``stride = ceil(d / steps)``.
    stride : int or None. Players a step, instead of `steps`.
    max_fraction : float in (0, 1]. Where to stop.
    target : None is the output that was explained, else the highest score on the clean input.
    budget : int, QueryBudget or None (what the curve costs).
    seed : int. Orders ties.

    Returns
    -------
    Curve.

    Raises
    ------
    BudgetExhausted : before anything is sent.

    Cost: `cost(d, steps=...)` coalitions: the steps and the two endpoints.
    Source: Samek et al. 2017 (AOPC); Petsiuk et al. 2018 (deletion). Differs from Quantus' pixel flipping: the
    unperturbed point is part of the curve.
    """
    return _curve("deletion", model, players, attribution, steps, stride, max_fraction, order, target, budget, seed)


def insertion(
    model: Any,
    players: Players | None,
    attribution: Any,
    *,
    steps: int = 25,
    stride: int | None = None,
    max_fraction: float = 1.0,
    order: Order = "morf",
    target: Target = None,
    budget: int | QueryBudget | None = None,
    seed: int = 0,
) -> Curve:
    """The score as players are restored to the fully replaced input; parameters and cost as `deletion`.

    With one replacement, `max_fraction` 1 and a stride that divides d, insertion most relevant first is deletion
    least relevant first read backwards; on one `Evaluation` the second of the two costs nothing.
    """
    return _curve("insertion", model, players, attribution, steps, stride, max_fraction, order, target, budget, seed)


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """Two deletion curves of one attribution."""

    morf: Curve
    lerf: Curve

    @property
    def gap(self) -> float:
        """AUC least relevant first minus AUC most relevant first; high is good."""
        return self.lerf.auc - self.morf.auc


def deletion_gap(
    model: Any,
    players: Players | None,
    attribution: Any,
    *,
    steps: int = 25,
    target: Target = None,
    budget: int | QueryBudget | None = None,
    seed: int = 0,
) -> Gap:
    """Both deletion orders: the single figure that depends least on the replacement.

    Cost: ``2 * cost(d, steps=steps) - 2`` coalitions.
    """
    d = _players(model, players).n_players
    rows = (2 * cost(d, steps=steps) - 2) * _players(model, players).cost
    e = Evaluation.of(model, players, target_of(attribution, target), budget, rows)
    morf = deletion(e, None, attribution, steps=steps, order="morf", seed=seed)
    return Gap(morf, deletion(e, None, attribution, steps=steps, order="lerf", seed=seed))


def cost(n_players: int, *, steps: int = 25, stride: int | None = None, max_fraction: float = 1.0) -> int:
    """Coalitions of one curve at most, endpoints included; rows are this times ``players.cost``."""
    points = len(_counts(n_players, steps, stride, max_fraction))
    ends = _counts(n_players, steps, stride, max_fraction)[-1]
    return points + (0 if ends == n_players else 1)


def _players(model: Any, players: Players | None) -> Players:
    if isinstance(model, Evaluation):
        return model.players
    if players is None:
        raise InvalidInput("A metric needs the players of the input, e.g. players=Words(text).")
    return players


def _counts(d: int, steps: int, stride: int | None, max_fraction: float) -> NDArray[np.int64]:
    if not 0 < max_fraction <= 1:
        raise InvalidInput(f"max_fraction must lie in (0, 1], got {max_fraction}.")
    last = max(1, int(max_fraction * d + 1e-9))
    each = -(-last // steps) if stride is None and steps >= 1 else stride
    if each is None or each < 1:
        raise InvalidInput(f"A curve needs steps >= 1 and stride >= 1, got steps={steps}, stride={stride}.")
    return np.minimum(np.arange(-(-last // each) + 1) * each, last)


def _curve(
    kind: Literal["deletion", "insertion"],
    model: Any,
    players: Players | None,
    attribution: Any,
    steps: int,
    stride: int | None,
    max_fraction: float,
    order: Order,
    target: Target,
    budget: int | QueryBudget | None,
    seed: int,
) -> Curve:
    if order not in ("morf", "lerf"):
        raise InvalidInput(f"order must be 'morf' or 'lerf', got {order!r}.")
    parts = _players(model, players)
    d = parts.n_players
    scores, counts = scores_of(attribution, d), _counts(d, steps, stride, max_fraction)
    needed = cost(d, steps=steps, stride=stride, max_fraction=max_fraction) * parts.cost
    e = Evaluation.of(model, players, target_of(attribution, target), budget, needed)
    before = e.rows_sent
    line = ranked(scores, seed)
    rank = np.empty(d, np.int64)
    rank[line if order == "morf" else line[::-1]] = np.arange(d)

    def masks(start: int, stop: int) -> NDArray[np.bool_]:
        first = rank[None, :] < counts[start:stop, None]
        return ~first if kind == "deletion" else first

    values = e.values(len(counts), masks)
    return Curve(kind, order, counts, values, d, bool((scores == scores[0]).all()), e.rows_sent - before)
