"""Soundness: of the attribution included so far, the share on players that made the model better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..budget import QueryBudget
from ..errors import InvalidInput
from ..game import Target
from ..players.base import Players
from .dataset import Dataset, maps_of, ranks
from .evaluation import Evaluation, ranked, scores_of, target_of

Floats = NDArray[np.float64]
RATIOS = tuple(round(0.98 - 0.01 * i, 2) for i in range(96))


@dataclass(frozen=True, slots=True, eq=False)
class SoundnessCurve:
    """Soundness against accuracy.

    Attributes
    ----------
    ratios : (M,), share masked, descending. accuracy, soundness : (M,).
    """

    ratios: Floats
    accuracy: Floats
    soundness: Floats

    def at(self, level: float) -> float:
        """Soundness at the first step whose accuracy reaches `level`.

        Read it below 95 % of the clean accuracy only: once accuracy stops rising every slice is called false.

        Raises
        ------
        InvalidInput : the level is never reached.
        """
        reached = np.flatnonzero(self.accuracy >= level)
        if len(reached) == 0:
            raise InvalidInput(
                f"SoundnessCurve.at: accuracy {level} is never reached (at most {self.accuracy.max():.3f})."
            )
        return float(self.soundness[reached[0]])


def soundness_dataset(
    data: Dataset,
    maps: Sequence[Any],
    *,
    ratios: Sequence[float] = RATIOS,
    eps: float = 0.01,
    start_accuracy: float = 0.04,
    per_input: bool = False,
    monotone: bool = False,
    seed: int = 0,
) -> SoundnessCurve:
    """The published, dataset-level form.

    Parameters
    ----------
    data : Dataset; its inputs impute (``replaced(players, "noisy_linear")``).
    maps : one attribution an input; negative values count as 0.
    ratios : share of players masked, descending.
    eps : float. A step that raises accuracy by less is worthless, and all that it adds is false attribution.
    start_accuracy : float. Below it no step is judged (in the published code, not in the paper).
    per_input : bool. Judge each input's own label score instead of the dataset's accuracy; for fewer than 100 inputs,
        where an accuracy moves in steps of 1/N.
    monotone : bool. Compare with the best accuracy so far, not with the step before.
    seed : int. Orders ties: one order serves masks and bookkeeping.

    Cost: ``len(ratios)`` coalitions an input (96), and as many imputations.
    Source: the published dual-perspective evaluation. Blind where false attribution is interleaved with true: use
    `soundness_sample` beside it.
    """
    steps = len(ratios)
    if steps < 1 or any(a <= b for a, b in pairwise(ratios)):
        raise InvalidInput("soundness_dataset: ratios must descend, e.g. 0.98, 0.97, ...")
    data.affordable(steps)
    scores = np.empty((len(data), steps, 2))
    included = np.empty((len(data), steps))
    for index, values in enumerate(maps_of(data, maps)):
        values = np.maximum(values, 0.0)
        d = len(values)
        place = ranks(values, seed)
        shown = d - np.array([round(d * m) for m in ratios])
        scores[index] = data.scores(index, steps, lambda a, b, p=place, s=shown: p < s[a:b, None])  # type: ignore[misc]
        mass = np.concatenate([[0.0], np.cumsum(values[np.argsort(place)])])
        included[index] = mass[shown]
    new = np.diff(included, axis=1, prepend=0.0)
    accuracy = scores[:, :, 1].mean(axis=0)
    level = scores[:, :, 0] if per_input else np.broadcast_to(accuracy, (len(data), steps))
    before = np.concatenate([np.zeros((len(data), 1)), level[:, :-1]], axis=1)
    if monotone:
        before = np.maximum.accumulate(before, axis=1)
    worthless = (level > start_accuracy) & (level - before < eps)
    false = np.cumsum(np.where(worthless, new, 0.0), axis=1)
    share = np.divide(included - false, included, out=np.zeros_like(included), where=included > 0)
    return SoundnessCurve(np.asarray(ratios, float), accuracy, share.mean(axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class SoundnessSample:
    """Soundness of one input, one player at a time.

    Attributes
    ----------
    soundness : (J,). After 1, 2, ... players: share of the included mass on players that helped.
    values : (J+1,). The model's score with 0, 1, ... players.
    n_players : int. stopped : bool. Whether the score was so high that later gains could not be seen.
    control : (J',) or None. The same for a random map, which a method should beat before it is ranked.
    """

    soundness: Floats
    values: Floats
    n_players: int
    stopped: bool
    control: Floats | None = None

    def at(self, fraction: float) -> float:
        """Soundness at a share of the players, or where the curve stopped, whichever comes first."""
        return float(self.soundness[min(max(1, round(fraction * self.n_players)), len(self.soundness)) - 1])


def soundness_sample(
    model: Any,
    players: Players | None,
    attribution: Any,
    *,
    top: float = 0.2,
    score: Literal["log-odds", "raw"] = "log-odds",
    eps: float = 1e-6,
    stop: float = 0.99,
    control: bool = True,
    target: Target = None,
    budget: int | QueryBudget | None = None,
    seed: int = 0,
) -> SoundnessSample:
    """The corrected, per-input form: one player a step, a replacement that is the same each time.

    Parameters
    ----------
    attribution : negative values count as 0.
    top : float in (0, 1]. Share of the players to include.
    score : "log-odds" of a probability clipped to 1e-6..1-1e-6, or "raw" for a margin or a logit.
    eps : float. A smaller gain is none; for rounded scores twice the rounding.
    stop : float. With log-odds, the curve ends at the first probability this high: past it gains vanish.
    control : bool. Also score a random map (one more curve).

    Cost: ``ceil(top * d) + 2`` coalitions, twice with `control` (less the two endpoints); they are the first points
    of the insertion curve of stride 1 on the same `Evaluation`.
    Exact for additive models. With interactions a player's verdict depends on those shown before: print the control,
    and rank no method that does not beat it.
    """
    if not 0 < top <= 1:
        raise InvalidInput(f"soundness_sample: top must lie in (0, 1], got {top}.")
    parts = model.players if isinstance(model, Evaluation) else players
    if parts is None:
        raise InvalidInput("soundness_sample: pass the players of the input.")
    d = parts.n_players
    values = np.maximum(scores_of(attribution, d), 0.0)
    count = int(np.ceil(top * d - 1e-9))
    rows = ((count + 2) + (count if control else 0)) * parts.cost
    e = Evaluation.of(model, players, target_of(attribution, target), budget, rows)
    share, seen, stopped = _insert(e, values, count, score, eps, stop, seed)
    random = None
    if control:
        draw = np.random.Generator(np.random.Philox(key=[seed, d])).random(d)
        random, _, _ = _insert(e, draw, count, score, eps, stop, seed)
    return SoundnessSample(share, seen, d, stopped, random)


def _insert(
    e: Evaluation, values: Floats, count: int, score: str, eps: float, stop: float, seed: int
) -> tuple[Floats, Floats, bool]:
    line = ranked(values, seed)
    place = np.empty(len(values), np.int64)
    place[line] = np.arange(len(values))
    seen = e.values(count + 1, lambda a, b: place < np.arange(a, b)[:, None])
    worth, stopped = seen, False
    if score == "log-odds":
        if seen.min() < -1e-9 or seen.max() > 1 + 1e-9:
            raise InvalidInput("soundness_sample: the scores are no probabilities; use score='raw'.")
        clipped = np.clip(seen, 1e-6, 1 - 1e-6)
        worth = np.log(clipped) - np.log1p(-clipped)
        high = np.flatnonzero(seen >= stop)
        if len(high):
            end, stopped = max(1, int(high[0])), True
            worth, seen = worth[: end + 1], seen[: end + 1]
    gain = np.diff(worth)
    new = values[line[: len(gain)]]
    included = np.cumsum(new)
    false = np.cumsum(np.where(gain < eps, new, 0.0))
    share = np.divide(included - false, included, out=np.zeros_like(included), where=included > 0)
    return share, seen, stopped
