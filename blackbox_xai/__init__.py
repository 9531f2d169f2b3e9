"""Explain any model you can only query, within a query budget you set."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "explain": "driver",
    "aexplain": "driver",
    "iter_explain": "driver",
    "plan": "driver",
    "load": "attribution",
    "Attribution": "attribution",
    "Plan": "driver",
    "QueryBudget": "budget",
    "BlackboxXaiError": "errors",
    "BudgetExhausted": "errors",
    "InvalidInput": "errors",
    "MissingExtra": "errors",
    "OracleError": "errors",
    "TooFewQueries": "errors",
    "Masks": "masks",
    "StableOrder": "estimators.until",
    "StdError": "estimators.until",
    "TopK": "estimators.until",
}
_MODULES = ("estimators", "exact", "metrics", "oracles", "players", "samplers", "study", "whitebox")

__all__ = [*_PUBLIC, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
