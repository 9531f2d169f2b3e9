"""What studies cost: overhead a cell, two workers against one, memory over many cells, a curve, an imputation.

python experiments/bench_study.py [overhead] [scaling] [waiting] [memory] [deletion] [imputation]
"""

from __future__ import annotations

import argparse
import os
import resource
import runpy
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import explain, metrics, study
from blackbox_xai.oracles import CallableOracle
from blackbox_xai.players import ImagePixels


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


def deletion(batch: int = 16, rounds: int = 5) -> None:
    """A deletion curve of 100 steps on EfficientNet-Lite0 over its bare 101 forward passes, in CPU seconds of one run.

    The passes get the same rows, composed beforehand, in the same batches. Rounds alternate; the ratio is of medians.
    """
    photographs = runpy.run_path(str(Path(__file__).parent / "subjects" / "photographs.py"))
    module, preprocess = photographs["model"]("efficientnet_lite0", None, False)
    draw = np.random.default_rng(0)
    image = draw.integers(0, 255, (224, 224, 3), dtype=np.uint8)
    values = draw.random(224 * 224)
    players = ImagePixels(image)
    place = np.empty(values.size, int)
    place[np.argsort(-values)] = np.arange(values.size)
    removed = np.minimum(np.arange(101) * -(-values.size // 100), values.size)
    rows = np.stack([np.where((place >= r).reshape(224, 224, 1), image, players.baseline) for r in removed])
    rows = rows.astype(np.uint8)
    for runtime, precision in (("torch", "f32"), ("openvino", "f32"), ("openvino", "bf16")):
        settings = {"preprocess": preprocess, "activation": "softmax", "batch_size": batch}
        oracle, facts = photographs["queried"](module, 224, runtime, precision, 1, "lite0", settings)
        oracle._predict(rows[:batch])
        took: dict[str, list[float]] = {"bare": [], "curve": []}
        for _ in range(rounds):
            begin = time.process_time()
            for at in range(0, len(rows), batch):
                oracle._predict(rows[at : at + batch])
            took["bare"].append(time.process_time() - begin)
            begin = time.process_time()
            curve = metrics.deletion(oracle, players, values, steps=100)
            took["curve"].append(time.process_time() - begin)
            assert curve.rows_sent == len(rows)
        bare, whole = np.median(took["bare"]), np.median(took["curve"])
        print(
            f"deletion, {facts['runtime']} {facts['precision']}: {whole:.3f} CPU s over {bare:.3f} bare: "
            f"{100 * (whole / bare - 1):+.1f} %, load {os.getloadavg()[0]:.1f}"
        )


def imputation(side: int = 224, rounds: int = 5) -> None:
    """Seconds of one noisy linear imputation by share removed, scattered and in blocks."""
    draw = np.random.default_rng(0)
    image = draw.random((side, side, 3))
    coarse = np.kron(draw.random((14, 14)), np.ones((side // 14, side // 14)))
    kinds = {"scattered": draw.random((side, side)), "blocks": coarse + 1e-6 * draw.random((side, side))}
    worst = [0.0, 0.0]
    for kind, order in kinds.items():
        for share in (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.999):
            keep = order >= np.quantile(order, share)
            metrics.noisy_linear(image, keep)
            cpu, clock = [], []
            for _ in range(rounds):
                begin, wall = time.process_time(), time.perf_counter()
                metrics.noisy_linear(image, keep)
                cpu.append(time.process_time() - begin)
                clock.append(time.perf_counter() - wall)
            worst = [max(worst[0], float(np.median(cpu))), max(worst[1], max(clock))]
            print(f"imputation, {kind}, {share:.1%} removed: {np.median(cpu):.3f} CPU s, {max(clock):.3f} s at most")
    print(f"imputation: worst {worst[0]:.3f} CPU s, {worst[1]:.3f} s of clock, load {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Run the parts named, or all but waiting."""
    parser = argparse.ArgumentParser(description=__doc__)
    all_parts = {f.__name__: f for f in (overhead, scaling, waiting, memory, deletion, imputation)}
    parser.add_argument("parts", nargs="*", default=[p for p in all_parts if p != "waiting"])
    for part in parser.parse_args().parts:
        all_parts[part]()


if __name__ == "__main__":
    main()
