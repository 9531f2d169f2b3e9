"""Models over HTTP: what is billed is what is counted, whatever the server does."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blackbox_xai import QueryBudget, explain
from blackbox_xai.budget import AnswerStore
from blackbox_xai.budget.audit import listing, verify
from blackbox_xai.oracles import CallableOracle, HTTPOracle, Retry
from tests.servers.hostile import score
from tests.servers.run import hostile

SPAWN = multiprocessing.get_context("spawn")
X = np.round(np.linspace(-1, 2, 40), 3)
PATIENT = Retry(attempts=14, timeouts=2, unusable=5, backoff_s=0.02, max_backoff_s=0.5)
WEATHER: dict[str, Any] = dict(
    p429=0.10, p500=0.05, drop=0.02, cut=0.01, nan=0.01, extra=0.01, latency_s=(0.001, 0.2), seed=1
)


def local() -> CallableOracle:
    return CallableOracle(lambda x: np.array([score(row) for row in x.tolist()]), batch_size=16)


def remote(url: str, **options: Any) -> HTTPOracle:
    options = {"model": "m", "batch_size": 16, "max_concurrency": 16, "identity": "hostile", **options}
    return HTTPOracle(url, "v2", **options)


def test_a_calm_server_gives_the_same_bits_as_the_function() -> None:
    want = explain(local(), X, baseline=np.zeros(40), budget=800, method="kernelshap", seed=2)
    with hostile() as server, remote(server.url) as oracle:
        got = explain(oracle, X, baseline=np.zeros(40), budget=800, method="kernelshap", seed=2)
        assert np.array_equal(got.values, want.values)
        stats = server.stats()
    assert (stats["rows"], stats["good"]) == (800, {"rows": 800, "most": 1})
    assert (got.status, got.ledger["scored"], got.ledger["answered"]) == ("complete", 800, 800)


def _explain_one(url: str, where: str, seed: int, own: bool, got: Any) -> None:
    store = AnswerStore(where)
    budget = store.budget("all", 20_000, spare=5_000).child(5_000) if own else QueryBudget(5_000, spare=1_250)
    oracle = remote(url, retry=PATIENT)
    a = explain(oracle, X + seed, baseline=np.zeros(40), budget=budget, method="kernelshap", seed=seed, store=store)
    got.put((seed, a.status, a.error, a.values, a.ledger))
    oracle.close()
    store.close()


def _four(url: str, where: str, seeds: list[int], own: bool) -> dict[int, list[Any]]:
    got = SPAWN.Queue()
    workers = [SPAWN.Process(target=_explain_one, args=(url, where, s, own, got)) for s in seeds]
    for w in workers:
        w.start()
    results: dict[int, list[Any]] = {}
    for _ in workers:
        seed, *rest = got.get(timeout=200)
        results.setdefault(seed, []).append(rest)
    for w in workers:
        w.join()
    return results


@pytest.mark.slow
def test_20_000_queries_through_a_hostile_server(tmp_path: Path) -> None:
    where = str(tmp_path / "a.db")
    AnswerStore(where).close()
    with hostile(**WEATHER) as server:
        results = _four(server.url, where, [0, 1, 2, 3], own=True)
        stats = server.stats()
        for seed, ((status, error, values, _),) in results.items():
            assert (status, error) == ("complete", "")
            want = explain(local(), X + seed, baseline=np.zeros(40), budget=5_000, method="kernelshap", seed=seed)
            assert np.array_equal(values, want.values)
        with AnswerStore(where) as store:
            budget = store.budget("all", 20_000, spare=5_000)
            rows = budget.used  # a walk that does not fit stays unspent
            assert 19_950 <= rows <= 20_000
            assert stats["rows"] <= rows + budget.repeated <= 25_000
            assert stats["good"] == {"rows": rows, "most": 1}  # none lost, none bought twice
            assert verify(store) == []
            (oracle,) = listing(store)["oracles"]
            assert (oracle["answers"], oracle["answered"]) == (rows, rows)
        assert min(stats["faults"].values()) >= 1
        again = _four(server.url, where, [0, 1, 2, 3], own=False)  # all from the store
        assert server.stats()["requests"] == stats["requests"]
        assert all(np.array_equal(again[s][0][2], results[s][0][2]) for s in again)


@pytest.mark.slow
def test_processes_that_ask_the_same_rows_at_once_pay_once(tmp_path: Path) -> None:
    where = str(tmp_path / "a.db")
    AnswerStore(where).close()
    with hostile(latency_s=(0.01, 0.05)) as server:
        results = _four(server.url, where, [0, 0, 0, 0], own=False)[0]
        stats = server.stats()
    assert stats["good"] == {"rows": 5_000, "most": 1}
    assert stats["rows"] == 5_000
    assert all(np.array_equal(r[2], results[0][2]) for r in results)
    assert sum(r[3]["scored"] for r in results) == 5_000


@pytest.mark.parametrize(("latency", "share"), [((0.1, 0.1), 0.95), ((0.001, 0.2), 0.90)])
def test_the_connections_are_kept_busy(latency: tuple[float, float], share: float) -> None:
    """Sixteen connections, 100 ms on average: 160 batches a second at best, or what a bare loop gets here just now."""
    from experiments.bench_http import saturation

    best = 0.0
    for _ in range(3):  # other work may run beside the tests
        found = saturation(*latency, n=320)
        best = max(best, found["metered"] / min(found["ideal"], found["bare"]))
        if best >= share:
            return
    raise AssertionError(f"{best:.2f} of the rate that 16 connections can reach")
