"""Sanity checks of every method: weights matter, a constant model gets zero, equal functions get equal bits.

python experiments/sanity.py --out DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from blackbox_xai import study
from blackbox_xai.metrics import agreement

FILE = Path(__file__).parent / "studies" / "sanity.toml"


def check(out: Path) -> list[dict[str, object]]:
    """One row a method: mean rank correlation after randomisation, largest value on the constant model, equal bits."""
    results = study.run(study.read(FILE), out)
    failed = results.failures()
    if failed:
        raise RuntimeError(f"{len(failed)} cells failed, the first: {failed[0]}")
    study.report(out, results=results)
    maps = {(c.method, *c.instance.split(" / ")): a["map"].astype(float) for c, a in results.maps()}
    rows = sorted({row for _, _, row in maps})
    table = []
    for method in sorted({m for m, _, _ in maps}):
        trained = [maps[method, "trained", r] for r in rows]
        moved = [agreement(a, maps[method, "randomised", r]).spearman for a, r in zip(trained, rows)]
        table.append(
            {
                "method": method,
                "spearman_after_randomisation": float(np.mean(moved)),
                "largest_on_constant": max(float(np.abs(maps[method, "constant", r]).max()) for r in rows),
                "equal_bits_when_rewritten": all(
                    np.array_equal(a, maps[method, "rewritten", r]) for a, r in zip(trained, rows)
                ),
            }
        )
    return table


def main() -> None:
    """Run, print and write the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    table = check(out)
    head = list(table[0])
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += [
        "| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in r.values()) + " |" for r in table
    ]
    (out / "sanity.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
