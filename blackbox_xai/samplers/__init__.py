"""Sequences of coalitions: each row a pure function of (seed, row), never of the budget. Names load when used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Sampler": "base",
    "Enumeration": "enumeration",
    "Coins": "coins",
    "SmoothedCoins": "coins",
    "RiseGrids": "grids",
    "PickFreeze": "pick_freeze",
    "SpaceFilling": "pick_freeze",
    "Zoomed": "zoomed",
    "OwenGrid": "owen",
    "Sizes": "sizes",
    "IndependentSizes": "sizes",
    "Walks": "walks",
    "LevelCoins": "levels",
    "LevelGrid": "levels",
    "Flips": "levels",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOME)}.")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
