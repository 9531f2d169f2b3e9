"""The answer store at full size: rows written and read a second, 100 000 reservations from 8 processes.

python -m experiments.bench_store [--dsn postgresql://...] [--reservations 100000]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import BudgetExhausted
from blackbox_xai.budget import AnswerStore
from blackbox_xai.budget.audit import verify
from blackbox_xai.budget.limits import Amount


def throughput(where: str, n: int = 200_000, size: int = 512) -> dict[str, float]:
    """Rows of two outputs a second, durable, in batches."""
    keys = [hashlib.sha256(str(i).encode()).digest() for i in range(n)]
    rows = np.random.default_rng(0).normal(size=(n, 2))
    with AnswerStore(where) as store:
        oracle = store.oracle("bench")
        begin = time.perf_counter()
        for i in range(0, n, size):
            store.put(oracle, dict(zip(keys[i : i + size], rows[i : i + size])))
        middle = time.perf_counter()
        for i in range(0, n, size):
            assert len(store.lookup(oracle, keys[i : i + size])) == size or i + size > n
        end = time.perf_counter()
    return {"written a second": n / (middle - begin), "read a second": n / (end - middle)}


def reserve(where: str, total: int, got: Any) -> None:
    """One row at a time until nothing is left."""
    store = AnswerStore(where)
    oracle, account = store.oracle("m"), store.account(store.budget("race", total))
    mine = 0
    while True:
        try:
            store.reserve(oracle, account, Amount(1))
        except BudgetExhausted:
            break
        mine += 1
    store.close()
    got.put(mine)


def race(where: str, total: int, processes: int = 8) -> dict[str, Any]:
    """So many single reservations from 8 processes: exact or not, and how fast."""
    with AnswerStore(where) as store:
        budget = store.budget("race", total)
        context = multiprocessing.get_context("spawn")
        got = context.Queue()
        begin = time.perf_counter()
        workers = [context.Process(target=reserve, args=(where, total, got)) for _ in range(processes)]
        for w in workers:
            w.start()
        counts = [got.get() for _ in workers]
        for w in workers:
            w.join()
        seconds = time.perf_counter() - begin
        return {
            "asked": total,
            "given": sum(counts),
            "used": budget.used,
            "each": counts,
            "books": verify(store),
            "a second": total / seconds,
        }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--dsn")
    p.add_argument("--reservations", type=int, default=100_000)
    p.add_argument("--skip-throughput", action="store_true")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as home:
        out: dict[str, Any] = {}
        where = a.dsn or str(Path(home) / "bench.db")
        if not a.skip_throughput:
            out["throughput"] = throughput(where)
        out["reservations"] = race(where, a.reservations)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
