"""What a failed exchange means: who pays, whether to ask again, and when."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from typing import Any

_AGAIN = frozenset({408, 409, 425, 429})
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")


class Failure(Exception):
    """One request that brought no scores.

    Attributes: `text` says what happened; `what` is its kind in few words, for telling whether failures are alike;
    `charged`, `retry`, `retry_after_s`, `kind`, `tokens` as in `OracleError`; `status` the HTTP status or 0;
    `weighs` whether it speaks against the server's health.
    """

    def __init__(
        self,
        text: str,
        *,
        charged: bool = True,
        retry: bool = False,
        retry_after_s: float | None = None,
        kind: str = "failed",
        status: int = 0,
        weighs: bool = False,
        tokens: tuple[int, int] = (0, 0),
        what: str = "",
    ) -> None:
        self.text, self.charged, self.retry, self.retry_after_s = text, charged, retry, retry_after_s
        self.kind, self.status, self.weighs, self.tokens, self.what = kind, status, weighs, tokens, what or text
        super().__init__(text)


def transport_failure(error: BaseException) -> Failure:
    """A connection that failed: before anything was sent it is given back, after that it may have been scored."""
    import httpx2

    name = type(error).__name__
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
        return Failure(f"could not connect ({name})", charged=False, retry=True, weighs=True)
    if isinstance(error, (httpx2.ReadTimeout, httpx2.WriteTimeout)):
        return Failure("no answer in time", retry=True, kind="timeout", weighs=True)
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL)):
        return Failure(f"the request cannot be sent ({name})", charged=False)
    return Failure(f"the connection broke ({name})", retry=True, weighs=True)


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What a status other than 200 means."""
    text = error_text(body)
    said = f"HTTP {status}" + (f": {text}" if text else "")
    what = f"HTTP {status} {text}"
    wish = headers.get("x-should-retry", "").lower()
    if status in (301, 302, 303):
        return Failure(f"{said} (a redirect that would drop the request; give the final URL)", charged=False, what=what)
    if status == 429 and any(code in text or code.encode() in body[:4096] for code in _QUOTA):
        return Failure(f"{said} (the quota is spent; waiting will not help)", charged=False, status=status, what=what)
    again = (status in _AGAIN or status >= 500) and wish != "false"
    return Failure(
        said,
        charged=status >= 500 or status == 408,  # the rest was refused before processing
        retry=again,
        retry_after_s=wait_of(headers) if again else None,
        status=status,
        weighs=status >= 500 or status == 408,
        what=what,
    )


def wait_of(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a server asks to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or a date)."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                at = email.utils.parsedate_to_datetime(value)
            except (TypeError, ValueError):
                continue
            seconds = at.timestamp() - (time.time() if now is None else now)
        if math.isfinite(seconds):
            return min(max(0.0, seconds), 3600.0)
    return None


def error_text(body: bytes) -> str:
    """The message of an error body, in a line of at most 200 characters."""
    text = body[:4096].decode("utf-8", "replace")
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        for name in ("error", "message", "detail", "error_code"):
            found = data.get(name)
            if isinstance(found, dict):
                found = " ".join(str(found[k]) for k in ("code", "message") if found.get(k))
            if found:
                text = found if isinstance(found, str) else json.dumps(found)
                break
    return " ".join(text.split())[:200]


async def read_body(response: Any, cap: int) -> bytes:
    """The body, at most `cap` bytes after decompression.

    Raises
    ------
    Failure : it is larger, or the connection broke while it was read.
    """
    import httpx2

    chunks, size = [], 0
    try:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > cap:
                raise Failure(f"the answer is larger than {cap} bytes; raise max_response_bytes if that is right")
            chunks.append(chunk)
    except (httpx2.TransportError, httpx2.DecodingError, OSError) as error:
        raise transport_failure(error) from None
    return b"".join(chunks)
