"""The study's report: one self-contained HTML page, and the tidy table as CSV (and Parquet)."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput, need
from .results import COLUMNS, Results
from .scores import better
from .statistics import Entry, Statistics, statistics

_STAR = "★ better than every other method in paired tests (Holm, p &lt; .05)."
_NONE = Entry(math.nan, math.nan, math.nan, 0)

# Okabe and Ito's palette, told apart by colour-blind eyes; markers and dashes tell the lines apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
LEVELS: tuple[Any, ...] = ((0, (5, 3)), (0, (1, 2)), (0, (6, 2, 1, 2)), (0, (9, 4)))  # of references
PICTURES = 6  # instances shown side by side at most


def write(out: str | Path, *, parquet: bool | None = None, results: Results | None = None) -> Path:
    """Write ``results.csv`` and ``report.html`` (and ``results.parquet``) into a study's directory.

    Parameters
    ----------
    out : the directory that `run` filled.
    parquet : True needs pyarrow; None writes it where pyarrow is installed.
    results : where they are kept elsewhere (a database URL).

    Returns
    -------
    Path of the page. Raises MissingExtra without matplotlib (the ``plots`` extra).

    Cost: no query.
    """
    out = Path(out)
    if results is None:
        if not (out / "study.db").exists():
            raise InvalidInput(f"study: {out} holds no study.db; run the study first.")
        results = Results(out)
    described = results.described()
    _csv(results, out / "results.csv")
    _parquet(out, parquet)
    found = statistics(results.rows())
    page = _page(described, found, results)
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _csv(results: Results, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, COLUMNS)
        writer.writeheader()
        for row in results.rows():
            if row["metric"] is not None and row["value"] is None:
                row["value"] = "nan"
            writer.writerow(row)


def _parquet(out: Path, wanted: bool | None) -> None:
    if wanted is False:
        return
    if wanted is None:
        import importlib.util

        if importlib.util.find_spec("pyarrow") is None:
            return
    arrow_csv, parquet = (
        need("pyarrow.csv", "cluster", "parquet=True"),
        need("pyarrow.parquet", "cluster", "parquet=True"),
    )
    parquet.write_table(arrow_csv.read_csv(out / "results.csv"), out / "results.parquet")


def _page(described: dict[str, Any], s: Statistics, results: Results) -> str:
    parts = [f"<h1>{html.escape(described['name'])}</h1>", _summary(described, s)]
    failures = results.failures()
    if failures:
        rows = "".join(
            f"<tr><td>{html.escape(' / '.join(str(v) for v in cell))}</td><td>{html.escape(why[:300])}</td></tr>"
            for cell, why in failures[:50]
        )
        parts.append(f"<h2>{len(failures)} failed cells</h2><table>{rows}</table>")
    parts.append("<h2>Quality by budget</h2>")
    if s.budgets:
        parts.append(
            "<p>Means over seeds and instances with 95 % intervals; points are moved apart sideways; intervals that "
            "leave the picture are cut, the tables have them whole. An interval holds what differs between instances, "
            "so two that overlap may still be told apart: see the stars. Grey lines without points: white-box "
            "references, which look inside the model and spend no budget.</p>" + _image(curves(s), "Quality by budget")
        )
        parts += [_table(metric, s) for metric in s.metrics]
        parts.append(_spending(s))
        if "agreement" in s.metrics:
            parts.append(_agreement(s))
    pictures = _pictures(results)
    if pictures:
        parts.append("<h2>Side by side</h2>" + pictures)
    parts.append(f"<h2>Settings and versions</h2><pre>{html.escape(json.dumps(described, indent=1))}</pre>")
    return _FRAME.replace("TITLE", html.escape(described["name"])).replace("BODY", "\n".join(parts))


def _summary(described: dict[str, Any], s: Statistics) -> str:
    limit = "no limit" if described["limit"] is None else f"limit {described['limit']:,}"
    left_out = ""
    if s.unfinished:
        left_out = f" <b>Left out, because some of their cells are not done: {s.unfinished} instances.</b>"
    return (
        f"<p>{s.instances} instances, {len(s.methods)} methods, budgets {', '.join(f'{b:,}' for b in s.budgets)}, "
        f"seeds {', '.join(str(v) for v in described['seeds'])}. Rows sent in all: {described['used']:,} ({limit}). "
        f"{html.escape(described.get('machine', ''))}.{left_out}</p>"
    )


def _style(place: int) -> dict[str, Any]:
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[(place + place // len(COLOURS)) % len(MARKERS)],
        "linestyle": DASHES[place // len(COLOURS) % len(DASHES)] if place >= len(COLOURS) else DASHES[place % 2],
    }


def curves(s: Statistics) -> Any:
    """A matplotlib Figure: each metric by budget (log), a line a method with its 95 % interval, references level.

    Intervals are bands for up to three methods and bars, moved apart sideways, for more: bands over one another cannot
    be read.
    """
    need("matplotlib", "plots", "the study report")
    from matplotlib.figure import Figure

    metrics = s.metrics
    columns = min(3, len(metrics))
    lines = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.3 * lines + 0.9), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns, squeeze=False)).ravel()
    named: dict[str, Any] = {}
    for ax, metric in zip(axes, metrics):
        for place, method in enumerate(s.methods):
            drawn = _line(ax, s, metric, method, place)
            if drawn is not None:
                named.setdefault(method, drawn)
        for number, (name, r) in enumerate(s.references[metric].items()):
            if np.isfinite(r.mean):
                style = {"color": "#444444", "linestyle": LEVELS[number % len(LEVELS)], "linewidth": 1.3, "zorder": 1}
                named.setdefault(f"{name} (white box)", ax.axhline(r.mean, **style))
        _limits(ax, metric, [e.mean for e in (*s.entries[metric].values(), *s.references[metric].values())])
        ax.set_xscale("log")
        ax.set_xticks(s.budgets, [f"{b:,}" for b in s.budgets])
        ax.minorticks_off()
        ax.set_xlabel("budget, rows", fontsize=9)
        ax.set_ylabel(_unit(metric), fontsize=9)
        ax.set_title(f"{_title(metric)}{_arrow(metric)}", fontsize=10)
        ax.tick_params(labelsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    for ax in axes[len(metrics) :]:
        ax.remove()
    order = sorted(named, key=lambda name: name not in s.methods)
    handles = [named[name] for name in order]
    figure.legend(handles, order, loc="outside lower center", ncols=min(5, len(order)), frameon=False, fontsize=9)
    return figure


def _line(ax: Any, s: Statistics, metric: str, method: str, place: int) -> Any:
    """One method's means and intervals; None where it has none."""
    at = [b for b in s.budgets if np.isfinite(s.entries[metric].get((method, b), _NONE).mean)]
    if not at:
        return None
    e = [s.entries[metric][method, b] for b in at]
    mean, low, high = (np.array([getattr(v, part) for v in e]) for part in ("mean", "low", "high"))
    style = {"markersize": 5, "linewidth": 1.6, **_style(place)}
    if len(s.methods) <= 3:
        ax.fill_between(at, low, high, color=style["color"], alpha=0.15, lw=0)
        return ax.plot(at, mean, **style)[0]
    away = np.array(at) * 1.035 ** (place - (len(s.methods) - 1) / 2)
    line = ax.plot(away, mean, **style)[0]
    known = np.isfinite(low)
    ax.vlines(away[known], low[known], high[known], color=style["color"], linewidth=1.1, alpha=0.65)
    return line


def _limits(ax: Any, metric: str, means: list[float]) -> None:
    """Errors on a log axis; bands that are many times wider than the curves are cut, so that the curves show."""
    shown = [m for m in means if np.isfinite(m)]
    if not shown:
        return
    if metric.endswith("error") and min(shown) > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom=min(shown) / 3)  # a band may reach below 0
        return
    span = 0.75 * (max(shown) - min(shown)) or abs(max(shown)) or 1.0
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, min(shown) - span), min(high, max(shown) + span))


_UNITS = {
    "deletion_auc": "mean score of the target",
    "insertion_auc": "mean score of the target",
    "deletion_gap": "difference of mean scores",
    "deletion_aopc": "mean drop of the score",
    "deletion_aopc_relative": "mean drop / clean score",
    "fidelity": "rank correlation",
    "infidelity": "share of squared drops",
    "shapley_relative_error": "squared error / squared norm",
    "shapley_top_k": "share of the top k",
    "top_k_recovered": "share of full - empty",
    "top_k_lost": "share of full - empty",
    "gini": "0 even, 1 one player",
    "max_sensitivity": "change / norm of the map",
    "max_sensitivity_floor": "change / norm of the map",
    "soundness": "share of attribution",
    "soundness_of_random": "share of attribution",
    "soundness_dataset": "share of attribution",
    "completeness_loss": "accuracy lost",
    "completeness_label_loss": "score of the label lost",
    "completeness_removed": "share of parts removed",
    "road_gap": "difference of accuracies",
    "road_morf": "accuracy",
    "road_lerf": "accuracy",
    "stability_cosine": "cosine",
    "stability_top_k": "share of the top k",
    "reference_cosine": "cosine",
    "largest": "score",
}


def _unit(metric: str) -> str:
    number = metric.partition(":")[0]
    return _UNITS.get(number, "rank correlation" if number.endswith(("spearman", "agreement")) else "")


def _title(metric: str) -> str:
    words = {"auc": "AUC", "aopc": "AOPC"}
    number, _, replacement = metric.partition(":")
    text = " ".join(words.get(w, w) for w in number.split("_"))
    return text[:1].upper() + text[1:] + (f", {replacement}" if replacement else "")


def _arrow(metric: str) -> str:
    return {"high": " (higher is better)", "low": " (lower is better)"}.get(better(metric) or "", "")


def _image(figure: Any, label: str) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    coded = base64.b64encode(data.getvalue()).decode()
    return f'<img alt="{html.escape(label)}" src="data:image/png;base64,{coded}">'


def _number(v: float) -> str:
    return "–" if not np.isfinite(v) else f"{v:.3g}" if abs(v) >= 1e-3 or v == 0 else f"{v:.1e}"


def _show(e: Entry | None) -> str:
    if e is None:
        return "<td>–</td>"
    band = f" <span>[{_number(e.low)}, {_number(e.high)}]</span>" if np.isfinite(e.low) else ""
    text = f"{_number(e.mean)}{band}"
    return f'<td class="best"><b>{text}</b> ★</td>' if e.winner else f"<td>{text}</td>"


def _table(metric: str, s: Statistics) -> str:
    head = "".join(f"<th>{b:,}</th>" for b in s.budgets)
    body = "".join(
        f"<tr><th>{html.escape(m)}</th>" + "".join(_show(s.entries[metric].get((m, b))) for b in s.budgets) + "</tr>"
        for m in s.methods
    )
    for name, e in s.references[metric].items():
        body += f"<tr class=ref><th>{html.escape(name)} (white box)</th><td colspan={len(s.budgets)}>"
        body += f"{_number(e.mean)} <span>[{_number(e.low)}, {_number(e.high)}]</span></td></tr>"
    n = max((e.count for e in s.entries[metric].values()), default=0)
    what = "instances or seeds" if n > 1 else "value"
    note = f"Mean and 95 % interval over {n} {what}. {_STAR}"
    return (
        f"<h3>{html.escape(_title(metric))}{_arrow(metric)}</h3>"
        f"<table><tr><th>method</th>{head}</tr>{body}</table><p class=note>{note}</p>"
    )


def _spending(s: Statistics) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(m)}</th><td>{b:,}</td>"
        + (f"<td>{v[0]:,.0f}</td><td>{v[1]:.3g}</td><td>{v[2]:.3g}</td>" if (v := s.spent.get((m, b))) else "")
        + "</tr>"
        for m in s.methods
        for b in s.budgets
    )
    return (
        "<h3>Rows and time a cell</h3><table><tr><th>method</th><th>budget</th><th>rows sent</th>"
        f"<th>seconds in the model</th><th>seconds outside</th></tr>{rows}</table>"
        "<p class=note>Means. A run that continues a smaller budget sends the difference. Times include the scores.</p>"
    )


def _agreement(s: Statistics) -> str:
    """A matrix at the largest budget: how alike the methods' maps are."""
    from matplotlib.figure import Figure

    columns, table = s.agreement(s.budgets[-1])
    size = (2.4 + 0.75 * len(columns), 1.6 + 0.42 * len(s.methods))
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    drawn = ax.imshow(table, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    ax.set_xticks(range(len(columns)), columns, rotation=35, ha="right", fontsize=8)
    ax.set_yticks(range(len(s.methods)), s.methods, fontsize=8)
    for (i, j), v in np.ndenumerate(table):
        if np.isfinite(v):
            ax.text(j, i, f"{v:.2f}", ha="center", va="center", fontsize=8, color="white" if abs(v) > 0.7 else "black")
    figure.colorbar(drawn, ax=ax, label="mean rank correlation")
    note = (
        f"<p class=note>Mean Spearman correlation over instances at {s.budgets[-1]:,} rows. Diagonal: the same method "
        "under another seed; methods that differ no more than that do not disagree.</p>"
    )
    return "<h3>Agreement between methods</h3>" + _image(figure, "Agreement between methods") + note


def _pictures(results: Results) -> str:
    by: dict[str, dict[tuple[str, int], Any]] = {}
    for cell, arrays in results.maps():
        if cell.instance in by or len(by) < PICTURES:
            by.setdefault(cell.instance, {})[cell.method, cell.budget] = arrays
    return "".join(_picture(instance, maps) for instance, maps in by.items())


def _picture(instance: str, maps: dict[tuple[str, int], Any]) -> str:
    from matplotlib.figure import Figure

    methods = sorted({m for m, _ in maps}, key=lambda m: (min(b for n, b in maps if n == m) == 0, m))
    budgets = sorted({b for _, b in maps if b > 0}) or [0]
    image = next((a["image"] for a in maps.values() if "image" in a), None)
    title = f"<h3>{html.escape(instance)}</h3>"
    if image is None:
        return title + _bars(instance, maps, methods, budgets)
    figure = Figure(figsize=(1.75 * (len(methods) + 1), 1.95 * len(budgets)), layout="constrained")
    axes = figure.subplots(len(budgets), len(methods) + 1, squeeze=False)
    for line, budget in zip(axes, budgets):
        line[0].imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray")
        line[0].set_ylabel(f"{budget:,} rows", fontsize=8)
        line[0].set_xticks([])
        line[0].set_yticks([])
        for ax, method in zip(line[1:], methods):
            ax.axis("off")
            arrays = maps.get((method, budget), maps.get((method, 0)))
            if arrays is None:
                continue
            values = arrays["map"]
            top = float(np.percentile(np.abs(values), 99.5)) or 1.0
            ax.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top)
            ax.set_title(method if (method, 0) not in maps else f"{method} (white box)", fontsize=8)
    return title + _image(figure, instance)


def _bars(instance: str, maps: dict[tuple[str, int], Any], methods: list[str], budgets: list[int]) -> str:
    from matplotlib.figure import Figure

    chosen = [(m, b) for m in methods for b in (*budgets, 0) if (m, b) in maps]
    table = np.stack([maps[k]["map"].ravel() for k in chosen])
    scale = np.abs(table).max(axis=1, keepdims=True)
    table = table / np.where(scale > 0, scale, 1)
    keep = np.sort(np.argsort(-np.abs(table).mean(axis=0))[:30])
    names = maps[chosen[0]].get("names")
    labels = [str(names[i])[:18] if names is not None else str(i) for i in keep]
    figure = Figure(figsize=(2.5 + 0.32 * len(keep), 1.2 + 0.24 * len(chosen)), layout="constrained")
    ax = figure.subplots()
    drawn = ax.imshow(table[:, keep], cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    ax.set_yticks(range(len(chosen)), [f"{m}, {b:,}" if b else f"{m} (white box)" for m, b in chosen], fontsize=8)
    ax.set_xticks(range(len(keep)), labels, rotation=60, ha="right", fontsize=8)
    figure.colorbar(drawn, ax=ax, label="value / largest of the row")
    return _image(figure, instance)


_FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>TITLE</title><style>
body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#111;background:#fff}
img{max-width:100%}table{border-collapse:collapse;margin:.5em 0}td,th{padding:.25em .7em;border-bottom:1px solid #ccc;
text-align:left;font-variant-numeric:tabular-nums}td span{color:#555;font-size:.85em}.best{background:#eef6ee}
.ref{font-style:italic}.note{color:#444;font-size:.9em}pre{white-space:pre-wrap;font-size:12px;background:#f6f6f6;
padding:1em}@media print{body{max-width:none}h3,img,table{break-inside:avoid}}
</style></head><body>BODY</body></html>
"""
