"""What every sampler promises."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..masks import Masks


@runtime_checkable
class Sampler(Protocol):
    """A sequence of coalitions, pure in (seed, row) and never in the budget.

    Attributes: ``n_players``; ``group``, rows drawn together (a pair is 2, a walk or design block more).
    """

    @property
    def n_players(self) -> int: ...
    @property
    def group(self) -> int: ...

    def draw(self, start: int, count: int) -> Masks:
        """Rows ``start .. start + count - 1``; both multiples of `group`.

        Raises
        ------
        InvalidInput : `start` or `count` is negative or not a multiple of `group`.

        Cost: no query here.
        """
        ...
