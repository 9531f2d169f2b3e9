"""Soundness and completeness on the 200-dimensional linear validation, ROAD on a patch, Hausdorff distances."""

from __future__ import annotations

import numpy as np
import pytest

from blackbox_xai.errors import BudgetExhausted, InvalidInput
from blackbox_xai.metrics import (
    Dataset,
    Evaluation,
    completeness,
    hausdorff,
    insertion,
    least_distance,
    modified,
    replaced,
    road,
    soundness_dataset,
    soundness_sample,
)
from blackbox_xai.oracles import CallableOracle
from blackbox_xai.players import Columns, ImagePixels

STEP2 = tuple(np.round(np.arange(0.98, 0.029, -0.02), 2))


def sign_model(batch):
    total = np.asarray(batch).sum(axis=1)
    return np.stack([-total, total], axis=1)


def validation(seed, n=1000, d=200):
    """The data, the inputs with fresh normal replacement, and the three kinds of map."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    labels = (x.sum(axis=1) > 0).astype(int)
    background = rng.normal(size=(4000, d))
    background = (background - background.mean(axis=0)) / background.std(axis=0)
    inputs = [
        replaced(Columns(row, np.zeros(d)), "noise", background=background, seed=int(rng.integers(2**40))) for row in x
    ]
    truth = np.maximum(0, np.where(labels, 1, -1)[:, None] * x)
    truth /= truth.max(axis=1, keepdims=True)
    remove = np.where(rng.random((n, d)) < 0.5, 0, truth)
    introduce = np.where((truth == 0) & (rng.random((n, d)) < 0.5), rng.random((n, d)), truth)
    data = Dataset(CallableOracle(sign_model, batch_size=64), inputs, labels.tolist())
    return x, labels, data, {"truth": truth, "remove": remove, "introduce": introduce}


def run_validation(seeds, n):
    sound = {k: [] for k in ("truth", "remove", "introduce")}
    complete = {k: [] for k in sound}
    for seed in seeds:
        _, _, data, maps = validation(seed, n)
        for name, values in maps.items():
            sound[name].append(soundness_dataset(data, values, ratios=STEP2).at(0.9))
            complete[name].append(completeness(data, values, thresholds=(0.9, 0.7, 0.5, 0.3)).loss)
    return {k: np.mean(v) for k, v in sound.items()}, {k: np.mean(v, axis=0) for k, v in complete.items()}


@pytest.mark.slow
def test_validation_has_the_expected_outcomes():
    sound, complete = run_validation(range(3), 600)
    assert sound["truth"] >= 0.99
    assert sound["remove"] >= 0.99
    assert 0.6 <= sound["introduce"] <= 0.85
    assert (complete["remove"] < complete["truth"]).all()
    np.testing.assert_allclose(complete["truth"], [0.277, 0.663, 0.966, 1.0], atol=0.04)
    np.testing.assert_allclose(complete["remove"], [0.223, 0.485, 0.809, 0.972], atol=0.04)
    np.testing.assert_allclose(complete["introduce"], [0.116, 0.244, 0.632, 0.969], atol=0.04)


def test_sample_form_gives_the_true_share_where_the_published_overstates_it():
    x, labels, _, maps = validation(5, n=150)
    found = {name: [] for name in maps}
    truth_share = []
    for i, row in enumerate(x):
        signed = np.where(labels[i], 1, -1) * row

        def margin(batch, label=labels[i]):
            return np.where(label, 1, -1) * np.asarray(batch).sum(axis=1)

        parts = Columns(row, np.zeros(200))
        for name, values in maps.items():
            result = soundness_sample(margin, parts, values[i], score="raw", control=False)
            found[name].append((result.at(0.1), result.at(0.2)))
        order = np.argsort(-maps["introduce"][i], kind="stable")
        shares = [
            (maps["introduce"][i] * (signed > 0))[order[:k]].sum() / maps["introduce"][i][order[:k]].sum()
            for k in (20, 40)
        ]
        truth_share.append(shares)
    np.testing.assert_allclose(np.mean(found["truth"], axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(np.mean(found["remove"], axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(found["introduce"], truth_share, atol=1e-12)
    np.testing.assert_allclose(np.mean(found["introduce"], axis=0), [0.30, 0.40], atol=0.03)


def test_sample_form_stops_before_gains_vanish_and_shares_its_calls():
    weights = np.concatenate([np.full(10, 2.0), np.zeros(10)])

    def probability(batch):
        return 1 / (1 + np.exp(-(np.asarray(batch) @ weights - 10)))

    parts = Columns(np.ones(20), np.zeros(20))
    values = np.linspace(2, 1, 20)
    e = Evaluation(probability, parts, target=0)
    result = soundness_sample(e, None, values, top=1.0, control=False)
    assert result.stopped
    np.testing.assert_allclose(result.soundness, 1)
    rows = e.rows_sent
    assert insertion(e, None, values, stride=1).rows_sent == 0
    assert e.rows_sent == rows
    with_control = soundness_sample(probability, parts, values, top=0.5, target=0, budget=22)
    assert with_control.control is not None
    with pytest.raises(InvalidInput, match="score='raw'"):
        soundness_sample(lambda b: np.asarray(b) @ weights, parts, values, target=0)


def test_costs_are_checked_before_anything_is_sent():
    _, _, data, maps = validation(0, n=5)
    poor = Dataset(data.oracle, data.inputs, data.labels, budget=479)
    with pytest.raises(BudgetExhausted, match="asked for 480"):
        soundness_dataset(poor, maps["truth"])
    assert poor.budget.used == 0
    paid = Dataset(data.oracle, data.inputs, data.labels, budget=50)
    completeness(paid, maps["truth"])
    assert paid.budget.used <= 50
    with pytest.raises(InvalidInput, match="never reached"):
        soundness_dataset(data, maps["truth"]).at(1.5)


def patch_data(n=24):
    rng = np.random.default_rng(1)
    images = rng.random((n, 16, 16, 1)).astype(np.float32)
    labels = np.arange(n) % 2
    images[:, 4:8, 4:8] = np.where(labels, 0.9, 0.1)[:, None, None, None]

    def model(batch):
        mean = np.asarray(batch)[:, 4:8, 4:8].mean(axis=(1, 2, 3))
        return np.stack([0.499 - mean, mean - 0.5], axis=1)

    worth = np.zeros((16, 16))
    worth[4:8, 4:8] = 1
    inputs = [replaced(ImagePixels(im, "black"), "noisy_linear") for im in images]
    return Dataset(model, inputs, labels.tolist()), [worth] * n, rng


def test_road_sees_the_patch_and_sign_swaps_the_curves():
    data, maps, rng = patch_data()
    result = road(data, maps)
    assert (data.clean()[:, 1] == 1).all()
    assert result.accuracy_morf[0] < 0.8  # a tenth of the pixels holds the patch of 1/16
    assert (result.accuracy_lerf[:9] == 1).all()
    assert result.gap > 0.3
    assert (road(data, maps, ratios=(0.0,)).accuracy_morf == 1).all()
    noise = [rng.normal(size=(16, 16)) for _ in maps]
    a, b = road(data, noise), road(data, [-m for m in noise])
    np.testing.assert_array_equal(a.accuracy_morf, b.accuracy_lerf)
    np.testing.assert_array_equal(a.label_lerf, b.label_morf)
    assert abs(a.gap) < 0.15
    assert result.area_morf < a.area_morf < result.area_lerf


def test_all_zero_map_removes_nothing_and_a_constant_one_everything():
    data, maps, _ = patch_data(6)
    none = completeness(data, [np.zeros((16, 16))] * 6)
    assert (none.loss == 0).all()
    assert (none.removed == 0).all()
    everything = completeness(data, [np.ones((16, 16))] * 6)
    assert (everything.removed == 1).all()
    full = completeness(data, maps)
    assert (full.removed == 1 / 16).all()
    np.testing.assert_allclose(completeness(data, maps, scale="p99").loss, full.loss)


def up(y):
    return np.array([0.0, y])


def test_hausdorff_and_modified_maps():
    flat = np.array([[0.0, 0.2], [1.0, 0.2]])
    assert hausdorff(flat, flat + up(0.25)) == pytest.approx(0.25)
    assert hausdorff(flat, np.array([[0.0, 0.2], [0.5, 0.2], [1.0, 0.2]])) < 1e-3
    assert least_distance([flat, flat + up(0.25), flat + up(0.4)]) == pytest.approx(0.15, abs=1e-9)
    values = np.random.default_rng(0).random((10, 10))
    np.testing.assert_allclose(modified(values, "introduce", "constant"), values + 0.6)
    np.testing.assert_allclose(modified(values, "remove", "constant"), np.maximum(values - 0.6, 0))
    assert (modified(values, "remove", "partial") == 0).sum() == 20
    assert (modified(values, "introduce", "partial") == np.quantile(values, 0.8)).sum() >= 40
    assert (modified(values, "remove", "random") <= values).all()


def test_order_only_metrics_overlap_where_the_value_based_do_not():
    data, maps, rng = patch_data(12)
    base = [np.clip(0.05 * rng.random((16, 16)) + 0.9 * m, 0, 1) for m in maps]
    versions = [
        base,
        [modified(m, "remove", "constant") for m in base],
        [modified(m, "introduce", "constant") for m in base],
    ]
    by_order, by_value = [], []
    for version in versions:
        order = road(data, version)
        by_order.append(np.stack([order.ratios, order.accuracy_lerf], axis=1))
        value = completeness(data, version)
        by_value.append(np.stack([value.thresholds, value.loss], axis=1))
    assert least_distance(by_order[::2]) < 0.02  # introducing a constant keeps the ranking
    assert least_distance(by_value[::2]) > 0.1
