"""Odd Gaussian-process regression with learned parts, mixed with sparse and plain regression and, in `auto`, with a
process on log-odds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..samplers.sizes import Law, law_of_sizes
from .base import Estimate, Estimator, Floats, Problem, Session
from .boosting import fit_trees
from .interactions import Interactions, pair_interactions
from .linked import fit_linked, is_probability
from .odd_process import Additive, Kernel, Products, Terms, fit_process
from .one_thread import one_thread
from .paired import PairedSession, Pairs, jackknife, regress, sandwich
from .relevance import Exponential, learn
from .sparse import fit_sparse, largest
from .stacking import Candidate, combine

MOST_PAIRS = 2600  # above, sparse and plain regression alone
SPARSE_FROM = 4  # pairs a player from which sparse regression is a candidate
FEW_PAIRS = 8  # below, plain regression
TOLERANCE = 1e-5  # of the solves, relative to the values: the least standard error
MOST_FITS = 8  # outputs; above, that many directions among them


@dataclass(frozen=True, slots=True)
class OddGP(Estimator):
    """Shapley values from a Gaussian process on the odd part of the game, fitted to complement pairs.

    The prior sums main effects, products of players by learned strengths (one a player, shared with the even
    part of the game), and interactions that boosted trees find in the answers; marginal likelihood weighs
    them, and Shapley values are read off exactly. Mixed with sparse and plain regression by the errors on
    pairs left out. Values sum to full - base. Consistent, not unbiased. Standard errors: posterior, widened
    where the left-out residuals or the other estimates ask for it. Above eight outputs the eight main
    directions among them are fitted so and the rest is regressed; below eight pairs plain regression.

    Attributes
    ----------
    law : wanted shares of the coalition sizes, as in `KernelSHAP`.
    linked : bool. Also a process on log-odds where all values lie in 0..1.
    interactions : as in `Auto`.

    Cost: 2 + 2P coalitions; O(P**3) time, above 2600 pairs O(P**3 / 6) by sparse regression alone.
    Source: odd Walsh regression (Fumagalli et al. 2026, OddSHAP), with a prior over all sets instead of a
    few.
    """

    law: Law = "leverage"
    linked: bool = False
    interactions: Interactions = False
    name: ClassVar[str] = "oddgp"
    estimates: ClassVar[str] = "Shapley values"
    suits: ClassVar[str] = "any players, up to a few hundred, when a query costs more than a millisecond"

    def _session(self, p: Problem) -> Session:
        law_of_sizes(2, self.law)
        return OddSession(p, self.law, self.name, self.linked, self.interactions)


class OddSession(PairedSession):
    """Session of `OddGP` and `Auto`."""

    def __init__(self, problem: Problem, law: Law, name: str, linked: bool, interactions: Interactions = False) -> None:
        super().__init__(problem, law, name)
        self._linked, self._interactions = linked, interactions

    def _solve_pairs(self, p: Pairs) -> Estimate:
        pairs = pair_interactions(p, self._interactions) if self._interactions else None
        if len(p.z) < FEW_PAIRS or p.z.shape[1] < 3:
            values, error = _plain(p)
            shown = error if np.all(np.isfinite(error)) else None
            told: dict[str, Any] = {"solved": "regression", "pairs": len(p.z)}
        else:
            with one_thread():
                values, variance, shares = _fit_outputs(p, self._linked)
            shown = np.sqrt(variance + self._end_variance())
            told = {"solved": "odd process", "pairs": len(p.z), "shares": shares}
        if pairs is not None and self._interactions == "faithful":
            place = np.arange(len(values))
            pairs[place, place] = values - pairs.sum(axis=1) / 2
        return self._estimate(p.base, p.full, values, shown, pairs, **told)


def _plain(p: Pairs) -> tuple[Floats, Floats]:
    """Shapley values and standard errors of the plain regression, (d, k)."""
    fit = regress(p)
    return fit.phi, jackknife(p) if len(p.z) < 2 * p.z.shape[1] else sandwich(p, fit)


def _fit_outputs(p: Pairs, linked: bool) -> tuple[Floats, Floats, list[dict[str, float]]]:
    """Shapley values and variances (d, k), and each fit's shares.

    Above eight outputs, the eight directions in which they vary most are fitted and the rest is regressed:
    Shapley values are linear in the game.
    """
    outputs = p.odd.shape[1]
    if outputs <= MOST_FITS:
        parts = [fit_odd(p, j, linked=linked) for j in range(outputs)]
        values = np.stack([phi for phi, _, _ in parts], axis=1)
        return values, np.stack([v for _, v, _ in parts], axis=1), [told for _, _, told in parts]
    turn = np.linalg.svd(p.odd, full_matrices=False)[2][:MOST_FITS].T
    phi, variance, shares = _fit_outputs(_turned(p, turn), False)
    rest = _turned(p, np.eye(outputs) - turn @ turn.T)
    left, error = _plain(rest)
    error = np.where(np.isfinite(error), error, 0.0)
    phi = phi @ turn.T + left
    return phi + (p.total - phi.sum(axis=0)) / len(phi), variance @ turn.T**2 + error**2, shares


def _turned(p: Pairs, turn: Floats) -> Pairs:
    """The pairs with new outputs, linear in the old: `turn` (k, k')."""
    return replace(p, odd=p.odd @ turn, even=p.even @ turn, base=p.base @ turn, full=p.full @ turn)


def fit_odd(p: Pairs, column: int, *, linked: bool) -> tuple[Floats, Floats, dict[str, float]]:
    """One output: Shapley values (d,), their variances (d,), and the shares of what they are made of."""
    n = p.z.shape[1]
    odd, even, total = p.odd[:, column], p.even[:, column], float(p.total[column])
    size = max(float(np.abs(odd).max()), abs(total))
    # differences at the level of rounding of the values themselves are a constant game
    level = max(float(np.abs(p.full[column])), float(np.abs(p.base[column])), float(np.abs(even).max()))
    if size <= 1e-14 * level:
        return np.full(n, total / n), np.zeros(n), {}
    centre = even.mean()
    raw = _column(p, column)
    own = replace(
        raw, odd=raw.odd / size, even=(raw.even - centre) / size, base=(raw.base - centre) / size,
        full=(raw.full - centre) / size,
    )  # fmt: skip
    plain = regress(own)
    found: list[Candidate] = []
    seen = np.unique(np.round(np.concatenate([odd + even, even - odd]) / size, 9))
    label = len(seen) == 2  # few of its pairs differ, so that a sparse fit is exact by chance
    if len(odd) >= SPARSE_FROM * n and not (label and len(odd) <= MOST_PAIRS):
        sparse = fit_sparse(own, plain.phi[:, 0])
        if float(own.weight @ sparse.left_out**2) < 1e-16 * float(own.weight @ own.odd[:, 0] ** 2):
            return size * sparse.phi, size**2 * sparse.variance, {sparse.name: 1.0}
        found.append(sparse)
    moved = plain.operator[0] ** 2 * p.weight  # variance of phi by the squared errors on pairs left out
    few = 1 + n / len(odd)
    if len(odd) <= MOST_PAIRS:
        found.append(_process(own, plain.phi[:, 0]))
        if linked and is_probability(raw):
            phi, left = (v / size for v in fit_linked(raw))
            found.append(Candidate("log-odds", phi, few * (moved @ left**2), left))
    if plain.rank == n - 1 or not found:
        left = plain.residual[:, 0] / np.maximum(1 - plain.leverage[:, 0], 1e-12)
        found.append(Candidate("regression", plain.phi[:, 0], sandwich(own, plain)[:, 0] ** 2, left))
    phi, variance, shares = combine(found, p.weight)
    left_out = sum((shares[c.name] * c.left_out for c in found), np.zeros(len(odd)))
    variance = np.maximum(variance, moved @ left_out**2)
    if label:
        # a label: a good classifier errs on no pair or on few, which says little; one more such pair counts
        jump = (seen[1] - seen[0]) / 2
        effective = p.weight.sum() ** 2 / (p.weight**2).sum()
        variance = np.maximum(variance, found[-1].variance) + moved.sum(axis=1) * jump**2 / effective
    return size * phi, size**2 * variance + (TOLERANCE * size) ** 2, shares


def _process(p: Pairs, first: Floats) -> Candidate:
    """The odd process of one output, with strengths learned and terms screened."""
    n, total = p.z.shape[1], float(p.total[0])
    u = np.concatenate([np.ones((1, n)), p.signs])
    y = np.append(total / 2, p.odd[:, 0])
    even = np.append((p.full[0] + p.base[0]) / 2, p.even[:, 0])
    noise = np.append(0.0, 1 / p.weight)
    strength = learn(u, y, even, noise / noise[1:].mean(), first).strength
    parts = _parts(p, u, strength, first)
    fit = fit_process(list(parts.values()), u, y, p.weight)
    assert fit.variance is not None
    assert fit.left_out is not None
    wider = _left_out_ratio(p, u, y, strength, first, parts, fit.scales)
    few = 1 + n / len(p.z)  # the ratio itself is an estimate, and too low where pairs are few
    return Candidate(
        "process", fit.phi + (total - fit.phi.sum()) / n, max(wider, 1.0) * few * fit.variance, fit.left_out
    )


def _column(p: Pairs, column: int) -> Pairs:
    """The pairs with one output only."""
    j = slice(column, column + 1)
    return Pairs(p.z, p.size, p.odd[:, j], p.even[:, j], p.weight, p.included, p.base[j], p.full[j])


def _left_out_ratio(
    p: Pairs, u: Floats, y: Floats, strength: Floats, phi: Floats, parts: dict[str, Kernel], scales: Floats
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
        again = _parts(part, u[rows], strength, phi)
        c, cross, own = np.zeros((len(rows), len(rows))), np.zeros((len(out), len(rows))), np.zeros(len(out))
        for name, scale in zip(parts, scales):
            if name in again:
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


def _parts(p: Pairs, u: Floats, strength: Floats, phi: Floats) -> dict[str, Kernel]:
    """The kernels: main effects, products of players by their strengths, and interactions
    screened by boosted trees.

    Trees see the pairs' odd residuals, and the values themselves less the main effects: a set that
    interacts shows in both. Their largest terms enter in nested groups, so that few strong sets are not
    drowned by many weak ones.
    """
    n, pairs, odd, even = p.z.shape[1], len(p.z), p.odd[:, 0], p.even[:, 0]
    parts: dict[str, Kernel] = {
        "main": Additive(np.full(n, 1 / n)),
        "main, by strength": Additive(strength / strength.sum()),
        "by strength": Exponential(strength),
        "triples": Products(np.ones(n), 3),
    }
    rest = odd - u[1:] @ phi / 2
    both = np.concatenate([p.z, ~p.z])
    for name, y in (("odd", np.concatenate([rest, -rest])), ("all", np.concatenate([rest + even, even - rest]))):
        trees = fit_trees(both, y, rounds=120, leaves=8, depth=4, rate=0.1, smallest=2)
        sets, coefficient = trees.odd_terms(n)
        share = np.abs(coefficient)
        order = largest(share, 1000)
        for divisor in (8, 3, 1.2):
            top = order[: min(max(10, int(pairs / divisor)), 1000)]
            if len(top):
                parts[f"terms, {name}, 1/{divisor}"] = Terms(sets[top], share[top] / share[top].sum())
    return parts
