"""Coarse masks: RISE grids, space-filling designs, pick-freeze blocks; golden digests of every sampler here."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blackbox_xai import samplers
from blackbox_xai.errors import InvalidInput
from blackbox_xai.masks import Masks, Zoom
from blackbox_xai.samplers.levels import LeaveOut, RemovedWords

GOLDEN = Path(__file__).with_name("golden_masks.json")


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_rise_mean_presence_is_p_everywhere(p):
    s = samplers.RiseGrids((22, 30), (4, 5), p=p, seed=3)
    dense = s.draw(0, 20_000).dense()
    assert dense.dtype == np.float32
    assert np.all(np.abs(dense.mean(axis=0) - p) < 4.5 * math.sqrt(p * (1 - p) / 20_000) + 1e-4)


def test_rise_follows_resize_and_crop():
    """Against upsampling each grid and cropping it, as published (float, per mask)."""
    from scipy.ndimage import map_coordinates

    s = samplers.RiseGrids((20, 27), 7, seed=1)
    masks = s.draw(0, 12)
    cells = np.unpackbits(masks.data, axis=1, count=49, bitorder="little").reshape(-1, 7, 7)
    assert len(np.unique(masks.zoom.shift, axis=0)) > 5
    for r in range(12):
        up = 8 * 3, 8 * 4
        where = np.meshgrid(*((np.arange(u) + 0.5) * 7 / u - 0.5 for u in up), indexing="ij")
        big = map_coordinates(cells[r].astype(float), where, order=1, mode="nearest")
        y, x = masks.zoom.shift[r]
        assert np.abs(masks[r : r + 1].dense().reshape(20, 27) - big[y : y + 20, x : x + 27]).max() < 0.007


def test_hard_cells_are_blocks():
    m = samplers.RiseGrids((6, 9), (2, 3), smooth=False, shift=False, antithetic=True).draw(0, 8)
    cells = np.unpackbits(m.data, axis=1, count=6, bitorder="little").reshape(-1, 2, 3).astype(bool)
    assert m.dense().dtype == bool
    assert np.array_equal(m.dense().reshape(-1, 6, 9), np.kron(cells, np.ones((3, 3), bool)))
    assert np.array_equal(m.sizes(), cells.sum(axis=(1, 2)) * 9)
    assert np.array_equal(m.dense()[0::2], ~m.dense()[1::2])


def test_soft_complements_add_up():
    m = samplers.RiseGrids((20, 20), 3, antithetic=True).draw(0, 10)
    assert np.all(m.levels()[0::2].astype(int) + m.levels()[1::2] == 255)
    with pytest.raises(InvalidInput, match="soft"):
        m.sizes()


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("first_order", [False, True])
def test_pick_freeze_blocks(hard, first_order):
    s = samplers.PickFreeze(5, hard=hard, first_order=first_order, seed=2)
    assert s.group == 6 + first_order
    rows = s.draw(0, 8 * s.group).levels().reshape(8, s.group, 5)
    whole = samplers.PickFreeze(5, hard=hard, first_order=True, seed=2).draw(0, 56).levels().reshape(8, 7, 5)
    a, b, c = whole[:, 0], whole[:, 1], rows[:, 1 + first_order :]
    assert np.array_equal(rows[:, 0], a)
    for i in range(5):
        for k in range(5):
            assert np.array_equal(c[:, i, k], (b if i == k else a)[:, k])
    assert np.array_equal(s.draw(3 * s.group, s.group).levels(), rows[3])  # nested


def test_sobol_designs_are_balanced():
    levels = samplers.SpaceFilling(6, seed=1).draw(0, 64).levels()
    assert np.array_equal(np.sort(levels // 4, axis=0), np.tile(np.arange(64)[:, None], 6))
    assert np.array_equal(samplers.SpaceFilling(6, hard=True, seed=1).draw(0, 64).dense(), levels > 127)


def test_latin_hypercube_takes_its_number_of_points():
    s = samplers.SpaceFilling(4, "lhs", points=32, seed=5)
    assert np.array_equal(np.sort(s.draw(0, 32).levels() // 8, axis=0), np.tile(np.arange(32)[:, None], 4))
    assert np.array_equal(s.draw(8, 4).levels(), s.draw(0, 32).levels()[8:12])
    with pytest.raises(InvalidInput, match="has 32"):
        s.draw(30, 4)


def test_pick_freeze_on_a_grid():
    s = samplers.PickFreeze(6, zoom=Zoom((2, 3), (8, 9)))
    m = s.draw(0, 7)
    assert (m.n_players, m.columns, m.data.shape) == (72, 6, (7, 6))
    assert np.array_equal(m.levels()[0].reshape(8, 9)[::4, ::3], m.data[0].reshape(2, 3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: samplers.RiseGrids((5, 5), 7), "cells"),
        (lambda: samplers.RiseGrids((5, 5), 0), "cells"),
        (lambda: samplers.RiseGrids((0, 5), 7), "no players"),
        (lambda: samplers.RiseGrids((9, 9), 7, p=0.0), "p 0"),
        (lambda: samplers.RiseGrids((9, 9), 7, seed=-3), "seed"),
        (lambda: samplers.PickFreeze(0), "at least one"),
        (lambda: samplers.LevelCoins(3, 0, 1.0), "level 1.0 is not strictly"),
        (lambda: samplers.PickFreeze(20_000), "40000 dimensions"),
        (lambda: samplers.PickFreeze(4, "halton"), "sobol"),
        (lambda: samplers.PickFreeze(4, "lhs"), "points="),
        (lambda: samplers.PickFreeze(4).draw(0, 3), "group size 5"),
        (lambda: samplers.PickFreeze(4, zoom=Zoom((2, 3), (9, 9))), "multiply"),
        (lambda: Masks.from_dense(np.zeros(3, bool)), "shape"),
        (lambda: samplers.Coins(3).draw(0, 6)[::2], "contiguous"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(InvalidInput, match=says):
        make()


def test_hand_over_to_torch_shares_memory():
    torch = pytest.importorskip("torch")
    m = samplers.Coins(40).draw(0, 6)
    assert torch.from_dlpack(m).data_ptr() == m.data.ctypes.data
    with pytest.raises(AttributeError, match="host"):
        m.__cuda_array_interface__  # noqa: B018


SEEDED = {
    "Coins": samplers.Coins(37, seed=1),
    "Coins uniform": samplers.Coins(37, "uniform", seed=1, antithetic=False),
    "Coins grid11": samplers.Coins(37, "grid11", seed=1),
    "Coins of levels": samplers.Coins(37, (0.2, 0.5, 0.9), seed=2**64 - 1),
    "SmoothedCoins": samplers.SmoothedCoins((40, 33), seed=1),
    "SmoothedCoins published": samplers.SmoothedCoins((40, 33), 5, seed=1, levels="grid11", fixed_size=True),
    "RiseGrids": samplers.RiseGrids((40, 33), seed=1),
    "RiseGrids hard": samplers.RiseGrids((40, 33), (5, 4), seed=1, smooth=False, shift=False, p=0.3),
    "SpaceFilling": samplers.SpaceFilling(6, seed=1),
    "PickFreeze": samplers.PickFreeze(6, seed=1),
    "OwenGrid": samplers.OwenGrid(9, seed=1),
    "LevelCoins": samplers.LevelCoins(37, 1, 0.3),
    "LevelGrid": samplers.LevelGrid(5, 1),
    "LevelGrid long": samplers.LevelGrid(300, 7),
    "Flips": samplers.Flips(9, 1),
    "RemovedWords": RemovedWords(11, 1),
    "LeaveOut": LeaveOut(11, 2),
    "Walks": samplers.Walks(9, 1),
    "Sizes": samplers.Sizes(12, 1),
    "Sizes of many": samplers.Sizes(300, 1, "kernel"),
    "IndependentSizes": samplers.IndependentSizes(12, 1),
    "Enumeration": samplers.Enumeration(5),
    "Zoomed": samplers.Zoomed(samplers.Sizes(6, 1), (2, 3), (8, 9)),
}


def digest(masks):
    h = hashlib.sha256(masks.data.tobytes())
    h.update(masks.levels().tobytes())
    if masks.alpha is not None:
        h.update(np.rint(masks.alpha * 2**32).astype("<u8").tobytes())
    return h.hexdigest()[:24]


@pytest.mark.parametrize("name", SEEDED)
def test_golden_rows(name):
    """A changed digest changes everybody's results: say so in the CHANGELOG."""
    s = SEEDED[name]
    assert digest(s.draw(0, 6 * s.group)) == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize("name", SEEDED)
def test_rows_outside_whole_groups_are_refused(name):
    s = SEEDED[name]
    assert len(s.draw(0, 0)) == 0
    for start, count in [
        (-s.group, s.group),
        (0, -s.group),
        *([(1, s.group), (0, s.group + 1)] if s.group > 1 else []),
    ]:
        with pytest.raises(InvalidInput):
            s.draw(start, count)


@pytest.mark.parametrize("name", [k for k, s in SEEDED.items() if hasattr(s, "seed")])
def test_seeds_and_players_out_of_range_are_refused(name):
    s = SEEDED[name]
    for seed in (-1, 2**64, 0.5):
        with pytest.raises(InvalidInput, match="seed"):
            replace(s, seed=seed)
    assert len(replace(s, seed=2**64 - 1).draw(0, s.group)) == s.group
    size = {"grid": (0, 5)} if hasattr(s, "grid") else {"n_cells": 0} if hasattr(s, "n_cells") else {"n_players": 0}
    with pytest.raises(InvalidInput, match=r"at least one|no players"):
        replace(s, **size)


def test_rows_do_not_depend_on_how_many_are_asked():
    for name, s in SEEDED.items():
        whole, later = s.draw(0, 6 * s.group), s.draw(2 * s.group, 2 * s.group)
        assert np.array_equal(whole.levels()[2 * s.group : 4 * s.group], later.levels()), name


def test_changing_what_was_drawn_changes_no_later_draw():
    for name, s in SEEDED.items():
        before = s.draw(0, s.group)
        wanted = before.data.copy()
        before.data[...] = 0
        assert np.array_equal(s.draw(0, s.group).data, wanted), name
