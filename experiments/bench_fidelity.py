"""Squared error against exact Shapley values at equal numbers of queries: our methods and shap's and
shapiq's.

    python experiments/bench_fidelity.py --data DIR [--seeds 10] [--only auto,gefa] [--games cancer] [--aside]

Every method gets the game as a function; the rows it really asks for are counted here. Needs shap and shapiq
(Python >= 3.12), lightgbm, xgboost, scikit-learn, matplotlib. Writes
experiments/results/fidelity.{csv,md,png}.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
import warnings
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # times are CPU times of one thread
warnings.filterwarnings("ignore")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import fidelity_games  # noqa: E402
import numpy as np  # noqa: E402

from blackbox_xai.estimators import GEFA, METHODS  # noqa: E402

BUDGETS = ("5n", "10n", "20n", "50n", "500", "5000")
OURS = {name: METHODS[name]() for name in METHODS if METHODS[name].estimates.startswith("Shapley values")}
OURS["gefa-mean"] = GEFA(form="mean")
OURS["gefa-reference"] = GEFA(variant="reference")


class Counted:
    """A game that counts the rows it values and the seconds spent in them."""

    def __init__(self, value):
        self.value, self.rows, self.seconds = value, 0, 0.0

    def __call__(self, z):
        start = time.process_time()
        z = np.atleast_2d(np.asarray(z)).astype(bool)
        self.rows += len(z)
        out = np.asarray(self.value(z), float)
        self.seconds += time.process_time() - start
        return out


def ours(method):
    return lambda game, n, budget, seed: method.estimate(game, n, budget=budget, seed=seed)


def shapiq_method(cls_name, **options):
    def run(game, n, budget, seed):
        import shapiq.approximator as a

        got = getattr(a, cls_name)(n=n, random_state=seed, **options).approximate(budget, game)
        phi = np.zeros(n)
        for i in range(n):
            phi[i] = got[(i,)]
        return phi

    return run


def shap_kernel(game, n, budget, seed):
    import shap

    np.random.seed(seed)  # noqa: NPY002 (the only seed shap takes)
    e = shap.KernelExplainer(game, np.zeros((1, n)), link="identity", silent=True)
    return e.shap_values(np.ones((1, n)), nsamples=max(budget - 2, 1), l1_reg=False, silent=True)[0]


def shap_permutation(game, n, budget, seed):
    import shap

    e = shap.PermutationExplainer(game, np.zeros((1, n)), seed=seed)
    return e(np.ones((1, n)), max_evals=max(budget, 2 * n + 1), silent=True).values[0]


PEERS = {
    "shapiq.LeverageSHAP": shapiq_method("LeverageSHAP"),
    "shapiq.OddSHAP": shapiq_method("OddSHAP"),
    "shapiq.KernelSHAP": shapiq_method("KernelSHAP"),
    "shapiq.PermutationSamplingSV": shapiq_method("PermutationSamplingSV"),
    "shapiq.SVARM": shapiq_method("SVARM"),
    "shapiq.RegressionMSR": shapiq_method("RegressionMSR", index="SV"),
    "shapiq.ProxySHAP": shapiq_method("ProxySHAP", index="SV", max_order=1),
    "shapiq.ProxySPEX": shapiq_method("ProxySPEX", index="SV", max_order=1, hpo=False),
    "shapiq.kADDSHAP": shapiq_method("kADDSHAP", max_order=2),
    "shap.KernelExplainer": shap_kernel,
    "shap.PermutationExplainer": shap_permutation,
}
SLOW = {"shapiq.kADDSHAP": 40, "shapiq.ProxySPEX": 120}  # players above which a run takes minutes


def budget_of(label: str, n: int) -> int | None:
    budget = int(label[:-1]) * n if label.endswith("n") else int(label)
    return budget if budget < 2**n else None  # beyond, everything is enumerated


def measure(game, label: str, budget: int, seed: int, run) -> dict | None:
    f = Counted(game.value)
    start = time.process_time()
    try:
        got = run(f, game.d, budget, seed)
    except Exception as error:  # a peer that refuses this budget has no cell
        print(f"  {game.name} {label}: {type(error).__name__}: {str(error)[:90]}", flush=True)
        return None
    seconds = time.process_time() - start - f.seconds
    phi, error = np.asarray(getattr(got, "values", got), float), getattr(got, "std_error", None)
    true, top = game.shapley, min(5, game.d)
    slack = 1e-9 * np.abs(true).max()  # rounding
    ranks = [np.argsort(np.argsort(v)) for v in (phi, true)]
    first = [set(np.argsort(-np.abs(v))[:top]) for v in (phi, true)]
    return {
        "error": float(((phi - true) ** 2).sum() / (true**2).sum()),
        "rank": float(np.corrcoef(*ranks)[0, 1]),
        "top5": len(first[0] & first[1]) / top,
        "rows": f.rows,
        "seconds": seconds,
        "covered": "" if error is None else float(np.mean(np.abs(phi - true) <= 1.96 * error + slack)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with movie_reviews.tsv for the games of words")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", help="methods, separated by commas")
    parser.add_argument("--games", default="", help="part of the name of the games to play")
    parser.add_argument("--budgets", default=",".join(BUDGETS))
    parser.add_argument("--aside", action="store_true", help="the games kept aside instead of the benchmark's")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fidelity.csv")
    args = parser.parse_args()
    games = fidelity_games.kept_aside() if args.aside else fidelity_games.everything(args.data)
    methods = {**{k: ours(m) for k, m in OURS.items()}, **PEERS}
    if args.only:
        methods = {k: v for k, v in methods.items() if k in args.only.split(",")}
    for run in methods.values():  # compile and import before the clock runs
        measure(games[0], "warm-up", 300, 0, run)
    rows = []
    for game in games:
        if args.games not in game.name:
            continue
        for label in args.budgets.split(","):
            budget = budget_of(label, game.d)
            if budget is None:
                continue
            for name, run in methods.items():
                if game.d > SLOW.get(name, 10**9):
                    continue
                start = time.time()
                for seed in range(args.seeds):
                    got = measure(game, f"{label} {name}", budget, seed, run)
                    if got is None:
                        break
                    rows.append({"game": game.name, "n": game.d, "budget": label, "method": name, "seed": seed, **got})
                    if time.time() - start > 90 and seed >= 2:
                        break
            with args.out.open("w", newline="") as out:
                writer = csv.DictWriter(out, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
            print(game.name, label, flush=True)
    report(rows, args.out)


def table(rows, what="error"):
    """Median over seeds: {(game, budget): {method: value}}."""
    cells: dict = {}
    for r in rows:
        cells.setdefault((r["game"], r["budget"]), {}).setdefault(r["method"], []).append(float(r[what]))
    return {k: {m: float(np.median(v)) for m, v in c.items()} for k, c in cells.items()}


def report(rows, path: Path) -> None:
    """Geometric means per budget as a table, the ratios to the best single peer, and a figure."""
    cells, seconds, calls = table(rows), table(rows, "seconds"), table(rows, "rows")
    methods = list(dict.fromkeys(r["method"] for r in rows))
    budgets = [b for b in BUDGETS if any(k[1] == b for k in cells)]

    def geo(method, budget, source=cells, floor=1e-10):
        got = [max(c[method], floor) for k, c in source.items() if k[1] == budget and method in c]
        whole = sum(k[1] == budget for k in source)
        return math.exp(np.mean(np.log(got))) if len(got) == whole else math.nan

    peers = [m for m in methods if "." in m]
    best = {b: min((geo(p, b) for p in peers if not math.isnan(geo(p, b))), default=math.nan) for b in budgets}
    lines = ["Geometric mean over games of the median normalised squared error.", ""]
    lines += ["| method | " + " | ".join(budgets) + " | seconds at 500 |", "|---" * (len(budgets) + 2) + "|"]
    for m in methods:
        cell = [f"{geo(m, b):.2e}" if not math.isnan(geo(m, b)) else "-" for b in budgets]
        slow = [c[m] for k, c in seconds.items() if k[1] == "500" and m in c]
        lines.append(f"| {m} | " + " | ".join(cell) + f" | {np.median(slow) if slow else math.nan:.3f} |")
    lines += [
        "",
        "The same over the best single peer at that budget; in brackets the worst cell over that cell's best peer.",
    ]
    lines += ["", "| method | " + " | ".join(budgets) + " |", "|---" * (len(budgets) + 1) + "|"]
    for m in (m for m in methods if "." not in m):
        out = []
        for b in budgets:
            worst = 0.0
            for k, c in cells.items():
                here = [c[p] for p in peers if p in c]
                if k[1] == b and m in c and here:
                    worst = max(worst, max(c[m], 1e-10) / max(min(here), 1e-10))
            out.append(f"{geo(m, b) / best[b]:.3f} ({worst:.2f})")
        lines.append(f"| {m} | " + " | ".join(out) + " |")
    lines += ["", "Coverage of the 95 % intervals: mean over games, in brackets the game with the least.", ""]
    lines += ["| method | " + " | ".join(budgets) + " |", "|---" * (len(budgets) + 1) + "|"]
    for m in (m for m in methods if "." not in m):
        out = []
        for b in budgets:
            held: dict = {}
            for r in rows:
                if r["method"] == m and r["budget"] == b and r.get("covered") not in (None, ""):
                    held.setdefault(r["game"], []).append(float(r["covered"]))
            means = [np.mean(v) for v in held.values()]
            out.append(f"{np.mean(means):.2f} ({min(means):.2f})" if means else "-")
        lines.append(f"| {m} | " + " | ".join(out) + " |")
    players = {r["game"]: r["n"] for r in rows}
    over = {m: max(c[m] / budget_of(k[1], int(players[k[0]])) for k, c in calls.items() if m in c) for m in methods}
    lines += ["", "Most rows asked over the budget given: " + ", ".join(f"{m} {v:.3f}" for m, v in over.items()) + "."]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    try:
        import matplotlib
    except ModuleNotFoundError:
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scaled = [b for b in budgets if b.endswith("n")]
    fig, ax = plt.subplots(figsize=(7, 5))
    for m in methods:
        y = [geo(m, b) for b in scaled]
        ax.plot([int(b[:-1]) for b in scaled], y, "-" if "." not in m else "--", marker=".", label=m, lw=1.2)
    ax.set(xscale="log", yscale="log", xlabel="queries per player", ylabel="normalised squared error, geometric mean")
    ax.legend(fontsize=6, ncol=2)
    fig.tight_layout()
    fig.savefig(path.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
