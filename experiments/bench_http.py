"""What the HTTP client costs: against a bare httpx2 loop on the same server, and how busy it keeps 16 connections.

    python -m experiments.bench_http [--url http://localhost:8080 --model iris30] [--rows 20000]

Without a URL a small server that scores in microseconds is started: the worst case for a client's overhead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import QueryBudget
from blackbox_xai.oracles import HTTPOracle, Meter
from blackbox_xai.oracles.http import V2

sys.path.insert(0, str(Path(__file__).parents[1]))


def bare(url: str, wire: V2, batches: list[np.ndarray], workers: int) -> float:
    """Seconds of a plain loop: encode, post, parse, check the status; nothing counted, nothing kept."""
    import httpx2

    async def go() -> float:
        async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=workers), timeout=60) as client:
            todo = iter(batches)

            async def worker() -> None:
                for batch in todo:
                    request = wire.request(batch)
                    reply = await client.post(url + request.path, content=request.body, headers=request.headers)
                    reply.raise_for_status()
                    output = reply.json()["outputs"][0]
                    np.array(output["data"]).reshape(output["shape"])

            begin = time.perf_counter()
            await asyncio.gather(*(worker() for _ in range(workers)))
            return time.perf_counter() - begin

    return asyncio.run(go())


def ours(oracle: HTTPOracle, batches: list[np.ndarray], store: str | None = None) -> float:
    """Seconds of a metered stream of the same batches."""
    from blackbox_xai.budget import AnswerStore

    meter = Meter(oracle, QueryBudget(10**9), None if store is None else AnswerStore(store))
    source = [
        ([(i * 1000 + j).to_bytes(8, "little") for j in range(len(b))], lambda rows, b=b: b[rows])
        for i, b in enumerate(batches)
    ]
    begin = time.perf_counter()
    for _ in meter.stream(source):
        pass
    return time.perf_counter() - begin


def compare(
    url: str, model: str, rows: int, size: int, workers: int, columns: int, rounds: int = 5
) -> dict[str, float]:
    """Medians of interleaved rounds: rows a second of both, and processor seconds a thousand rows of ours."""
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(size, columns)) for _ in range(rows // size)]
    wire = V2(model=model)
    with HTTPOracle(url, wire, batch_size=size, max_concurrency=workers, identity="bench") as oracle:
        ours(oracle, batches[:32])
        bare(url, wire, batches[:32], workers)
        found: dict[str, list[float]] = {"bare": [], "ours": [], "stored": [], "cpu_ours": [], "cpu_bare": []}
        for i in range(rounds):
            begin = time.process_time()
            found["bare"].append(bare(url, wire, batches, workers))
            middle = time.process_time()
            found["ours"].append(ours(oracle, batches))
            found["cpu_ours"].append(time.process_time() - middle)
            found["cpu_bare"].append(middle - begin)
            path = Path(f"/tmp/bench-http-{os.getpid()}-{i}.db")
            found["stored"].append(ours(oracle, batches, str(path)))
            for file in path.parent.glob(path.name + "*"):
                file.unlink()
    median = {name: float(np.median(values)) for name, values in found.items()}
    return {
        "rows a second, bare loop": rows / median["bare"],
        "rows a second, metered": rows / median["ours"],
        "rows a second, metered and stored": rows / median["stored"],
        "metered / bare": float(np.median(np.array(found["bare"]) / found["ours"])),
        "processor seconds, metered / bare": median["cpu_ours"] / median["cpu_bare"],
        "rows a second of our processor time": rows / median["cpu_ours"],
    }


def saturation(low_s: float, high_s: float, n: int = 800) -> dict[str, float]:
    """Batches a second through 16 connections to a server of this latency, beside the ideal."""
    from tests.servers.run import hostile

    with hostile(latency_s=(low_s, high_s)) as server:
        rng = np.random.default_rng(0)
        batches = [rng.normal(size=(4, 6)) for _ in range(n)]
        with HTTPOracle(server.url, V2(model="m"), batch_size=4, max_concurrency=16, identity="bench") as oracle:
            ours(oracle, batches[:32])
            seconds = ours(oracle, batches)
        plain = bare(server.url, V2(model="m"), batches, 16)
    ideal = 16 / ((low_s + high_s) / 2)
    return {"ideal": ideal, "metered": n / seconds, "bare": n / plain, "metered / ideal": n / seconds / ideal}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--url")
    p.add_argument("--model", default="m")
    p.add_argument("--rows", type=int, default=20_000)
    p.add_argument("--columns", type=int, default=30)
    p.add_argument("--workers", type=int, default=4)
    a = p.parse_args()
    out: dict[str, Any] = {}
    if a.url:
        out["throughput"] = compare(a.url, a.model, a.rows, 64, a.workers, a.columns)
    else:
        from tests.servers.run import hostile

        with hostile() as server:
            out["throughput"] = compare(server.url, "m", a.rows, 64, a.workers, a.columns)
        out["saturation, 100 ms"] = saturation(0.1, 0.1)
        out["saturation, 1-200 ms"] = saturation(0.001, 0.2)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
