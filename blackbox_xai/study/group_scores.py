"""Scores of several maps together: over seeds, methods or all instances. Made from stored maps at a run's end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..metrics.agreement import spearman
from ..players import Players
from .names import EVERY_INSTANCE, EVERY_SEED, Cell

Floats = NDArray[np.float64]


class Group(NamedTuple):
    """Where a score's numbers go, and the cells whose maps it reads."""

    cell: Cell
    members: tuple[Cell, ...]


class Room(Protocol):
    """What a group score may use: the inputs of its members, and a dataset of them under one budget."""

    def inputs(self, members: Sequence[Cell], replacement: Any) -> tuple[list[Players], list[int | None]]:
        """Players and label of each member's instance."""

    def dataset(self, members: Sequence[Cell], replacement: Any) -> metrics.Dataset:
        """The members' inputs with their labels."""


class GroupScore(ABC):
    """A score of several cells' maps. Its numbers are kept under the cell of its `Group`.

    name : in TOML. better : {number's name: "high" or "low"}. seeds_needed : int.
    replacement : as in `Score`, where the score sends anything; its numbers are then called after it.
    """

    name: ClassVar[str]
    better: ClassVar[dict[str, str]] = {}
    seeds_needed: ClassVar[int] = 1
    replacement: Any = None

    def called(self, number: str) -> str:
        """A number's name in tables."""
        return number if self.replacement is None else f"{number}:{self.replacement}"

    @abstractmethod
    def groups(self, cells: Iterable[Cell]) -> list[Group]:
        """The groups that these cells make (references have budget 0)."""

    def cost(self, room: Room, group: Group) -> int:
        """Rows a group, at most."""
        return 0

    @abstractmethod
    def score(self, room: Room, group: Group, maps: Mapping[Cell, Floats]) -> dict[str, float]:
        """Numbers of a group from the maps of its members."""


@dataclass(frozen=True)
class Stability(GroupScore):
    """How alike one method's maps of an instance are under different seeds. No query."""

    k: int = 5
    name: ClassVar[str] = "stability"
    seeds_needed: ClassVar[int] = 2
    better: ClassVar[dict[str, str]] = {
        "stability_spearman": "high",
        "stability_cosine": "high",
        "stability_top_k": "high",
    }

    def groups(self, cells: Iterable[Cell]) -> list[Group]:
        """All seeds of (instance, method, budget)."""
        found: dict[Cell, list[Cell]] = {}
        for c in cells:
            if c.budget:
                found.setdefault(c._replace(seed=EVERY_SEED), []).append(c)
        return [Group(key, tuple(own)) for key, own in found.items() if len(own) > 1]

    def score(self, room: Room, group: Group, maps: Mapping[Cell, Floats]) -> dict[str, float]:
        """See `metrics.stability`."""
        found = metrics.stability([maps[c] for c in group.members], k=self.k)
        return {
            "stability_spearman": found.spearman,
            "stability_cosine": found.cosine,
            "stability_top_k": found.top_k,
        }


@dataclass(frozen=True)
class Agreement(GroupScore):
    """Rank correlation of a method's maps with those of the others, references included. No query.

    "agreement" is the mean over the others, "agreement:OTHER" one of them, and "agreement:ITSELF" that of two seeds:
    methods that disagree no more than a method with itself do not disagree.
    """

    name: ClassVar[str] = "agreement"

    def groups(self, cells: Iterable[Cell]) -> list[Group]:
        """Each method against all cells of the instance at its budget."""
        rooms: dict[tuple[str, int], list[Cell]] = {}
        for c in cells:
            rooms.setdefault((c.instance, c.budget), []).append(c)
        out = []
        for (instance, budget), own in rooms.items():
            if budget:
                members = (*own, *rooms.get((instance, 0), []))
                methods = dict.fromkeys(c.method for c in own)
                out += [Group(Cell(instance, m, budget, EVERY_SEED), members) for m in methods]
        return out

    def score(self, room: Room, group: Group, maps: Mapping[Cell, Floats]) -> dict[str, float]:
        """Means over seeds of Spearman's correlation."""
        own = [c for c in group.members if c.method == group.cell.method]
        numbers: dict[str, float] = {}
        for other in dict.fromkeys(c.method for c in group.members):
            theirs = [c for c in group.members if c.method == other]
            if other == group.cell.method:
                pairs = list(combinations(own, 2))
            else:  # the same seed where there is one: a reference has none
                pairs = [(a, b) for a in own for b in theirs if b.budget == 0 or a.seed == b.seed]
            if pairs:
                numbers[f"agreement:{other}"] = float(np.mean([spearman(maps[a], maps[b]) for a, b in pairs]))
        others = [v for name, v in numbers.items() if name != f"agreement:{group.cell.method}"]
        return {"agreement": float(np.mean(others)), **numbers} if others else numbers


class _OverInstances(GroupScore):
    """Scores of a dataset: one number a method, budget and seed."""

    @abstractmethod
    def coalitions(self) -> int:
        """Coalitions an instance."""

    def groups(self, cells: Iterable[Cell]) -> list[Group]:
        """All instances of (method, budget, seed)."""
        found: dict[Cell, list[Cell]] = {}
        for c in cells:
            found.setdefault(c._replace(instance=EVERY_INSTANCE), []).append(c)
        return [Group(key, tuple(own)) for key, own in found.items()]

    def cost(self, room: Room, group: Group) -> int:
        """`coalitions` an instance, and one where its label is the model's choice."""
        players, labels = room.inputs(group.members, self.replacement)
        return sum((self.coalitions() + (label is None)) * p.cost for p, label in zip(players, labels))


@dataclass(frozen=True)
class Road(_OverInstances):
    """ROAD: accuracy with the most, or least, relevant parts imputed.

    replacement : None imputes images noisily (`metrics.noisy_linear`) and takes the study's judge elsewhere.
    """

    replacement: Any = None
    name: ClassVar[str] = "road"
    better: ClassVar[dict[str, str]] = {"road_gap": "high", "road_morf": "low", "road_lerf": "high"}

    def coalitions(self) -> int:
        """18."""
        return 2 * len(metrics.ROAD_RATIOS)

    def score(self, room: Room, group: Group, maps: Mapping[Cell, Floats]) -> dict[str, float]:
        """Mean accuracies, and the gap of the label's score."""
        data = room.dataset(group.members, self.replacement)
        found = metrics.road(data, [maps[c] for c in group.members])
        return {"road_gap": found.gap, "road_morf": found.area_morf, "road_lerf": found.area_lerf}


@dataclass(frozen=True)
class SoundnessOfAll(_OverInstances):
    """Dataset-level soundness, read where accuracy first reaches a share of the clean one; NaN where it never does.

    level : that share, the same for all methods. per_input : judge each input by its own label's score; below 100
    instances an accuracy moves in coarse steps. every : use one of so many of the published 96 ratios.
    """

    replacement: Any = None
    level: float = 0.8
    per_input: bool = False
    every: int = 1
    name: ClassVar[str] = "soundness_dataset"
    better: ClassVar[dict[str, str]] = {"soundness_dataset": "high"}

    def coalitions(self) -> int:
        """96 over `every`, and the clean input."""
        return len(self._ratios()) + 1

    def _ratios(self) -> tuple[float, ...]:
        return metrics.SOUNDNESS_RATIOS[:: self.every]

    def score(self, room: Room, group: Group, maps: Mapping[Cell, Floats]) -> dict[str, float]:
        """See `metrics.soundness_dataset`."""
        data = room.dataset(group.members, self.replacement)
        own = [maps[c] for c in group.members]
        found = metrics.soundness_dataset(data, own, ratios=self._ratios(), per_input=self.per_input)
        level = self.level * float(data.clean()[:, 1].mean())
        reached = level > 0 and found.accuracy.max() >= level
        return {"soundness_dataset": found.at(level) if reached else float("nan")}


@dataclass(frozen=True)
class CompletenessOfAll(_OverInstances):
    """Dataset-level completeness; "completeness_removed" is the share removed, without which the loss says little.

    scale : "max" (published) or "p99".
    """

    replacement: Any = None
    scale: str = "max"
    name: ClassVar[str] = "completeness"
    better: ClassVar[dict[str, str]] = {"completeness_loss": "high", "completeness_label_loss": "high"}

    def coalitions(self) -> int:
        """9 and the clean input."""
        return len(metrics.COMPLETENESS_THRESHOLDS) + 1

    def score(self, room: Room, group: Group, maps: Mapping[Cell, Floats]) -> dict[str, float]:
        """Means over thresholds: accuracy lost, the label's score lost, share removed."""
        data = room.dataset(group.members, self.replacement)
        found = metrics.completeness(data, [maps[c] for c in group.members], scale=self.scale)  # type: ignore[arg-type]
        return {
            "completeness_loss": found.mean,
            "completeness_label_loss": float(found.label_loss.mean()),
            "completeness_removed": float(found.removed.mean()),
        }


GROUP_SCORES: tuple[type[GroupScore], ...] = (Stability, Agreement, Road, SoundnessOfAll, CompletenessOfAll)
