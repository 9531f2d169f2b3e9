"""Hugging Face inference endpoints: text classification and image classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from .wire import Batch, Parsed, Reply, Request, Unusable, _Json, encode_image, image_text


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFace(_Json):
    """``{"inputs": ...}`` -> lists of label and score.

    Parameters
    ----------
    top_k : how many labels to ask for; below the number of classes the oracle's ``outputs`` is ``"top-k"``.
    function_to_apply : ``"softmax"``, ``"sigmoid"``, ``"none"``, or None: the model's own.
    image : ``"png"`` or ``"jpeg"``, for images.
    raw_image : bool. The image bytes are the body; False: base64 in JSON.
    """

    name: ClassVar[str] = "huggingface"
    rows_a_request: ClassVar[int | None] = 1
    top_k: int = 100
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    image: Literal["png", "jpeg"] = "png"
    raw_image: bool = True

    def request(self, rows: Batch) -> Request:
        (row,) = rows
        if isinstance(row, np.ndarray) and row.ndim >= 2 and self.raw_image:
            return Request("", encode_image(row, self.image), {"Content-Type": f"image/{self.image}"})
        text = image_text(row, self.image) if isinstance(row, np.ndarray) and row.ndim >= 2 else str(row)
        parameters: dict[str, Any] = {"top_k": self.top_k}
        if self.function_to_apply is not None:
            parameters["function_to_apply"] = self.function_to_apply
        return self._post("", {"inputs": text, "parameters": parameters})

    def parse(self, reply: Reply, n: int) -> Parsed:
        body = reply.json()
        if isinstance(body, list) and len(body) == 1 and isinstance(body[0], list):
            body = body[0]  # some servers nest the answer to one text
        if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
            raise Unusable("a reply that is no list of label and score")
        return Parsed([body])


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceBatch(HuggingFace):
    """The same for dedicated endpoints that take a list of texts: one request a batch."""

    name: ClassVar[str] = "huggingface-batch"
    rows_a_request: ClassVar[int | None] = None

    def request(self, rows: Batch) -> Request:
        parameters: dict[str, Any] = {"top_k": self.top_k}
        if self.function_to_apply is not None:
            parameters["function_to_apply"] = self.function_to_apply
        return self._post("", {"inputs": [str(row) for row in rows], "parameters": parameters})

    def parse(self, reply: Reply, n: int) -> Parsed:
        body = reply.json()
        if not isinstance(body, list):
            raise Unusable("a reply that is no list")
        return Parsed([body] if n == 1 and body and isinstance(body[0], dict) else body)
