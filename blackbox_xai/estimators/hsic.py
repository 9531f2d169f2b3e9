"""HSIC attribution: how strongly the value depends on a player's presence, of whatever form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..samplers.levels import LevelCoins
from .base import Estimate, Estimator, Floats, Problem, Session


@dataclass(frozen=True, slots=True)
class HSIC(Estimator):
    """Hilbert-Schmidt independence criterion between presence and value, less its mean under independence.

    Fair coins; the presence kernel is s s'/2 with s = +1 or -1, the output kernel a Gaussian of the median
    difference of the values (equality where these are two labels). Unsigned; about 0 without dependence,
    where it may turn out negative. Standard errors by the influence of each mask. Time grows with the
    square of the masks. Source: Novello, Fel, Vigouroux 2022. Differs: rank-one identity instead of Gram
    tensors, the null mean subtracted.
    """

    name: ClassVar[str] = "hsic"
    estimates: ClassVar[str] = "dependence of the value on presence (HSIC)"
    suits: ClassVar[str] = "tens of players; no sign"

    def minimum(self, p: Problem) -> int:
        """The endpoints and sixteen masks; all coalitions where these are fewer."""
        return int(min(2 ** min(p.n_players, 60), p.n_endpoints + 16))

    def exact(self, table: Floats) -> Floats:
        """The population's criterion from all values; (d, k)."""
        d = len(table).bit_length() - 1
        signs = np.where((np.arange(len(table))[:, None] >> np.arange(d)) & 1, 1.0, -1.0)
        return np.stack([_products(signs, y)[0].sum(axis=0) / (2 * len(y) ** 2) for y in table.T], axis=1)

    def _session(self, p: Problem) -> Session:
        return _Depending(p, LevelCoins(p.n_players, p.seed, 0.5), name=self.name)


def _products(signs: Floats, y: Floats) -> tuple[Floats, Floats]:
    """s_a (L s)_a for every mask and player, (m, d), with centred signs, and the mean kernel of each mask,
    (m,).
    """
    few = y[np.linspace(0, len(y) - 1, min(len(y), 1500)).astype(int)]
    gap = np.abs(few[:, None] - few[None])
    gap = gap[gap > 1e-12 * max(float(np.abs(y).max()), 1e-300)]
    width = float(np.median(gap)) if len(gap) else 1.0
    labels = len(np.unique(few)) <= 2
    s = signs - signs.mean(axis=0)
    out, mean = np.empty_like(s), np.empty(len(y))
    for at in range(0, len(y), 512):
        part = slice(at, at + 512)
        difference = (y[part, None] - y[None]) / width
        kernel = (np.abs(difference) < 1e-9) * 1.0 if labels else np.exp(-0.5 * difference**2)
        out[part] = s[part] * (kernel @ s)
        mean[part] = kernel.mean(axis=1)
    return out, mean


class _Depending(Session):
    def _enough(self) -> bool:
        return self.told >= 8

    def _solve(self, base: Floats, full: Floats, values: Floats) -> Estimate:
        m = self.told
        signs = np.where(self.sampler.draw(0, m).dense(), 1.0, -1.0)
        phi, error = np.empty((2, signs.shape[1], values.shape[1]))
        for j, y in enumerate(values.T):
            product, mean = _products(signs, y)
            null = (1 - mean.mean()) / (2 * m)  # the diagonal alone, which independence leaves
            phi[:, j] = product.sum(axis=0) / (2 * (m - 1) ** 2) - null
            error[:, j] = product.std(axis=0) / m / np.sqrt(m)
        return self._estimate(base, full, phi, error, masks=m)
