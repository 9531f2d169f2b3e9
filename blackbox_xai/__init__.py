"""Explain any model you can only query, within a query budget you set."""

from __future__ import annotations

__version__ = "0.1.0"
