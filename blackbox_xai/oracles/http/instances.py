"""TensorFlow Serving, Vertex AI and KServe v1: ``{"instances": [...]}`` -> ``{"predictions": [...]}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np

from .wire import Batch, ImageFormat, Parsed, Reply, Request, Unusable, _Json, image_text, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances(_Json):
    """``{"instances": [...]}`` -> ``{"predictions": [...]}``.

    Parameters
    ----------
    model, version : names on the server; not needed where the URL is that of the predict method itself.
    signature : ``signature_name`` of TensorFlow Serving.
    input_name : wrap each row as ``{input_name: row}``.
    output : which field of a prediction to read, where predictions are objects.
    image : ``"array"``, or ``"png"``/``"jpeg"``: ``{"b64": ...}``.
    parameters : sent along (Vertex AI).
    """

    name: ClassVar[str] = "instances"
    model: str | None = None
    version: str | None = None
    signature: str | None = None
    input_name: str | None = None
    output: str | None = None
    image: ImageFormat = "array"
    parameters: Mapping[str, Any] | None = None

    def _model(self) -> str:
        if self.model is None:
            return ""
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"/v1/models/{quote(self.model, safe='')}{version}"

    def about(self) -> tuple[str, ...]:
        return (self._model(),) if self.model else ()

    def request(self, rows: Batch) -> Request:
        if self.image != "array":
            items: list[Any] = [{"b64": image_text(np.asarray(row), self.image)} for row in rows]
        else:
            items = rows_of(rows)
        if self.input_name is not None:
            items = [{self.input_name: item} for item in items]
        body: dict[str, Any] = {"instances": items}
        if self.signature is not None:
            body["signature_name"] = self.signature
        if self.parameters is not None:
            body["parameters"] = dict(self.parameters)
        return self._post(self._model() + ":predict" if self.model else "", body)

    def parse(self, reply: Reply, n: int) -> Parsed:
        body = reply.json()
        rows = body.get("predictions") if isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise Unusable("a reply without predictions")
        if self.output is not None:
            try:
                rows = [row[self.output] for row in rows]
            except (KeyError, TypeError):
                raise Unusable(f"predictions without a field {self.output!r}") from None
        return Parsed(rows)
