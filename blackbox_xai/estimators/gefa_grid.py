"""GEFA on the pixels of a grid: smooth masks, weighted means of the answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..samplers.coins import SmoothedCoins
from .base import Estimate, Floats, Problem, Session

WIDTH = 11 / 224  # of the masks' smoothing, in shorter sides: 11 px at 224


def session(p: Problem, variant: str, name: str) -> Session:
    """A session on ``p.grid``; `variant` "corrected" or "reference"."""
    assert p.grid is not None
    side = min(p.grid)
    sigma = float(np.clip(WIDTH * side, 1, max(1.0, side / 2)))
    if variant == "reference":
        published = SmoothedCoins(p.grid, sigma, seed=p.seed, levels="grid11", fixed_size=True, device=p.device)
        return _Published(p, published, name=name)
    return _Smooth(p, SmoothedCoins(p.grid, sigma, seed=p.seed, device=p.device), name=name)


def _chunks(s: Session) -> range:
    return range(0, s.told, 2 * max(1, (1 << 23) // s.problem.n_players))


class _Smooth(Session):
    """phi = E[pi (z - a) / sqrt(a (1 - a)) (y - D h)] + D kappa, over pairs; levels by the arcsine law.

    y is half the difference of a pair, h the share present less one half; kappa, the mean of the weight times h, is
    known from the law of the masks and added back. The estimand is smoothed: neighbours are switched together.
    """

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, pairs, total = self.problem.n_players, self.told // 2, full - base
        assert isinstance(self.sampler, SmoothedCoins)
        odd = (values[0::2] - values[1::2]) / 2
        first, second = np.zeros((2, n, len(full)))
        step = _chunks(self).step
        for at in _chunks(self):
            heads = self.sampler.draw(at, min(step, self.told - at)).heads()
            assert heads.alpha is not None
            a, share = heads.alpha, heads.sizes() / n
            rest = odd[at // 2 : at // 2 + len(a)] - total * (share - 0.5)[:, None]
            sums, squares = heads.accumulate(np.pi / np.sqrt(a * (1 - a)), rest, centre=a)
            first, second = first + sums, second + squares
        mean = first / pairs
        error = None
        if pairs > 1:
            error = np.sqrt(np.maximum(second / pairs - mean**2, 0) / (pairs - 1))
        assert self.problem.grid is not None
        known = coverage_weight(self.problem.grid, self.sampler.sigma)
        return self._estimate(base, full, mean + known[:, None] * total, error, pairs=pairs)


def coverage_weight(grid: tuple[int, int], sigma: float) -> Floats:
    """kappa (d,): the mean over arcsine levels of the weight of a pixel times the share of pixels present.

    It is the mean over the pixels j of the window of the integral over a of rho_ij(a), where rho is the correlation
    of two mask pixels whose fields correlate by exp(-r^2 / (4 sigma^2)).
    """
    from scipy.signal import fftconvolve
    from scipy.special import ndtri, owens_t

    latent = np.linspace(0, 1, 401)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    a = (nodes + 1) / 2
    t = ndtri(a)[:, None]
    both = a[:, None] - 2 * owens_t(t, np.sqrt((1 - latent) / (1 + latent)))  # both present, equal cuts
    rho = (weights / 2) @ ((both - a[:, None] ** 2) / (a * (1 - a))[:, None])
    reach = [min(side - 1, int(np.ceil(6 * sigma))) for side in grid]
    y, x = (np.arange(-r, r + 1) for r in reach)
    kernel = np.interp(np.exp(-(y[:, None] ** 2 + x**2) / (4 * sigma**2)), latent, rho)
    window: NDArray[np.float64] = fftconvolve(np.ones(grid), kernel, mode="full")
    inner = window[reach[0] : reach[0] + grid[0], reach[1] : reach[1] + grid[1]]
    return np.asarray(inner.ravel() / inner.size)


class _Published(Session):
    """The published estimator: weights z/a - (1 - z)/(1 - a) on values less beta (|z|/n - 1/2), not added back."""

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        n, pairs, step = self.problem.n_players, self.told // 2, _chunks(self).step
        draws = ((at, self.sampler.draw(at, min(step, self.told - at))) for at in _chunks(self))
        share = np.concatenate([m.sizes() for _, m in draws]) / n - 0.5
        centred = share - share.mean()
        spread = float((centred**2).mean())
        beta = centred @ values / len(share) / spread if spread > 0 else np.zeros(len(full))
        rest = values - share[:, None] * beta
        odd = (rest[0::2] - rest[1::2]) / 2  # the complement at level 1 - a has the opposite weight
        first, second = np.zeros((2, n, len(full)))
        for at in _chunks(self):
            heads = self.sampler.draw(at, min(step, self.told - at)).heads()
            assert heads.alpha is not None
            a = heads.alpha
            sums, squares = heads.accumulate(1 / (a * (1 - a)), odd[at // 2 : at // 2 + len(a)], centre=a)
            first, second = first + sums, second + squares
        mean = first / pairs
        error = np.sqrt(np.maximum(second / pairs - mean**2, 0) / (pairs - 1)) if pairs > 1 else None
        return self._estimate(base, full, mean, error, pairs=pairs)
