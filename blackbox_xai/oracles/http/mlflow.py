"""MLflow scoring server: POST /invocations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ...errors import InvalidInput
from .wire import Batch, Parsed, Reply, Request, Unusable, _Json, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class MLflow(_Json):
    """MLflow `/invocations`. The default scikit-learn flavour serves labels: log it with ``predict_proba``.

    Parameters
    ----------
    form : ``"inputs"``, ``"instances"`` or ``"dataframe_split"``.
    columns : names of the columns, for ``"dataframe_split"``; a DataFrame brings its own.
    params : inference parameters, sent along.
    """

    name: ClassVar[str] = "mlflow"
    form: Literal["inputs", "instances", "dataframe_split"] = "inputs"
    columns: tuple[str, ...] | None = None
    params: Mapping[str, Any] | None = None

    def about(self) -> tuple[str, ...]:
        return "/ping", "/version"

    def request(self, rows: Batch) -> Request:
        if self.form == "dataframe_split":
            names = self.columns or (tuple(rows.columns) if hasattr(rows, "columns") else None)
            if names is None:
                raise InvalidInput('MLflow: form="dataframe_split" needs columns=, the names of the columns.')
            body: dict[str, Any] = {"dataframe_split": {"columns": [str(c) for c in names], "data": rows_of(rows)}}
        else:
            body = {self.form: rows_of(rows)}
        if self.params:
            body["params"] = dict(self.params)
        return self._post("/invocations", body)

    def parse(self, reply: Reply, n: int) -> Parsed:
        body = reply.json()
        rows = body.get("predictions") if isinstance(body, dict) else body
        if isinstance(rows, dict):  # a dictionary of columns
            rows = list(zip(*rows.values()))
        if not isinstance(rows, list):
            raise Unusable("a reply without predictions")
        return Parsed(rows)
