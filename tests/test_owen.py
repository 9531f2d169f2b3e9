"""Owen blocks: flips, complements, levels, and the Shapley value as the mean of their differences."""

import numpy as np
import pytest

from blackbox_xai import samplers
from blackbox_xai.errors import InvalidInput


def game(z):
    """2 z0 z1 + z2 z3 z4 - z0 z2: Shapley values by unanimity."""
    z = z.astype(float)
    return 2 * z[:, 0] * z[:, 1] + z[:, 2] * z[:, 3] * z[:, 4] - z[:, 0] * z[:, 2]


SHAPLEY = np.array([1 - 0.5, 1, 1 / 3 - 0.5, 1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("antithetic", [False, True])
def test_blocks(antithetic):
    s = samplers.OwenGrid(10, antithetic=antithetic, seed=4)
    masks = s.draw(0, 5 * s.group)
    z = masks.dense().reshape(5, s.group, 10)
    assert np.array_equal(z[:, 1:11] ^ z[:, :1], np.broadcast_to(np.eye(10, dtype=bool), (5, 10, 10)))
    alpha = masks.alpha.reshape(5, s.group)
    if antithetic:
        assert np.array_equal(z[:, 11:], ~z[:, :11])
        assert np.array_equal(alpha[:, 11:], 1 - alpha[:, :11])
        assert alpha[:, :11].max() <= 0.5
    part = s.draw(2 * s.group, s.group)
    assert np.array_equal(part.data, masks[2 * s.group : 3 * s.group].data)
    assert np.array_equal(part.sizes(), part.dense().sum(axis=1))


@pytest.mark.parametrize("antithetic", [False, True])
def test_mean_difference_is_the_shapley_value(antithetic):
    s = samplers.OwenGrid(6, antithetic=antithetic, seed=1)
    blocks = 4000
    masks = s.draw(0, blocks * s.group)
    z = masks.dense()
    f, z = game(z).reshape(-1, 7), z.reshape(-1, 7, 6)
    gain = np.where(z[:, 0], f[:, :1] - f[:, 1:], f[:, 1:] - f[:, :1])
    gain = gain.reshape(blocks, -1, 6).mean(axis=1)
    error = gain.std(axis=0, ddof=1) / np.sqrt(blocks)
    assert np.all(np.abs(gain.mean(axis=0) - SHAPLEY) <= 4 * error + 1e-12)
    assert error[2:5].min() > 0  # pairs of players cancel exactly in complements, threes do not


def test_bad_input():
    with pytest.raises(InvalidInput, match="at least one"):
        samplers.OwenGrid(0)
    with pytest.raises(InvalidInput, match="group size 8"):
        samplers.OwenGrid(3).draw(0, 4)
    with pytest.raises(InvalidInput, match="seed"):
        samplers.OwenGrid(3, seed=2**64)
    assert len(samplers.OwenGrid(3).draw(0, 0)) == 0
