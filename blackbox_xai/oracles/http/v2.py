"""Open Inference Protocol v2 (KServe, MLServer, Triton): JSON tensors, or the binary tensor extension.

Source: the v2 specification and its binary tensor data extension; traps measured against MLServer 1.7.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .wire import (
    JSON,
    Batch,
    ImageFormat,
    Parsed,
    Reply,
    Request,
    Unusable,
    Wire,
    dump_json,
    encode_image,
    image_text,
    read_json,
)

_TYPES = {
    "BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "<i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}
_LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True, kw_only=True)
class V2(Wire):
    """Open Inference Protocol v2.

    Parameters
    ----------
    model, version : names on the server.
    output : the tensor to ask for by name (servers of scikit-learn models answer hard labels unless
        asked); None takes the first.
    input_name : the name of the input tensor.
    datatype : e.g. ``"FP32"``; None keeps the rows' own.
    content_type : e.g. ``"str"`` or ``"base64"``, sent as a parameter of the input; None sends none.
    image : how images go: ``"array"`` (a tensor), ``"png"`` or ``"jpeg"`` (BYTES, base64 in JSON).
    channels_first : bool. Move image channels to the front, (n, 3, H, W).
    binary : bool. Raw bytes after the JSON header; where the server refuses that, JSON is used from then on.
    """

    name: ClassVar[str] = "v2"
    model: str
    version: str | None = None
    output: str | None = "predict_proba"
    input_name: str = "x"
    datatype: str | None = None
    content_type: str | None = None
    image: ImageFormat = "array"
    channels_first: bool = False
    binary: bool = False

    def __post_init__(self) -> None:
        if self.datatype is not None and self.datatype not in (*_TYPES, "BYTES"):
            raise InvalidInput(f"V2: datatype {self.datatype!r} is none of {', '.join(_TYPES)}, BYTES.")

    def _model(self) -> str:
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"/v2/models/{quote(self.model, safe='')}{version}"

    def about(self) -> tuple[str, ...]:
        return "/v2/health/ready", self._model()

    def other_form(self) -> Wire | None:
        return dataclasses.replace(self, binary=False) if self.binary else None

    def request(self, rows: Batch) -> Request:
        tensor, items = self._tensor(rows)
        head: dict[str, Any] = {"name": self.input_name}
        parameters: dict[str, Any] = {} if self.content_type is None else {"content_type": self.content_type}
        if tensor is not None:
            head |= {"shape": list(tensor.shape), "datatype": _NAMES[tensor.dtype]}
        else:
            head |= {"shape": [len(items), 1], "datatype": "BYTES"}
        raw = b""
        if self.binary:
            raw = tensor.tobytes() if tensor is not None else b"".join(struct.pack("<I", len(b)) + b for b in items)
            parameters["binary_data_size"] = len(raw)
        else:
            head["data"] = tensor.reshape(-1).tolist() if tensor is not None else [item.decode() for item in items]
        if parameters:
            head["parameters"] = parameters
        body: dict[str, Any] = {"id": "0", "inputs": [head]}  # KServe answers 500 where there is none
        if self.output is not None:
            body["outputs"] = [{"name": self.output}]
            if self.binary:
                body["outputs"][0]["parameters"] = {"binary_data": True}
        elif self.binary:
            body["parameters"] = {"binary_data_output": True}
        text = dump_json(body)
        headers = {"Content-Type": "application/octet-stream" if self.binary else JSON}
        if self.binary:
            headers["Inference-Header-Content-Length"] = str(len(text))
        return Request(self._model() + "/infer", text + raw, headers)

    def _tensor(self, rows: Batch) -> tuple[NDArray[Any] | None, list[bytes]]:
        """A numeric tensor, or the elements of a BYTES one."""
        if hasattr(rows, "to_numpy"):
            rows = rows.to_numpy()
        if isinstance(rows, np.ndarray) and rows.dtype.kind in "biuf":
            if self.image != "array":
                if self.binary:
                    return None, [encode_image(row, self.image) for row in rows]
                return None, [image_text(row, self.image).encode() for row in rows]
            if self.channels_first:
                rows = np.moveaxis(rows, -1, 1)
            code = np.dtype(_TYPES[self.datatype]) if self.datatype else rows.dtype.newbyteorder("<")
            if code not in _NAMES:
                raise InvalidInput(f"V2: rows of dtype {rows.dtype} have no v2 datatype; give datatype=.")
            return np.ascontiguousarray(rows, code), []
        return None, [row if isinstance(row, bytes) else str(row).encode() for row in rows]

    def parse(self, reply: Reply, n: int) -> Parsed:
        length = reply.headers.get(_LENGTH)
        cut = len(reply.body) if length is None else _whole(length)
        head, raw = read_json(reply.body[:cut], reply.max_depth), memoryview(reply.body)[cut:]
        outputs = head.get("outputs") if isinstance(head, dict) else None
        if not isinstance(outputs, list) or not outputs or not all(isinstance(o, dict) for o in outputs):
            raise Unusable("a reply without outputs")
        found = None
        for output in outputs:
            size = (output.get("parameters") or {}).get("binary_data_size")
            part = raw[: _whole(size)] if size is not None else None
            raw = raw[len(part) :] if part is not None else raw
            if found is None and (self.output is None or output.get("name") == self.output):
                found = _values(output, part, size)
        if found is None:
            names = [str(o.get("name"))[:40] for o in outputs]
            raise Unusable(f"no output {self.output!r} among {names}; set output=")
        return Parsed(found)


def _whole(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise Unusable("a size that is no number") from None
    if number < 0:
        raise Unusable("a negative size")
    return number


def _values(output: dict[str, Any], part: memoryview | None, size: Any) -> Any:
    shape, datatype = output.get("shape"), output.get("datatype")
    if not isinstance(shape, list) or not all(isinstance(s, int) and s >= 0 for s in shape) or not shape:
        raise Unusable("an output without a shape")
    count = math.prod(shape)
    if datatype == "BYTES":
        items = _strings(part) if part is not None else output.get("data")
        if not isinstance(items, list) or len(items) != count:
            raise Unusable(f"a BYTES output that does not fill its shape {shape}")
        return items if count == shape[0] else np.array(items, object).reshape(shape).tolist()
    if datatype not in _TYPES:
        raise Unusable(f"datatype {datatype!r}")
    try:
        if part is not None:
            if len(part) != _whole(size):
                raise Unusable("a binary tensor that is cut short")
            flat = np.frombuffer(part, _TYPES[datatype])
        else:
            flat = np.asarray(output.get("data"), np.float64).reshape(-1)
        return flat.astype(np.float64).reshape(shape)
    except (TypeError, ValueError):
        raise Unusable(f"an output that does not fill its shape {shape}") from None


def _strings(part: memoryview) -> list[bytes]:
    items, at = [], 0
    while at + 4 <= len(part):
        (length,) = struct.unpack_from("<I", part, at)
        items.append(bytes(part[at + 4 : at + 4 + length]))
        at += 4 + length
    if at != len(part):
        raise Unusable("a BYTES tensor that is cut short")
    return items
