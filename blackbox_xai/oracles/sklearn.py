"""Scikit-learn estimators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import InvalidInput
from .base import Batch, Floats, Oracle


class SklearnOracle(Oracle):
    """A fitted scikit-learn estimator or pipeline.

    Parameters
    ----------
    model : fitted estimator.
    method : "predict_proba", "decision_function" or "predict"; default: the first of these it has.
    batch_size : int. Rows a call, at most.
    output_names : default: the classes, where it has them.
    identity : str, for an answer store.

    Raises
    ------
    InvalidInput : the estimator has no such method.
    """

    def __init__(
        self,
        model: Any,
        *,
        method: str | None = None,
        batch_size: int = 1024,
        output_names: Iterable[str] | None = None,
        identity: str | None = None,
    ) -> None:
        known = ("predict_proba", "decision_function", "predict")
        found = [m for m in known if hasattr(model, m)]
        if method is None and not found:
            raise InvalidInput(f"SklearnOracle: {type(model).__name__} has none of {', '.join(known)}.")
        method = found[0] if method is None else method
        if not hasattr(model, method):
            raise InvalidInput(f"SklearnOracle: {type(model).__name__} has no {method}; it has {', '.join(found)}.")
        if output_names is None and method == "predict_proba":
            output_names = [str(c) for c in model.classes_]
        self._configure(batch_size=batch_size, output_names=output_names, identity=identity)
        self.name = type(model).__name__
        self._model, self._method = model, method

    def _predict(self, batch: Batch) -> Floats:
        answer: Floats = getattr(self._model, self._method)(batch)
        return answer
