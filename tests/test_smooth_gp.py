"""Pixels on a grid: the smooth surrogate with adaptive queries, and GEFA with smooth masks."""

from __future__ import annotations

import numpy as np
import pytest

from blackbox_xai import explain
from blackbox_xai.errors import InvalidInput, TooFewQueries
from blackbox_xai.estimators import GEFA, Problem, SmoothGP
from blackbox_xai.estimators.gefa_grid import coverage_weight
from blackbox_xai.estimators.surrogate import Cells, fit
from blackbox_xai.samplers import SmoothedCoins

GRID = (40, 48)


def bump(y, x, width=5.0):
    yy, xx = np.mgrid[: GRID[0], : GRID[1]]
    b = np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * width**2)).ravel()
    return b / b.sum()


def chance(z, b=None):
    return 1 / (1 + np.exp(-8.0 * (z @ (SPOT if b is None else b) - 0.5)))


SPOT = bump(15, 30)


def matern(square, width):
    return (1 + np.sqrt(3 * square / width)) * np.exp(-np.sqrt(3 * square / width))


def play(method, f, budget, seed=0, chunk=64, contrast=None):
    session = method.session(Problem(GRID[0] * GRID[1], (budget,), seed, grid=GRID, contrast=contrast))
    asked = []
    while len(masks := session.ask(chunk)):
        dense = masks.dense()
        asked.append(dense)
        session.tell(masks, np.concatenate([f(row[None]) for row in dense]))
    return session.result(), np.concatenate(asked)


def test_it_finds_the_spot_and_asks_around_it():
    b = bump(15, 30)
    got, asked = play(SmoothGP(), chance, 300)
    assert len(asked) == got.n_rows == 300
    assert np.corrcoef(got.values, b)[0, 1] > 0.85
    plain, _ = play(SmoothGP(scatter=0), chance, 300)
    assert np.corrcoef(plain.values, b)[0, 1] > 0.9
    assert got.values.sum() == pytest.approx(got.full_values - got.base_values, rel=0.01)
    first, later = asked[2:162], asked[162:]
    inside = b > b.max() / 2

    def decided(rows):
        return np.abs(rows[0::2][:, inside].mean(axis=1) - 0.5).mean()

    assert decided(later) > decided(first) + 0.05  # the ranking so far decides: the spot goes or stays as a whole
    assert np.array_equal(asked[2::2], ~asked[3::2])


def test_contrast_tells_where_an_effect_can_be():
    """Half the picture is as its baseline: with that known, the map is nearer and next to nothing lies there."""
    contrast = np.where(np.arange(GRID[1]) < 24, 0.0, 1.0) * np.ones((GRID[0], 1))
    effect = contrast.ravel() * (bump(15, 26, 8.0) - bump(30, 30, 8.0))

    def value(z):
        return z @ effect

    blind, _ = play(SmoothGP(), value, 60)
    told, _ = play(SmoothGP(), value, 60, contrast=contrast.ravel())
    empty = np.s_[:, :20]  # at 20 begins what the cells' smoothness reaches
    assert np.abs(told.values.reshape(GRID)[empty]).max() < 0.15 * np.abs(told.values).max()
    assert np.abs(blind.values.reshape(GRID)[empty]).max() > 0.3 * np.abs(blind.values).max()
    assert np.corrcoef(told.values, effect)[0, 1] > np.corrcoef(blind.values, effect)[0, 1] + 0.02
    none, _ = play(SmoothGP(), value, 60, contrast=np.zeros(len(effect)))  # says nothing: as if it were not there
    assert np.array_equal(none.values, blind.values)


def test_pixels_of_a_cell_share_its_effect_by_contrast_and_by_chance():
    """A striped picture: only the stripes change it, finer than a cell is wide."""
    grid = (112, 112)
    stripes = np.where(np.arange(112) % 4 < 2, 1.0, 0.04) * np.ones((112, 1))
    yy, xx = np.mgrid[:112, :112]
    effect = (stripes * np.exp(-((yy - 40) ** 2 + (xx - 60) ** 2) / 800)).ravel()

    def run(seed=0, **settings):
        problem = Problem(112 * 112, (120,), seed, grid=grid, contrast=stripes.ravel())
        session = SmoothGP(**settings).session(problem)
        while len(masks := session.ask(500)):
            session.tell(masks, masks.dense() @ effect)
        return session.result()

    plain, usual, again, other = run(scatter=0), run(), run(), run(seed=1)
    spot = np.s_[30:50, 50:70]
    inside = plain.values.reshape(grid)[spot]
    assert inside[:, stripes[0, 50:70] == 1].min() > 2 * inside[:, stripes[0, 50:70] < 1].max() > 0
    assert np.corrcoef(plain.values, effect)[0, 1] > 0.85
    ratio = usual.values.reshape(grid)[spot] / inside
    assert 0.1 < ratio.std() < 0.4  # the part of chance: a factor of 0.6 to 1.4, and the order it makes
    assert np.array_equal(usual.values, again.values)
    assert np.corrcoef(ratio.ravel(), (other.values.reshape(grid)[spot] / inside).ravel())[0, 1] < 0.3
    assert (usual.std_error >= 0.2 * np.abs(usual.values)).all()
    assert plain.std_error.mean() < usual.std_error.mean()
    with pytest.raises(InvalidInput, match="scatter"):
        run(scatter=2.0)


@pytest.mark.parametrize("chunk", [2, 38, 10**6])
def test_chunks_change_nothing_and_ask_is_a_read(chunk):
    one, rows = play(SmoothGP(first=60), chance, 180, seed=5)
    other, again = play(SmoothGP(first=60), chance, 180, seed=5, chunk=chunk)
    assert np.array_equal(rows, again)
    assert np.array_equal(one.values, other.values)
    session = SmoothGP(first=60).session(Problem(1920, (180,), 5, grid=GRID))
    for wish in (9, 50, 7, 500, 500):
        masks = session.ask(wish)
        assert np.array_equal(masks.dense(), session.ask(wish).dense())
        assert np.array_equal(masks.dense()[:2], session.ask(2).dense())
        session.tell(masks, chance(masks.dense()))


def test_a_short_run_is_the_beginning_of_a_long_one():
    _, short = play(SmoothGP(first=60), chance, 120, seed=2)
    _, long = play(SmoothGP(first=60), chance, 190, seed=2)
    assert np.array_equal(short, long[:120])


def test_a_session_told_by_another_redraws():
    p = Problem(1920, (150,), 3, grid=GRID)
    asked, told = SmoothGP(first=40).session(p), SmoothGP(first=40).session(p)
    while len(masks := asked.ask(16)):
        values = chance(masks.dense())
        asked.tell(masks, values)
        told.tell(masks, values)
    assert np.array_equal(asked.result().values, told.result().values)


def test_several_targets_from_one_set_of_queries():
    spots = [bump(10, 10), bump(30, 38)]
    got, asked = play(
        SmoothGP(), lambda z: np.stack([chance(z, b) for b in spots] + [z @ spots[0] * 7 - 3], axis=1), 300
    )
    assert len(asked) == 300
    assert got.values.shape == got.std_error.shape == (1920, 3)
    for column, b in zip(got.values.T, [*spots, spots[0]]):
        assert np.corrcoef(column, b)[0, 1] > 0.8
    assert [len(s["left_out_error"]) for s in got.diagnostics["surrogates"]] == [2, 2, 1]  # log-odds of chances only


def test_standard_errors_cover_an_additive_game():
    """The effect per cell of a smooth additive game, drawn anew each time."""
    cells, inside = Cells(GRID), []
    basis = cells.basis(8.0)
    for seed in range(8):
        weights = basis @ np.random.default_rng(seed).normal(size=basis.shape[1])
        truth = cells.spread(weights / cells.sizes())
        got, _ = play(SmoothGP(first=100), lambda z, w=weights: cells.coverage(z) @ w, 100, seed=seed)
        scale = got.diagnostics["surrogates"][0]["scaled_by"]
        inside.append(np.abs(got.values - truth)[got.std_error > 0] < 2 * got.std_error[got.std_error > 0])
        assert np.corrcoef(got.values, truth)[0, 1] > 0.5
        assert 0.25 <= scale <= 4
    assert 0.8 < np.mean([i.mean() for i in inside]) <= 1


def test_the_surrogate_leaves_out_pairs_and_scales():
    rng = np.random.default_rng(0)
    cells = Cells((6, 5))
    x = rng.random((40, 30))
    y = np.stack([x @ rng.normal(size=30), 1e9 * x[:, 0], np.full(40, 3.0)], axis=1)
    models = fit(cells, x, y)
    scaled = fit(cells, x, 1e-9 * y)
    for a, b in zip(models, scaled):
        np.testing.assert_allclose(a.gradient(x[:3]), b.gradient(x[:3]), rtol=1e-6, atol=1e-9)
    assert not models[2].gradient(x).any()
    basis = cells.basis(models[0].length)
    features = x @ basis
    gram = matern(((features[:, None] - features[None]) ** 2).sum(axis=2), models[0].width) + 1
    table = (y[:, 0] - y[:, 0].mean()) / y[:, 0].std()
    errors = []
    for p in range(20):
        keep = np.delete(np.arange(40), [2 * p, 2 * p + 1])
        weight = np.linalg.solve(gram[np.ix_(keep, keep)] + models[0].noise * np.eye(38), table[keep])
        errors.append((table[[2 * p, 2 * p + 1]] - gram[[2 * p, 2 * p + 1]][:, keep] @ weight) ** 2)
    assert models[0].error == pytest.approx(np.mean(errors), rel=1e-6)
    step = 1e-5

    def value(z):
        return matern(((z @ basis - features) ** 2).sum(axis=1), models[0].width) @ models[0].weights

    moved = x[0].copy()
    moved[7] += step
    assert models[0].gradient(x[:1])[0, 7] == pytest.approx((value(moved) - value(x[0])) / step, rel=1e-3, abs=1e-6)


def test_the_posterior_deviation_is_that_of_the_mean_gradient():
    """Against the kernel's own second differences."""
    rng = np.random.default_rng(1)
    cells = Cells((4, 3))
    x, rows, step = rng.random((30, 12)), rng.random((3, 12)), 1e-3
    model = fit(cells, x, rng.normal(size=(30, 1)))[0]

    def kernel(a, b):
        apart = (a @ model.basis)[:, None] - (b @ model.basis)[None]
        return matern((apart**2).sum(axis=2), model.width) + 1

    for cell in (0, 7):
        up = np.eye(12)[cell] * step
        slope = (kernel(x, rows + up) - kernel(x, rows - up)).mean(axis=1) / (2 * step)
        both = kernel(rows + up, rows + up) - kernel(rows + up, rows - up)
        both += kernel(rows - up, rows - up) - kernel(rows - up, rows + up)
        gram = kernel(x, x) + model.noise * np.eye(30)
        variance = both.mean() / (4 * step**2) - slope @ np.linalg.solve(gram, slope)
        expected = np.sqrt(variance * model.error / model.noise)
        assert model.deviation(rows)[cell] == pytest.approx(expected, rel=0.01)


def test_more_rows_than_centres():
    got, asked = play(SmoothGP(scatter=0), chance, 1400)
    assert len(asked) == 1400
    assert np.corrcoef(got.values, bump(15, 30))[0, 1] > 0.9
    assert np.all(np.isfinite(got.std_error))


def test_constant_and_tiny():
    got, _ = play(SmoothGP(), lambda z: np.full(len(z), 0.25), 120)
    assert not got.values.any()
    session = SmoothGP().session(Problem(30, (60,), 0, grid=(5, 6)))
    while len(masks := session.ask(64)):
        session.tell(masks, masks.dense()[:, 3] * 1.0)
    assert int(np.argmax(session.result().values)) in (3, 2, 4, 9)
    with pytest.raises(InvalidInput, match="not on a grid"):
        SmoothGP().session(Problem(30, (60,), 0))
    with pytest.raises(TooFewQueries):
        SmoothGP().session(Problem(1920, (9,), 0, grid=GRID))


def test_auto_picks_it_for_pictures():
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    got = explain(lambda x: x[:, 4:20, 4:20].mean(axis=(1, 2)) / 255, image, budget=120, baseline="black", target=0)
    assert got.method == "smoothgp"
    assert got.values.reshape(32, 32)[8:16, 8:16].mean() > 2 * np.abs(got.values).mean()


def test_gefa_on_a_grid_is_the_smoothed_map_and_sums_near_the_total():
    b = bump(15, 30)
    runs = [play(GEFA(), lambda z: 3 * (z @ b) + 1, 400, seed=s)[0] for s in range(4)]
    mean = np.mean([r.values for r in runs], axis=0)
    assert np.corrcoef(mean, b)[0, 1] > 0.7
    reference = play(GEFA(variant="reference"), lambda z: 3 * (z @ b) + 1, 400)[0]
    assert np.corrcoef(reference.values, mean)[0, 1] > 0.6
    assert abs(reference.values.sum()) < abs(runs[0].values.sum())  # not added back: the sum is lost


def test_gefa_on_a_grid_is_unbiased_for_the_smoothed_map():
    """E[value_i] is the mean of weight times value over fresh masks of the same law."""
    b = bump(20, 24)
    got, _ = play(GEFA(), lambda z: z @ b, 3000)
    masks = SmoothedCoins(GRID, 40 * 11 / 224, seed=999).draw(0, 12000)
    z, a = masks.dense()[0::2].astype(np.float32), masks.alpha[0::2]
    y = (z @ b - 0.5) * np.pi / np.sqrt(a * (1 - a))
    truth, own = (y @ z - a @ y) / len(z), np.sqrt(y**2 @ (z - a[:, None]) ** 2) / len(z)
    error = (got.values - truth) / np.hypot(got.std_error, own)
    assert np.sqrt((error[::37] ** 2).mean()) < 1.6
    assert np.abs(got.values - truth).mean() < 0.2 * np.abs(truth).max()


def test_coverage_weight_is_what_the_masks_give():
    masks = SmoothedCoins(GRID, 3.0, seed=7).draw(0, 20000)
    z, a = masks.dense()[0::2], masks.alpha[0::2]
    weight = np.pi / np.sqrt(a * (1 - a)) * (z.mean(axis=1) - 0.5)
    found = (z.T @ weight - (a * weight).sum()) / len(z)
    known = coverage_weight(GRID, 3.0)
    assert found.mean() == pytest.approx(known.mean(), rel=0.05)
    assert np.corrcoef(found.reshape(GRID)[::4, ::4].ravel(), known.reshape(GRID)[::4, ::4].ravel())[0, 1] > 0.3
