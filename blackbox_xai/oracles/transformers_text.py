"""Transformers: sequence classifiers and sentence encoders, reached through strings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..errors import InvalidInput, need
from .base import Batch, Floats, Oracle
from .torch_module import activate


class TransformersOracle(Oracle):
    """A text model and its tokenizer.

    Three uses: a sequence classifier (the scores are class probabilities); an encoder with `similar_to` (the
    score is the cosine similarity of the mean-pooled embeddings); an encoder with `head` (embeddings -> scores,
    for example a scikit-learn classifier's ``predict_proba``).

    Parameters
    ----------
    model : a transformers model, or a text-classification pipeline (then no tokenizer is needed).
    tokenizer : its tokenizer.
    similar_to : str. The other sentence; scored once, with the first batch, as one counted row.
    head : embeddings float32 (rows, width) -> scores (rows, k).
    activation : "softmax", "sigmoid", a function or None, for classifiers.
    max_length : int. Tokens a text at most; longer ones are cut.
    device, batch_size, output_names, identity : as in `TorchOracle`; names default to the model's labels.

    Raises
    ------
    MissingExtra : transformers is not installed.
    InvalidInput : no tokenizer, or both `similar_to` and `head`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        similar_to: str | None = None,
        head: Callable[[Any], Any] | None = None,
        activation: str | Callable[[Any], Any] | None = "softmax",
        max_length: int = 512,
        device: str | None = None,
        batch_size: int = 32,
        output_names: Iterable[str] | None = None,
        identity: str | None = None,
    ) -> None:
        need("torch", "torch", "TransformersOracle")
        need("transformers", "text", "TransformersOracle")
        if tokenizer is None:
            tokenizer = getattr(model, "tokenizer", None)
            model = getattr(model, "model", model)
        if tokenizer is None:
            raise InvalidInput("TransformersOracle: pass the tokenizer, or a text-classification pipeline.")
        if similar_to is not None and head is not None:
            raise InvalidInput("TransformersOracle: give similar_to or head, not both.")
        if output_names is None:
            output_names = self._labels(model, similar_to, head)
        self._configure(batch_size=batch_size, output_names=output_names, identity=identity)
        self.name = type(model).__name__
        self.device = device if device is not None else str(next(model.parameters()).device)
        self.tokenizer = tokenizer
        self.setup_rows = 0 if similar_to is None else 1
        self._model, self._similar_to, self._head = model, similar_to, head
        self._activation, self._max_length = activation, max_length
        self._other: Any = None

    @staticmethod
    def _labels(model: Any, similar_to: str | None, head: Any) -> list[str] | None:
        if similar_to is not None:
            return ["similarity"]
        if head is not None:
            return None
        labels = getattr(model.config, "id2label", None)
        return [labels[i] for i in sorted(labels)] if labels else None

    def _predict(self, batch: Batch) -> Floats:
        import torch

        self._model.eval()
        self._model.to(self.device)
        with torch.inference_mode():
            if self._head is None and self._similar_to is None:
                logits = self._run(list(batch)).logits
                out = logits if self._activation is None else activate(logits, self._activation)
                scores: Floats = out.float().cpu().numpy()
                return scores
            vectors = self._embed(list(batch))
            if self._head is not None:
                scores = np.asarray(self._head(vectors.cpu().numpy()))
                return scores
            if self._other is None:
                self._other = self._embed([str(self._similar_to)])
            scores = torch.nn.functional.cosine_similarity(vectors, self._other).cpu().numpy()[:, None]
            return scores

    def _run(self, texts: list[str]) -> Any:
        inputs = self.tokenizer(texts, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt")
        return self._model(**inputs.to(self.device))

    def _embed(self, texts: list[str]) -> Any:
        """Mean of the last hidden states over the real tokens, (rows, width)."""
        inputs = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        ).to(self.device)
        hidden = self._model(**inputs).last_hidden_state
        weight = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
