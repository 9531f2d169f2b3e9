"""The protocols against the servers they are for, each serving a real model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blackbox_xai import BudgetExhausted, OracleError, QueryBudget, explain
from blackbox_xai.oracles import HTTPOracle, Meter
from blackbox_xai.oracles.http import V2, Generic, MLflow
from tests.servers import real

pytestmark = [pytest.mark.server, pytest.mark.slow]
ROWS = np.round(np.random.default_rng(5).normal(size=(70, 30)), 3)


def scores(oracle: HTTPOracle, rows: Any = ROWS, spare: int = 0) -> Any:
    """Every row through a meter, in batches of the oracle's size."""
    size = oracle.batch_size
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    source = [([p.tobytes() for p in part], lambda r, part=part: part[r]) for part in parts]
    with oracle:
        meter = Meter(oracle, QueryBudget(len(rows), spare=spare))
        return np.concatenate(list(meter.stream(source)))


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with real.mlserver(tmp_path_factory.mktemp("mlserver")) as running:
        yield running


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with real.mlflow(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with real.kserve(tmp_path_factory.mktemp("kserve")) as running:
        yield running


def test_mlserver(mlserver: tuple[str, Path]) -> None:
    url, interpreter = mlserver
    want = real.expected(interpreter, ROWS.tolist())
    np.testing.assert_allclose(scores(HTTPOracle(url, "v2", model="m30")), want, rtol=1e-12)
    labels = HTTPOracle(url, "v2", model="m30", output="predict", outputs="labels", labels=["0", "1", "2"])
    assert np.array_equal(scores(labels).argmax(axis=1), np.argmax(want, axis=1))
    # MLServer does not know the binary extension and answers 422 or 500: JSON from then on
    binary = HTTPOracle(url, V2(model="m30", binary=True))
    np.testing.assert_allclose(scores(binary, spare=len(ROWS)), want, rtol=1e-12)
    with HTTPOracle(url, "v2", model="m30", output="margin") as o, pytest.raises(OracleError, match=r"HTTP (400|500)"):
        scores(o)
    with HTTPOracle(url, "v2", model="nothing") as o, pytest.raises(OracleError, match="HTTP 404"):
        scores(o)
    # too few columns: answered 500 in plain text
    with HTTPOracle(url, "v2", model="m30") as o, pytest.raises(BudgetExhausted, match=r"after: .*HTTP 500"):
        scores(o, ROWS[:, :7])


def test_an_explanation_of_a_served_model_is_that_of_the_model(mlserver: tuple[str, Path]) -> None:
    url, interpreter = mlserver
    with HTTPOracle(url, "v2", model="m30") as oracle:
        a = explain(oracle, ROWS[0], baseline=np.zeros(30), method="kernelshap", budget=400, target=1)
    ends = real.expected(interpreter, [np.zeros(30).tolist(), ROWS[0].tolist()])
    np.testing.assert_allclose([a.base_values, a.full_values], [ends[0][1], ends[1][1]], rtol=1e-12)
    np.testing.assert_allclose(a.values.sum(), a.full_values - a.base_values, atol=1e-9)
    assert a.ledger["scored"] <= 400


@pytest.mark.parametrize("form", ["inputs", "instances", "dataframe_split"])
def test_mlflow(mlflow: tuple[str, Path], form: Any) -> None:
    url, interpreter = mlflow
    columns = tuple(map(str, range(30)))
    got = scores(HTTPOracle(url, MLflow(form=form, columns=columns)))
    np.testing.assert_allclose(got, real.expected(interpreter, ROWS.tolist()), rtol=1e-12)
    with HTTPOracle(url, "mlflow") as o, pytest.raises(OracleError, match="HTTP 400"):
        scores(o, ROWS[:, :7])


def test_kserve_v1_v2_and_binary(kserve: tuple[str, Path]) -> None:
    url, interpreter = kserve
    want = real.expected(interpreter, ROWS.tolist())
    binary = HTTPOracle(url, V2(model="m30", binary=True))
    plain = HTTPOracle(url, "v2", model="m30")
    np.testing.assert_allclose(scores(plain), want, rtol=1e-12)
    np.testing.assert_allclose(scores(binary), want, rtol=1e-12)
    np.testing.assert_allclose(scores(HTTPOracle(url, "instances", model="m30")), want, rtol=1e-12)
    generic = Generic(
        encode=lambda rows: {"instances": rows.tolist()},
        decode=lambda body: body["predictions"],
        path="/v1/models/m30:predict",
    )
    np.testing.assert_allclose(scores(HTTPOracle(url, generic)), want, rtol=1e-12)
