"""The scores a study can use: each a frozen record that says its cost and gives named numbers for one cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..errors import InvalidInput
from ..metrics.agreement import cosine, spearman, values_of
from ..players import ImagePixels, ImageSegments, Players
from .group_scores import GROUP_SCORES

Floats = NDArray[np.float64]
Shared = dict[str, NDArray[Any]]


class Score(ABC):
    """A score of a study.

    name : in TOML. better : {number's name: "high" or "low"}, or {} where neither is. shares : whether `prepare` makes
    something.
    replacement : what absent players become for this score, see `metrics.replaced`; None is the study's judge. Its
        numbers are then called after it, such as "deletion_auc:grey".
    """

    name: ClassVar[str]
    better: ClassVar[dict[str, str]] = {}
    shares: ClassVar[bool] = False
    reference: str | None = None
    replacement: Any = None

    def called(self, number: str) -> str:
        """A number's name in tables."""
        return number if self.replacement is None else f"{number}:{self.replacement}"

    def players(self, judge: Players) -> Players:
        """The players to score on, from the judge's under the score's replacement."""
        return judge

    def reruns(self) -> int:
        """How many more times a cell's explanation is made, at the cell's budget."""
        return 0

    def cost(self, judge: Players) -> int:
        """Coalitions a cell, at most."""
        return 0

    def shared_cost(self, judge: Players) -> int:
        """Coalitions an instance, paid once for all methods, budgets and seeds."""
        return 0

    def prepare(self, e: metrics.Evaluation, maps: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
        """What all cells of an instance share, from `shared_cost` coalitions; `maps` are the references'."""
        return {}

    @abstractmethod
    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """Numbers of one attribution, `values` (judge players,)."""


@dataclass(frozen=True)
class Deletion(Score):
    """Deletion curve, most relevant first."""

    steps: int = 25
    replacement: Any = None
    name: ClassVar[str] = "deletion"
    better: ClassVar[dict[str, str]] = {
        "deletion_auc": "low",
        "deletion_aopc": "high",
        "deletion_aopc_relative": "high",
    }

    def cost(self, judge: Players) -> int:
        """See `metrics.deletion`."""
        return metrics.curve_cost(judge.n_players, steps=self.steps)

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """AUC, absolute AOPC, and where the clean score is positive AOPC relative to it."""
        curve = metrics.deletion(e, None, values, steps=self.steps)
        relative = {"deletion_aopc_relative": curve.aopc} if curve.values[0] > 0 else {}
        return {"deletion_auc": curve.auc, "deletion_aopc": curve.aopc_absolute, **relative}


@dataclass(frozen=True)
class Insertion(Score):
    """Insertion curve, most relevant first."""

    steps: int = 25
    replacement: Any = None
    name: ClassVar[str] = "insertion"
    better: ClassVar[dict[str, str]] = {"insertion_auc": "high"}

    def cost(self, judge: Players) -> int:
        """See `metrics.insertion`."""
        return metrics.curve_cost(judge.n_players, steps=self.steps)

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """AUC."""
        return {"insertion_auc": metrics.insertion(e, None, values, steps=self.steps).auc}


@dataclass(frozen=True)
class Gap(Score):
    """Deletion AUC least relevant first, minus most relevant first."""

    steps: int = 25
    replacement: Any = None
    name: ClassVar[str] = "gap"
    better: ClassVar[dict[str, str]] = {"deletion_gap": "high"}

    def cost(self, judge: Players) -> int:
        """Two curves that share their ends."""
        return 2 * metrics.curve_cost(judge.n_players, steps=self.steps) - 2

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """The gap."""
        return {"deletion_gap": metrics.deletion_gap(e, None, values, steps=self.steps).gap}


@dataclass(frozen=True)
class Fidelity(Score):
    """muFidelity (size regressed out) from one pool an instance, shared by all methods."""

    n: int = 200
    probability: float = 0.2
    cells: int = 9
    replacement: Any = None
    name: ClassVar[str] = "fidelity"
    shares: ClassVar[bool] = True
    better: ClassVar[dict[str, str]] = {"fidelity": "high"}

    def shared_cost(self, judge: Players) -> int:
        """n and the two endpoints."""
        return self.n + 2

    def prepare(self, e: metrics.Evaluation, maps: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
        """The pool."""
        cells = self.cells if e.players.grid is not None else None
        return _frozen(metrics.pool(e, None, n=self.n, probability=self.probability, cells=cells))

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """Spearman correlation."""
        return {"fidelity": metrics.fidelity(_thawed(shared), values)}


@dataclass(frozen=True)
class Infidelity(Score):
    """Normalised infidelity from one pool an instance; for attributions in the units of the score."""

    n: int = 200
    replacement: Any = None
    name: ClassVar[str] = "infidelity"
    shares: ClassVar[bool] = True
    better: ClassVar[dict[str, str]] = {"infidelity": "low"}

    def shared_cost(self, judge: Players) -> int:
        """n and the two endpoints."""
        return self.n + 2

    def prepare(self, e: metrics.Evaluation, maps: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
        """The pool."""
        return _frozen(metrics.pool(e, None, n=self.n, probability=0.5))

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """Infidelity with the best scale, over the mean squared drop."""
        return {"infidelity": metrics.infidelity(_thawed(shared), values, units="output").normalised}


@dataclass(frozen=True)
class Shapley(Score):
    """Error against exact Shapley values, at most 16 players."""

    k: int = 3
    name: ClassVar[str] = "shapley"
    shares: ClassVar[bool] = True
    better: ClassVar[dict[str, str]] = {
        "shapley_relative_error": "low",
        "shapley_spearman": "high",
        "shapley_top_k": "high",
    }

    def shared_cost(self, judge: Players) -> int:
        """All coalitions."""
        return 1 << judge.n_players

    def prepare(self, e: metrics.Evaluation, maps: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
        """The exact values."""
        return {"truth": metrics.exact_shapley(e, None)}

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """Relative squared error, rank correlation, overlap of the top k."""
        error = metrics.shapley_error(values, shared["truth"], k=self.k)
        return {
            "shapley_relative_error": error.relative,
            "shapley_spearman": error.spearman,
            "shapley_top_k": error.top_k,
        }


@dataclass(frozen=True)
class Reference(Score):
    """Agreement with a white-box reference of the subject."""

    reference: str = ""
    name: ClassVar[str] = "reference"
    shares: ClassVar[bool] = True
    better: ClassVar[dict[str, str]] = {"reference_spearman": "high", "reference_cosine": "high"}

    def prepare(self, e: metrics.Evaluation, maps: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
        """The reference's map."""
        return {"map": maps[self.reference]}

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """Rank correlation and cosine."""
        own = values_of(values)
        return {
            "reference_spearman": spearman(own, shared["map"]),
            "reference_cosine": cosine(own, shared["map"]),
        }


@dataclass(frozen=True)
class Sufficiency(Score):
    """What the top k alone recover, and what is lost without them."""

    k: int = 5
    replacement: Any = None
    name: ClassVar[str] = "sufficiency"
    better: ClassVar[dict[str, str]] = {"top_k_recovered": "high", "top_k_lost": "high"}

    def cost(self, judge: Players) -> int:
        """Two sets and the endpoints."""
        return 4

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """Shares of full minus empty."""
        found = metrics.sufficiency(e, None, values, k=min(self.k, e.n_players))
        return {"top_k_recovered": float(found.recovered[0]), "top_k_lost": float(found.lost[0])}


@dataclass(frozen=True)
class Soundness(Score):
    """Per-input soundness of the top share, beside that of a random map, which a method should beat to be ranked.

    tiles : pixels are judged as tiles x tiles squares. raw : the model's scores are no probabilities.
    """

    top: float = 0.2
    tiles: int = 14
    raw: bool = False
    replacement: Any = None
    name: ClassVar[str] = "soundness"
    better: ClassVar[dict[str, str]] = {"soundness": "high"}

    def players(self, judge: Players) -> Players:
        """Pixels become tiles."""
        if judge.grid is None:
            return judge
        if not isinstance(judge, ImagePixels):
            raise InvalidInput("study: soundness needs a replacement that is the same each time, such as 'blur'.")
        return ImageSegments(judge.image, judge.baseline, segments=1 + self._tile(judge.grid))

    def _tile(self, grid: tuple[int, int]) -> NDArray[np.intp]:
        rows, columns = (np.arange(n) * self.tiles // n for n in grid)
        return np.asarray(rows[:, None] * self.tiles + columns)

    def cost(self, judge: Players) -> int:
        """Two insertion curves of single players: see `metrics.soundness_sample`."""
        return 2 * int(np.ceil(self.top * judge.n_players - 1e-9)) + 2

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """Soundness at `top`, of the map and of the random one."""
        if len(values) != e.n_players:
            side = e.players.shown()["data"].shape
            tile = self._tile((side[0], side[1])).ravel()
            values = np.bincount(tile, weights=values, minlength=e.n_players).astype(np.float64)
        found = metrics.soundness_sample(e, None, values, top=self.top, score="raw" if self.raw else "log-odds")
        assert found.control is not None
        return {"soundness": found.at(self.top), "soundness_of_random": float(found.control[-1])}


class Again(Protocol):
    """Makes a cell's explanation again, of a nudged input or with another seed; counts what that sends."""

    x: Floats  # the input, scaled so that a nudge of 1 is the range of an image, or the way to a row's baseline
    clip: tuple[float, float] | None

    def __call__(self, x: Floats, seed: int) -> Floats:
        """Values (judge players,) of an input scaled like `x`."""


@dataclass(frozen=True)
class MaxSensitivity(Score):
    """How far the explanation moves when the input is nudged, beside what another seed does (the floor).

    radius : share of an image's range, or of a column's way to its baseline. n : nudges. Costs 2 n explanations a
    cell, by far the dearest score. References and the random control are left out.
    """

    radius: float = 0.02
    n: int = 3
    name: ClassVar[str] = "max_sensitivity"
    better: ClassVar[dict[str, str]] = {"max_sensitivity": "low"}

    def reruns(self) -> int:
        """n nudged inputs, n other seeds."""
        return 2 * self.n

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """Nothing: see `rerun`."""
        return {}

    def rerun(self, again: Again, values: Floats, seed: int) -> dict[str, float]:
        """See `metrics.max_sensitivity`."""

        def explainer(x: NDArray[Any], own: int) -> Floats:
            return values if x is again.x and own == seed else again(x, own)

        found = metrics.max_sensitivity(explainer, again.x, radius=self.radius, n=self.n, clip=again.clip, seed=seed)
        floor = float("nan") if found.floor is None else found.floor
        return {"max_sensitivity": found.maximum, "max_sensitivity_floor": floor}


@dataclass(frozen=True)
class Sparsity(Score):
    """Gini index; no query. Neither direction is better by itself."""

    name: ClassVar[str] = "sparsity"

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """The Gini index."""
        return {"gini": metrics.sparsity(values).gini}


@dataclass(frozen=True)
class Magnitude(Score):
    """Largest absolute value; no query. For sanity checks: a constant model must give 0."""

    name: ClassVar[str] = "magnitude"

    def score(self, e: metrics.Evaluation, values: Floats, shared: Shared) -> dict[str, float]:
        """max |A|."""
        return {"largest": float(np.abs(values).max())}


_ALL: tuple[type[Score], ...] = (
    Deletion,
    Insertion,
    Gap,
    Fidelity,
    Infidelity,
    Shapley,
    Reference,
    Sufficiency,
    Soundness,
    MaxSensitivity,
    Sparsity,
    Magnitude,
)
SCORES: dict[str, type[Score]] = {s.name: s for s in _ALL}
_KINDS: tuple[Any, ...] = (*_ALL, *GROUP_SCORES)
_BETTER: dict[str, str] = {number: way for s in _KINDS for number, way in s.better.items()}


def better(number: str) -> str | None:
    """Which way a number of a table is good: "high", "low", or None where neither is."""
    return _BETTER.get(number.partition(":")[0])


def _frozen(p: metrics.Pool) -> dict[str, NDArray[Any]]:
    packed = np.packbits(p.removed, axis=1)
    ends = np.array([p.empty, p.full])
    return {"removed": packed, "cells": np.array(p.removed.shape[1]), "cell": p.cell, "drop": p.drop, "ends": ends}


def _thawed(shared: Shared) -> metrics.Pool:
    removed = np.unpackbits(shared["removed"], axis=1, count=int(shared["cells"])).astype(bool)
    return metrics.Pool(removed, shared["cell"], shared["drop"], float(shared["ends"][0]), float(shared["ends"][1]), 0)
