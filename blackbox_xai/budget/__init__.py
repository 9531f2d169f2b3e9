"""Limits and, with a store, the ledger of what was spent and what it bought."""

from .limits import QueryBudget

__all__ = ["QueryBudget"]
