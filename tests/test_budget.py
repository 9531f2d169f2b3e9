"""Budgets: whole or not at all, shared, never exceeded, nothing lost."""

from __future__ import annotations

import threading

import pytest

from blackbox_xai import BudgetExhausted, InvalidInput, QueryBudget


@pytest.mark.parametrize("bad", [-1, 1.5, True, "10", None])
def test_bad_limits(bad: object) -> None:
    with pytest.raises(InvalidInput, match="whole number of rows"):
        QueryBudget(bad)  # type: ignore[arg-type]


def test_reserve_is_whole_or_nothing() -> None:
    b = QueryBudget(10, name="study-7")
    b.reserve(7)
    with pytest.raises(BudgetExhausted, match=r"'study-7': asked for 4 queries, 3 of 10 left; none was sent") as e:
        b.reserve(4)
    assert (e.value.asked, e.value.left, e.value.limit, b.used) == (4, 3, 10, 7)
    b.reserve(3)
    b.give_back(5)
    assert (b.used, b.left) == (5, 5)


def test_spare_is_for_repeats_only() -> None:
    b = QueryBudget(4, spare=2)
    b.reserve(4)
    with pytest.raises(BudgetExhausted):
        b.reserve(1)
    b.reserve(2, repeat=True)
    assert (b.used, b.repeated, b.spare_left) == (4, 2, 0)
    with pytest.raises(BudgetExhausted, match="spare"):
        b.reserve(1, repeat=True)


def test_children_draw_from_their_parent() -> None:
    study = QueryBudget(100, name="study")
    a, b = study.child(80, name="a"), study.child(80, name="b")
    a.reserve(70)
    assert b.left == 30
    with pytest.raises(BudgetExhausted, match="study"):
        b.reserve(31)
    assert (b.used, study.used) == (0, 70)
    b.reserve(30)
    assert study.left == 0


def test_growth_does_not_pass_the_parent() -> None:
    study = QueryBudget(10)
    child = study.child(5)
    child.grow(20)
    assert (child.limit, child.left) == (25, 10)


def test_threads_never_overspend_and_never_lose_one() -> None:
    root = QueryBudget(10_000)
    children = [root.child(10_000, name=str(i)) for i in range(32)]
    got = [0] * 32
    go = threading.Barrier(32)

    def hammer(i: int) -> None:
        go.wait()
        n = 1 + i % 3
        backs = 0
        while True:
            try:
                children[i].reserve(n)
            except BudgetExhausted:
                if n == 1:
                    return
                n = 1
                continue
            got[i] += n
            if got[i] % 7 == 0 and backs < 200:  # for ever would never end
                backs += 1
                children[i].give_back(1)
                got[i] -= 1

    threads = [threading.Thread(target=hammer, args=(i,)) for i in range(32)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(got) == root.used == 10_000
    assert [c.used for c in children] == got
