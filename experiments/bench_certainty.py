"""Are the standard errors of maps of photographs honest? Signs of pixels against the true effect of their surroundings.

Model and pictures as in `bench_images.py`. The truth at a place: what showing the square around it changes, averaged
over the best 4%, 13%, ... 96% of the map's own pixels and what is left without them (24 pairs of queries a square,
outside any budget). A pixel whose value lies z standard errors from 0 should have the right sign with probability
Phi(|z|) or more.

    python experiments/bench_certainty.py --data DIR --cache DIR --out experiments/results --budgets 500 5000

Writes certainty.csv, a line a pixel, and prints the table of certainty.md.
"""

from __future__ import annotations

import argparse
import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
from bench_images import SIDE, exported, normalised, photograph
from scipy.stats import norm

from blackbox_xai import explain
from blackbox_xai.estimators import METHODS
from blackbox_xai.oracles import OpenVinoOracle
from blackbox_xai.players import ImagePixels

CELL, SQUARES, PLACES = 8, (24, 40, 56), 24  # pixels
LEVELS = (np.arange(12) + 0.5) / 12
BINS = (0, 0.5, 1, 1.5, 1.96, np.inf)
FIELDS = ("photo", "method", "budget", "z", *(f"effect_{side}" for side in SQUARES))


def effects(
    model: OpenVinoOracle, image: np.ndarray, ranks: np.ndarray, chosen: int, place: tuple[int, int]
) -> list[float]:
    """Mean change of the probability by each square around the cell at `place`."""
    absent = ImagePixels(image).baseline
    shown = ranks < LEVELS[:, None, None] * ranks.size
    masks = np.concatenate([shown, ~shown])
    found = []
    for side in SQUARES:
        square = np.zeros((SIDE, SIDE), bool)
        top, left = (max(0, p * CELL - (side - CELL) // 2) for p in place)
        square[top : place[0] * CELL + (side + CELL) // 2, left : place[1] * CELL + (side + CELL) // 2] = True
        both = np.concatenate([masks | square, masks & ~square])
        scores = model._predict(np.where(both[..., None], image, absent))[:, chosen]
        found.append(float((scores[: len(masks)] - scores[len(masks) :]).mean()))
    return found


def summary(rows: list[dict[str, str]]) -> str:
    """A line for each method and budget, and the share of right signs in each bin of |z|."""
    names = [f"{a} to {b}" for a, b in pairwise(BINS[:-1])] + [f"above {BINS[-2]}"]
    lines = ["| method, queries | square | " + " | ".join(names) + " |", "|" + " --- |" * (len(names) + 2)]
    for method, budget in dict.fromkeys((r["method"], r["budget"]) for r in rows):
        mine = [r for r in rows if (r["method"], r["budget"]) == (method, budget)]
        z = np.array([float(r["z"]) for r in mine])
        bins = np.digitize(np.abs(z), BINS) - 1
        inside = [(bins == b) & (z != 0) for b in range(len(names))]  # 0: nothing changes there
        shares = " | ".join(f"{i.mean():.3f}" for i in inside)
        expected = " | ".join(f"{norm.cdf(np.abs(z[i])).mean():.2f}" if i.any() else "" for i in inside)
        lines += [f"| {method}, {budget} | share of pixels | {shares} |", f"| | right if exact | {expected} |"]
        for side in SQUARES:
            true = np.array([float(r[f"effect_{side}"]) for r in mine])
            right = [f"{np.mean(np.sign(z[i]) == np.sign(true[i])):.2f}" if i.sum() > 20 else "" for i in inside]
            lines.append(f"| | right, {side} px | " + " | ".join(right) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what certainty.csv does not hold yet, then print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--methods", nargs="+", default=["smoothgp"])
    parser.add_argument("--budgets", type=int, nargs="+", default=[500])
    parser.add_argument("--photos", type=int, nargs="+", default=None)
    args = parser.parse_args()
    settings = {"preprocess": normalised, "activation": "softmax"}
    model = OpenVinoOracle(exported(args.cache / "lite0.onnx"), precision="bf16", **settings)
    table = args.out / "certainty.csv"
    rows = list(csv.DictReader(table.open())) if table.exists() else []
    done = {(r["photo"], r["method"], r["budget"]) for r in rows}
    files = sorted(args.data.glob("*.jpg"))
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if table.stat().st_size == 0:
            writer.writeheader()
        for path in files if args.photos is None else [files[i] for i in args.photos]:
            image = photograph(path)
            cells = np.random.default_rng(files.index(path)).choice((SIDE // CELL) ** 2, PLACES, replace=False)
            for method in args.methods:
                for budget in args.budgets:
                    if (path.name, method, str(budget)) in done:
                        continue
                    a = explain(model, image, budget=budget, method=METHODS[method]())
                    z = np.divide(a.values, a.std_error, out=np.zeros_like(a.values), where=a.std_error > 0)
                    ranks = np.empty(SIDE * SIDE, np.intp)
                    ranks[np.argsort(-a.values, kind="stable")] = np.arange(SIDE * SIDE)
                    found = []
                    for cell in cells:
                        at = divmod(int(cell), SIDE // CELL)
                        true = effects(model, image, ranks.reshape(SIDE, SIDE), int(a.target[0]), at)
                        inner = z.reshape(SIDE, SIDE)[at[0] * CELL :, at[1] * CELL :][:CELL, :CELL].ravel()
                        for one in inner[::7]:
                            told = dict(zip(FIELDS[4:], (f"{t:.6g}" for t in true)))
                            key = {"photo": path.name, "method": method, "budget": budget}
                            found.append({**key, "z": f"{one:.4g}", **told})
                    writer.writerows(found)
                    file.flush()
    print(summary(list(csv.DictReader(table.open()))))


if __name__ == "__main__":
    main()
