"""Space-filling designs of soft or hard masks, and the pick-freeze blocks of Sobol indices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..kernels import on_numpy
from ..masks import Masks, Zoom
from .checks import check_grid, check_players, check_rows, check_seed

Design = Literal["sobol", "lhs"]
_MOST = 21201  # dimensions for which scipy has direction numbers


def points(design: Design, dimension: int, n: int | None, seed: int, start: int, count: int) -> NDArray[np.uint8]:
    """Points ``start .. start + count - 1`` of a scrambled design, as levels 0..255: uint8 (count, dimension).

    "sobol": Owen-scrambled, a pure function of (seed, row), balanced at powers of two; "lhs": a Latin hypercube of
    exactly `n` points. Each level is equally likely.
    """
    from scipy.stats import qmc

    generator = np.random.default_rng(seed)
    if design == "lhs":
        assert n is not None
        unit = qmc.LatinHypercube(dimension, seed=generator).random(n)[start : start + count]
    else:
        sequence = qmc.Sobol(dimension, scramble=True, seed=generator)
        first = sequence.random(1)  # drawn apart: a first draw must be a power of two long
        if start > 1:
            sequence.fast_forward(start - 1)
        unit = sequence.random(count - (start == 0)) if count else first[:0]
        if start == 0 and count:
            unit = np.concatenate([first, unit])
    levels: NDArray[np.uint8] = np.minimum(np.floor(unit * 256), 255).astype(np.uint8)
    return levels


def _check(who: str, n_players: int, dimension: int, design: str, n: int | None, seed: int) -> None:
    check_players(who, n_players)
    check_seed(who, seed)
    if design not in ("sobol", "lhs"):
        raise InvalidInput(f'{who}: design {design!r}; choose "sobol" or "lhs".')
    if design == "lhs" and (n is None or n < 1):
        raise InvalidInput(f'{who}: a Latin hypercube does not nest; give points=, their number, or use "sobol".')
    if design == "sobol" and dimension > _MOST:
        raise InvalidInput(f'{who}: {dimension} dimensions, Sobol sequences have {_MOST}; use fewer cells or "lhs".')


def _check_end(who: str, design: str, n: int | None, stop: int) -> None:
    if design == "lhs" and n is not None and stop > n:
        raise InvalidInput(f"{who}.draw: asked for design points up to {stop}, the Latin hypercube has {n}.")


def _masks(levels: NDArray[np.uint8], hard: bool, zoom: Zoom | None, start: int, group: int) -> Masks:
    n_players = levels.shape[1] if zoom is None else zoom.grid[0] * zoom.grid[1]
    if hard:
        return Masks(on_numpy.pack(levels > 127), n_players, start=start, group=group, zoom=zoom)
    return Masks(levels, n_players, 8, start=start, group=group, zoom=zoom)


@dataclass(frozen=True, slots=True)
class SpaceFilling:
    """Space-filling points in the unit cube as masks, one row each (HSIC attribution, surrogate fits).

    Attributes
    ----------
    n_cells : int. Players, or coarse cells when `zoom` is given.
    design : "sobol" or "lhs".
    points : int or None. Number of points of a Latin hypercube ("lhs" only, which does not nest).
    seed : int, 0 <= seed < 2**64.
    hard : bool. Round to present or absent (p = 1/2), else levels 0..255.
    zoom : Zoom or None. How cells become a grid of players.
    """

    n_cells: int
    design: Design = "sobol"
    points: int | None = field(default=None, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    hard: bool = field(default=False, kw_only=True)
    zoom: Zoom | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check("SpaceFilling", self.n_cells, self.n_cells, self.design, self.points, self.seed)
        _check_zoom("SpaceFilling", self.n_cells, self.zoom)

    @property
    def n_players(self) -> int:
        """Players of a row."""
        return self.n_cells if self.zoom is None else self.zoom.grid[0] * self.zoom.grid[1]

    @property
    def group(self) -> int:
        """1."""
        return 1

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        check_rows("SpaceFilling", start, count, 1)
        _check_end("SpaceFilling", self.design, self.points, start + count)
        levels = points(self.design, self.n_cells, self.points, int(self.seed), start, count)
        return _masks(levels, self.hard, self.zoom, start, 1)


@dataclass(frozen=True, slots=True)
class PickFreeze:
    """Blocks of rows for Sobol indices: A, then (`first_order`) B, then C^(1) .. C^(c); C^(i) is A with cell i from B.

    A block is one design point: a point of a 2c-dimensional design gives A and B. Fields as in `SpaceFilling`;
    `first_order` adds the row B, which Jansen's total indices do not need.

    Source: Saltelli et al. 2010; Fel, Cadene et al. 2021 (Sobol attribution). Differs: scrambled, nested in rows.
    """

    n_cells: int
    design: Design = "sobol"
    points: int | None = field(default=None, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    hard: bool = field(default=False, kw_only=True)
    zoom: Zoom | None = field(default=None, kw_only=True)
    first_order: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check("PickFreeze", self.n_cells, 2 * self.n_cells, self.design, self.points, self.seed)
        _check_zoom("PickFreeze", self.n_cells, self.zoom)

    @property
    def n_players(self) -> int:
        """Players of a row."""
        return self.n_cells if self.zoom is None else self.zoom.grid[0] * self.zoom.grid[1]

    @property
    def group(self) -> int:
        """Rows of a block: cells + 1, one more with `first_order`."""
        return self.n_cells + 1 + int(self.first_order)

    def draw(self, start: int, count: int) -> Masks:
        """See `Sampler.draw`."""
        check_rows("PickFreeze", start, count, self.group)
        first, blocks, c = start // self.group, count // self.group, self.n_cells
        _check_end("PickFreeze", self.design, self.points, first + blocks)
        both = points(self.design, 2 * c, self.points, int(self.seed), first, blocks)
        a, b = both[:, None, :c], both[:, None, c:]
        swapped = np.where(np.eye(c, dtype=bool), b, a)
        parts: list[NDArray[Any]] = [a, b, swapped] if self.first_order else [a, swapped]
        return _masks(np.concatenate(parts, axis=1).reshape(count, c), self.hard, self.zoom, start, self.group)


def _check_zoom(who: str, n_cells: int, zoom: Zoom | None) -> None:
    if zoom is None:
        return
    check_grid(who, zoom.grid)
    if zoom.cells[0] * zoom.cells[1] != n_cells or zoom.shift is not None:
        raise InvalidInput(
            f"{who}: zoom of {zoom.cells} cells for {n_cells}; give cells that multiply to it, no shift."
        )
