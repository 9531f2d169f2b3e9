"""Any ``predict(batch) -> scores``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InvalidInput
from .base import Batch, Floats, Kind, Oracle


class CallableOracle(Oracle):
    """A Python function as a model.

    Parameters
    ----------
    predict : batch -> (rows, k) or (rows,) numbers. The batch is what the players make: uint8 or float images
        (rows, H, W, 3), a list of strings, or table rows (rows, columns) / a DataFrame.
    batch_size : int. Rows a call, at most.
    output_names : names of the k outputs.
    identity : str. Names the function in an answer store (a function has no identity of its own).
    stochastic : bool. Whether it answers equal rows differently.
    outputs : what the numbers are.
    parallel : int. Calls that may run at once, in threads; 1 unless the function is thread-safe.

    Cost: a call of n rows counts n.
    """

    def __init__(
        self,
        predict: Callable[[Batch], Any],
        *,
        batch_size: int = 64,
        output_names: Iterable[str] | None = None,
        identity: str | None = None,
        stochastic: bool = False,
        outputs: Kind = "scores",
        parallel: int = 1,
    ) -> None:
        if not callable(predict):
            raise InvalidInput(f"CallableOracle: predict must be callable, got {type(predict).__name__}.")
        self._configure(batch_size=batch_size, output_names=output_names, identity=identity, stochastic=stochastic)
        self.name = getattr(predict, "__qualname__", type(predict).__name__)
        self.outputs, self.parallel, self.in_flight = outputs, parallel, parallel
        self._function = predict

    def _predict(self, batch: Batch) -> Floats:
        answer: Floats = self._function(batch)
        return answer
