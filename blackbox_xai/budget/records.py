"""What passes between a meter and its ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .limits import Amount, QueryBudget

Row = NDArray[np.float64]
_NONE: Mapping[bytes, bytes] = {}


class Ticket(NamedTuple):
    """An attempt that was reserved and not yet settled."""

    attempt: int
    taken: Amount


class Acquired(NamedTuple):
    """What came of asking for some rows.

    `found`: known answers; `mine`: rows that are ours to send, `repeats` of which the model may have scored before
    on our account; `busy`: rows that another asks just now; `ticket`: the reservation of `mine`, if any.
    """

    found: dict[bytes, Row]
    mine: list[bytes]
    repeats: set[bytes]
    busy: list[bytes]
    ticket: Ticket | None


@dataclass(frozen=True, slots=True)
class Account:
    """A budget as the ledger knows it: a shared budget's own row, or the mirror of one in memory."""

    id: int
    chain: tuple[int, ...]
    memory: QueryBudget | None


class Settled(NamedTuple):
    """How an attempt ended.

    `scores`: what was answered, by key; `first_back`, `repeats_back`: rows given back; `cost` (1e-9 units of money)
    and tokens: as charged; `release`: keys that we ask no more; `inputs`: the rows themselves, where kept.
    """

    state: str
    scores: Mapping[bytes, Row] = {}
    first_back: int = 0
    repeats_back: int = 0
    cost: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    note: str = ""
    release: Sequence[bytes] = ()
    inputs: Mapping[bytes, bytes] = _NONE

    def back(self, taken: Amount) -> Amount:
        """What is given back of `taken`."""
        tokens = self.tokens_in + self.tokens_out
        return Amount(self.first_back, self.repeats_back, taken.cost - self.cost, taken.tokens - tokens)
