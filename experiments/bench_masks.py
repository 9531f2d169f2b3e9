"""Throughput and memory of the mask layer beside plain references, each measurement in a process of its own.

    python experiments/bench_masks.py              # CPU; writes experiments/results/masks.{md,json}
    python experiments/bench_masks.py --cuda       # the GPU figures as well, where a GPU is visible
    python experiments/bench_masks.py --only NAME  # one measurement, printed

CPU seconds are those of the process; on a shared machine they are steadier than wall time, and the ratios are of CPU
seconds unless said otherwise. Memory is the peak above what the process held before: interpreter, imports, and
compiled kernels warmed up on a few rows. References run on a part of the rows and are scaled up; the part is given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import samplers

SIDE, ROWS, SIGMA, WINDOW = 224, 5000, 11.0, 51
PLAYERS = SIDE * SIDE
RESULTS = Path(__file__).with_name("results")
Work = tuple[Callable[[], Any], Callable[[], Any], float]  # warm up, run, how much of the whole it does


def smooth(compiled: bool, **options: Any) -> Work:
    """With numpy, as in a process that has not loaded numba, or compiled."""
    if compiled:
        samplers.Coins(PLAYERS).draw(0, 40)
    s = samplers.SmoothedCoins((SIDE, SIDE), SIGMA, **options)
    return lambda: s.draw(0, 40), lambda: s.draw(0, ROWS), 1.0


def smooth_noise() -> Work:
    """The source noise of the reference, and nothing else: one float32 a padded pixel and pair."""
    rng, pad = np.random.default_rng(0), SIDE + WINDOW - 1

    def run() -> None:
        for _ in range(ROWS // 2):
            rng.random((pad, pad), np.float32)

    return lambda: None, run, 1.0


def smooth_reference() -> Work:
    """Uniform noise, WINDOW x WINDOW Gaussian convolution, full argsort, cut at the level; pairs by complement."""
    import torch

    torch.set_num_threads(1)  # waiting threads would count as work
    part = 50
    line = torch.exp(-0.5 * (torch.arange(WINDOW) - WINDOW // 2) ** 2 / SIGMA**2)
    kernel = (line[:, None] * line / line.sum() ** 2)[None, None]

    def run(masks: int = part) -> Any:
        out = np.empty((2 * masks, PLAYERS), bool)
        for r in range(masks):
            noise = torch.rand((1, 1, SIDE + WINDOW - 1, SIDE + WINDOW - 1))
            field = torch.nn.functional.conv2d(noise, kernel).flatten()
            rank = torch.empty(PLAYERS)
            rank[torch.argsort(field)] = torch.arange(PLAYERS, dtype=torch.float32)
            present = rank / (PLAYERS - 1) + torch.rand(PLAYERS) / PLAYERS < (r % 11 + 1) / 12
            out[r], out[masks + r] = present, ~present
        return out

    return lambda: run(1), run, 2 * part / ROWS


def coins() -> Work:
    s = samplers.Coins(PLAYERS)
    return lambda: s.draw(0, 40), lambda: s.draw(0, ROWS), 1.0


def coins_reference() -> Work:
    """``rng.random((m, d)) < alpha`` on pairs, packed, in chunks of 100 rows."""
    rng = np.random.default_rng(0)

    def run() -> None:
        for _ in range(ROWS // 100):
            present = rng.random((50, PLAYERS)) < rng.random((50, 1))
            np.packbits(np.stack([present, ~present], axis=1).reshape(100, PLAYERS), axis=1)

    return lambda: None, run, 1.0


def rise() -> Work:
    s = samplers.RiseGrids((SIDE, SIDE))

    def run(rows: int = ROWS) -> None:
        masks = s.draw(0, rows)
        for at in range(0, rows, 100):
            masks[at : at + 100].levels()

    return lambda: run(100), run, 1.0


def rise_reference() -> Work:
    """A resize for each mask, as published (skimage), kept as float32."""
    from skimage.transform import resize

    part, cells, rng = 500, 7, np.random.default_rng(0)
    cell = -(-SIDE // cells)

    def run(rows: int = part) -> Any:
        out = np.empty((rows, SIDE, SIDE), np.float32)
        for r in range(rows):
            y, x = rng.integers(0, cell, 2)
            grid = (rng.random((cells, cells)) < 0.5).astype("float32")
            big = resize(grid, ((cells + 1) * cell,) * 2, order=1, mode="reflect", anti_aliasing=False)
            out[r] = big[y : y + SIDE, x : x + SIDE]
        return out

    return lambda: run(2), run, part / ROWS


def rise_torch() -> Work:
    """The same with ``torch.nn.functional.interpolate`` for each mask."""
    import torch

    torch.set_num_threads(1)
    part, cells, rng = 500, 7, np.random.default_rng(0)
    cell = -(-SIDE // cells)

    def run(rows: int = part) -> Any:
        out = np.empty((rows, SIDE, SIDE), np.float32)
        for r in range(rows):
            y, x = rng.integers(0, cell, 2)
            grid = torch.from_numpy((rng.random((1, 1, cells, cells)) < 0.5).astype("float32"))
            big = torch.nn.functional.interpolate(grid, size=((cells + 1) * cell,) * 2, mode="bilinear")
            out[r] = big[0, 0, y : y + SIDE, x : x + SIDE].numpy()
        return out

    return lambda: run(2), run, part / ROWS


def design(kind: str) -> Work:
    s: Any = samplers.SpaceFilling(64) if kind == "space" else samplers.PickFreeze(64)
    rows = 4096 if kind == "space" else 64 * 65
    return lambda: s.draw(0, s.group), lambda: s.draw(0, rows), 1.0


def batch(dtype: str, kind: str, first: bool, rows: int) -> tuple[Any, ...]:
    """Masks, input, baseline and the array to write to."""
    rng = np.random.default_rng(0)
    shape = (3, SIDE, SIDE) if first else (SIDE, SIDE, 3)
    x, baseline = (rng.random((2, *shape)) * 255).astype(dtype)
    kinds: dict[str, Any] = {
        "pixels": samplers.SmoothedCoins((SIDE, SIDE)),
        "soft": samplers.RiseGrids((SIDE, SIDE)),
        "cells": samplers.Zoomed(samplers.Coins(196), (14, 14), (SIDE, SIDE)),
    }
    return kinds[kind].draw(0, rows), x, baseline, np.zeros((rows, *shape), dtype)


def compose(dtype: str, kind: str = "pixels", first: bool = False) -> Work:
    """Beside, by turns, a numpy copy of as many bytes."""
    masks, x, baseline, out = batch(dtype, kind, first, 128)
    source = np.repeat(x[None], len(out), axis=0)
    run = lambda: masks.compose(x, baseline, out)  # noqa: E731
    return run, lambda: repeat(run, 60, lambda: np.copyto(out, source)), 1.0


def repeat(run: Callable[[], Any], times: int, copy: Callable[[], Any] | None = None) -> dict[str, float]:
    """Best of many, as machines are shared; of `copy` too, where given."""
    taken = []
    for _ in range(times):
        row = []
        for one in (run,) if copy is None else (run, copy):
            begin = time.process_time(), time.perf_counter()
            one()
            row += [time.process_time() - begin[0], time.perf_counter() - begin[1]]
        taken.append(row)
    return dict(zip(("cpu_s", "wall_s", "copy_cpu_s", "copy_wall_s"), np.min(taken, axis=0).tolist()))


def accumulate(outputs: int, soft: bool = False) -> Work:
    s: Any = samplers.RiseGrids((SIDE, SIDE)) if soft else samplers.SmoothedCoins((SIDE, SIDE))
    masks, rng = s.draw(0, ROWS), np.random.default_rng(0)
    weights, values = rng.normal(size=ROWS), rng.normal(size=(ROWS, outputs))
    run = lambda: masks.accumulate(weights, values, centre=masks.alpha)  # noqa: E731
    return run, lambda: repeat(run, 12), 1.0


def matmul() -> Work:
    """numpy's float32 product of a dense float32 mask matrix and one output's weighted values: sums only."""
    part = 1000
    dense = np.random.default_rng(0).random((part, PLAYERS), np.float32)
    values = np.ones((1, part), np.float32)
    run = lambda: values @ dense  # noqa: E731
    return run, lambda: repeat(run, 12), part / ROWS


WORK: dict[str, Callable[[], Work]] = {
    "smoothed masks": lambda: smooth(True),
    "smoothed masks, numba not loaded": lambda: smooth(False),
    "smoothed masks, fixed size": lambda: smooth(True, levels="grid11", fixed_size=True),
    "smoothed masks: source noise alone": smooth_noise,
    "smoothed masks: reference": smooth_reference,
    "independent coins": coins,
    "independent coins: reference": coins_reference,
    "RISE masks": rise,
    "RISE masks: resize each (skimage)": rise_reference,
    "RISE masks: resize each (torch)": rise_torch,
    "space-filling design 64 cells": lambda: design("space"),
    "pick-freeze 64 cells": lambda: design("pick"),
    "compose float32": lambda: compose("float32"),
    "compose float32, channels first": lambda: compose("float32", first=True),
    "compose float32, soft": lambda: compose("float32", "soft"),
    "compose float32, coarse cells": lambda: compose("float32", "cells"),
    "compose uint8": lambda: compose("uint8"),
    "compose uint8, channels first": lambda: compose("uint8", first=True),
    "compose uint8, soft": lambda: compose("uint8", "soft"),
    "compose uint8, coarse cells": lambda: compose("uint8", "cells"),
    "accumulate 1 output": lambda: accumulate(1),
    "accumulate 4 outputs": lambda: accumulate(4),
    "accumulate 1 output, soft": lambda: accumulate(1, soft=True),
    "matmul float32": matmul,
}


def peak_mb() -> float:
    """Of this process alone (what `getrusage` gives may be the parent's)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def own_mb() -> float:
    """Memory that is this process's alone now; code of libraries, mapped from files, is left out."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


BARE_MB = peak_mb(), own_mb()  # interpreter, numpy, and the package: what a run has before its first draw


def measure(name: str) -> dict[str, float]:
    """Run in this process: CPU and wall seconds of the whole work (scaled up), megabytes above the warm process."""
    warm, run, part = WORK[name]()
    warm()
    before, begin = peak_mb(), (time.process_time(), time.perf_counter())
    kept = run()
    found = {"cpu_s": time.process_time() - begin[0], "wall_s": time.perf_counter() - begin[1]}
    if isinstance(kept, dict):
        found = kept
    found = {k: v / part for k, v in found.items()}
    above = {
        "process_mb": peak_mb(),
        "above_bare_mb": peak_mb() - BARE_MB[0],
        "own_above_bare_mb": own_mb() - BARE_MB[1],
    }
    return {**found, "mb": peak_mb() - before, "part": part, **above}


FIRST = """
import sys, time
begin = time.process_time(), time.perf_counter()
import numpy as np
from blackbox_xai import samplers
loaded = time.process_time(), time.perf_counter()
masks = samplers.SmoothedCoins((224, 224)).draw(0, 40)
x = np.zeros((224, 224, 3), np.float32)
masks.compose(x, 1.0)
masks.accumulate(np.ones(40), np.ones(40))
samplers.SmoothedCoins((224, 224)).draw(40, 40)  # the first was drawn with numpy, as numba was not loaded
now = time.process_time(), time.perf_counter()
print(now[0] - loaded[0], now[1] - loaded[1])
"""


FRESH = """
import time
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
bare, begin = peak(), (time.process_time(), time.perf_counter())
from blackbox_xai import samplers
samplers.SmoothedCoins((224, 224), 11).draw(0, 5000)
print(time.process_time() - begin[0], time.perf_counter() - begin[1], peak() - bare)
"""


def fresh() -> dict[str, float]:
    """5000 smoothed masks in a new process: seconds with imports, megabytes above the bare interpreter."""
    done = subprocess.run([sys.executable, "-c", FRESH], check=True, capture_output=True, text=True)
    return dict(zip(("cpu_s", "wall_s", "mb"), map(float, done.stdout.split())))


def first_calls() -> dict[str, dict[str, float]]:
    """Draw, compose, accumulate, draw for the first time: with an empty cache of compiled code, then a full one."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("first calls, nothing compiled", "first calls, later processes"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST],
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
                check=True,
                capture_output=True,
                text=True,
            )
            cpu, wall = map(float, done.stdout.split())
            found[name] = {"cpu_s": cpu, "wall_s": wall}
    return found


def on_cuda() -> dict[str, dict[str, float]]:
    """Milliseconds by CUDA events, median of many."""
    from numba import cuda

    def timed(run: Callable[[], Any], times: int = 30) -> float:
        run()
        taken = []
        for _ in range(times):
            a, b = cuda.event(), cuda.event()
            a.record()
            run()
            b.record()
            b.synchronize()
            taken.append(float(cuda.event_elapsed_time(a, b)))
        return statistics.median(taken)

    s = samplers.SmoothedCoins((SIDE, SIDE), SIGMA, device="cuda")
    masks, x, baseline, host = batch("float32", "pixels", True, 256)
    on_gpu, out, source = masks.to("cuda"), cuda.device_array(host.shape, "float32"), cuda.to_device(host)
    there, base = cuda.to_device(x), cuda.to_device(baseline)
    all_masks, ones = s.draw(0, ROWS), np.ones(ROWS)
    return {
        "GPU smoothed masks": {"ms": timed(lambda: s.draw(0, ROWS))},
        "GPU compose float32": {"ms": timed(lambda: on_gpu.compose(there, base, out, channels="first"))},
        "GPU copy float32": {"ms": timed(lambda: out.copy_to_device(source))},
        "GPU accumulate 1 output": {"ms": timed(lambda: all_masks.accumulate(ones, ones))},
    }


def machine() -> dict[str, Any]:
    import numba
    import scipy
    import skimage
    import torch

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {m.__name__: m.__version__ for m in (np, scipy, numba, torch, skimage)}
    load = round(os.getloadavg()[1], 1)
    return {"cpu": model, "load": load, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def ratios(found: dict[str, dict[str, float]]) -> list[tuple[str, str, str]]:
    """(figure, wanted, measured)."""

    def cpu(name: str) -> float:
        return found[name]["cpu_s"]

    new = found["smoothed masks, new process"]
    ours, of_batch = found["smoothed masks"], 128 * PLAYERS * 3
    rows = [
        ("5000 smoothed masks in a new process, CPU s with imports", "< 1.5", f"{new['cpu_s']:.2f}"),
        ("5000 smoothed masks in a new process, MB above the bare interpreter", "< 60", f"{new['mb']:.0f}"),
        ("5000 smoothed masks, numba loaded, CPU s", "< 1.5", f"{ours['cpu_s']:.2f}"),
        ("5000 smoothed masks, numba loaded, MB above the warm process", "< 60", f"{ours['mb']:.0f}"),
        (
            "5000 smoothed masks, numba loaded, MB above the interpreter with numpy",
            "",
            f"{ours['above_bare_mb']:.0f}, of which {ours['own_above_bare_mb']:.0f} are no code mapped from files",
        ),
        ("reference / ours", ">= 150", f"{cpu('smoothed masks: reference') / ours['cpu_s']:.0f}"),
        ("ours / source noise alone", "<= 5", f"{ours['cpu_s'] / cpu('smoothed masks: source noise alone'):.2f}"),
    ]
    for name in ("skimage", "torch"):
        ratio = cpu(f"RISE masks: resize each ({name})") / cpu("RISE masks")
        rows.append((f"RISE, resize each mask ({name}) / ours", ">= 40" if name == "skimage" else "", f"{ratio:.0f}"))
    rows.append(("RISE, MB above the warm process", "< 60", f"{found['RISE masks']['mb']:.0f}"))
    for name, f in found.items():
        if "copy_wall_s" in f:
            share, lone = f["copy_wall_s"] / f["wall_s"], f["copy_cpu_s"] / f["cpu_s"]
            speed = of_batch * (4 if "float32" in name else 1) / f["wall_s"] / 1e9
            rows.append((f"{name} / numpy copy", ">= 60%", f"{share:.0%} wall, {lone:.0%} CPU ({speed:.1f} GB/s out)"))
    for k in (1, 4):
        one = found[f"accumulate {k} output{'s' * (k > 1)}"]
        packed = ROWS * PLAYERS / 8e9 * k / one["wall_s"]
        text = f"{one['wall_s'] / k:.3f} s wall, {one['cpu_s'] / k:.3f} s CPU ({packed:.2f} GB/s of bits)"
        rows.append((f"accumulate, per output of {k} (sums and squares)", "< 0.15 s", text))
    dense = found["matmul float32"]
    speed = ROWS * PLAYERS * 4e-9 / dense["wall_s"]
    rows.append(
        (
            "numpy float32 matmul (sums only)",
            "",
            f"{dense['wall_s']:.3f} s wall, {dense['cpu_s']:.3f} s CPU ({speed:.1f} GB/s of floats)",
        )
    )
    for name, wanted in (("first calls, nothing compiled", "< 10 s"), ("first calls, later processes", "< 1.5 s")):
        rows.append(
            (f"draw, compose, accumulate: {name}", wanted, f"{cpu(name):.2f} s CPU, {found[name]['wall_s']:.2f} s wall")
        )
    if "GPU compose float32" in found:
        share = found["GPU copy float32"]["ms"] / found["GPU compose float32"]["ms"]
        rows.append(("GPU: 5000 smoothed masks", "< 10 ms", f"{found['GPU smoothed masks']['ms']:.2f} ms"))
        rows.append(("GPU: compose / device copy", ">= 50%", f"{share:.0%}"))
    else:
        rows.append(("GPU figures (5000 masks < 10 ms, compose >= 50% of a device copy)", "", "not measured: no GPU"))
    return rows


def write(found: dict[str, dict[str, float]]) -> None:
    about = machine()
    RESULTS.mkdir(exist_ok=True)
    figures = ratios(found)
    (RESULTS / "masks.json").write_text(
        json.dumps({"machine": about, "found": found, "figures": figures}, indent=1) + "\n"
    )
    lines = [
        "# The mask layer, measured",
        "",
        f"`python experiments/bench_masks.py` on {about['cores']} cores, {about['cpu']};",
    ]
    lines += [", ".join(f"{k} {v}" for k, v in about.items() if k not in ("cpu", "cores", "load")) + ".", ""]
    lines += [
        f"Others kept the machine busy meanwhile: a load of {about['load']} over the last five minutes, so that wall"
    ]
    lines += ["seconds are long by as much as load over cores.", ""]
    lines += [
        f"{ROWS} masks of {SIDE} x {SIDE}, sigma {SIGMA:g}; batches of 128 images, 3 channels. Each row a process of"
    ]
    lines += [
        "its own on a machine others used too; ratios of CPU seconds unless said otherwise. Composing and a numpy"
    ]
    lines += ["copy of as many bytes take turns in one process: the best of 60 each. Memory is the peak above"]
    lines += ["interpreter, imports and warm kernels, or as it says; numba itself takes about 135 MB of a process that"]
    lines += ["uses it, and smooth masks alone (up to 300 million cells) do not load it.", ""]
    lines += ["| figure | wanted | measured |", "| --- | --- | --- |"]
    lines += [f"| {a} | {b} | {c} |" for a, b, c in figures]
    lines += ["", "| measurement | CPU s | wall s | MB above | part run |", "| --- | --- | --- | --- | --- |"]
    for name, f in found.items():
        if "cpu_s" in f:
            mb = f"{f['mb']:.0f}" if "mb" in f else ""
            part = f"{f['part']:.0%}" if "part" in f else ""
            lines.append(f"| {name} | {f['cpu_s']:.4g} | {f['wall_s']:.4g} | {mb} | {part} |")
        else:
            lines.append(f"| {name} | | {f['ms'] / 1000:.4g} | | |")
    (RESULTS / "masks.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", choices=WORK)
    parser.add_argument("--cuda", action="store_true")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only)))
        return
    found = {}
    for name in WORK:
        tries = []
        for _ in range(1 if "reference" in name else 3):  # the least disturbed of three
            command = [sys.executable, __file__, "--only", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            tries.append(json.loads(done.stdout.splitlines()[-1]))
        found[name] = min(tries, key=lambda t: t["cpu_s"])
        print(f"{name:40s} {found[name]['cpu_s']:8.3f} CPU s {found[name]['mb']:7.1f} MB", flush=True)
    found["smoothed masks, new process"] = fresh()
    found.update(first_calls())
    if args.cuda:
        found.update(on_cuda())
    write(found)
    print((RESULTS / "masks.md").read_text())


if __name__ == "__main__":
    main()
