"""Peak memory and time outside the model of a map of one picture, with a model that costs next to nothing.

python experiments/memory_images.py --side 224 --queries 5000
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from blackbox_xai import explain


def middle(batch: np.ndarray) -> np.ndarray:
    """A score of the middle of the picture, 0..1."""
    side = batch.shape[1]
    part = batch[:, side // 3 : side // 2, side // 3 : side // 2, 0]
    return 1 / (1 + np.exp(-(part.std(axis=(1, 2)) / 20 - 2)))


def main() -> None:
    """Print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--method", default="smoothgp")
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    image = np.random.default_rng(0).integers(0, 255, (args.side, args.side, 3), dtype=np.uint8)
    middle(np.stack([image] * args.batch))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin, cpu = time.perf_counter(), time.process_time()
    got = explain(
        middle, image, budget=args.queries, method=args.method, players="pixels", batch_size=args.batch, target=0
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{args.method} {args.side}x{args.side}, {got.ledger['scored']} queries: "
        f"{peak - before:.0f} MB above the start, "
        f"{time.perf_counter() - begin:.1f} s in all, {time.process_time() - cpu:.1f} s of processor, of which "
        f"{got.ledger['seconds_model']:.1f} s in the model"
    )


if __name__ == "__main__":
    main()
