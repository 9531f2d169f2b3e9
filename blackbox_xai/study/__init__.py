"""Budget-versus-quality studies: declared, billed before they run, resumable, reported."""

from __future__ import annotations

from .bill import Bill, bill
from .declare import read
from .group_scores import GroupScore
from .names import Cell
from .report import curves
from .report import write as report
from .results import Results
from .runner import run
from .scores import Score, better
from .spec import SCORES, Instance, Method, Study, Subject
from .statistics import Statistics, statistics

__all__ = [
    "SCORES",
    "Bill",
    "Cell",
    "GroupScore",
    "Instance",
    "Method",
    "Results",
    "Score",
    "Statistics",
    "Study",
    "Subject",
    "better",
    "bill",
    "curves",
    "read",
    "report",
    "run",
    "statistics",
]
