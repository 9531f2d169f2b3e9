"""Pairs by size: nested, without repeats, each subset as likely as its share says."""

from __future__ import annotations

import numpy as np
import pytest

from blackbox_xai.errors import InvalidInput
from blackbox_xai.samplers.sizes import IndependentSizes, Sizes, law_of_sizes
from blackbox_xai.samplers.walks import Walks


@pytest.mark.parametrize("law", ["kernel", "leverage", "balanced"])
def test_a_nested_design_without_repeats(law):
    for d in (2, 3, 7, 10):
        rows = Sizes(d, 5, law).draw(0, 2**d - 2).dense()
        assert len(np.unique(rows, axis=0)) == 2**d - 2
    sampler = Sizes(40, 11, law)
    whole = sampler.draw(0, 600).dense()
    np.testing.assert_array_equal(whole, np.concatenate([sampler.draw(i, 20).dense() for i in range(0, 600, 20)]))
    np.testing.assert_array_equal(whole[1::2], ~whole[0::2])
    assert len(np.unique(whole, axis=0)) == 600


def test_rows_outside_are_refused():
    with pytest.raises(InvalidInput, match="split a pair"):
        Sizes(40).draw(1, 2)
    with pytest.raises(InvalidInput, match="30 exist"):
        Sizes(5).draw(28, 4)
    with pytest.raises(InvalidInput, match="law 'odd' is unknown"):
        law_of_sizes(5, "odd")


def test_the_divisor_rule_and_cycles():
    """The prefix counts are those of picking the largest wanted/(drawn + 1) one by one."""
    n, q, drawn = 9, law_of_sizes(9, "balanced"), np.zeros(4)
    room = np.array([9, 36, 84, 126])
    for pair in range(1, 200):
        drawn[np.argmax(np.where(drawn < room, q / (drawn + 1), -1))] += 1
        np.testing.assert_array_equal(Sizes(n).counts(pair)[1:], drawn)
    cycling = Sizes(4, 1, cycle=True)
    rows = cycling.draw(0, 28).dense()
    np.testing.assert_array_equal(rows[:14], rows[14:])


def test_each_subset_is_included_with_the_share_told():
    """n = 6, 12 pairs: inclusion of every subset over 2000 seeds against count/available of its size."""
    hits = np.zeros(64)
    for seed in range(2000):
        hits[Sizes(6, seed).draw(0, 24).dense()[0::2] @ (1 << np.arange(6))] += 1
    counts = Sizes(6).counts(12)
    for size, room in ((1, 6), (2, 15), (3, 10)):
        members = [m for m in range(64) if m.bit_count() == size and (size < 3 or m & 1)]
        share = counts[size] / room
        error = np.sqrt(share * (1 - share) / 2000)
        assert np.all(np.abs(hits[members] / 2000 - share) <= 4.5 * error)


def test_keyed_permutation_of_many_subsets():
    """n = 16, size 8: 6435 subsets that hold player 0; membership and co-membership are even."""
    seeds = [Sizes(16, s, "leverage").draw(0, 3000).dense()[0::2] for s in range(40)]
    rows = np.concatenate([z[z.sum(axis=1) == 8] for z in seeds])
    assert rows[:, 0].all()
    rest = rows[:, 1:]
    assert np.abs(rest.mean(axis=0) - 7 / 15).max() < 4.5 * np.sqrt(0.25 / len(rows))
    both = (rest.T * 1.0 @ rest) / len(rows)
    assert np.abs(both[~np.eye(15, dtype=bool)] - 7 * 6 / (15 * 14)).max() < 4.5 * np.sqrt(0.16 / len(rows))


def test_independent_pairs_follow_their_law():
    sampler = IndependentSizes(7, 3)
    size = sampler.draw(0, 40000).dense()[0::2].sum(axis=1)
    share = np.bincount(size, minlength=8)[1:7] / len(size)
    assert np.abs(share - sampler.shares()).max() < 4.5 * np.sqrt(0.2 * 0.8 / len(size))


def test_a_walk_and_its_mirror():
    rows = Walks(6, 2).draw(0, 20).dense().reshape(2, 2, 5, 6)
    np.testing.assert_array_equal(rows[:, 0].sum(axis=2), [[1, 2, 3, 4, 5]] * 2)
    np.testing.assert_array_equal(rows[:, 1], ~rows[:, 0])
    assert np.all(rows[:, 0, 1:] >= rows[:, 0, :-1])
    with pytest.raises(InvalidInput, match="split a walk of 10"):
        Walks(6).draw(0, 4)
