"""Counted access to models; `as_oracle` wraps what it can recognise."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from ..errors import InvalidInput
from .base import Ledger, Oracle, Retry, Scored
from .function import CallableOracle
from .meter import Meter
from .sklearn import SklearnOracle

_LAZY = {
    "OnnxOracle": "onnx_model",
    "OpenVinoOracle": "openvino_model",
    "TorchOracle": "torch_module",
    "TransformersOracle": "transformers_text",
    "HTTPOracle": "http",
}

__all__ = ["CallableOracle", "Ledger", "Meter", "Oracle", "Retry", "Scored", "SklearnOracle", "as_oracle", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def as_oracle(model: Any, *, batch_size: int | None = None) -> Oracle:
    """An oracle of a model: oracles stay, scikit-learn estimators, torch modules and functions are wrapped.

    Parameters
    ----------
    model : Oracle, fitted scikit-learn estimator, torch.nn.Module, transformers text-classification pipeline, or
        ``predict(batch) -> scores``.
    batch_size : int or None. Rows a call, at most; None keeps the oracle's own.

    Raises
    ------
    InvalidInput : nothing to query was recognised.
    """
    if isinstance(model, Oracle):
        if batch_size is not None and batch_size != model.batch_size:
            raise InvalidInput("batch_size: this is an oracle already; set batch_size where you construct it.")
        return model
    size: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    torch, transformers = sys.modules.get("torch"), sys.modules.get("transformers")
    if torch is not None and isinstance(model, torch.nn.Module):
        return __getattr__("TorchOracle")(model, **size)  # type: ignore[no-any-return]
    if transformers is not None and hasattr(model, "tokenizer") and hasattr(model, "model"):
        return __getattr__("TransformersOracle")(model, **size)  # type: ignore[no-any-return]
    if any(hasattr(model, m) for m in ("predict_proba", "decision_function")) or (
        hasattr(model, "predict") and hasattr(model, "fit")
    ):
        return SklearnOracle(model, **size)
    if callable(model):
        return CallableOracle(model, **size)
    raise InvalidInput(
        f"There is no way to query a {type(model).__name__}. Pass predict(batch) -> scores, a fitted scikit-learn "
        "estimator, a torch module, or an oracle from blackbox_xai.oracles."
    )
