"""Exact answers for known games: brute force over all coalitions, closed forms, tree ensembles with one
baseline row.
"""

from __future__ import annotations

from .brute import (
    additive,
    coins,
    faithful_pairs,
    moebius,
    pairs,
    pairwise,
    shapley,
    shapley_from_moebius,
    shapley_from_walsh,
    sobol_total,
    unanimity,
    walsh,
)
from .trees import Forest, TreeGame

__all__ = [
    "Forest",
    "TreeGame",
    "additive",
    "coins",
    "faithful_pairs",
    "moebius",
    "pairs",
    "pairwise",
    "shapley",
    "shapley_from_moebius",
    "shapley_from_walsh",
    "sobol_total",
    "unanimity",
    "walsh",
]
