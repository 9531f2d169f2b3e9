"""A small network on coalitions, fitted to the answers, whose Shapley values are known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """g(z) = constant + linear.u + sum_h out_h tanh(into_h.u + shift_h), u = 2z - 1.

    Attributes: `into` (h, d), `shift` (h,), `out` (h,), `linear` (d,), `constant`; `packed`: the same as
    the flat vector of the fit, for a warm start.
    """

    into: Floats
    shift: Floats
    out: Floats
    linear: Floats
    constant: float
    packed: Floats

    def predict(self, z: Bools) -> Floats:
        """Values of coalitions (m, d) -> (m,)."""
        u = np.where(z, 1.0, -1.0)
        return np.asarray(np.tanh(u @ self.into.T + self.shift) @ self.out + u @ self.linear + self.constant)

    def shapley(self) -> Floats:
        """Shapley values (d,), to about 1e-4 of each unit's size or better.

        A unit is a function of one weighted sum s of the players. Expanded in cosines over the range of s,
        its mean over coins of level a is a product over the players of 1 - a + a e^(i w c); the difference
        that a player makes, integrated over a by Gauss-Legendre, is its Shapley value. Cost: O(units
        cosines nodes d).
        """
        phi = 2 * self.linear
        for weight, shift, out in zip(2 * self.into, self.shift - self.into.sum(axis=1), self.out):
            phi = phi + out * _unit(weight, float(shift))
        return np.asarray(phi)


def _unit(weight: Floats, shift: float) -> Floats:
    """Shapley values of tanh(weight.z + shift)."""
    from scipy.fft import dct

    d = len(weight)
    low, high = shift + np.minimum(weight, 0).sum(), shift + np.maximum(weight, 0).sum()
    span = high - low
    if span < 1e-9:
        return np.zeros(d)
    cosines = int(min(96 + 8 * span, 400))
    samples = 2 * cosines
    at = low + span * (np.arange(samples) + 0.5) / samples
    amplitude = dct(np.tanh(at), type=2)[:cosines] / samples
    amplitude[0] /= 2
    frequency = np.pi * np.arange(cosines) / span
    turn = np.exp(1j * frequency[:, None] * weight)
    nodes, mass = np.polynomial.legendre.leggauss(min(2 * ((d + 3) // 4) + 2, 24))  # even: never at 1/2
    start = amplitude * np.exp(1j * frequency * (shift - low))
    phi = np.zeros(d)
    for a, m in zip((nodes + 1) / 2, mass / 2):
        factor = 1 - a + a * turn
        whole = start * factor.prod(axis=1) * m
        phi += np.real(whole @ ((turn - 1) / factor))
    return phi


def fit_network(
    z: Bools, f: Floats, *, units: int = 4, penalty: float = 1e-3, steps: int = 150, start: Floats | None = None
) -> Network:
    """Least squares with a ridge on all weights, by L-BFGS from a fixed random start around the linear fit.

    Parameters
    ----------
    z : bool (m, d). Coalitions.
    f : float64 (m,). Their values; standardised inside.
    units, steps : int. Hidden units; iterations.
    penalty : float. Ridge, relative to mean squared values of 1.
    start : a former fit's `packed`, or None.

    Cost: O(steps m d units).
    """
    from scipy.optimize import minimize

    m, d = z.shape
    u = np.where(z, 1.0, -1.0)
    centre, size = float(f.mean()), float(f.std()) or 1.0
    y = (f - centre) / size
    if start is None:
        rng = np.random.default_rng(0)
        slope = np.linalg.solve(u.T @ u + (0.1 + 1e-3 * m) * np.eye(d), u.T @ y)
        into = rng.normal(size=(units, d)) * 0.5 / np.sqrt(d) + slope * rng.choice([0.5, 1.0, 1.5], (units, 1))
        start = np.concatenate(
            [into.ravel(), 0.5 * rng.normal(size=units), np.full(units, 1.5 / units), np.zeros(d + 1)]
        )
    cut = np.cumsum([units * d, units, units, d])

    def loss(theta: Floats) -> tuple[float, Floats]:
        into, shift, out, linear, constant = np.split(theta, cut)
        into = into.reshape(units, d)
        hidden = np.tanh(u @ into.T + shift)
        gap = hidden @ out + u @ linear + constant[0] - y
        value = 0.5 * (gap @ gap) / m + 0.5 * penalty * ((into**2).sum() + (out**2).sum() + (linear**2).sum())
        back = (gap[:, None] * out) * (1 - hidden**2) / m
        slopes = [
            (back.T @ u + penalty * into).ravel(),
            back.sum(axis=0),
            hidden.T @ gap / m + penalty * out,
            u.T @ gap / m + penalty * linear,
            [gap.mean()],
        ]
        return float(value), np.concatenate(slopes)

    theta = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": steps}).x
    into, shift, out, linear, constant = np.split(theta, cut)
    return Network(into.reshape(units, d), shift, size * out, size * linear, centre + size * float(constant[0]), theta)
