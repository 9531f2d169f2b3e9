"""A model server that misbehaves on purpose and counts what it really received. Standard library only.

Speaks Open Inference Protocol v2 (JSON) on any path that ends in ``/infer``; ``GET /stats`` tells what happened.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Faults:
    """Chances of each fault, and the latency (seconds, uniform)."""

    p429: float = 0.0
    p500: float = 0.0
    drop: float = 0.0
    cut: float = 0.0
    nan: float = 0.0
    extra: float = 0.0  # a row twice: one row too many
    latency_s: tuple[float, float] = (0.0, 0.0)
    seed: int = 0


def score(row: list[float]) -> list[float]:
    """What the model says of a row, the same in any batch."""
    total = sum((i % 7 - 3) * v for i, v in enumerate(row)) / 10 + row[0] * row[1] - 0.5 * row[2] * row[3] * row[4]
    return [total, -0.5 * total]


@dataclass
class Seen:
    requests: int = 0
    rows: int = 0  # in requests that reached the model: all but those answered 429
    good: Counter[str] = field(default_factory=Counter)  # rows in answers that were whole and right
    faults: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    headers: list[str] = field(default_factory=list)


class Hostile:
    """One server; see `Faults`."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.seen, self.now = faults, Seen(), 0
        self.chance = random.Random(faults.seed)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *fields = head.split("\r\n")
                length = next((int(f.split(":")[1]) for f in fields if f.lower().startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                if not await self.answer(line, body, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, line: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Reply; False where the connection is to be dropped."""
        if line.startswith("GET"):
            stats = dict(vars(self.seen))
            stats["good"] = {"rows": len(self.seen.good), "most": max(self.seen.good.values(), default=0)}
            send(writer, 200, json.dumps(stats).encode())
            return True
        self.seen.requests += 1
        self.now += 1
        self.seen.most_at_once = max(self.seen.most_at_once, self.now)
        try:
            await asyncio.sleep(self.chance.uniform(*self.faults.latency_s))
            return self.reply(json.loads(body), writer)
        finally:
            self.now -= 1

    def reply(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        f, at = self.faults, self.chance.random()
        for name in ("p429", "p500", "drop", "cut", "nan", "extra", "none"):
            at -= getattr(f, name, 2.0)
            if at < 0:
                break
        self.seen.faults[name] += 1
        if name == "p429":
            send(writer, 429, b'{"error":{"code":"rate_limit_exceeded","message":"slow down"}}', "retry-after-ms: 20")
            return True
        tensor = request["inputs"][0]
        n, width = tensor["shape"]
        flat = tensor["data"]
        rows = [flat[i * width : (i + 1) * width] for i in range(n)]
        self.seen.rows += n
        if name == "p500":
            send(writer, 500, b"Internal Server Error")
            return True
        if name == "drop":
            return False
        data = [v for row in rows for v in score(row)]
        bad: set[int] = set()
        if name == "nan":
            bad.add(self.chance.randrange(n))
            data[2 * min(bad)] = float("nan")
        elif name == "extra":
            data, n = data + data[:2], n + 1
        reply = {"outputs": [{"name": "predict_proba", "shape": [n, 2], "datatype": "FP64", "data": data}]}
        text = json.dumps(reply).encode()
        if name == "cut":
            text = text[: len(text) // 2]
        if name not in ("cut", "extra"):
            self.seen.good.update(repr(row) for i, row in enumerate(rows) if i not in bad)
        send(writer, 200, text)
        return True


def send(writer: asyncio.StreamWriter, status: int, body: bytes, *headers: str) -> None:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)


async def serve(faults: Faults, sock: socket.socket) -> None:
    server = Hostile(faults)
    async with await asyncio.start_server(server.talk, sock=sock, limit=1 << 24) as running:
        await running.serve_forever()


def main() -> None:
    faults = Faults(**json.loads(sys.argv[1]))
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(sock.getsockname()[1], flush=True)
    asyncio.run(serve(faults, sock))


if __name__ == "__main__":
    main()
