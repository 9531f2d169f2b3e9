"""RISE: random masks, and how the value changes with a player's presence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .. import exact
from ..errors import InvalidInput
from ..samplers.grids import RiseGrids
from ..samplers.levels import LevelCoins
from .base import Estimate, Estimator, Floats, Problem, Session


@dataclass(frozen=True, slots=True)
class RISE(Estimator):
    """Mean effect of a player's presence under independent coins.

    Attributes
    ----------
    keep : float, 0 < keep < 1. Probability that a player is present.
    form : "centred", the regression slope of the value on the player's presence, E[f | present] - E[f |
        absent], which is the Banzhaf value at `keep`; "coverage", sum f m / sum m; "official", sum f m / (N
        keep). The last two estimate E[f | present] and carry the common offset of f.

    cells : int. On the pixels of an image: coarse cells a side, upsampled bilinearly after a random shift.

    Cost: one coalition a mask, and the endpoints. Standard errors: of the slope, or of the mean.
    Source: Petsiuk, Das, Saenko 2018. Differs: the centred form is the default.
    """

    keep: float = 0.5
    cells: int = 7
    form: Literal["centred", "coverage", "official"] = "centred"
    name: ClassVar[str] = "rise"
    on_grid: ClassVar[bool] = True
    estimates: ClassVar[str] = "mean effect of presence under independent coins"
    suits: ClassVar[str] = "image cells and other players whose absence is local"

    def minimum(self, p: Problem) -> int:
        """The endpoints and eight masks; all coalitions where these are fewer."""
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + 8))

    def exact(self, table: Floats) -> Floats:
        """Banzhaf values at `keep` (centred), or E[f | present]; (d, k)."""
        return exact.coins(table, self.keep, effect=self.form == "centred")

    def _session(self, p: Problem) -> Session:
        if not 0 < self.keep < 1:
            raise InvalidInput(f"rise: keep must be between 0 and 1, got {self.keep}.")
        if self.form not in ("centred", "coverage", "official"):
            raise InvalidInput(f"rise: form {self.form!r} is unknown; use centred, coverage or official.")
        if p.grid is not None:
            cells = (min(self.cells, p.grid[0]), min(self.cells, p.grid[1]))
            return _OnGrid(p, RiseGrids(p.grid, cells, p=self.keep, seed=p.seed, smooth=p.soft, device=p.device), self)
        return _Masking(p, LevelCoins(p.n_players, p.seed, self.keep), self)


class _Masking(Session):
    def __init__(self, problem: Problem, sampler: LevelCoins, method: RISE) -> None:
        super().__init__(problem, sampler, name=method.name)
        self._method = method

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, m, keep = self.problem.n_players, self.told, self._method.keep
        form = self._method.form
        y = values - values.mean(axis=0) if form == "centred" else values
        shift = keep if form == "centred" else 0.0
        cross, square = np.zeros((n, len(full))), np.zeros((n, len(full)))
        own, heavy = np.zeros((n, 1)), np.zeros((n, len(full)))
        fourth = np.zeros((n, 1))
        for at in range(0, m, 8192):
            z = self.sampler.draw(at, min(8192, m - at)).dense() - shift
            part = y[at : at + len(z)]
            cross += z.T @ part
            own += (z**2).sum(axis=0)[:, None]
            square += (z**2).T @ part**2
            heavy += (z**3).T @ part
            fourth += (z**4).sum(axis=0)[:, None]
        if form == "official":
            phi = cross / (m * keep)
            error = np.sqrt(np.maximum(square / keep**2 / m - phi**2, 0) / max(m - 1, 1))
        else:
            # slope of y on z (for 0/1 columns without shift: the mean of y where present), robust error
            phi = cross / np.maximum(own, 1e-300)
            scatter = square - 2 * phi * heavy + phi**2 * fourth  # sum z^2 (y - phi z)^2
            error = np.sqrt(np.maximum(scatter, 0) * m / max(m - 2, 1)) / np.maximum(own, 1e-300)
        return self._estimate(base, full, phi, error, masks=m)


class _OnGrid(Session):
    """Pixels, through the soft upsampled masks of a coarse grid; sums go over packed masks."""

    def __init__(self, problem: Problem, sampler: RiseGrids, method: RISE) -> None:
        super().__init__(problem, sampler, name=method.name)
        self._method = method

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        m, keep, form = self.told, self._method.keep, self._method.form
        masks, one = self.sampler.draw(0, m), np.ones(m)
        if form == "centred":
            y = values - values.mean(axis=0)
            sums, squares = masks.accumulate(one, y, centre=np.full(m, keep))
            _, weight = masks.accumulate(one, one, centre=np.full(m, keep))
        else:
            sums, squares = masks.accumulate(one, values)
            weight, _ = masks.accumulate(one, one)
            if form == "official":
                weight = np.full(len(weight), m * keep)
        safe = np.maximum(weight, 1e-12)[:, None]
        phi = sums / safe
        # each term of the sum as it is, for the mean; for slopes the residual is at most the centred value
        spread = squares if form == "centred" else np.maximum(squares - sums**2 / m, 0)
        error = np.sqrt(spread * m / max(m - 1, 1)) / safe
        return self._estimate(base, full, phi, error, masks=m)
