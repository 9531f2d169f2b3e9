"""Integrated gradients through a text model's embeddings, summed to words."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any, final

import numpy as np

from ..attribution import Attribution
from ..errors import InvalidInput, need
from ..game import output_index
from ..oracles.torch_module import activate
from .gradients import _positive

_WORD = re.compile(r"\S+")


@final
class TextIntegratedGradients:
    """Integrated gradients from padding tokens to the text's, through the word embeddings.

    Parameters
    ----------
    model, tokenizer : a transformers sequence classifier, or an encoder with `head`; a fast tokenizer.
    head : mean-pooled embeddings, tensor (rows, width) -> scores, tensor (rows, k).
    activation : as in `TransformersOracle`; for classifiers.
    steps : int. Points on the path.
    batch_size : int. Rows of a forward and backward pass, at most.
    max_length : int. Tokens at most; longer texts are cut.
    output_names : default: the classifier's labels.

    The baseline differs from a query method's: padding in a word's place, not the word removed.
    """

    name = "integrated gradients"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        head: Callable[[Any], Any] | None = None,
        activation: str | Callable[[Any], Any] | None = "softmax",
        steps: int = 50,
        batch_size: int = 16,
        max_length: int = 512,
        output_names: Iterable[str] | None = None,
    ) -> None:
        need("captum", "whitebox", "TextIntegratedGradients")
        if not getattr(tokenizer, "is_fast", False):
            raise InvalidInput("TextIntegratedGradients: the tokenizer gives no character offsets; use a fast one.")
        labels = None if head is not None else getattr(model.config, "id2label", None)
        if output_names is None and labels:
            output_names = [labels[i] for i in sorted(labels)]
        self.output_names = None if output_names is None else tuple(str(n) for n in output_names)
        self.steps = _positive(steps, "TextIntegratedGradients: steps")
        self.batch_size = _positive(batch_size, "TextIntegratedGradients: batch_size")
        self._model, self._tokenizer, self._head, self._activation = model, tokenizer, head, activation
        self._max_length = max_length
        self._rows = 0

    def __call__(self, text: str, *, target: Any = None) -> Attribution:
        """Same as `explain`."""
        return self.explain(text, target=target)

    def explain(self, text: str, *, target: Any = None) -> Attribution:
        """Attribute one output to the words of `text`; target as in `Reference.explain`.

        Raises
        ------
        InvalidInput : the text is empty, or there is no such output.
        """
        import torch
        from captum.attr import LayerIntegratedGradients

        spans = [m.span() for m in _WORD.finditer(text)]
        if not spans:
            raise InvalidInput("The text is empty: there is no player to attribute to.")
        begin = time.perf_counter()
        self._rows = 0
        self._model.eval()
        device = next(self._model.parameters()).device
        tokens = self._tokenizer(
            text, return_offsets_mapping=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        )
        offsets = tokens.pop("offset_mapping")[0].tolist()
        ids, mask = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        special = torch.tensor([[a == b for a, b in offsets]], device=device)
        filler = self._tokenizer.pad_token_id or 0
        start = torch.where(special, ids, torch.full_like(ids, filler))
        with torch.no_grad():
            ends = self._forward(torch.cat([start, ids]), mask.expand(2, -1)).double().cpu().numpy()
        k = ends.shape[1]
        chosen = int(np.argmax(ends[1])) if target is None else output_index(target, self.output_names, k)
        method = LayerIntegratedGradients(self._forward, self._model.get_input_embeddings())
        parts = method.attribute(
            ids, start, target=chosen, additional_forward_args=(mask,), n_steps=self.steps,
            internal_batch_size=self.batch_size,
        )  # fmt: skip
        each = parts.detach().double().sum(dim=-1)[0].cpu().numpy()
        values = np.zeros(len(spans))
        for (a, b), value in zip(offsets, each):
            if b > a:
                values[next(i for i, (_, end) in enumerate(spans) if a < end)] += value
        return Attribution(
            values=values,
            base_values=float(ends[0, chosen]),
            full_values=float(ends[1, chosen]),
            kind="text",
            data=text,
            layout={"spans": [list(s) for s in spans]},
            feature_names=tuple(text[a:b] for a, b in spans),
            output_names=(self.output_names[chosen] if self.output_names else f"output {chosen}",),
            target=[chosen],
            method=self.name,
            ledger={"scored": self._rows, "seconds_model": time.perf_counter() - begin, "seconds_outside": 0.0},
            provenance={"module": type(self._model).__name__},
        )

    def _forward(self, ids: Any, mask: Any) -> Any:
        self._rows += len(ids)
        if self._head is None:
            logits = self._model(input_ids=ids, attention_mask=mask).logits
            return logits if self._activation is None else activate(logits, self._activation)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return self._head((hidden * weight).sum(1) / weight.sum(1).clamp(min=1))
