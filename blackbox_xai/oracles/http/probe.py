"""What answers at a URL, how fast, and what a run would take."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ...budget import QueryBudget
from ...errors import BlackboxXaiError, OracleError
from ..meter import Meter
from .client import HTTPOracle

SIZES = (1, 8, 64)
RUNS = (500, 5000)
_REPEATS = 3


def describe(oracle: HTTPOracle) -> dict[str, Any]:
    """What the server says of itself: status of each descriptive path, inputs and outputs where told. Free."""
    found: dict[str, Any] = {"paths": {}, "inputs": [], "outputs": []}
    for path in oracle.wire.about():
        status, body = oracle.look(path)
        found["paths"][path] = status
        if isinstance(body, dict):
            for side in ("inputs", "outputs"):
                if isinstance(body.get(side), list):
                    found[side] = [
                        {k: t.get(k) for k in ("name", "datatype", "shape")}
                        for t in body[side][:20]
                        if isinstance(t, dict)
                    ]
    return found


def speed(oracle: HTTPOracle, row: Any) -> dict[int, dict[str, float]]:
    """Latency (s) and rows a second at batch sizes 1, 8 and 64, one request at a time, median of three.

    Parameters
    ----------
    row : one input, as the model takes it: a string or an array without the batch axis.

    Raises
    ------
    OracleError : the first request failed; larger batches that fail are left out.

    Cost: 3 x 73 rows at most.
    """
    found: dict[int, dict[str, float]] = {}
    for size in SIZES:
        if oracle.wire.rows_a_request == 1 and size > 1:
            break
        batch = [row] * size if isinstance(row, str) else np.repeat(np.asarray(row)[None], size, axis=0)
        times = []
        try:
            for i in range(_REPEATS):
                meter = Meter(oracle, QueryBudget(size, name="probe"))
                begin = time.perf_counter()
                list(meter.stream([([b"%d" % (i * size + j) for j in range(size)], _same(batch))]))
                times.append(time.perf_counter() - begin)
        except OracleError:
            if size == 1:
                raise
            break
        except BlackboxXaiError:
            break
        found[size] = {"latency_s": float(np.median(times)), "rows_per_s": size / float(np.median(times))}
    return found


def _same(batch: Any) -> Any:
    return lambda rows: batch


def forecast(oracle: HTTPOracle, speeds: dict[int, dict[str, float]], row: Any) -> dict[int, dict[str, float | None]]:
    """Seconds and money that runs of 500 and 5000 queries would take at the best of these speeds.

    Assumes that the server keeps its latency with `max_concurrency` requests at once, so it is a lower bound of the
    time; the cost is the most that the price allows.
    """
    best = max((s["rows_per_s"] for size, s in speeds.items() if size <= oracle.batch_size), default=0.0)
    rate = best * oracle.max_concurrency
    if oracle._pace[0] is not None:
        rate = min(rate, oracle._pace[0] * oracle.batch_size)
    tokens = oracle._bound([row]) if isinstance(row, str) else (0, 0)
    price = oracle.price
    return {
        n: {
            "seconds": n / rate if rate else None,
            "cost": None if price is None else price.nano(n, tokens[0] * n, tokens[1] * n) / 1e9,
        }
        for n in RUNS
    }
