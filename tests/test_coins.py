"""Path masks: exact marginals, pairs, nested rows, levels in balance."""

import math
import subprocess
import sys

import numpy as np
import pytest

from blackbox_xai import samplers
from blackbox_xai.errors import InvalidInput
from blackbox_xai.kernels import dispatch, on_numpy
from blackbox_xai.samplers import coins


def worst_z(dense, alpha):
    """Largest deviation of a pixel's mean presence from alpha, in standard errors."""
    m = dense.shape[0]
    return np.abs(dense.mean(axis=0) - alpha).max() / math.sqrt(alpha * (1 - alpha) / m)


@pytest.mark.parametrize("alpha", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("grid", "sigma"), [((24, 17), 5), ((12, 12), 1), ((9, 30), 2.7)])
def test_smooth_marginals_are_exact_everywhere(grid, sigma, alpha):
    s = samplers.SmoothedCoins(grid, sigma, levels=alpha, antithetic=False, seed=1)
    masks = s.draw(0, 40_000)
    assert np.allclose(masks.alpha, alpha, atol=2**-33)
    assert worst_z(masks.dense(), alpha) < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.001, 0.25])
def test_smooth_marginals_at_full_size(alpha):
    s = samplers.SmoothedCoins((224, 224), 11, levels=alpha, antithetic=False, seed=3)
    total = np.zeros(224 * 224)
    for start in range(0, 20_000, 2000):
        total += s.draw(start, 2000).dense().sum(axis=0)
    assert np.abs(total / 20_000 - alpha).max() < 5 * math.sqrt(alpha * (1 - alpha) / 20_000)


def test_field_is_normal_with_one_variance():
    """Cut probabilities from the field itself, pooled over many draws: errors far below what one pixel could show."""
    y, x = coins.blur_taps(40, 5.0), coins.blur_taps(40, 5.0)
    norms = (y[1].astype(float) ** 2).sum(axis=0)
    assert np.ptp(norms) / norms.mean() < 2e-6
    field = on_numpy.smooth_field(1, 2, 0, 8000, y, x)[:, ::13, ::13].reshape(-1)
    alpha = np.array([1e-4, 0.01, 0.2, 0.5, 0.8, 0.999])
    cut = coins.normal_cut(alpha, y[1], x[1])
    share = (field[None] < cut[:, None]).mean(axis=1)
    assert np.all(np.abs(share - alpha) < 4.5 * np.sqrt(alpha * (1 - alpha) / 8000 / 3))


def test_smooth_correlation_follows_the_normal_law():
    s = samplers.SmoothedCoins((10, 40), 5, levels=0.5, antithetic=False)
    z = s.draw(0, 20_000).dense().reshape(-1, 10, 40) * 2.0 - 1
    for distance in (1, 5, 12, 25):
        wanted = 2 / math.pi * math.asin(math.exp(-(distance**2) / 100))
        assert abs(np.mean(z[:, 4, 3] * z[:, 4, 3 + distance]) - wanted) < 4.5 / math.sqrt(20_000)


def test_coins_marginals_and_independence():
    masks = samplers.Coins(9, levels=0.2, antithetic=False, seed=2).draw(0, 50_000)
    z = masks.dense()
    assert worst_z(z, 0.2) < 4.5
    correlation = np.corrcoef(z.T)[np.triu_indices(9, 1)]
    assert np.abs(correlation).max() < 4.5 / math.sqrt(50_000)


EACH = [
    samplers.Coins(13, seed=5),
    samplers.Coins(13, levels=(0.1, 0.7), antithetic=False),
    samplers.Coins(8, levels="uniform"),
    samplers.SmoothedCoins((11, 7), 2, seed=5),
    samplers.SmoothedCoins((11, 7), 2, levels="grid11", fixed_size=True),
    samplers.SmoothedCoins((6, 6), 1.5, antithetic=False),
]


@pytest.mark.parametrize("s", EACH, ids=repr)
def test_rows_do_not_depend_on_batches(s):
    whole = s.draw(0, 60)
    assert len(whole) == 60
    assert whole.group == s.group
    for start, count in [(0, 2), (2, 38), (58, 2), (30, 0), (0, 0)]:
        part = s.draw(start, count)
        assert part.start == start
        assert np.array_equal(part.data, whole.data[start : start + count])
        assert np.array_equal(part.alpha, whole.alpha[start : start + count])
        assert part.dense().shape == (count, s.n_players)
    assert not np.array_equal(whole.data[:20], whole.data[20:40])
    assert isinstance(s, samplers.Sampler)


@pytest.mark.parametrize("s", [e for e in EACH if e.group == 2], ids=repr)
def test_pairs_are_complements(s):
    m = s.draw(0, 40)
    z = m.dense()
    assert np.array_equal(z[0::2], ~z[1::2])
    assert np.array_equal(m.alpha[0::2], 1 - m.alpha[1::2])
    assert np.all((m.alpha > 0) & (m.alpha < 1))
    heads = m[4:20].heads()
    assert np.array_equal(heads.dense(), z[4:20:2])
    assert (heads.start, heads.group) == (2, 1)


def test_compiled_and_reference_draws_agree(monkeypatch):
    """Above a million cells the compiled kernel runs; rows are the same."""
    for s in (samplers.SmoothedCoins((224, 224), 11), samplers.SmoothedCoins((41, 300), 3.5), samplers.Coins(50_000)):
        both = []
        for small in (0, 10**12):
            monkeypatch.setattr(dispatch, "SMALL", small)
            monkeypatch.setattr(dispatch, "SMALL_SMOOTH", small)
            both.append(s.draw(10, 30).data)
        assert np.array_equal(*both)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("depth", [1, 5, 9])
def test_level_prefixes_are_balanced(seed, depth):
    size = 2**depth
    for first in (0, 3 * size):
        term = coins.balanced(seed, first, size)
        assert sorted((term >> np.uint64(32 - depth)).tolist()) == list(range(size))


def test_levels_are_uniform_over_seeds():
    terms = np.array([coins.balanced(seed, 5, 2) for seed in range(4000)]) / 2**32
    assert np.all(np.abs(terms.mean(axis=0) - 0.5) < 4.5 * math.sqrt(1 / 12 / 4000))
    assert np.all(np.abs((terms < 0.1).mean(axis=0) - 0.1) < 4.5 * math.sqrt(0.09 / 4000))


def test_arcsine_levels_have_the_arcsine_law():
    alpha = coins.level_cuts("arcsine", 1, 0, 4096) / 2**32
    wanted = np.sin((np.arange(4096) + 0.5) / 4096 * math.pi / 2) ** 2
    assert np.abs(np.sort(alpha) - wanted).max() < 2e-3


def test_grid11_has_every_level_in_each_block():
    level = np.rint(coins.level_cuts("grid11", 4, 0, 55) / 2**32 * 12).astype(int).reshape(5, 11)
    assert np.array_equal(np.sort(level, axis=1), np.tile(np.arange(1, 12), (5, 1)))
    part = coins.level_cuts("grid11", 4, 20, 9)
    assert np.array_equal(part, coins.level_cuts("grid11", 4, 0, 55)[20:29])


def test_fixed_sizes_follow_the_rank_law():
    """Against the published steps: rank r becomes r / (n - 1) + U / n, present where below alpha."""
    n, alpha, rng = 10, 0.25, np.random.default_rng(0)
    published = ((np.arange(n) / (n - 1) + rng.random((100_000, n)) / n) < alpha).sum(axis=1)
    ours = coins.fixed_sizes(np.full(100_000, alpha), rng.random(100_000), n)
    assert abs(ours.mean() - 2.2777777) < 0.006  # the mean in closed form: 2 + (2.25 - 2) * 10 / 9
    assert abs(published.mean() - ours.mean()) < 0.009
    assert set(np.unique(ours)) == set(np.unique(published)) == {2, 3}


def test_fixed_size_takes_the_lowest_pixels():
    y, x = coins.blur_taps(12, 3.0), coins.blur_taps(15, 3.0)
    s = samplers.SmoothedCoins((12, 15), 3, fixed_size=True, levels="grid11", antithetic=False, seed=8)
    masks = s.draw(0, 22)
    field = on_numpy.smooth_field(8, coins.STREAMS["SmoothedCoins"], 0, 22, y, x).reshape(22, -1)
    rank = np.argsort(np.argsort(field, axis=1, kind="stable"), axis=1)
    assert np.array_equal(masks.dense(), rank < masks.sizes()[:, None])
    assert np.all(np.abs(masks.sizes() - masks.alpha * 179) <= 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: samplers.Coins(0), "at least one"),
        (lambda: samplers.Coins(3, seed=-1), "seed -1"),
        (lambda: samplers.Coins(3, seed=2**64), "seed"),
        (lambda: samplers.Coins(3, seed=1.5), "seed 1.5"),
        (lambda: samplers.Coins(3, levels=1.0), "strictly between"),
        (lambda: samplers.Coins(3, levels="cosine"), "arcsine"),
        (lambda: samplers.Coins(3, levels=()), "levels"),
        (lambda: samplers.Coins(3, device="tpu"), "unknown"),
        (lambda: samplers.SmoothedCoins((0, 5)), "no players"),
        (lambda: samplers.SmoothedCoins((20, 21), 11), "too small for sigma 11.*at most 10"),
        (lambda: samplers.SmoothedCoins((20, 20), 0), "use Coins"),
        (lambda: samplers.SmoothedCoins((20, 20), float("nan")), "use Coins"),
        (lambda: samplers.Coins(3).draw(0, 1), "multiples of the group size 2"),
        (lambda: samplers.Coins(3).draw(-2, 2), "non-negative"),
        (lambda: samplers.nothing, "no attribute"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises((InvalidInput, AttributeError), match=says):
        make()


def test_budget_of_nothing():
    for s in EACH:
        m = s.draw(0, 0)
        assert (len(m), m.dense().shape, m.sizes().shape) == (0, (0, s.n_players), (0,))
    assert len(samplers.Coins(4, antithetic=False).draw(0, 1)) == 1


def test_small_draws_never_load_numba():
    code = (
        "import sys; from blackbox_xai import samplers; samplers.Coins(20).draw(0, 400);"
        "samplers.SmoothedCoins((224, 224)).draw(0, 200);"
        "samplers.RiseGrids((32, 32)).draw(0, 200).dense();"
        "bad = {'numba', 'scipy', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cuda_without_a_gpu_names_the_fix(monkeypatch):
    from blackbox_xai.kernels import on_cuda

    monkeypatch.setattr(on_cuda, "why_not", lambda: "no CUDA GPU or driver was found")
    for make in (lambda: samplers.Coins(4, device="cuda"), lambda: samplers.SmoothedCoins((40, 40), device="cuda")):
        with pytest.raises(InvalidInput, match=r'no CUDA GPU.*device="cpu".*blackbox-xai\[cuda\]'):
            make()
