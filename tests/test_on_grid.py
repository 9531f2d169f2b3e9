"""Methods on the pixels of an image find what the model looks at, in the units they promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blackbox_xai import explain
from blackbox_xai.estimators import METHODS
from blackbox_xai.estimators.base import Problem
from blackbox_xai.players import ImagePixels
from tests.helpers import Counting

PHOTO = np.random.default_rng(0).integers(100, 255, (48, 64, 3), dtype=np.uint8)
ON_GRID = sorted(name for name, method in METHODS.items() if method.on_grid)


def patch(batch: Any) -> Any:
    """Mean brightness of one patch of 16 x 16 pixels, 0..1."""
    return batch[:, 8:24, 40:56].reshape(len(batch), -1).mean(1) / 255


@pytest.mark.parametrize("name", ON_GRID)
def test_the_patch_is_found_within_the_budget(name: str) -> None:
    sent: list[int] = []

    def counted(batch: Any) -> Any:
        sent.append(len(batch))
        return patch(batch)

    a = explain(counted, PHOTO, method=name, budget=500, baseline="black", target=0, batch_size=50)
    assert 0.75 * 500 <= sum(sent) == a.ledger["scored"] <= 500
    heat = np.abs(a.spread())
    inside = np.zeros((48, 64), bool)
    inside[8:24, 40:56] = True
    assert heat[inside].mean() > 3 * heat[~inside].mean()
    assert np.isfinite(a.values).all()
    assert a.std_error is None or (a.std_error >= 0).all()


@pytest.mark.parametrize("name", ON_GRID)
def test_same_bits_whatever_the_batch_and_several_targets_cost_nothing(name: str) -> None:
    def two(batch: Any) -> Any:
        return np.stack([patch(batch), -2 * patch(batch)], axis=1)

    first = explain(two, PHOTO, method=name, budget=300, baseline="black", target="all", batch_size=7)
    again = explain(two, PHOTO, method=name, budget=300, baseline="black", target="all", batch_size=100)
    assert np.array_equal(first.values, again.values)
    assert first.values.shape == (48 * 64, 2)
    assert first.ledger["scored"] <= 300


def test_rise_slope_of_a_dark_corner_is_its_share() -> None:
    """An additive game of one pixel's presence: E[f | present] - E[f | absent] is its weight at that pixel."""
    weights = np.zeros(24 * 32)
    weights[12 * 32 + 16] = 1.0
    session = METHODS["rise"]().session(Problem(24 * 32, (4000,), 3, grid=(24, 32), soft=True))
    while len(masks := session.ask(1000)):
        session.tell(masks, masks.dense() @ weights)
    e = session.result()
    assert e.values[12 * 32 + 16] == pytest.approx(1, abs=1e-3)
    assert e.std_error is not None
    assert abs(e.values[0]) < 5 * e.std_error[0]


def test_sobol_index_of_cells() -> None:
    """f = sum of b times presence on the cells: the total index is b^2 / sum b^2."""
    p = ImagePixels(np.full((32, 32, 3), 255, np.uint8), 0.0)
    model = Counting([1.0])
    cell = np.arange(32) * 4 // 32
    b = np.arange(16.0).reshape(4, 4)

    def game(batch: Any) -> Any:
        model.rows += len(batch)
        return (batch[..., 0] / 255.0 * b[cell][:, cell] / 64).sum((1, 2))

    a = explain(game, None, players=p, method=METHODS["sobol"](cells=4), budget=3000, target=0)
    exact = (b**2 / (b**2).sum())[cell][:, cell]
    assert np.abs(a.spread() - exact).max() < 0.02
    assert model.rows == a.ledger["scored"] <= 3000
