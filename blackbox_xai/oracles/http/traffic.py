"""How fast a server may be asked, and when to leave it alone.

A kept library was looked at for each (pyrate-limiter, stamina): the limiter must also hold all requests where one is
told to wait, and every attempt must be reserved in the ledger, so both are small and here.
"""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Requests a second and tokens a minute, evenly spaced; a server's wish to wait holds everything.

    Used inside one event loop.
    """

    def __init__(self, requests_per_second: float | None, tokens_per_minute: float | None) -> None:
        self._request_s = 0.0 if requests_per_second is None else 1.0 / requests_per_second
        self._token_s = 0.0 if tokens_per_minute is None else 60.0 / tokens_per_minute
        self._next_request = self._next_token = self._held = 0.0

    async def turn(self, tokens: int) -> None:
        """Wait for the turn of a request of so many tokens."""
        now = time.monotonic()
        at = max(now, self._next_request, self._next_token)
        self._next_request = at + self._request_s
        self._next_token = at + self._token_s * tokens
        while (wait := max(at, self._held) - time.monotonic()) > 0:
            await asyncio.sleep(wait)

    def hold(self, seconds: float) -> None:
        """Start no request for so long."""
        self._held = max(self._held, time.monotonic() + seconds)


class Broken(Exception):
    """The breaker is open for good; carries what the server last said."""


class Breaker:
    """Stops asking a server that only fails.

    After `failures` failures in a row requests wait `rest_s`, then one is let through to see; after `probes` of
    those failed too, all is over. Failures that are all alike before anything ever worked end it at `alike`: then
    the caller's own request is the likely cause (a wrong shape answered as a 500).
    """

    def __init__(self, failures: int, *, rest_s: float, probes: int = 3, alike: int = 5) -> None:
        self._failures, self._rest_s, self._probes, self._alike = failures, rest_s, probes, alike
        self._row = self._same = self._tried = 0
        self._worked, self._last, self._until = False, "", 0.0
        self._probing = False
        self.dead: str | None = None

    async def admit(self) -> bool:
        """Wait until a request may be sent; True where it is the one that looks whether the server is back.

        Raises
        ------
        Broken : there is no use.
        """
        while True:
            if self.dead is not None:
                raise Broken(self.dead)
            if self._row < self._failures:
                return False
            wait = self._until - time.monotonic()
            if wait <= 0 and not self._probing:
                self._probing = True
                return True
            await asyncio.sleep(min(max(wait, 0.02), 0.25))

    def good(self) -> None:
        """The server answered."""
        self._row = self._same = self._tried = 0
        self._worked, self._probing = True, False

    def cancelled(self, probe: bool) -> None:
        """A request that was let through did not come to an end."""
        self._probing = self._probing and not probe

    def bad(self, what: str, probe: bool) -> None:
        """The server failed in this way."""
        self._row += 1
        self._same = self._same + 1 if what == self._last else 1
        self._last = what
        if not self._worked and self._same >= self._alike and what.startswith("HTTP 5"):
            self.dead = (
                f"the first {self._same} requests all failed alike ({what}); the request itself may be the cause"
            )
        if self._row >= self._failures:
            self._until = time.monotonic() + self._rest_s * 2**self._tried
            if probe:
                self._tried += 1
                self._probing = False
                if self._tried >= self._probes:
                    self.dead = f"{self._row} requests in a row failed, the last with {what}"
