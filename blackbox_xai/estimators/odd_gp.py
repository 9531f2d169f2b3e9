"""Odd Gaussian-process regression with learned parts: screened interactions and, in `auto`, small
networks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..samplers.sizes import Law, law_of_sizes
from .base import Estimate, Estimator, Floats, Problem, Session
from .boosting import fit_trees
from .interactions import pair_interactions
from .network import fit_network
from .odd_process import Additive, Kernel, Learned, Products, Terms, fit_process
from .paired import PairedSession, Pairs, jackknife, regress, sandwich
from .sparse import fit_sparse

MOST_PAIRS = 1000  # above, sparse regression alone where pairs are many a player
SPARSE_FROM = 4  # pairs a player from which sparse regression is a candidate
FEW_PAIRS = 8  # below, plain regression


@dataclass(frozen=True, slots=True)
class OddGP(Estimator):
    """Shapley values from a Gaussian process on the odd part of the game, fitted to complement pairs.

    The prior sums main effects, products of three and five players weighted by first estimates, and
    interactions that boosted trees find in the answers; marginal likelihood weighs them, and Shapley values
    are read off exactly. Values sum to full - base. Standard errors: posterior, widened where the left-out
    residuals ask for it. Consistent, not unbiased. Plain regression for more than eight outputs and below
    eight pairs.

    Attributes
    ----------
    law : wanted shares of the coalition sizes, as in `KernelSHAP`.
    networks : bool. Also a small network, fitted to the answers and used by its predictions on pairs left
        out.

    Cost: 2 + 2P coalitions; O(P**3) time, above 1000 pairs and 8n of them O(P**3 / 6) by sparse regression.
    Source: odd Walsh regression (Fumagalli et al. 2026, OddSHAP), with a prior over all sets instead of a
    few.
    """

    law: Law = "leverage"
    networks: bool = False
    interactions: bool = False
    name: ClassVar[str] = "oddgp"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "any players, up to a few hundred, when a query costs more than a millisecond"

    def _session(self, p: Problem) -> Session:
        law_of_sizes(2, self.law)
        return OddSession(p, self.law, self.name, self.networks, self.interactions)


class OddSession(PairedSession):
    """Session of `OddGP` and `Auto`."""

    def __init__(self, problem: Problem, law: Law, name: str, networks: bool, interactions: bool = False) -> None:
        super().__init__(problem, law, name)
        self._networks, self._interactions = networks, interactions

    def _solve_pairs(self, p: Pairs) -> Estimate:
        outputs = p.odd.shape[1]
        if outputs > 8 or len(p.z) < FEW_PAIRS or p.z.shape[1] < 3:
            fit = regress(p)
            error = jackknife(p) if len(p.z) < 2 * p.z.shape[1] else sandwich(p, fit)
            shown = error if np.all(np.isfinite(error)) else None
            pairs = pair_interactions(p) if self._interactions else None
            return self._estimate(p.base, p.full, fit.phi, shown, pairs, solved="regression", pairs=len(p.z))
        import scipy.linalg
        import scipy.optimize  # noqa: F401 - before the limit: it binds only the libraries that are loaded by then
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            parts = [fit_odd(p, j, networks=self._networks) for j in range(outputs)]
        values = np.stack([phi for phi, _, _ in parts], axis=1)
        error = np.sqrt(np.stack([v for _, v, _ in parts], axis=1) + self._end_variance())
        told: dict[str, Any] = {"solved": "odd process", "pairs": len(p.z), "scales": [d for _, _, d in parts]}
        pairs = pair_interactions(p) if self._interactions else None
        return self._estimate(p.base, p.full, values, error, pairs, **told)


def fit_odd(p: Pairs, column: int, *, networks: bool) -> tuple[Floats, Floats, dict[str, float]]:
    """One output: Shapley values (d,), their variances (d,), and the scales of the parts by name."""
    n = p.z.shape[1]
    odd, even, total = p.odd[:, column], p.even[:, column], float(p.total[column])
    size = max(float(np.abs(odd).max()), abs(total))
    # differences at the level of rounding of the values themselves are a constant game
    level = max(float(np.abs(p.full[column])), float(np.abs(p.base[column])), float(np.abs(even).max()))
    if size <= 1e-14 * level:
        return np.full(n, total / n), np.zeros(n), {}
    odd, even, total = odd / size, (even - even.mean()) / size, total / size
    u = np.concatenate([np.ones((1, n)), p.signs])
    y = np.append(total / 2, odd)
    own = replace(_column(p, column), odd=odd[:, None], even=even[:, None], base=p.base[:1] * 0, full=np.array([total]))
    learned = None
    if networks and len(odd) >= 2 * n and 2 * len(odd) * n <= 200_000:
        ends = [(v[column] - p.even[:, column].mean()) / size for v in (p.full, p.base)]
        learned = _network(p, odd, even, ends)
    sparse = fit_sparse(own, learned) if len(odd) >= SPARSE_FROM * n else None
    if sparse is not None and (len(odd) > MOST_PAIRS or sparse.left_out < 1e-16 * (p.weight @ odd**2)):
        return size * sparse.phi, size**2 * sparse.variance, {"sparse": 1.0, "columns": sparse.columns}
    u = np.concatenate([np.ones((1, n)), p.signs])
    y = np.append(total / 2, odd)
    first = fit_process([Additive(np.full(n, 1 / n))], u, y, p.weight, variance=False)
    parts = _parts(p, u, odd, even, first.phi)
    if learned is not None:
        parts["network"] = learned
    fit = fit_process(list(parts.values()), u, y, p.weight)
    assert fit.variance is not None
    if fit.left_out is not None:  # keep what predicts pairs left out better
        error = float(p.weight @ fit.left_out**2)
        plain = regress(own)
        if plain.rank == n - 1:
            left = plain.residual[:, 0] / np.maximum(1 - plain.leverage[:, 0], 1e-12)
            if p.weight @ left**2 <= error:
                return size * plain.phi[:, 0], size**2 * sandwich(own, plain)[:, 0] ** 2, {"regression": 1.0}
        if sparse is not None and sparse.left_out < error:
            return size * sparse.phi, size**2 * sparse.variance, {"sparse": 1.0, "columns": sparse.columns}
    wider = _left_out_ratio(p, u, y, even, first.phi, parts, fit.scales)
    phi = fit.phi + (total - fit.phi.sum()) / n
    named = {name: float(s) for name, s in zip([*parts, "noise"], fit.scales)}
    few = 1 + n / len(odd)  # the ratio itself is an estimate, and too low where pairs are few
    return size * phi, size**2 * max(wider, 1.0) * few * fit.variance, named


def _column(p: Pairs, column: int) -> Pairs:
    """The pairs with one output only."""
    j = slice(column, column + 1)
    return Pairs(p.z, p.size, p.odd[:, j], p.even[:, j], p.weight, p.included, p.base[j], p.full[j])


def _left_out_ratio(
    p: Pairs, u: Floats, y: Floats, even: Floats, phi: Floats, parts: dict[str, Kernel], scales: Floats
) -> float:
    """Squared errors on pairs left out over what the posterior expects of them; screening is redone without
    the pairs.

    The screened terms have seen the answers they are fitted to, so the posterior alone is too sure of itself.
    """
    pairs, most = len(y) - 1, 600
    folds = 3 if pairs <= most else 5
    fold = np.where(np.arange(pairs) < most, np.arange(pairs) % folds, -1)
    ratio = []
    for k in range(folds if pairs <= most else 1):
        inside = (fold != k) & (fold >= 0)
        rows = np.flatnonzero(np.append(True, inside))
        out = np.flatnonzero(fold == k) + 1
        part = Pairs(
            p.z[inside],
            p.size[inside],
            p.odd[inside],
            p.even[inside],
            p.weight[inside],
            p.included[inside],
            p.base,
            p.full,
        )
        again = _parts(part, u[rows], y[rows][1:], even[inside], phi)
        known = parts.get("network")
        c, cross, own = np.zeros((len(rows), len(rows))), np.zeros((len(out), len(rows))), np.zeros(len(out))
        for name, scale in zip(parts, scales):
            if isinstance(known, Learned) and name == "network":
                g = known.values
                c += scale * np.outer(g[rows], g[rows])
                cross += scale * np.outer(g[out], g[rows])
                own += scale * g[out] ** 2
            elif name in again:
                c += scale * again[name].gram(u[rows], u[rows])
                cross += scale * again[name].gram(u[out], u[rows])
                own += scale * again[name].gram(u[:1], u[:1])[0, 0]
        noise = np.append(0.0, 1 / p.weight)
        noise *= scales[-1] / (1 / p.weight).mean()
        c[np.diag_indices(len(c))] += noise[rows] + 1e-8
        inverse = np.linalg.inv(c)
        level = float(y[rows] @ inverse @ y[rows]) / len(rows)
        error = y[out] - cross @ inverse @ y[rows]
        expected = own - np.einsum("ab,ab->a", cross @ inverse, cross) + noise[out] + 1e-8
        # a pair's share in the answer goes with its weight
        ratio.append((p.weight[out - 1] @ error**2) / (p.weight[out - 1] @ expected) / max(level, 1e-300))
    return float(np.mean(ratio))


def _parts(p: Pairs, u: Floats, odd: Floats, even: Floats, phi: Floats) -> dict[str, Kernel]:
    """The kernels but the network: main effects, weighted products, interactions screened by boosted trees.

    Trees see the pairs' odd residuals, and the values themselves less the main effects: a set that
    interacts shows in both. Their largest terms enter in nested groups, so that few strong sets are not
    drowned by many weak ones.
    """
    n, pairs = p.z.shape[1], len(odd)
    weight = np.abs(phi)
    weight = weight / max(float(weight.mean()), 1e-300) + 0.1
    weight /= weight.mean()
    parts: dict[str, Kernel] = {
        "main": Additive(np.full(n, 1 / n)),
        "main, weighted": Additive(weight / weight.sum()),
        "triples, weighted": Products(weight, 3),
        "triples": Products(np.ones(n), 3),
    }
    if n >= 5:
        parts["fives, weighted"] = Products(weight, 5)
    rest = odd - u[1:] @ phi / 2
    both = np.concatenate([p.z, ~p.z])
    for name, y in (("odd", np.concatenate([rest, -rest])), ("all", np.concatenate([rest + even, even - rest]))):
        trees = fit_trees(both, y, rounds=120, leaves=8, depth=4, rate=0.1, smallest=2)
        sets, coefficient = trees.odd_terms(n)
        share = np.abs(coefficient)
        order = np.argsort(-share, kind="stable")
        order = order[share[order] > 0]
        for divisor in (8, 3, 1.2):
            top = order[: min(max(10, int(pairs / divisor)), 1000)]
            if len(top):
                parts[f"terms, {name}, 1/{divisor}"] = Terms(sets[top], share[top] / share[top].sum())
    return parts


def _network(p: Pairs, odd: Floats, even: Floats, ends: list[Floats], folds: int = 4) -> Learned:
    """A network's odd part at each pair from a fit without that pair, and its Shapley values from the fit
    to all.
    """
    n, pairs = p.z.shape[1], len(odd)
    z = np.concatenate([p.z, ~p.z, np.ones((1, n), bool), np.zeros((1, n), bool)])
    f = np.concatenate([even + odd, even - odd, ends])
    whole = fit_network(z, f, steps=120)
    top = whole.predict(z[-2:])
    values = np.append((top[0] - top[1]) / 2, np.zeros(pairs))
    fold, phi = np.arange(pairs) % folds, []
    for k in range(folds):
        inside = np.concatenate([fold != k, fold != k, [True, True]])
        part = fit_network(z[inside], f[inside], steps=80)  # not from `whole`, which has seen the rest
        values[1:][fold == k] = (part.predict(p.z[fold == k]) - part.predict(~p.z[fold == k])) / 2
        phi.append(part.shapley())
    jackknifed = (folds - 1) * np.var(phi, axis=0)
    return Learned(values, whole.shapley(), jackknifed)
