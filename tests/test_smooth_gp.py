"""Pixels on a grid: the smooth surrogate with adaptive queries, and GEFA with smooth masks."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from blackbox_xai import explain
from blackbox_xai.errors import InvalidInput, TooFewQueries
from blackbox_xai.estimators import GEFA, Problem, SmoothGP, smooth_gp, surrogate
from blackbox_xai.estimators.gefa_grid import coverage_weight
from blackbox_xai.estimators.one_thread import one_thread
from blackbox_xai.estimators.surrogate import LENGTHS, Cells
from blackbox_xai.oracles import CallableOracle
from blackbox_xai.samplers import SmoothedCoins

GRID = (40, 48)


def bump(y, x, width=5.0):
    yy, xx = np.mgrid[: GRID[0], : GRID[1]]
    b = np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * width**2)).ravel()
    return b / b.sum()


def chance(z, b=None):
    return 1 / (1 + np.exp(-8.0 * (z @ (SPOT if b is None else b) - 0.5)))


SPOT = bump(15, 30)


def covariance(a, b, model):
    """Of the surrogate's values at coverage `a` and `b`, written out."""
    a, b = (a - 0.5) @ model.basis, (b - 0.5) @ model.basis
    reach = np.sqrt(3 / model.width * ((a[:, None] - b[None]) ** 2).sum(axis=2))
    return (1 + reach) * np.exp(-reach) + 1 + model.linear / model.width * a @ b.T


def fit(cells, shown, values):
    return surrogate.fit(cells, shown, values, cells.widths(LENGTHS))


def play(method, f, budget, seed=0, chunk=64, contrast=None, grid=GRID):
    session = method.session(Problem(grid[0] * grid[1], (budget,), seed, grid=grid, contrast=contrast))
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
    assert np.corrcoef(got.values, b)[0, 1] > 0.9
    plain, _ = play(SmoothGP(scatter=0), chance, 300)
    assert np.corrcoef(plain.values, b)[0, 1] > 0.94
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
    assert np.abs(told.values.reshape(GRID)[empty]).max() < 0.05 * np.abs(told.values).max()
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
    assert plain.std_error.mean() < usual.std_error.mean()
    with pytest.raises(InvalidInput, match="scatter"):
        run(scatter=2.0)


@pytest.mark.parametrize("chunk", [2, 38, 10**6])
def test_chunks_change_nothing_and_ask_is_a_read(chunk):
    one, rows = play(SmoothGP(first=60), chance, 180, seed=5)
    other, again = play(SmoothGP(first=60), chance, 180, seed=5, chunk=chunk)
    assert np.array_equal(rows, again)
    assert np.array_equal(one.values, other.values)
    assert np.array_equal(one.std_error, other.std_error)
    session = SmoothGP(first=60).session(Problem(1920, (180,), 5, grid=GRID))
    for wish in (9, 50, 7, 500, 500):
        masks = session.ask(wish)
        assert np.array_equal(masks.dense(), session.ask(wish).dense())
        assert np.array_equal(masks.dense()[:2], session.ask(2).dense())
        session.tell(masks, chance(masks.dense()))


def test_masks_that_follow_from_what_was_told_can_be_asked_ahead():
    session = SmoothGP(first=60).session(Problem(1920, (180,), 5, grid=GRID))
    assert len(session.ask(40, ahead=2)) == 0  # the endpoints come alone
    session.tell(ends := session.ask(40), chance(ends.dense()))
    ahead = [session.ask(40), session.ask(40, ahead=40)]
    assert [len(a) for a in ahead] == [40, 20]
    assert len(session.ask(40, ahead=60)) == 0  # the next round follows from all of this one
    for masks in ahead:
        assert np.array_equal(masks.dense(), session.ask(len(masks)).dense())
        session.tell(masks, chance(masks.dense()))
    later = session.ask(10**6, ahead=2)
    assert 0 < len(later) < len(session.ask(10**6))
    other = GEFA().session(Problem(1920, (180,), 5, grid=GRID))
    other.tell(ends, chance(ends.dense()))
    assert len(other.ask(40, ahead=40)) == 0


def test_masks_are_drawn_a_batch_at_a_time_while_the_model_is_at_work(monkeypatch):
    image = np.random.default_rng(0).integers(0, 255, (*GRID, 3), dtype=np.uint8)
    plain, news, drawn, seen, ahead = smooth_gp._Rounds._draw, threading.Condition(), [0], [0], []

    def draw(session, start, count):
        masks = plain(session, start, count)
        with news:
            drawn[0] = max(drawn[0], masks.start + len(masks))
            news.notify_all()
        return masks

    def predict(batch):
        x = np.array([image.mean(axis=2).ravel() @ SPOT / 255 for image in batch])  # whatever the batch, the same bits
        return np.stack([x, 1 - x], axis=1)

    def patient(batch):
        """Answers once masks of the next batch are there."""
        seen[0] += len(batch)
        with news:
            before = drawn[0] - seen[0]
            if seen[0] not in (0, 60, 92, 124, 156, 178):  # the next follow from the answer
                ahead.append((before, news.wait_for(lambda: drawn[0] > seen[0], timeout=0.5)))
        return predict(batch)

    def run(model, size, in_flight):
        oracle = CallableOracle(model, batch_size=size)
        oracle.in_flight, oracle.own_threads, drawn[0], seen[0] = in_flight, True, 0, -2
        method = SmoothGP(first=60)
        return explain(oracle, image, budget=180, method=method, seed=5, target=0, on_error="raise")

    whole = run(predict, 500, 1)
    monkeypatch.setattr(smooth_gp._Rounds, "_draw", draw)
    for size, in_flight in ((16, 2), (7, 2), (10, 3)):
        ahead.clear()
        pieces = run(patient, size, in_flight)
        assert max(before for before, _ in ahead) <= in_flight * (size + size % 2 * size)  # whole pairs
        assert np.mean([came for _, came in ahead]) > 0.5  # not all: two batches may swap places
        assert np.array_equal(pieces.values, whole.values)
        assert np.array_equal(pieces.std_error, whole.std_error)


def test_no_masks_are_drawn_while_a_function_may_use_numpy(monkeypatch):
    """Drawing limits numpy's BLAS to one thread, and bits of the function's answers may depend on that."""
    image = np.random.default_rng(0).integers(0, 255, (*GRID, 3), dtype=np.uint8)
    plain, inside, met = one_thread, [0], []

    @contextmanager
    def counted():
        inside[0] += 1
        with plain():
            time.sleep(0.01)
            yield
        inside[0] -= 1

    def predict(batch):
        met.append(inside[0])
        time.sleep(0.01)
        met.append(inside[0])
        return batch.reshape(len(batch), -1)[:, ::997].mean(axis=1)

    monkeypatch.setattr(smooth_gp, "one_thread", counted)
    explain(CallableOracle(predict, batch_size=8, parallel=2), image, budget=180, method=SmoothGP(first=60))
    assert len(met) > 40
    assert not any(met)


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


@pytest.mark.parametrize(("width", "certain"), [(2.0, 0.02), (4.0, 0.1), (8.0, 0.25), (16.0, 0.3)])
@pytest.mark.parametrize("budget", [100, 400])
def test_standard_errors_cover_the_mean_effect_nearby(width, certain, budget):
    """Additive games, from rougher than a cell to smoother than any prior, drawn anew each time."""
    grid, inside, sure, right = (56, 84), [], [], []
    cells = Cells(grid)
    basis = cells.basis(width)
    for seed in range(6):
        effects = basis @ np.random.default_rng(seed).normal(size=basis.shape[1])
        got, _ = play(SmoothGP(scatter=0), lambda z, e=effects: cells.coverage(z) @ e, budget, seed=seed, grid=grid)
        nearby = cells.spread(cells.nearby(effects) / cells.sizes())
        inside.append(np.abs(got.values - nearby) < 1.96 * got.std_error)
        sure.append(np.abs(got.values) > 1.96 * got.std_error)
        right.append(np.sign(got.values[sure[-1]]) == np.sign(nearby[sure[-1]]))
    assert np.mean(inside) > 0.85
    assert np.mean(sure) > certain
    assert np.mean(np.concatenate(right)) > 0.95


def test_a_model_that_adds_up_is_found_to_scale():
    cells = Cells(GRID)
    basis = cells.basis(4.0)
    effects = basis @ np.random.default_rng(3).normal(size=basis.shape[1])
    shown = cells.coverage(SmoothedCoins(GRID, 3.0, seed=1, fixed_size=True).draw(0, 400).dense()[::2])
    values = np.stack([shown @ effects, (1 - shown) @ effects], axis=1).reshape(-1, 1)
    model = fit(cells, shown, values)[0]
    found = model.mean_gradient(shown[:5]) * model.scale
    assert model.linear > 0
    assert found @ effects / (found @ found) == pytest.approx(1, abs=0.1)


def pairs(rng, count, cells):
    """Coverage of the first rows of pairs, (count, cells), and of all rows."""
    first = rng.random((count, cells))
    return first, np.stack([first, 1 - first], axis=1).reshape(2 * count, cells)


def test_the_surrogate_leaves_out_pairs_and_scales():
    rng = np.random.default_rng(0)
    cells = Cells((6, 5))
    first, x = pairs(rng, 20, 30)
    y = np.stack([np.sin(3 * x @ rng.normal(size=30)), 1e9 * x[:, 0], np.full(40, 3.0)], axis=1)
    models = fit(cells, first, y)
    scaled = fit(cells, first, 1e-9 * y)
    for a, b in zip(models, scaled):
        np.testing.assert_allclose(a.gradient(x[:3], 0.0), b.gradient(x[:3], 0.0), rtol=1e-6, atol=1e-9)
    assert [m.linear > 0 for m in models] == [False, True, False]
    assert not models[2].gradient(x, 1.0).any()
    for q in (0, 1):
        model, table = models[q], (y[:, q] - y[:, q].mean()) / y[:, q].std()
        gram = covariance(x, x, model)
        errors, sizes = [], []
        for p in range(20):
            out = [2 * p, 2 * p + 1]
            keep = np.delete(np.arange(40), out)
            matrix = gram[np.ix_(keep, keep)] + model.noise * np.eye(38)
            told = gram[out][:, keep] @ np.linalg.inv(matrix)
            error = table[out] - told @ table[keep]
            expected = gram[np.ix_(out, out)] + model.noise * np.eye(2) - told @ gram[keep][:, out]
            errors.append(error @ error / 2)
            sizes.append(error @ np.linalg.solve(expected, error) / 2)
        assert model.error == pytest.approx(np.mean(errors), rel=1e-6)
        assert model.variance == pytest.approx(np.mean(sizes), rel=1e-6)
        weights = np.linalg.solve(gram + model.noise * np.eye(40), table)
        step = 1e-5 * np.eye(30)

        def value(z, model=model, weights=weights):
            return covariance(z, x, model) @ weights

        slopes = np.stack([(value(z + step) - value(z - step)) / 2e-5 for z in x[:4]])
        np.testing.assert_allclose(model.gradient(x[:4], 0.0), slopes, rtol=1e-4, atol=1e-6)
        both = model.gradient(x[[0, 2]], 1.5)  # rows 1 and 3 are the complements
        np.testing.assert_allclose(both, slopes[[0, 2]] + 1.5 * slopes[[1, 3]], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.mean_gradient(x[[0, 2]]), slopes.mean(axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("adds", [False, True])
def test_the_posterior_deviation_is_that_of_the_mean_gradient(adds):
    """Against the kernel's own second differences."""
    rng = np.random.default_rng(1)
    cells = Cells((4, 3))
    (first, x), (shown, rows), step = pairs(rng, 15, 12), pairs(rng, 2, 12), 1e-3
    model = fit(cells, first, x[:, :1] if adds else np.sin(9 * x[:, :1]))[0]
    assert (model.linear > 0) == adds
    sums = np.eye(12)
    sums[1, 2] = -0.5  # of the cells asked for
    got = model.deviation(shown, sums @ model.basis)
    for k in (0, 1, 7):
        up = sums[k] * step
        slope = (covariance(x, rows + up, model) - covariance(x, rows - up, model)).mean(axis=1) / (2 * step)
        both = covariance(rows + up, rows + up, model) - covariance(rows + up, rows - up, model)
        both += covariance(rows - up, rows - up, model) - covariance(rows - up, rows + up, model)
        gram = covariance(x, x, model) + model.noise * np.eye(30)
        variance = both.mean() / (4 * step**2) - slope @ np.linalg.solve(gram, slope)
        assert got[k] == pytest.approx(np.sqrt(variance * model.variance), rel=0.01)


def test_more_rows_than_centres():
    got, asked = play(SmoothGP(), chance, 1400)
    assert len(asked) == 1400
    assert np.corrcoef(got.values, bump(15, 30))[0, 1] > 0.9
    assert np.all(np.isfinite(got.std_error))


@pytest.mark.parametrize("grid", [(5, 6), (12, 12), (40, 48)])
def test_few_centres_know_nearly_what_all_rows_know(grid, monkeypatch):
    """Small grids have many equal masks: centres that are equal, too."""
    cells = Cells(grid)
    shown = cells.coverage(SmoothedCoins(grid, 1.0, seed=2, fixed_size=True).draw(0, 700).dense()[::2])
    rows = np.stack([shown, 1 - shown], axis=1).reshape(700, -1)
    values = np.sin(2 * rows @ np.random.default_rng(0).normal(size=(rows.shape[1], 1)))
    monkeypatch.setattr(surrogate, "CENTRES", 300)
    some = fit(cells, shown, values)[0]
    monkeypatch.setattr(surrogate, "CENTRES", 350)
    every = fit(cells, shown, values)[0]
    assert len(some.points) == 300
    assert len(every.points) == 350
    assert np.corrcoef(some.mean_gradient(shown[:9]), every.mean_gradient(shown[:9]))[0, 1] > 0.98
    ratio = some.deviation(shown[:9], some.basis) / every.deviation(shown[:9], every.basis)
    assert ratio.min() > 0.99
    assert ratio.max() < 1.2


def test_a_small_grid_and_many_rows():
    effects = np.arange(30.0)
    session = SmoothGP().session(Problem(30, (1200,), 0, grid=(5, 6), contrast=np.ones(30)))
    while len(masks := session.ask(500)):
        session.tell(masks, masks.dense() @ effects)
    got = session.result()
    assert np.corrcoef(got.values, effects)[0, 1] > 0.9
    assert np.all(np.isfinite(got.std_error))
    assert got.std_error.min() > 0


def test_sessions_in_several_threads_give_the_thread_pools_back():
    from threadpoolctl import threadpool_info

    def threads():
        return {p["filepath"]: p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

    with one_thread():
        pass  # now the libraries are loaded
    before = threads()
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(threads().values()) == {1}
    second.__exit__(None, None, None)
    assert threads() == before


def test_constant_and_tiny():
    got, _ = play(SmoothGP(), lambda z: np.full(len(z), 0.25), 120)
    assert not got.values.any()
    assert not got.std_error.any()
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
