"""What does asking cost? One photograph explained, over the bare forward passes of as many rows, in one run.

Model and picture as in `bench_images.py`; through ONNX Runtime, OpenVINO in bf16, and torch (channels_last), batches of
32. Medians of the runs after a first one. `outside` is the time in which no batch is with the model, the last fit
included.

    python experiments/bench_outside.py --photo FILE --cache DIR [--queries 500] [--runs 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_images import exported, network, normalised, photograph

from blackbox_xai import explain
from blackbox_xai.oracles import OnnxOracle, OpenVinoOracle, TorchOracle


def oracles(cache: Path) -> dict[str, Callable[[], Any]]:
    """Makers of oracles, by name."""
    file, settings = exported(cache / "lite0.onnx"), {"preprocess": normalised, "activation": "softmax"}
    return {
        "onnxruntime": lambda: OnnxOracle(file, **settings),
        "openvino bf16": lambda: OpenVinoOracle(file, precision="bf16", **settings),
        "torch channels_last": lambda: TorchOracle(network(), **settings),
    }


def bare(oracle: Any, image: np.ndarray, queries: int) -> float:
    """Seconds of the forward passes alone."""
    batch, begin = np.repeat(image[None], 32, axis=0), time.perf_counter()
    for at in range(0, queries, 32):
        oracle._predict(batch[: min(32, queries - at)])
    return time.perf_counter() - begin


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--oracles", nargs="+", default=["onnxruntime", "openvino bf16", "torch channels_last"])
    args = parser.parse_args()
    image = photograph(args.photo)
    print("| oracle | explain, s | bare passes, s | ratio | outside the model, s | of the whole |")
    print("|" + " --- |" * 6)
    for name in args.oracles:
        oracle = oracles(args.cache)[name]()
        rows = []
        for _ in range(args.runs + 1):
            begin = time.perf_counter()
            a = explain(oracle, image, budget=args.queries)
            whole = time.perf_counter() - begin
            rows.append((whole, bare(oracle, image, args.queries), whole - a.ledger["seconds_model"]))
        whole, passes, outside = np.median(rows[1:], axis=0)
        shown = f"{whole:.2f} | {passes:.2f} | {whole / passes:.2f} | {outside:.2f} | {outside / whole:.1%}"
        print(f"| {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
