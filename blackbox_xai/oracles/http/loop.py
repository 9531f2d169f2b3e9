"""An event loop in a thread of its own: callers need no asyncio, and a running loop (Jupyter) is not in the way."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """One loop a process; made when first used, and anew after a fork."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._pid = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        with self._guard:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                self._thread = threading.Thread(target=self._loop.run_forever, name="blackbox-xai-http", daemon=True)
                self._thread.start()
                atexit.register(self.stop)
            return self._loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, awaited in the loop; Ctrl-C in the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self.get())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread."""
        with self._guard:
            if self._loop is None or self._pid != os.getpid() or self._thread is None:
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            with contextlib.suppress(Exception):
                self._loop.close()
            self._loop = None


LOOP = Loop()
