"""Start a server of these tests as a process of its own, and stop it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

from .hostile import Faults


class Server:
    """A running hostile server: its URL and what it saw."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "/stats") as reply:
            found: dict[str, Any] = json.load(reply)
        return found


@contextlib.contextmanager
def hostile(**faults: Any) -> Iterator[Server]:
    """A hostile server on a free port."""
    Faults(**faults)
    command = [sys.executable, "-m", "tests.servers.hostile", json.dumps(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()
