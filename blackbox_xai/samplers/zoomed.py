"""A sampler of coarse cells, shown on the pixels of a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import InvalidInput
from ..masks import Masks, Zoom
from .base import Sampler


@dataclass(frozen=True, slots=True)
class Zoomed:
    """Any sampler's players as cells of a grid: pixels are present with their cell.

    Attributes
    ----------
    inner : Sampler of ``cells[0] * cells[1]`` players.
    cells : (gh, gw), at most the grid.
    grid : (H, W). The players, in row-major order.
    """

    inner: Sampler
    cells: tuple[int, int]
    grid: tuple[int, int]

    def __post_init__(self) -> None:
        if self.cells[0] * self.cells[1] != self.inner.n_players:
            raise InvalidInput(f"Zoomed: {self.cells} cells for a sampler of {self.inner.n_players} players.")
        if not all(1 <= c <= g for c, g in zip(self.cells, self.grid)):
            raise InvalidInput(f"Zoomed: {self.cells} cells on a grid of {self.grid}; use 1 to the grid.")

    @property
    def n_players(self) -> int:
        """Pixels."""
        return self.grid[0] * self.grid[1]

    @property
    def group(self) -> int:
        """The inner sampler's."""
        return self.inner.group

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        return replace(self.inner.draw(start, count), n_players=self.n_players, zoom=Zoom(self.cells, self.grid))
