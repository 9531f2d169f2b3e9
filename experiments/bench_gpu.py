"""Explanations of large vision models on a GPU beside the bare forward passes of the same batches.

    python experiments/bench_gpu.py                                       # needs a CUDA GPU; writes results/gpu.md
    python experiments/bench_gpu.py --device cpu --queries 8 --rounds 1   # does it run: prints, writes nothing

ResNet-50 and ViT-B/16 of torchvision, random weights, in bfloat16, a 224x224 photograph of random pixels. Bare: the
module alone on batches that lie on the device already, in its own format, and one wait at the end. Oracle: composed
bytes to scores on the host, one batch after the other, nothing else. Explain: all of `explain`, drawing, composing,
bookkeeping and solving included. The three take turns; the median of the rounds counts. What is compiled or chosen on
first use (kernels, convolution algorithms) is done before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import explain, oracles

SIDE, GOAL = 224, 1.15
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODELS, METHODS = ("resnet50", "vit_b_16"), ("gefa", "rise")


def oracle(name: str, device: str, batch: int) -> oracles.TorchOracle:
    import torch
    import torchvision

    torch.manual_seed(0)
    mean, spread = (torch.tensor(c, device=device)[:, None, None] for c in (MEAN, SPREAD))
    return oracles.TorchOracle(
        torchvision.models.get_model(name, weights=None).to(device),
        preprocess=lambda x: (x - mean) / spread,
        dtype="bfloat16",
        activation="softmax",
        batch_size=batch,
    )


def timed(run: Callable[[], Any], device: str) -> float:
    """Seconds of wall time, until the device is done."""
    import torch

    begin = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def measure(name: str, method: str, args: argparse.Namespace) -> dict[str, float]:
    """Median seconds of the bare passes, of the oracle and of `explain`, and the rows scored."""
    import torch

    photo = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    model, sizes = oracle(name, args.device, args.batch), list[int]()
    plain = model._predict

    def noted(batch: Any) -> Any:
        assert batch.device.type == args.device, "pixels were moved"
        sizes.append(len(batch))
        return plain(batch)

    def whole() -> Any:
        return explain(model, photo, method=method, budget=max(args.queries, 10), target=0)  # RISE takes no fewer

    model._predict = noted  # type: ignore[method-assign]
    scored = whole().ledger["scored"]  # compiles and chooses, and shows the sizes of the batches
    model._predict = plain  # type: ignore[method-assign]
    module = model._module.eval()
    ready = torch.rand(max(sizes), 3, SIDE, SIDE, device=args.device, dtype=torch.bfloat16)
    ready = ready.contiguous(memory_format=torch.channels_last)
    composed = torch.randint(0, 255, (max(sizes), SIDE, SIDE, 3), dtype=torch.uint8, device=args.device)

    def bare() -> None:
        with torch.inference_mode():
            for n in sizes:
                module(ready[:n])

    works = {"bare": bare, "oracle": lambda: [plain(composed[:n]) for n in sizes], "explain": whole}
    taken: dict[str, list[float]] = {w: [] for w in works}
    for work in (bare, works["oracle"]):
        work()
    for _ in range(args.rounds):
        for w, work in works.items():
            taken[w].append(timed(work, args.device))
    return {w: statistics.median(t) for w, t in taken.items()} | {"rows": float(scored)}


def report(args: argparse.Namespace) -> str:
    import torch

    where = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    lines = [
        f"{where}, torch {torch.__version__}, bfloat16, {args.queries} queries in batches of {args.batch}, median of "
        f"{args.rounds}; goal: explain at most {GOAL} x the bare passes.",
        "",
        "| model | method | rows | bare s | oracle s | explain s | explain / bare | explain / oracle |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in args.models:
        for method in args.methods:
            m = measure(name, method, args)
            line = f"| {name} | {method} | {m['rows']:.0f} | {m['bare']:.3f} | {m['oracle']:.3f} | {m['explain']:.3f} "
            lines.append(line + f"| {m['explain'] / m['bare']:.3f} | {m['explain'] / m['oracle']:.3f} |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    args = parser.parse_args()
    text = report(args)
    print(text)
    if args.device == "cuda":
        Path(__file__).with_name("results").joinpath("gpu.md").write_text("# On a GPU\n\n" + text)


if __name__ == "__main__":
    main()
