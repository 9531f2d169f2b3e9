"""A study's tables as Markdown and its curves as one picture, for experiments/results.

python experiments/summarise.py DIR experiments/results/NAME
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from blackbox_xai import study


def cell(entry: Any) -> str:
    """Mean and interval, a star for a winner."""
    if entry is None:
        return "–"
    band = f" [{entry.low:.3g}, {entry.high:.3g}]" if np.isfinite(entry.low) else ""
    return f"{entry.mean:.3g}{band}{' ★' if entry.winner else ''}"


def markdown(results: study.Results) -> str:
    """All metrics of a study: a row a method, a column a budget; then agreement and time."""
    found, about = study.statistics(results.rows()), results.described()
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    answered = ", ".join(str(v) for v in about["settings"].get("facts", {}).values())
    unfinished = f" ({found.unfinished} more are unfinished and left out)" if found.unfinished else ""
    lines = [
        f"# {about['name']}",
        "",
        f"{found.instances} instances{unfinished}, seeds {about['seeds']}, {about['used']:,} rows sent, "
        f"{len(results.failures())} failed cells. "
        + (f"Answered by {answered}. " if answered else "")
        + f"{about['machine']}; {versions}.",
        "",
        "Mean and 95 % interval over instances (of completeness, soundness_dataset and road: over seeds). "
        "★: better than every other method in paired tests (Holm, p < .05).",
    ]
    for metric in found.metrics:
        entries = found.entries[metric]
        way = {"high": ", higher is better", "low": ", lower is better"}.get(study.better(metric) or "", "")
        lines += ["", f"## {metric}{way}", "", "| method | " + " | ".join(f"{b:,}" for b in found.budgets) + " |"]
        lines += ["|" + " --- |" * (len(found.budgets) + 1)]
        for method in found.methods:
            if any((method, b) in entries for b in found.budgets):
                row = [cell(entries.get((method, b))) for b in found.budgets]
                lines += [f"| {method} | " + " | ".join(row) + " |"]
        for name, entry in found.references[metric].items():
            lines += [f"| {name} (white box) | {cell(entry)} |" + " |" * (len(found.budgets) - 1)]
    if "agreement" in found.metrics:
        lines += _agreement(found)
    seconds = {k: v for k, v in found.spent.items() if k[1] == found.budgets[-1]}
    lines += ["", f"## Seconds a cell at {found.budgets[-1]:,} rows: in the model, outside (scores included)", ""]
    lines += [f"- {m}: {v[1]:.2f}, {v[2]:.2f}" for (m, _), v in seconds.items()]
    return "\n".join(lines) + "\n"


def _agreement(found: study.Statistics) -> list[str]:
    columns, table = found.agreement(found.budgets[-1])
    lines = ["", f"## Rank correlation between methods at {found.budgets[-1]:,} rows; diagonal: another seed", ""]
    lines += ["| | " + " | ".join(columns) + " |", "|" + " --- |" * (len(columns) + 1)]
    for method, row in zip(found.methods, table):
        lines += [f"| {method} | " + " | ".join("–" if np.isnan(v) else f"{v:.2f}" for v in row) + " |"]
    return lines


def main() -> None:
    """Write NAME.md and NAME.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("into", type=Path)
    given = parser.parse_args()
    results = study.Results(given.directory)
    given.into.parent.mkdir(parents=True, exist_ok=True)
    given.into.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    study.curves(study.statistics(results.rows())).savefig(given.into.with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
