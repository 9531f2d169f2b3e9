"""The result: one number a player, its uncertainty, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Attribution:
    """Placeholder of the full record."""

    values: NDArray[np.float64]
    base_values: Any
    full_values: Any = None
    std_error: NDArray[np.float64] | None = None
    interactions: NDArray[np.float64] | None = None
    method: str = ""
    seed: int = 0
    ledger: dict[str, Any] = field(default_factory=dict)
    diagnostics: dict[str, Any] = field(default_factory=dict)
