"""What names a run."""

from __future__ import annotations

from typing import NamedTuple

EVERY_INSTANCE = "(all instances)"  # of numbers over a whole dataset
EVERY_SEED = -1  # of numbers over all seeds


class Cell(NamedTuple):
    """One run: a method on an instance with a budget and a seed. White-box references have budget 0.

    Numbers over all instances, or all seeds, are kept under `EVERY_INSTANCE` and `EVERY_SEED`.
    """

    instance: str
    method: str
    budget: int
    seed: int

    @property
    def whole(self) -> bool:
        """Whether this names numbers over instances or seeds, and no run."""
        return self.instance == EVERY_INSTANCE or self.seed == EVERY_SEED
