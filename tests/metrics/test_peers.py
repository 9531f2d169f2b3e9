"""The same numbers as captum and Quantus, where they define the same thing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from blackbox_xai.metrics import (
    Dataset,
    Evaluation,
    deletion,
    fidelity,
    infidelity,
    max_sensitivity,
    noisy_linear,
    pool,
    replaced,
    road,
    sparsity,
)  # fmt: skip
from blackbox_xai.metrics.pool import Pool
from blackbox_xai.oracles import TorchOracle
from blackbox_xai.players import Columns, ImagePixels

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
D = 12


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(D, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double().eval()


def test_infidelity_equals_captum(network):
    metrics = pytest.importorskip("captum.metrics")
    x = torch.tensor(RNG.normal(size=(1, D)))
    values = RNG.normal(size=D)
    row = x[0].numpy()
    own = pool(lambda b: network(torch.tensor(b)).detach().numpy(), Columns(row, np.zeros(D)), n=60, target=1)

    def perturb(inputs):  # captum asks for its subsets at once; hand it ours
        removed = torch.tensor(own.removed, dtype=torch.double)
        delta = removed * x
        return delta, inputs - delta

    for normalise in (False, True):
        theirs = metrics.infidelity(
            lambda b: network(b)[:, 1],
            perturb,
            x,
            torch.tensor(values)[None],
            n_perturb_samples=60,
            normalize=normalise,
        )
        ours = infidelity(own, values, units="gradient", difference=row)
        if normalise and ours.clipped:
            continue
        assert float(theirs[0]) == pytest.approx(ours.scaled if normalise else ours.value, rel=1e-9)


def test_max_sensitivity_equals_captum(network):
    metrics = pytest.importorskip("captum.metrics")
    x = RNG.normal(size=D)
    calls = iter(range(100))

    def gradient(batch):
        batch = batch.detach().clone()
        with torch.enable_grad():  # captum turns it off around its explanation function
            return torch.autograd.grad(network(batch.requires_grad_(True))[:, 0].sum(), batch)[0]

    def noise(inputs, radius):
        draws = [
            np.random.Generator(np.random.Philox(key=[0, next(calls)])).uniform(-radius, radius, D) for _ in inputs
        ]
        return inputs + torch.tensor(np.stack(draws))

    theirs = metrics.sensitivity_max(
        lambda b: (gradient(b[0] if isinstance(b, tuple) else b),),
        torch.tensor(x)[None],
        perturb_func=lambda inputs, r: noise(inputs[0] if isinstance(inputs, tuple) else inputs, r),
        perturb_radius=0.1,
        n_perturb_samples=5,
    )
    ours = max_sensitivity(lambda v, seed: gradient(torch.tensor(v)[None])[0].numpy(), x, radius=0.1, n=5, floor=False)
    assert float(theirs[0]) == pytest.approx(ours.maximum, rel=1e-9)


@pytest.fixture
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus", exc_type=ImportError)


def test_sparseness_and_complexity_equal_quantus(quantus):
    values = RNG.random((4, D))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse = quantus.Sparseness(abs=True, normalise=False, disable_warnings=True, display_progressbar=False)
        spread = quantus.Complexity(abs=True, normalise=False, disable_warnings=True, display_progressbar=False)
        gini, entropy = sparse.evaluate_batch(values, values), spread.evaluate_batch(values, values)
    for row, g, h in zip(values, gini, entropy):
        assert g == pytest.approx(sparsity(row).gini, abs=1e-6)
        assert h == pytest.approx(sparsity(row).entropy, abs=1e-6)


def test_pixel_flipping_of_quantus_is_our_curve_without_its_first_point(quantus, network):
    x = RNG.normal(size=(1, D)).astype(np.float32)
    values = RNG.normal(size=(1, D)).astype(np.float32)
    model = torch.nn.Sequential(torch.nn.Flatten(), network.float()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flipping = quantus.PixelFlipping(
            features_in_step=1, perturb_baseline=0.0, abs=False, normalise=False,
            disable_warnings=True, display_progressbar=False, return_aggregate=False,
        )  # fmt: skip
        theirs = flipping(
            model=model,
            x_batch=x.reshape(1, 1, D),
            y_batch=np.array([2]),
            a_batch=values.reshape(1, 1, D),
            device="cpu",
            softmax=False,
        )
    curve = deletion(TorchOracle(model), Columns(x[0], np.zeros(D, np.float32)), values[0], stride=1, target=2)
    np.testing.assert_allclose(np.ravel(theirs[0]), curve.values[1:], atol=1e-5)


def test_faithfulness_correlation_of_quantus_is_ours_on_the_same_subsets(quantus, network):
    x = RNG.normal(size=(1, D)).astype(np.float32)
    values = RNG.normal(size=(1, D)).astype(np.float32)
    model = torch.nn.Sequential(torch.nn.Flatten(), network.float()).eval()
    parts = Columns(x[0], np.zeros(D, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = quantus.FaithfulnessCorrelation(
            nr_runs=50, subset_size=4, perturb_baseline=0.0, abs=False, normalise=False,
            disable_warnings=True, display_progressbar=False,
        )  # fmt: skip
        np.random.seed(7)  # noqa: NPY002 - Quantus draws from the global state
        theirs = metric(
            model=model,
            x_batch=x.reshape(1, 1, D),
            y_batch=np.array([2]),
            a_batch=values.reshape(1, 1, D),
            device="cpu",
            softmax=False,
        )
    np.random.seed(7)  # noqa: NPY002
    removed = np.zeros((50, D), bool)
    for row in removed:
        row[np.random.choice(D, 4, replace=False)] = True  # noqa: NPY002
    e = Evaluation(TorchOracle(model), parts, target=2)
    empty, full = e.ends()
    drop = full - e.values(50, lambda a, b: ~removed[a:b])
    own = Pool(removed, np.arange(D), drop, empty, full, e.rows_sent)
    assert float(np.ravel(theirs)[0]) == pytest.approx(fidelity(own, values[0], kind="pearson"), abs=1e-4)


def test_imputation_equals_quantus(quantus):
    image = RNG.random((3, 16, 16))
    unknown = np.flatnonzero(RNG.random(256) < 0.7)
    keep = np.ones(256, bool)
    keep[unknown] = False
    theirs = quantus.functions.perturb_func.noisy_linear_imputation(image, unknown, noise=0.0)
    ours = noisy_linear(image.transpose(1, 2, 0), keep.reshape(16, 16), noise=0.0)
    np.testing.assert_allclose(ours.transpose(2, 0, 1), theirs, atol=1e-10)


def test_road_of_quantus_is_our_first_order_on_grey_images(quantus):
    """On one channel, where ranking pixels and ranking values is the same."""
    images = RNG.random((8, 12, 12, 1)).astype(np.float32)
    maps = RNG.normal(size=(8, 12, 12))
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 3), torch.nn.Softmax(-1)).eval()
    labels = model(torch.tensor(images.transpose(0, 3, 1, 2))).argmax(1).numpy()
    ratios = (0.1, 0.3, 0.5, 0.7, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = quantus.ROAD(
            percentages=[round(100 * r) for r in ratios], noise=0.0, normalise=False, abs=False,
            disable_warnings=True, display_progressbar=False,
        )(
            model=model, x_batch=images.transpose(0, 3, 1, 2), y_batch=labels, a_batch=maps[:, None], device="cpu",
            softmax=False,
        )  # fmt: skip
    inputs = [replaced(ImagePixels(image), "noisy_linear", noise=0.0) for image in images]
    data = Dataset(TorchOracle(model), inputs, labels.tolist())
    ours = road(data, [m.ravel() for m in maps], ratios=ratios)
    assert 0 < ours.accuracy_morf.min() < 1
    assert [theirs[round(100 * r)] for r in ratios] == pytest.approx(ours.accuracy_morf.tolist())
