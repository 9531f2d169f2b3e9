"""Limits and, with a store, the ledger of what was spent and what it bought."""

from __future__ import annotations

import importlib
from typing import Any

from .limits import QueryBudget

_LAZY = {"AnswerStore": "store", "SharedBudget": "shared", "Price": "price", "StoreError": "schema"}

__all__ = ["QueryBudget", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
