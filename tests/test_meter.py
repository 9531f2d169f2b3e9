"""The meter counts every row, sends equal rows once, checks every answer, and loses nothing."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from blackbox_xai import BudgetExhausted, InvalidInput, OracleError, QueryBudget
from blackbox_xai.oracles import CallableOracle, Meter, SklearnOracle, as_oracle


def batches(*rows: list[int]) -> Any:
    """Batches of numbers: a number is its own key and its own input."""
    return [
        ([bytes([r]) for r in batch], lambda index, batch=batch: np.array(batch, float)[index][:, None])
        for batch in rows
    ]


def meter(predict: Any, limit: int = 100, **options: Any) -> Meter:
    return Meter(CallableOracle(predict, **options), QueryBudget(limit))


def test_equal_rows_are_sent_once() -> None:
    sent: list[float] = []

    def predict(x: Any) -> Any:
        sent.extend(x[:, 0])
        return x[:, 0] * 10

    m = meter(predict)
    got = list(m.stream(batches([1, 2, 2], [2, 3], [1, 3])))
    assert [g.ravel().tolist() for g in got] == [[10, 20, 20], [20, 30], [10, 30]]
    assert sent == [1, 2, 3]
    assert (m.ledger.scored, m.ledger.answered, m.ledger.repeated, m.budget.used) == (3, 3, 4, 3)


def test_a_stochastic_oracle_is_asked_again_and_a_second_pass_is_not_paid() -> None:
    count = iter(range(100))
    m = meter(lambda x: np.array([next(count) for _ in x]), stochastic=True)
    first = [g.ravel().tolist() for g in m.stream(batches([1, 1], [1]))]
    assert first == [[0, 1], [2]]
    m.rewind()
    assert [g.ravel().tolist() for g in m.stream(batches([1, 1], [1], [1]))] == [[0, 1], [2], [3]]
    assert m.budget.used == 4


def test_exhaustion_sends_nothing_of_the_batch() -> None:
    calls: list[int] = []
    m = meter(lambda x: calls.append(len(x)) or x[:, 0], limit=3)
    stream = m.stream(batches([1, 2], [3, 4]))
    assert next(stream).shape == (2, 1)
    with pytest.raises(BudgetExhausted):
        next(stream)
    assert calls == [2]
    assert m.budget.used == 2


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda x: np.zeros(len(x) - 1), r"shape \(1,\)"),
        (lambda x: np.zeros((len(x), 2, 2)), "shape"),
        (lambda x: np.zeros((len(x), 0)), "outputs"),
        (lambda x: np.full(len(x), np.nan), "NaN or infinite"),
        (lambda x: np.full(len(x), np.inf), "NaN or infinite"),
        (lambda x: ["a"] * len(x), "not numbers"),
        (lambda x: None, "not numbers"),
        (lambda x: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_unusable_answers_name_the_oracle_and_the_batch(answer: Any, text: str) -> None:
    def model(x: Any) -> Any:
        return answer(x) if x[0, 0] == 3 else x[:, 0]

    m = meter(model)
    stream = m.stream(batches([1, 2], [3, 4], [5, 6]))
    next(stream)
    with pytest.raises(OracleError, match=text) as e:
        next(stream)
    assert "CallableOracle('" in str(e.value)
    assert "model" in str(e.value)
    assert "batch 2" in str(e.value)
    assert (m.ledger.answered, m.ledger.failed, m.budget.used) == (2, 2, 4)


def test_the_number_of_outputs_must_not_change() -> None:
    m = meter(lambda x: np.zeros((len(x), int(x[0, 0]))))
    with pytest.raises(OracleError, match="3 outputs, earlier ones 1"):
        list(m.stream(batches([1, 2], [3, 4])))


def test_refused_rows_are_given_back() -> None:
    def refuse(x: Any) -> Any:
        raise OracleError("429", charged=False, retry=True)

    m = meter(refuse)
    with pytest.raises(OracleError, match="429"):
        list(m.stream(batches([1, 2])))
    assert (m.budget.used, m.ledger.scored) == (0, 0)


def test_threads_keep_the_order_and_an_error_keeps_what_was_under_way() -> None:
    lock, most, now = threading.Lock(), [0], [0]

    def slow(x: Any) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002 * (9 - x[0, 0]))  # later batches answer first
        with lock:
            now[0] -= 1
        if x[0, 0] == 4:
            raise ValueError("boom")
        return x[:, 0]

    m = meter(slow, parallel=4)
    got = []
    with pytest.raises(OracleError, match="boom"):
        got.extend(s.ravel().tolist() for s in m.stream(batches([1], [2], [3], [4], [5], [6], [7], [8])))
    assert got == [[1], [2], [3]]
    assert 2 <= most[0] <= 4
    assert m.ledger.answered == m.budget.used - 1 >= 3
    again = list(m.stream(batches([1], [2], [3], [5])))  # 5 was under way: paid for, kept
    assert [g.item() for g in again] == [1, 2, 3, 5]


def test_construction_queries_nothing() -> None:
    def never(x: Any) -> Any:
        raise AssertionError("queried")

    Meter(CallableOracle(never), QueryBudget(3))
    with pytest.raises(InvalidInput, match="batch_size"):
        CallableOracle(never, batch_size=0)
    with pytest.raises(InvalidInput, match="no way to query a str"):
        as_oracle("model")
    with pytest.raises(InvalidInput, match="already"):
        as_oracle(CallableOracle(never), batch_size=3)


def test_sklearn_oracle() -> None:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    x = np.random.default_rng(0).normal(size=(50, 3))
    y = np.where(x[:, 0] > 0, "yes", "no")
    model = LogisticRegression().fit(x, y)
    oracle = as_oracle(model, batch_size=7)
    assert isinstance(oracle, SklearnOracle)
    assert oracle.output_names == ("no", "yes")
    assert np.array_equal(oracle._predict(x), model.predict_proba(x))
    plain = SklearnOracle(LinearRegression().fit(x, x[:, 1]))
    assert plain._predict(x).shape == (50,)
    with pytest.raises(InvalidInput, match="no predict_proba; it has predict"):
        SklearnOracle(LinearRegression(), method="predict_proba")


@pytest.mark.parametrize("kind", ["rounded", "sampled"])
def test_standard_errors_tell_the_truth_of_poor_outputs(kind: str) -> None:
    """Rounded or sampled scores of a linear model: over many seeds the intervals cover its Shapley values."""
    from blackbox_xai import explain

    weights = np.array([0.31, -0.17, 0.23, 0.05, -0.09, 0.11, 0.02, 0.19, -0.13, 0.07])
    rng = np.random.default_rng(0)

    def model(x: Any) -> Any:
        p = 0.3 + x @ weights / 2
        return np.round(p, 1) if kind == "rounded" else rng.binomial(10, np.clip(p, 0, 1)) / 10

    covered = []
    options: dict[str, Any] = {"outputs": kind, "stochastic": kind == "sampled"}
    truth = weights / 2
    if kind == "rounded":  # the truth is that of the rounded model, by exact enumeration
        oracle = CallableOracle(model, **options)
        truth = explain(oracle, np.ones(10), baseline=np.zeros(10), budget=1024, method="kernelshap").values
    for seed in range(60):
        oracle = CallableOracle(model, **options)
        a = explain(oracle, np.ones(10), baseline=np.zeros(10), budget=202, method="permutation", seed=seed)
        assert a.std_error is not None
        covered.append(np.abs(a.values - truth) <= 2.23 * a.std_error)  # Student, 10 degrees of freedom
    assert 0.88 < np.mean(covered) < 0.995
