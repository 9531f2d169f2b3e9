"""Infidelity, fidelity correlations, sensitivity, Shapley error, agreement, stability, sparsity, sufficiency."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from blackbox_xai import explain
from blackbox_xai.errors import BudgetExhausted, InvalidInput
from blackbox_xai.metrics import (
    Evaluation,
    agreement,
    exact_shapley,
    fidelity,
    infidelity,
    max_sensitivity,
    mu_fidelity,
    pool,
    r_squared,
    sensitivity_n,
    shapley_error,
    sparsity,
    stability,
    sufficiency,
    summary,
)
from blackbox_xai.players import Columns, ImagePixels

RNG = np.random.default_rng(0)
W = RNG.normal(size=20)
X = RNG.normal(size=20) + 3
ZERO = np.zeros(20)


def linear(batch):
    return np.asarray(batch) @ W


def parts():
    return Columns(X, ZERO)


def test_infidelity_units_scale_and_sign():
    p = pool(linear, parts(), n=100, target=0)
    assert infidelity(p, W * X, units="output").value < 1e-20
    assert infidelity(p, W, units="gradient", difference=X).value < 1e-20
    assert infidelity(p, W, units="output").value > 0.1
    flipped = infidelity(p, -W * X, units="output")
    assert flipped.clipped
    assert flipped.normalised == 1
    nothing = infidelity(p, ZERO, units="output")
    assert nothing.scaled == pytest.approx(np.mean(p.drop**2))
    noisy = W * X + RNG.normal(size=20)
    one, seven = infidelity(p, noisy, units="output"), infidelity(p, 7 * noisy, units="output")
    assert one.scaled == pytest.approx(seven.scaled)
    assert 0 < one.normalised < 1
    with pytest.raises(InvalidInput, match="difference"):
        infidelity(p, W, units="gradient")


def test_fidelity_is_one_for_additive_games_and_zero_for_shuffled_maps():
    p = pool(linear, parts(), n=100, size=7, target=0)
    assert fidelity(p, W * X, kind="pearson") == pytest.approx(1)
    assert fidelity(p, -W * X, kind="pearson") == pytest.approx(-1)
    assert fidelity(p, W * X) == pytest.approx(1)
    shuffled = [fidelity(p, RNG.permutation(W * X), kind="pearson") for _ in range(300)]
    assert np.mean(shuffled) == pytest.approx(0, abs=0.06)
    assert np.std(shuffled) == pytest.approx(0.24, abs=0.05)
    assert r_squared(p, W * X) == pytest.approx(1)


def test_random_sizes_do_not_reward_the_uniform_map():
    worth = np.abs(W)
    p = pool(lambda b: np.asarray(b) @ worth, Columns(np.ones(20), ZERO), n=300, target=0)
    assert fidelity(p, np.ones(20), size_free=False, kind="pearson") > 0.6
    assert abs(fidelity(p, np.ones(20), kind="pearson")) < 1e-9
    assert fidelity(p, worth) > 0.95


def test_one_pool_serves_every_method_and_costs_n_plus_two():
    rows = []
    e = Evaluation(lambda b: rows.append(len(b)) or linear(b), parts(), target=0, budget=202)
    p = pool(e, None, n=200)
    assert sum(rows) == p.rows_sent == 202
    for _ in range(5):
        fidelity(p, RNG.normal(size=20))
        infidelity(p, RNG.normal(size=20), units="output")
    assert sum(rows) == 202
    with pytest.raises(BudgetExhausted):
        pool(linear, parts(), n=200, target=0, budget=201)


def test_mu_fidelity_on_a_grid_uses_cells():
    image = RNG.random((18, 18, 1)).astype(np.float32)
    weight = np.repeat(np.repeat(RNG.random((9, 9)), 2, 0), 2, 1)

    def model(batch):
        return (np.asarray(batch)[..., 0] * weight).sum(axis=(1, 2))

    pixels = ImagePixels(image, "black")
    assert mu_fidelity(model, pixels, image[..., 0] * weight, target=0) > 0.97
    p = pool(model, pixels, n=30, cells=9, probability=0.2, target=0)
    assert p.removed.shape == (30, 81)
    assert p.removed.mean() == pytest.approx(0.2, abs=4 * (0.16 / 2430) ** 0.5)
    np.testing.assert_allclose(sensitivity_n(linear, parts(), W * X, sizes=[1, 5, 10], n=40, target=0), 1)


def test_max_sensitivity():
    def constant(x, seed):
        return np.ones(20)

    def product(x, seed):
        return W * x

    assert max_sensitivity(constant, X).maximum == 0
    result = max_sensitivity(product, X, radius=0.1, n=4, seed=3)
    noise = [np.random.Generator(np.random.Philox(key=[3, j])).uniform(-0.1, 0.1, 20) for j in range(4)]
    expected = max(np.linalg.norm(W * e) for e in noise) / np.linalg.norm(W * X)
    assert result.maximum == pytest.approx(expected)
    assert result.floor == 0
    assert max_sensitivity(lambda x, s: 2 * product(x, s), X, radius=0.1, n=4, seed=3).maximum == pytest.approx(
        expected
    )
    assert max_sensitivity(lambda x, s: np.zeros(20), X).degenerate
    flips = max_sensitivity(product, X, n=6, choice=lambda x: int(x[0] > X[0]))
    assert flips.used + flips.dropped == 6
    assert flips.dropped > 0
    noisy = max_sensitivity(lambda x, s: W * x + np.random.default_rng(s).normal(size=20), X, n=5)
    assert noisy.floor > 5 * noisy.maximum  # equal seeds leave the noise out, fresh ones do not


def glove(batch):
    b = np.asarray(batch)
    return np.minimum(b[:, 0] + b[:, 1], b[:, 2])


def test_exact_shapley_and_errors():
    three = Columns(np.ones(3), np.zeros(3))
    truth = exact_shapley(glove, three, target=0, budget=8)
    np.testing.assert_allclose(truth, [1 / 6, 1 / 6, 2 / 3])
    perfect = shapley_error(truth, truth)
    assert (perfect.mse, perfect.relative, perfect.efficiency_gap) == (0, 0, 0)
    off = shapley_error(truth + np.array([0.1, 0, 0]), truth)
    assert off.mse == pytest.approx(0.01 / 3)
    assert off.relative == pytest.approx(0.01 / (truth @ truth))
    assert off.max_abs == pytest.approx(0.1)
    assert off.efficiency_gap == pytest.approx(0.1)
    attribution = explain(glove, np.ones(3), baseline=np.zeros(3), budget=8, target=0, method="kernelshap")
    assert shapley_error(attribution, truth).max_abs < 1e-12
    with pytest.raises(InvalidInput, match="too many"):
        exact_shapley(linear, parts())
    with pytest.raises(BudgetExhausted):
        exact_shapley(glove, three, budget=7)


def test_agreement():
    a = np.array([3.0, -2, 1, 0.5, 0.1])
    same, negated = agreement(a, a, k=3), agreement(a, -a, k=3)
    assert dataclasses.astuple(same) == pytest.approx((1,) * 8)
    assert (negated.cosine, negated.top_k, negated.sign, negated.signed_rank) == pytest.approx((-1, 1, 0, 0))
    assert np.isnan(agreement(a, np.ones(5)).spearman)
    assert agreement(a, a[[1, 0, 2, 3, 4]], k=2).rank == 0
    with pytest.raises(InvalidInput, match="same players"):
        agreement(a, a[:4])


def test_stability_sparsity_summary():
    same = stability([W, W, W])
    assert same.spearman == pytest.approx(1)
    assert same.relative_sd < 1e-15
    draws = [W + 0.1 * RNG.normal(size=20) for _ in range(200)]
    assert stability(draws[:20]).relative_sd == pytest.approx(0.1 * 20**0.5 / np.linalg.norm(W), rel=0.2)
    assert sparsity(np.eye(100)[0]).gini == pytest.approx(0.99)
    assert sparsity(np.ones(10)).gini == pytest.approx(0)
    assert sparsity([1, 2, 3, 4]).gini == pytest.approx(0.25)
    assert sparsity(np.ones(10)).entropy == pytest.approx(np.log(10))
    assert sparsity(np.ones(10)).effective_size == 9
    assert np.isnan(sparsity(np.zeros(4)).gini)
    s = summary([1.0, 3.0, None, float("nan")])
    assert (s.mean, s.count, s.failed) == (2, 2, 2)
    assert s.std_error == pytest.approx(1)


def test_sufficiency():
    result = sufficiency(glove, Columns(np.ones(3), np.zeros(3)), [0.5, 0.1, 0.9], k=[1, 2, 3], target=0, budget=8)
    assert result.alone.tolist() == [0, 1, 1]
    assert result.recovered.tolist() == [0, 1, 1]
    assert result.without.tolist() == [0, 0, 0]
    assert result.lost.tolist() == [1, 1, 1]
    with pytest.raises(InvalidInput, match=r"1\.\.3"):
        sufficiency(glove, Columns(np.ones(3), np.zeros(3)), [0.5, 0.1, 0.9], k=4)
