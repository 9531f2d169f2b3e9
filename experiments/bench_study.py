"""What the study runner costs: overhead a cell, two workers against one, memory over many cells.

python experiments/bench_study.py [overhead] [scaling] [waiting] [memory]
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import explain, study
from blackbox_xai.oracles import CallableOracle


class Model:
    """The sum of a row, after `burn_s` seconds of computing a row, or of waiting (as for a server)."""

    def __init__(self, burn_s: float = 0.0, waits: bool = False) -> None:
        self.burn_s, self.waits = burn_s, waits

    def __call__(self, batch: Any) -> Any:
        if self.waits:
            time.sleep(self.burn_s * len(batch))
            return np.asarray(batch).sum(axis=1)
        end = time.process_time() + self.burn_s * len(batch)
        while time.process_time() < end:
            pass
        return np.asarray(batch).sum(axis=1)


def declared(
    instances: int, seeds: int, budget: int, burn_s: float = 0.0, waits: bool = False, d: int = 24
) -> study.Study:
    """A study of one method and one budget: instances x seeds cells."""
    rows = [study.Instance(f"{i}", np.arange(1.0, d + 1) + i, baseline=np.zeros(d), target=0) for i in range(instances)]
    subject = study.Subject(CallableOracle(Model(burn_s, waits), identity="sum"), rows)
    return study.Study("bench", subject, ["kernelshap"], [budget], range(seeds), ["sparsity"], keep_maps=0)


def overhead(cells: int = 200) -> None:
    """Milliseconds a cell beyond the explanation itself."""
    s = declared(cells // 4, 4, 64)
    subject = s.subject
    assert isinstance(subject, study.Subject)
    for attempt in range(3):
        begin, cpu = time.perf_counter(), time.process_time()
        for instance in subject.instances:
            for seed in s.seeds:
                explain(
                    subject.oracle, instance.x, baseline=instance.baseline, budget=64, method="kernelshap", seed=seed
                )
        bare, bare_cpu = time.perf_counter() - begin, time.process_time() - cpu
        with tempfile.TemporaryDirectory() as out:
            begin, cpu = time.perf_counter(), time.process_time()
            study.run(s, out)
            whole, whole_cpu = time.perf_counter() - begin, time.process_time() - cpu
        wall, own = 1000 * (whole - bare) / cells, 1000 * (whole_cpu - bare_cpu) / cells
        print(
            f"overhead {attempt}: {own:.2f} ms of CPU a cell ({wall:.2f} ms of clock) over "
            f"{1000 * bare_cpu / cells:.2f} ({1000 * bare / cells:.2f}) bare, load {os.getloadavg()[0]:.1f}"
        )


def waiting() -> None:
    """As `scaling`, with a model that waits: what the runner itself allows, on a machine that others use."""
    scaling(waits=True)


def scaling(cells: int = 64, burn_s: float = 0.004, waits: bool = False) -> None:
    """Two workers against one on cells that compute (or wait); workers are started before the clock."""
    s = declared(cells // 4, 4, 64, burn_s, waits)
    with tempfile.TemporaryDirectory() as out:  # starts the workers
        study.run(declared(4, 1, 64), Path(out), workers=2)
    for attempt in range(3):
        took = []
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as out:
                begin = time.perf_counter()
                study.run(s, out, workers=workers)
                took.append(time.perf_counter() - begin)
        gain, load = took[0] / took[1], os.getloadavg()[0]
        print(
            f"{'waiting' if waits else 'scaling'} {attempt}: 1 worker {took[0]:.2f} s, "
            f"2 workers {took[1]:.2f} s: {gain:.2f}x, load {load:.1f}"
        )


def memory(cells: int = 10_000) -> None:
    """Peak memory of this process as cells go by, with a free oracle."""
    s = declared(cells // 10, 10, 32)
    seen: dict[int, float] = {}

    def watch(done: int, total: int) -> None:
        if done * 10 % total == 0:
            seen[done] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        study.run(s, out, progress=watch)
        took = time.perf_counter() - begin
        study.report(out)
        end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"memory: {cells} cells in {took:.0f} s; peak MB by cells done: { {k: round(v, 1) for k, v in seen.items()} }"
    )
    print(f"memory: with the report {end:.1f} MB")


def main() -> None:
    """Run the parts named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["overhead", "scaling", "memory"])
    for part in parser.parse_args().parts:
        {"overhead": overhead, "scaling": scaling, "waiting": waiting, "memory": memory}[part]()


if __name__ == "__main__":
    main()
