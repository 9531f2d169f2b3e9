"""Means, intervals and paired tests of a study's tidy table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .names import Cell
from .scores import better

Floats = NDArray[np.float64]
_WITH = "agreement:"


@dataclass(frozen=True, slots=True)
class Entry:
    """One method at one budget in one metric.

    mean, low, high : mean and 95 % interval (NaN with one value) over instances, or over seeds where there is one
    instance. count : values. winner : better than every other method at this budget in paired t-tests, Holm-adjusted
    p < .05.
    """

    mean: float
    low: float
    high: float
    count: int
    winner: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Entries by metric, then (method, budget)."""

    entries: dict[str, dict[tuple[str, int], Entry]]
    methods: tuple[str, ...]
    budgets: tuple[int, ...]
    references: dict[str, dict[str, Entry]]  # metric -> reference -> entry
    spent: dict[tuple[str, int], tuple[float, float, float]]  # rows sent, seconds in the model, seconds outside
    instances: int  # whose cells all are done or failed
    unfinished: int  # others, which are left out

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, in order of name; agreement with single methods is a matrix, see `agreement`."""
        return tuple(sorted(m for m in self.entries if not m.startswith(_WITH)))

    def agreement(self, budget: int) -> tuple[tuple[str, ...], Floats]:
        """Columns, methods and references, and mean rank correlation (methods, columns); NaN where there is none.

        On the diagonal: a method with itself under another seed.
        """
        others = [m[len(_WITH) :] for m in self.entries if m.startswith(_WITH)]
        columns = (*(m for m in self.methods if m in others), *sorted(set(others) - set(self.methods)))
        table = np.full((len(self.methods), len(columns)), np.nan)
        for i, method in enumerate(self.methods):
            for j, other in enumerate(columns):
                entry = self.entries[_WITH + other].get((method, budget))
                table[i, j] = np.nan if entry is None else entry.mean
        return columns, table


def statistics(rows: Iterable[Mapping[str, Any]]) -> Statistics:
    """From the rows of `Results.rows`. References are the rows of budget 0. Rows stream; only numbers are kept.

    While a study runs, instances that lack cells which others have are left out: else methods would be compared on
    different instances. A failed cell lacks nothing but its numbers.
    """
    values: dict[str, dict[tuple[str, int], dict[tuple[str, int], float]]] = defaultdict(lambda: defaultdict(dict))
    spent: dict[tuple[str, int], dict[tuple[str, int], tuple[float, float, float]]] = defaultdict(dict)
    seen: dict[str, set[tuple[str, int, int]]] = defaultdict(set)
    for r in rows:
        key, place = (r["method"], int(r["budget"])), (r["instance"], int(r["seed"]))
        run = not Cell(r["instance"], *key, int(r["seed"])).whole
        if run:
            seen[r["instance"]].add((*key, int(r["seed"])))
        if r["status"] != "ok":
            continue
        if run:
            inside, total = float(r["seconds_model"]), float(r["seconds"])
            spent[key][place] = (float(r["rows_sent"]), inside, max(0.0, total - inside))
        if r["metric"] is not None:
            values[r["metric"]][key][place] = float("nan") if r["value"] is None else float(r["value"])
    most = max((len(s) for s in seen.values()), default=0)
    left_out = {name for name, s in seen.items() if len(s) < most}
    tables: list[dict[tuple[str, int], dict[tuple[str, int], Any]]] = [spent, *values.values()]  # type: ignore[list-item]
    for table in tables:
        for key in list(table):
            table[key] = {place: v for place, v in table[key].items() if place[0] not in left_out}
            if not table[key]:
                del table[key]
    methods = tuple(dict.fromkeys(m for m, b in spent if b > 0))
    budgets = tuple(sorted({b for _, b in spent if b > 0}))
    entries, references = _tables(values, budgets)
    means = {k: _means(v.values()) for k, v in spent.items() if k[1] > 0}
    return Statistics(entries, methods, budgets, references, means, len(seen) - len(left_out), len(left_out))


def _tables(
    values: Mapping[str, Mapping[tuple[str, int], Mapping[tuple[str, int], float]]], budgets: tuple[int, ...]
) -> tuple[dict[str, dict[tuple[str, int], Entry]], dict[str, dict[str, Entry]]]:
    """Entries and references by metric, winners marked."""
    entries: dict[str, dict[tuple[str, int], Entry]] = {}
    references: dict[str, dict[str, Entry]] = {}
    for metric, cells in values.items():
        table = {key: _entry(v) for key, v in cells.items() if key[1] > 0 and v}
        for budget in budgets:
            best = _winner(metric, {k: v for k, v in cells.items() if k[1] == budget and v})
            if best is not None:
                e = table[best]
                table[best] = Entry(e.mean, e.low, e.high, e.count, True)
        entries[metric] = table
        references[metric] = {key[0]: _entry(v) for key, v in cells.items() if key[1] == 0 and v}
    return entries, references


def _means(rows: Iterable[tuple[float, float, float]]) -> tuple[float, float, float]:
    table = np.array(list(rows)).mean(axis=0)
    return float(table[0]), float(table[1]), float(table[2])


def _units(cells: Mapping[tuple[str, int], float]) -> dict[Any, float]:
    """One value an instance (mean over seeds), or one a seed where there is one instance; NaN left out."""
    by: dict[str, list[float]] = defaultdict(list)
    for (instance, _), v in cells.items():
        if np.isfinite(v):
            by[instance].append(v)
    if len({i for i, _ in cells}) == 1:
        return {seed: v for (_, seed), v in cells.items() if np.isfinite(v)}
    return {i: float(np.mean(v)) for i, v in by.items()}


def _entry(cells: Mapping[tuple[str, int], float]) -> Entry:
    from scipy.stats import t

    units = np.array(list(_units(cells).values()))
    n = len(units)
    if n == 0:
        return Entry(float("nan"), float("nan"), float("nan"), 0)
    mean = float(units.mean())
    if n == 1:
        return Entry(mean, float("nan"), float("nan"), 1)
    half = float(t.ppf(0.975, n - 1) * units.std(ddof=1) / np.sqrt(n))
    return Entry(mean, mean - half, mean + half, n)


def _winner(metric: str, cells: Mapping[tuple[str, int], Mapping[tuple[str, int], float]]) -> tuple[str, int] | None:
    """The method that beats every other one in paired tests, or None."""
    from scipy.stats import t

    way = better(metric)
    if way is None or len(cells) < 2:
        return None
    sign = 1.0 if way == "high" else -1.0
    units = {key: _units(v) for key, v in cells.items()}
    means = {key: sign * float(np.mean(list(u.values()))) for key, u in units.items() if u}
    if len(means) < 2:
        return None
    best = max(means, key=lambda key: means[key])
    found = []
    for other, u in units.items():
        if other == best or not u:
            continue
        common = [k for k in u if k in units[best]]
        if len(common) < 3:
            return None
        gain = sign * np.array([units[best][k] - u[k] for k in common])
        spread = float(gain.std(ddof=1))
        if spread == 0:
            found.append(0.0 if gain.mean() > 0 else 1.0)
            continue
        score = gain.mean() / (spread / np.sqrt(len(gain)))
        found.append(float(2 * t.sf(abs(score), len(gain) - 1)) if score > 0 else 1.0)
    ordered = np.sort(found)
    adjusted = np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))
    return best if adjusted.max() < 0.05 else None
