"""Keys and headers that must never be seen: not in a repr, an error, a log, the ledger or the store."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit, urlunsplit

from ...errors import InvalidInput, OracleError

Secret = str | Callable[[], str]


class Secrets:
    """Where the key comes from, which headers go along, and how to hide both.

    Parameters
    ----------
    api_key : name of an environment variable, or a function that returns the key; asked again for each request.
    headers : further headers; a value may be a function.
    """

    def __init__(self, api_key: Secret | None, headers: Mapping[str, Secret] | None, key_header: str) -> None:
        if isinstance(api_key, str) and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", api_key):
            raise InvalidInput(
                "HTTPOracle: api_key is the NAME of an environment variable, or a function that returns the key. "
                "What was given looks like a key itself; it is not repeated here."
            )
        self._key, self._headers, self._key_header = api_key, dict(headers or {}), key_header

    def __repr__(self) -> str:
        return f"Secrets(headers={sorted(self._headers)}, key={'set' if self._key else None})"

    def headers(self) -> dict[str, str]:
        """The headers of a request, with their secrets.

        Raises
        ------
        OracleError : the environment variable is not set; nothing was sent.
        """
        out = {name: value() if callable(value) else value for name, value in self._headers.items()}
        if self._key is not None:
            key = self._key() if callable(self._key) else os.environ.get(self._key)
            if not key:
                raise OracleError(
                    f"HTTPOracle: the environment variable {self._key!r} is not set; put the API key there."
                    if isinstance(self._key, str)
                    else "HTTPOracle: api_key() returned nothing.",
                    charged=False,
                )
            out[self._key_header] = f"Bearer {key}" if self._key_header.lower() == "authorization" else key
        return out

    def hide(self, text: str, used: Mapping[str, str]) -> str:
        """`text` without any secret that went with a request, nor parts of it."""
        for value in used.values():
            for part in {value, *value.split()}:
                if len(part) >= 6:
                    text = text.replace(part, "[hidden]")
        return re.sub(r"\b(sk|pk|key|hf)[-_][A-Za-z0-9_*\-]{6,}", "[hidden]", text)


def shown_url(url: str) -> str:
    """A URL without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, host + (f":{parts.port}" if parts.port else ""), parts.path, "", ""))
