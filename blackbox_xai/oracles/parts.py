"""A batch that was scored in parts, because memory would not hold it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import OracleError
from .base import Batch, Scored


def merged(parts: Sequence[Scored]) -> Scored:
    """The answer to the whole batch."""
    if len(parts) == 1:
        return parts[0]
    scores = np.concatenate([np.asarray(p.scores) for p in parts])
    return Scored(scores, sum(p.tokens_in for p in parts), sum(p.tokens_out for p in parts))


def after(error: OracleError, parts: Sequence[Scored]) -> None:
    """Make an error on the part that follows `parts` one on the whole batch: what was answered before is kept."""
    if parts:
        told = merged(parts)
        before = dict(enumerate(np.asarray(told.scores)))
        n = len(before)
        error.answered = before | {n + i: row for i, row in error.answered.items()}
        error.refused = frozenset(n + i for i in error.refused)
        error.tokens = told.tokens_in + error.tokens[0], told.tokens_out + error.tokens[1]


def written(batch: Batch) -> list[bytes]:
    """The inputs of a batch for keeping: text as UTF-8 after ``text:``, the rest as npy."""
    if hasattr(batch, "to_numpy"):
        batch = batch.to_numpy()
    if hasattr(batch, "cpu"):
        batch = batch.cpu()
    return [_written(batch[i]) for i in range(len(batch))]


def _written(row: Any) -> bytes:
    if isinstance(row, str):
        return b"text:" + row.encode()
    out = io.BytesIO()
    np.save(out, np.asarray(row), allow_pickle=False)
    return out.getvalue()
