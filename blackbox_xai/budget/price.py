"""What a query costs, as the user tells it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidInput
from .limits import NANO


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices in one unit of money of the user's choice.

    Parameters
    ----------
    per_query : money a row scored.
    per_1k_input_tokens, per_1k_output_tokens : money a thousand tokens, where the server bills tokens.

    Raises
    ------
    InvalidInput : a price is negative or not finite.
    """

    per_query: float = 0.0
    per_1k_input_tokens: float = 0.0
    per_1k_output_tokens: float = 0.0

    def __post_init__(self) -> None:
        for name in ("per_query", "per_1k_input_tokens", "per_1k_output_tokens"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise InvalidInput(f"Price: {name} must be a price >= 0, got {value!r}.")

    def nano(self, rows: int, tokens_in: int = 0, tokens_out: int = 0) -> int:
        """The cost in whole 1e-9 units, rounded up."""
        return math.ceil(
            NANO * self.per_query * rows
            + NANO / 1000 * (self.per_1k_input_tokens * tokens_in + self.per_1k_output_tokens * tokens_out)
        )
