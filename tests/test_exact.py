"""Ground truth against itself, against enumeration of orders, and against shap."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from blackbox_xai import exact
from blackbox_xai.errors import InvalidInput
from tests.games import table_of, unanimity


def by_orders(table, d):
    """Shapley values by walking all d! orders."""
    phi = np.zeros(d)
    for order in itertools.permutations(range(d)):
        seen = 0
        for i in order:
            phi[i] += table[seen | 1 << i] - table[seen]
            seen |= 1 << i
    return phi / math.factorial(d)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 6])
def test_three_routes_and_all_orders_agree(d):
    table = np.random.default_rng(d).normal(size=(2**d, 3))
    phi = exact.shapley(table)
    np.testing.assert_allclose(phi[:, 1], by_orders(table[:, 1], d), atol=1e-12)
    np.testing.assert_allclose(exact.shapley_from_walsh(exact.walsh(table)), phi, atol=1e-12)
    np.testing.assert_allclose(exact.shapley_from_moebius(exact.moebius(table)), phi, atol=1e-12)
    np.testing.assert_allclose(exact.shapley(table[:, 2]), phi[:, 2], atol=1e-12)


def test_closed_forms():
    game = unanimity(7, seed=4)
    np.testing.assert_allclose(exact.shapley(table_of(game, 7)), game.shapley, atol=1e-12)
    rng = np.random.default_rng(0)
    q = rng.normal(size=(5, 5))
    q = q + q.T
    np.fill_diagonal(q, 0)
    b = rng.normal(size=5)
    z = ((np.arange(32)[:, None] >> np.arange(5)) & 1).astype(float)
    table = z @ b + 0.5 * np.einsum("mi,ij,mj->m", z, q, z)
    np.testing.assert_allclose(exact.shapley(table), exact.pairwise(b, q), atol=1e-12)
    np.testing.assert_allclose(exact.pairs(table), q, atol=1e-12)
    single, double = exact.faithful_pairs(table)
    np.testing.assert_allclose(single, b, atol=1e-12)
    np.testing.assert_allclose(double, q, atol=1e-12)
    np.testing.assert_allclose(exact.shapley(z @ b), exact.additive(b), atol=1e-12)


def test_pairs_by_definition():
    d, rng = 5, np.random.default_rng(1)
    table = rng.normal(size=2**d)
    got = exact.pairs(table)
    for i, j in itertools.combinations(range(d), 2):
        want = 0.0
        for s in range(2**d):
            if s >> i & 1 or s >> j & 1:
                continue
            size = s.bit_count()
            w = math.factorial(size) * math.factorial(d - size - 2) / math.factorial(d - 1)
            want += w * (table[s | 1 << i | 1 << j] - table[s | 1 << i] - table[s | 1 << j] + table[s])
        assert got[i, j] == got[j, i] == pytest.approx(want, abs=1e-12)


def test_faithful_pairs_is_the_constrained_weighted_fit():
    d, rng = 5, np.random.default_rng(2)
    table = rng.normal(size=2**d)
    bits = ((np.arange(2**d)[:, None] >> np.arange(d)) & 1).astype(float)
    both = [bits[:, i] * bits[:, j] for i, j in itertools.combinations(range(d), 2)]
    design = np.column_stack([bits, *both])
    size = bits.sum(axis=1).astype(int)
    inner = (size > 0) & (size < d)
    weight = np.array([(d - 1) / (math.comb(d, k) * k * (d - k)) for k in size[inner]])
    gram = design[inner].T @ (weight[:, None] * design[inner])
    right = design[inner].T @ (weight * (table[inner] - table[0]))
    ones = np.ones(design.shape[1])
    kkt = np.block([[gram, ones[:, None]], [ones[None, :], np.zeros((1, 1))]])
    want = np.linalg.solve(kkt, np.append(right, table[-1] - table[0]))[:-1]
    single, double = exact.faithful_pairs(table)
    got = np.concatenate([single, [double[i, j] for i, j in itertools.combinations(range(d), 2)]])
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_coins_and_sobol_by_definition():
    d, keep, rng = 4, 0.3, np.random.default_rng(3)
    table = rng.normal(size=2**d)
    z = ((np.arange(2**d)[:, None] >> np.arange(d)) & 1).astype(bool)
    law = np.where(z, keep, 1 - keep).prod(axis=1)
    for i in range(d):
        on, off = z[:, i], ~z[:, i]
        effect = (law[on] @ table[on]) / keep - (law[off] @ table[off]) / (1 - keep)
        assert exact.coins(table, keep)[i] == pytest.approx(effect)
        assert exact.coins(table, keep, effect=False)[i] == pytest.approx((law[on] @ table[on]) / keep)
        jump = (table[on] - table[off]) ** 2
        assert exact.sobol_total(table)[i] == pytest.approx(jump.mean() / 4 / table.var())
    assert not exact.sobol_total(np.full(16, 2.5)).any()


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 2, 2), ()])
def test_a_table_of_the_wrong_length_is_refused(shape):
    with pytest.raises(InvalidInput, match=r"exact\.shapley: shape"):
        exact.shapley(np.zeros(shape))


@pytest.fixture(scope="module")
def models():
    from sklearn import ensemble
    from sklearn.datasets import make_regression

    x, y = make_regression(300, 9, n_informative=7, random_state=0)
    three = (y > 0).astype(int) + (y > 100)
    two = y > 0
    return x, [
        (ensemble.GradientBoostingRegressor(n_estimators=30, max_depth=4).fit(x, y), 0, "predict"),
        (ensemble.GradientBoostingClassifier(n_estimators=10).fit(x, three), 1, "decision_function"),
        (ensemble.GradientBoostingClassifier(n_estimators=10).fit(x, two), 0, "decision_function"),
        (ensemble.RandomForestRegressor(10, random_state=0).fit(x, y), 0, "predict"),
        (ensemble.RandomForestClassifier(10, random_state=0).fit(x, three), 2, "predict_proba"),
        (ensemble.ExtraTreesRegressor(10, random_state=0).fit(x, y), 0, "predict"),
        (ensemble.HistGradientBoostingRegressor(max_iter=20).fit(x, y), 0, "predict"),
        (ensemble.HistGradientBoostingClassifier(max_iter=20).fit(x, two), 0, "decision_function"),
    ]


def test_tree_models_against_brute_force_of_the_model_itself(models):
    x, models = models
    bits = ((np.arange(2**9)[:, None] >> np.arange(9)) & 1).astype(bool)
    for model, output, method in models:
        game = exact.TreeGame.of(model, x[3], x[7], output)
        values = np.asarray(getattr(model, method)(np.where(bits, x[3], x[7])))
        table = values[:, output] if values.ndim == 2 else values
        scale = np.abs(table).max()
        np.testing.assert_allclose(game(bits), table, atol=1e-12 * scale, err_msg=type(model).__name__)
        np.testing.assert_allclose(game.shapley(), exact.shapley(table), atol=1e-11 * scale)
        np.testing.assert_allclose(game.pairs(), exact.pairs(table), atol=1e-11 * scale)


def test_tree_models_against_shap(models):
    shap = pytest.importorskip("shap")
    x, models = models
    for model in (models[0][0], models[3][0]):
        explainer = shap.TreeExplainer(model, x[7:8], feature_perturbation="interventional")
        want = explainer.shap_values(x[3:4])[0]
        np.testing.assert_allclose(exact.TreeGame.of(model, x[3], x[7]).shapley(), want, atol=1e-5 * np.abs(want).max())


def test_a_missing_value_takes_the_learned_side():
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4))
    x[rng.random(x.shape) < 0.2] = np.nan
    model = HistGradientBoostingRegressor(max_iter=20).fit(x, np.nan_to_num(x).sum(axis=1) + np.isnan(x[:, 0]))
    row, base = np.array([np.nan, 1.0, -1.0, 0.5]), np.array([0.3, np.nan, 0.2, -0.4])
    bits = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(bool)
    want = exact.shapley(model.predict(np.where(bits, row, base)))
    np.testing.assert_allclose(exact.TreeGame.of(model, row, base).shapley(), want, atol=1e-12)


def test_other_models_are_refused():
    from sklearn.linear_model import LinearRegression

    with pytest.raises(InvalidInput, match="LinearRegression is not"):
        exact.TreeGame.of(LinearRegression().fit(np.eye(3), np.ones(3)), np.ones(3), np.zeros(3))
    with pytest.raises(InvalidInput, match="one length"):
        exact.TreeGame.of(None, np.ones(3), np.zeros(2))
