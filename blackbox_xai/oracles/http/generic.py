"""Any JSON endpoint: the user says how rows become a request and a reply becomes scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import InvalidInput
from .wire import JSON, Batch, Parsed, Reply, Request, Unusable, Wire, dump_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Generic(Wire):
    """A protocol of two functions.

    Parameters
    ----------
    encode : rows -> JSON value, the request's body.
    decode : JSON value -> scores (n, k), or (n,) labels where the oracle's ``outputs`` is ``"labels"``.
    path : below the oracle's URL.

    The functions are not part of the oracle's identity: give the oracle ``identity=`` to keep answers in a
    file.
    """

    name: ClassVar[str] = "generic"
    encode: Callable[[Batch], Any]
    decode: Callable[[Any], Any]
    path: str = ""

    def __post_init__(self) -> None:
        if not callable(self.encode) or not callable(self.decode):
            raise InvalidInput("Generic: encode(rows) -> json and decode(json) -> scores must be functions.")

    def request(self, rows: Batch) -> Request:
        return Request(self.path, dump_json(self.encode(rows)), {"Content-Type": JSON})

    def parse(self, reply: Reply, n: int) -> Parsed:
        body = reply.json()
        try:
            return Parsed(self.decode(body))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise Unusable(f"decode raised {type(error).__name__} on the reply") from None
