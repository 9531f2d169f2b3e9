"""Counted access to a model: the oracle scores, the meter counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

if TYPE_CHECKING:
    from ..budget.price import Price

Batch = Any  # an array of inputs (rows first), a list of strings, or a DataFrame: what the model takes
Floats = NDArray[np.floating[Any]]
Count = Literal["scored", "attempts", "answered"]
Kind = Literal["scores", "labels", "top-k", "rounded", "sampled"]


class Scored(NamedTuple):
    """Scores of a batch, (rows, k) or (rows,), and the tokens that the server says it used."""

    scores: Any
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """When the meter asks again; each attempt is reserved like the first.

    Attributes
    ----------
    attempts : int. Attempts in all, where an error says that asking again can help.
    timeouts, unusable : int. Repeats after a timeout, and after an answer that cannot be read (both may be billed).
    backoff_s, max_backoff_s : float. The wait doubles from the one to the other, times a random 0.5..1; a server's
        own wish to wait longer is followed.
    """

    attempts: int = 4
    timeouts: int = 1
    unusable: int = 0
    backoff_s: float = 0.5
    max_backoff_s: float = 60.0


class Oracle(ABC):
    """Access to a model. Immutable; constructing one queries nothing. A subclass writes `_predict` alone.

    Attributes
    ----------
    name : str. For messages and the ledger.
    identity : str or None. Names the model for an answer store: equal identities must mean equal answers.
    output_names : tuple of str or None. Names of the k outputs, where known.
    outputs : "scores", "labels", "top-k", "rounded" or "sampled". What the numbers are.
    stochastic : bool. Whether equal inputs may get different scores; then repeats are information.
    device : str. Where the model takes its batches: "cpu", or "cuda" and the like. Image batches are composed there.
    batch_size : int. Rows a call to the model, at most.
    parallel : int. Calls to the model that may run at once (1 for a local model).
    in_flight : int. Batches composed or under way at once, >= `parallel`.
    own_threads : bool. Whether it computes elsewhere or on threads of its own, not with numpy's BLAS: then masks are
        drawn while it works, for which that BLAS is limited to one thread.
    setup_rows : int. Rows that the very first call scores besides its batch; counted with it.
    retry : Retry. When to ask again.
    timeout_s : float. The longest a call may take, for claims on rows that several processes ask.
    count : "scored" (refusals before processing are given back), "attempts" (nothing is), or "answered" (all but
        answers is, for a server of one's own). What stays spent.
    price : Price or None. What a query costs.
    """

    name: str
    identity: str | None = None
    output_names: tuple[str, ...] | None = None
    outputs: Kind = "scores"
    stochastic: bool = False
    device: str = "cpu"
    batch_size: int = 64
    parallel: int = 1
    in_flight: int = 1
    own_threads: bool = False
    setup_rows: int = 0
    retry: Retry = Retry()
    timeout_s: float = 60.0
    count: Count = "scored"
    price: Price | None = None

    def _configure(
        self,
        *,
        batch_size: int,
        output_names: Iterable[str] | None,
        identity: str | None,
        stochastic: bool = False,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise InvalidInput(f"{type(self).__name__}: batch_size must be a whole number >= 1, got {batch_size!r}.")
        self.batch_size, self.identity, self.stochastic = int(batch_size), identity, stochastic
        self.output_names = None if output_names is None else tuple(str(n) for n in output_names)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, batch_size={self.batch_size})"

    def buffer(self, rows: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Batch | None:
        """Memory on `device` to compose ``rows`` inputs of this shape and dtype into; None for a new numpy array.

        A contiguous numpy array, a torch CPU tensor, or anything with ``__cuda_array_interface__``; `_predict` gets
        it back, filled. Each call gives memory of its own.
        """
        return None

    @abstractmethod
    def _predict(self, batch: Batch) -> Floats:
        """Score a batch: (rows, k) or (rows,). Called by the meter alone, which counts and checks."""

    def _scored(self, batch: Batch) -> Scored:
        """Score a batch and say what it used; only oracles that are told the usage write this."""
        return Scored(self._predict(batch))

    def _bound(self, batch: Batch) -> tuple[int, int]:
        """The most input and output tokens that `batch` can be billed for; (0, 0) where none are."""
        return 0, 0


@dataclass
class Ledger:
    """What a run spent. Rows unless said otherwise."""

    scored: int = 0  # sent to the model and not given back
    answered: int = 0
    failed: int = 0  # spent on an attempt that did not answer the row
    lost: int = 0  # spent and never answered
    from_store: int = 0
    repeated: int = 0  # identical to a row of the same run: not sent
    batches: int = 0
    retried: int = 0  # rows sent again
    tokens_in: int = 0
    tokens_out: int = 0
    seconds_model: float = 0.0  # during which at least one call was under way
    seconds_total: float = 0.0
    cost: float | None = None
