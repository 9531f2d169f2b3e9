"""How good an attribution is, asked of the model itself. Every metric says what it costs before it spends."""

from __future__ import annotations

from .curves import Curve, Gap, deletion, deletion_gap, insertion
from .curves import cost as curve_cost
from .evaluation import Evaluation

__all__ = ["Curve", "Evaluation", "Gap", "curve_cost", "deletion", "deletion_gap", "insertion"]
