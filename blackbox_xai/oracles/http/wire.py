"""What every protocol is: a request builder and a response parser, nothing else."""

from __future__ import annotations

import base64
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput, need

Batch = Any
ImageFormat = Literal["array", "png", "jpeg"]
JSON = "application/json"


class Unusable(Exception):
    """A reply that cannot be read as scores; the text says why."""


class Request(NamedTuple):
    """What to send: a path below the oracle's URL, a body, its headers."""

    path: str
    body: bytes
    headers: Mapping[str, str]


class Reply(NamedTuple):
    """What came back with status 200."""

    body: bytes
    headers: Mapping[str, str]  # names in lower case
    max_depth: int = 64

    def json(self) -> Any:
        """The body as JSON.

        Raises
        ------
        Unusable : no JSON, cut short, or nested deeper than `max_depth`.
        """
        return read_json(self.body, self.max_depth)


class Parsed(NamedTuple):
    """Rows as the server gave them: numbers (n, ...), labels, or label -> score; and the tokens it says it used."""

    rows: Any
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire(ABC):
    """One protocol. Frozen; equal fields mean equal answers.

    Attributes
    ----------
    name : ClassVar. What the user types.
    rows_a_request : ClassVar, int or None. 1 where a request carries one row.
    stochastic : ClassVar. Whether equal requests may be answered differently.
    """

    name: ClassVar[str]
    rows_a_request: ClassVar[int | None] = None
    stochastic: ClassVar[bool] = False

    @abstractmethod
    def request(self, rows: Batch) -> Request:
        """The request that asks for the scores of `rows`."""

    @abstractmethod
    def parse(self, reply: Reply, n: int) -> Parsed:
        """The rows of a 200 reply to a request of `n` rows.

        Raises
        ------
        Unusable : the body is not what the protocol promises.
        """

    def other_form(self) -> Wire | None:
        """What to try, once, where a server refuses this form (a binary body); None: nothing else."""
        return None

    def tokens(self, rows: Batch) -> tuple[int, int]:
        """The most input and output tokens that the server can bill for `rows`; 0 where it bills none."""
        return 0, 0

    def about(self) -> tuple[str, ...]:
        """Paths that describe the server or the model, for a probe; GET, free."""
        return ()


def read_json(body: bytes, max_depth: int) -> Any:
    """JSON of a stranger: depth capped before parsing.

    Raises
    ------
    Unusable : no JSON, cut short, or nested deeper than `max_depth`.
    """
    if body.count(b"[") + body.count(b"{") > max_depth and _depth(body) > max_depth:
        raise Unusable(f"JSON nested deeper than {max_depth}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise Unusable(f"{len(body)} bytes that are not JSON ({what})") from None


def _depth(body: bytes) -> int:
    """Deepest nesting of brackets outside strings."""
    text = np.frombuffer(body, np.uint8)
    quote = text == ord('"')
    if quote.any():
        escaped = np.zeros(len(text), bool)
        slashes = np.flatnonzero(text == ord("\\"))
        skip = -1
        for at in slashes.tolist():  # few in practice
            if at != skip and at + 1 < len(text):
                escaped[at + 1] = True
                skip = at + 1
        inside = np.cumsum(quote & ~escaped) % 2 == 1
        text = np.where(inside, np.uint8(0), text)
    step = np.isin(text, (ord("["), ord("{"))).astype(np.int32) - np.isin(text, (ord("]"), ord("}")))
    return int(np.cumsum(step).max(initial=0))


def dump_json(value: Any) -> bytes:
    """Compact JSON.

    Raises
    ------
    InvalidInput : NaN or infinity, which JSON cannot carry, or a value JSON does not know.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        raise InvalidInput(
            "HTTPOracle: the rows hold NaN or infinity, which JSON cannot carry. Choose another baseline, "
            "or a protocol that sends bytes (V2(binary=True))."
        ) from None
    except TypeError as error:
        raise InvalidInput(f"HTTPOracle: a row cannot be sent as JSON: {error}.") from None


def rows_of(rows: Batch) -> list[Any]:
    """A batch as plain Python rows: arrays and tables as nested lists, strings as they are."""
    if hasattr(rows, "to_numpy"):
        rows = rows.to_numpy()
    return rows.tolist() if isinstance(rows, np.ndarray) else list(rows)


def encode_image(image: NDArray[Any], how: ImageFormat, quality: int = 95) -> bytes:
    """An image (H, W, 3) or (H, W), uint8 or float in [0, 1], as PNG (exact) or JPEG bytes.

    Raises
    ------
    InvalidInput : not an image.
    """
    need("PIL", "vision", "Images over HTTP")
    from PIL import Image

    pixels = np.asarray(image)
    if pixels.dtype.kind == "f":
        pixels = np.rint(np.clip(pixels, 0, 1) * 255)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)):
        raise InvalidInput(f"HTTPOracle: an image of shape {pixels.shape} cannot be sent; give (H, W, 3).")
    out = io.BytesIO()
    options: dict[str, Any] = {"quality": quality} if how == "jpeg" else {"compress_level": 1}
    Image.fromarray(pixels.astype(np.uint8)).save(out, "JPEG" if how == "jpeg" else "PNG", **options)
    return out.getvalue()


def image_text(image: NDArray[Any], how: ImageFormat) -> str:
    """An image as base64 text."""
    return base64.b64encode(encode_image(image, how)).decode()


def scores_of(rows: Any, n: int, kind: str, labels: Sequence[str] | None) -> NDArray[np.float64]:
    """Rows as the server gave them -> scores (n, k), float64.

    Parameters
    ----------
    rows : numbers (n, ...), labels (n), or a list a row of ``{"label":, "score":}`` or of label -> score.
    kind : what the numbers are; ``"labels"``: one column a label, 1 where it is the answer.
    labels : names of the columns; needed for labels and top-k.

    A label missing from a cut list gets an equal share of the mass that is left, at most the smallest score
    shown.

    Raises
    ------
    Unusable : wrong shape, an unknown label, something that is no number.
    """
    if not isinstance(rows, np.ndarray) and len(rows) != n:
        raise Unusable(f"{len(rows)} rows for {n} asked")
    if n and not isinstance(rows, np.ndarray):
        first = rows[0]
        if isinstance(first, Mapping) or (
            isinstance(first, list) and first and isinstance(first[0], Mapping) and "label" in first[0]
        ):
            return _by_label(rows, kind, labels)
    if kind == "labels":
        return _one_hot(rows, n, labels)
    try:
        table = np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        raise Unusable("the scores are not a table of numbers") from None
    if table.ndim == 0 or len(table) != n:
        raise Unusable(f"scores of shape {table.shape} for {n} rows")
    return table.reshape(n, -1)


def _one_hot(rows: Any, n: int, labels: Sequence[str] | None) -> NDArray[np.float64]:
    if labels is None:
        raise InvalidInput('HTTPOracle: outputs="labels" needs labels=[...], the names of all classes.')
    given = np.asarray(rows).reshape(-1).tolist()
    if len(given) != n:
        raise Unusable(f"{len(given)} labels for {n} rows")
    table = np.zeros((n, len(labels)))
    at = {str(label): i for i, label in enumerate(labels)}
    for row, label in enumerate(given):
        text = label.decode() if isinstance(label, bytes) else str(label)
        column = at.get(text)
        if column is None and isinstance(label, (int, float)) and float(label).is_integer():
            column = at.get(str(int(label)), int(label) if 0 <= label < len(labels) else None)
        if column is None:
            raise Unusable(f"label {text[:40]!r}, which is none of labels=")
        table[row, column] = 1.0
    return table


def _by_label(rows: Sequence[Any], kind: str, labels: Sequence[str] | None) -> NDArray[np.float64]:
    try:
        pairs: list[dict[str, float]] = [
            {str(k): float(v) for k, v in row.items()}
            if isinstance(row, Mapping) and "label" not in row
            else {str(item["label"]): float(item["score"]) for item in ([row] if isinstance(row, Mapping) else row)}
            for row in rows
        ]
    except (TypeError, ValueError, KeyError):
        raise Unusable("a row is neither a list of label and score nor label -> score") from None
    names = list(labels) if labels is not None else sorted(pairs[0])
    table = np.empty((len(pairs), len(names)))
    for i, row in enumerate(pairs):
        unknown = set(row) - set(names)
        missing = [name for name in names if name not in row]
        if unknown or (missing and (kind != "top-k" or not row)):
            raise Unusable(
                f"labels {sorted(unknown)[:3]} are unknown, {missing[:3]} are missing; "
                'give labels= (all classes), and outputs="top-k" where the list is cut'
            )
        fill = min(max(0.0, 1 - sum(row.values())) / len(missing), min(row.values())) if missing else 0.0
        table[i] = [row.get(name, fill) for name in names]
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class _Json(Wire):
    """Shared by the protocols whose body is JSON."""

    extra: Mapping[str, Any] = field(default_factory=dict)  # further fields of the request's body

    def _post(self, path: str, body: dict[str, Any]) -> Request:
        return Request(path, dump_json({**body, **self.extra}), {"Content-Type": JSON})
