"""The mask layer under pytest-benchmark, to compare one change with another on one machine.

    pip install "blackbox-xai[test]"
    pytest experiments/bench_masks_pytest.py --benchmark-autosave     # then: --benchmark-compare

Not part of the tests: nothing here can fail by time. `bench_masks.py` has the figures that are reported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blackbox_xai import samplers

GRID = (224, 224)
DRAWS = {
    "independent coins": samplers.Coins(GRID[0] * GRID[1]),
    "smoothed coins": samplers.SmoothedCoins(GRID),
    "RISE grids": samplers.RiseGrids(GRID),
    "sizes of 300 players": samplers.Sizes(300),
    "walks of 30 players": samplers.Walks(30),
    "pick-freeze of 64 cells": samplers.PickFreeze(64),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draw(benchmark: Any, name: str) -> None:
    s: Any = DRAWS[name]
    count = -(-400 // s.group) * s.group
    assert len(benchmark(s.draw, 0, count)) == count


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_compose(benchmark: Any, dtype: str, soft: bool) -> None:
    masks = DRAWS["RISE grids" if soft else "smoothed coins"].draw(0, 128)
    x, baseline = (np.random.default_rng(0).random((2, *GRID, 3)) * 255).astype(dtype)
    out = np.zeros((128, *GRID, 3), dtype)
    assert benchmark(masks.compose, x, baseline, out) is out


@pytest.mark.parametrize("name", ["smoothed coins", "RISE grids"])
def test_accumulate(benchmark: Any, name: str) -> None:
    masks = DRAWS[name].draw(0, 400)
    sums, _ = benchmark(masks.accumulate, np.ones(400), np.ones(400))
    assert sums.shape == (GRID[0] * GRID[1],)
