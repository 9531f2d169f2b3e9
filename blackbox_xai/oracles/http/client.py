"""`HTTPOracle`: a model behind an HTTP API, asked many times at once, politely, and never more than reserved."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...budget.price import Price
from ...errors import InvalidInput, OracleError, need
from ..base import Batch, Count, Floats, Kind, Oracle, Retry, Scored
from .huggingface import HuggingFace
from .instances import Instances
from .loop import LOOP
from .mlflow import MLflow
from .openai import ChatLabels
from .replies import Failure, classify, read_body, transport_failure
from .secrets import Secret, Secrets, shown_url
from .traffic import Breaker, Broken, Pace
from .v2 import V2
from .wire import Parsed, Reply, Request, Unusable, Wire, read_json, scores_of

PROTOCOLS = ("v2", "mlflow", "instances", "huggingface", "openai")


class HTTPOracle(Oracle):
    """A model behind an HTTP API.

    Parameters
    ----------
    url : where it is, e.g. ``http://localhost:8080``; the protocol adds its path, unless the URL is that of the
        method itself.
    protocol : ``"v2"``, ``"mlflow"``, ``"instances"``, ``"huggingface"``, ``"openai"`` (label words), or a
        configured one from ``blackbox_xai.oracles.http``, such as ``Generic(encode=..., decode=...)``.
    model, output, version : names on the server, for the protocols given by name.
    batch_size, max_request_bytes : rows and bytes a request, at most.
    max_concurrency : requests under way at once.
    requests_per_second, tokens_per_minute : paces kept by this process.
    timeout_s : float, seconds, for a request from sending to the end of its answer.
    retry : when to ask again; None: 6 attempts, one repeat after a timeout or an unusable answer.
    breaker_failures, breaker_rest_s : after so many failures in a row, rest so long; None: 16, or twice the
        concurrency.
    api_key : NAME of an environment variable, or a function that returns the key. Sent as a Bearer token.
    key_header : another header for it, e.g. ``"api-key"``.
    headers : further headers; values may be functions. None of them is ever shown or stored.
    ca_file : certificates to trust, for a server of one's own. Verification is always on.
    outputs : what the numbers are: "scores", "labels", "top-k", "rounded" or "sampled".
    labels : all class names, in the order of the outputs; needed for labels and top-k.
    stochastic : whether equal rows may be answered differently; None asks the protocol.
    identity : names the model in a store; None is made from URL, protocol and model. Give a new one when the model
        behind the URL changes.
    count : what stays spent, see `Oracle`.
    price : Price or None.
    max_response_bytes, max_json_depth : caps on what a server may send.

    Raises
    ------
    InvalidInput : an argument cannot be used. Nothing is sent by constructing.

    Redirects are followed on the same host only. Picklable where `headers` and `api_key` are.
    """

    def __init__(
        self,
        url: str,
        protocol: str | Wire = "v2",
        *,
        model: str | None = None,
        output: str | None = None,
        version: str | None = None,
        batch_size: int | None = None,
        max_request_bytes: int = 8 << 20,
        max_concurrency: int = 8,
        requests_per_second: float | None = None,
        tokens_per_minute: float | None = None,
        timeout_s: float = 60.0,
        retry: Retry | None = None,
        breaker_failures: int | None = None,
        breaker_rest_s: float = 5.0,
        api_key: Secret | None = None,
        key_header: str = "Authorization",
        headers: Mapping[str, Secret] | None = None,
        ca_file: str | None = None,
        outputs: Kind = "scores",
        labels: Iterable[str] | None = None,
        output_names: Iterable[str] | None = None,
        stochastic: bool | None = None,
        identity: str | None = None,
        count: Count = "scored",
        price: Price | None = None,
        max_response_bytes: int = 64 << 20,
        max_json_depth: int = 64,
    ) -> None:
        need("httpx2", "http", "HTTPOracle")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise InvalidInput("HTTPOracle: url must begin with http:// or https://.")
        for name, value in {
            "max_concurrency": max_concurrency,
            "timeout_s": timeout_s,
            "max_request_bytes": max_request_bytes,
            "requests_per_second": requests_per_second or 1,
            "tokens_per_minute": tokens_per_minute or 1,
        }.items():
            if not value > 0:
                raise InvalidInput(f"HTTPOracle: {name} must be above 0, got {value!r}.")
        self._labels = None if labels is None else tuple(str(label) for label in labels)
        self.wire = make_wire(protocol, model, output, version, self._labels)
        one = self.wire.rows_a_request == 1
        self._configure(
            batch_size=(1 if one else 64) if batch_size is None else batch_size,
            output_names=self._names(output_names),
            identity=identity,
            stochastic=self.wire.stochastic if stochastic is None else stochastic,
        )
        self.url, self.name, self.outputs = url.rstrip("/"), shown_url(url), outputs
        self.identity = identity or self._identity()
        self.max_concurrency = int(max_concurrency)
        self.parallel = self.in_flight = 4 * self.max_concurrency
        self.own_threads = True
        self.timeout_s, self.count, self.price = float(timeout_s), count, price
        self.retry = retry or Retry(attempts=6, timeouts=1, unusable=1)
        self._pace = (requests_per_second, tokens_per_minute)
        self._breaker = (breaker_failures or max(16, 2 * self.max_concurrency), breaker_rest_s)
        self._secrets = Secrets(api_key, headers, key_header)
        self._limits = (max_request_bytes, max_response_bytes, max_json_depth)
        self._ca_file = ca_file
        self._state: _State | None = None

    def __repr__(self) -> str:
        return f"HTTPOracle({self.name!r}, {self.wire.name!r}, batch_size={self.batch_size})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_state": None}

    def close(self) -> None:
        """Close the connections; they open again when needed."""
        if self._state is not None and self._state.pid == os.getpid():
            self._state.shut()
        self._state = None

    def __enter__(self) -> HTTPOracle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _names(self, given: Iterable[str] | None) -> Iterable[str] | None:
        if given is not None:
            return given
        return self.wire.labels if isinstance(self.wire, ChatLabels) else self._labels

    def _identity(self) -> str | None:
        """URL, protocol and its settings; None where functions take part, which have no identity."""
        settings = {f.name: getattr(self.wire, f.name) for f in fields(self.wire)}
        if any(callable(value) for value in settings.values()):
            return None
        settings.pop("binary", None)  # the same numbers either way
        text = json.dumps([settings, self.outputs, self._labels], sort_keys=True, default=str)
        return f"{self.name} {self.wire.name} {hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def look(self, path: str) -> tuple[int, Any]:
        """GET a path that describes the server: status and JSON, or text; no row is scored, nothing is counted.

        Raises
        ------
        OracleError : it cannot be reached.
        """
        return LOOP.run(self._look(path))

    async def _look(self, path: str) -> tuple[int, Any]:
        used = self._secrets.headers()
        try:
            async with asyncio.timeout(self.timeout_s):
                response = await self._ready().client.get(join(self.url, path), headers=used)
        except Exception as error:
            failure = transport_failure(error)
            raise OracleError(f"{self!r}: {self._secrets.hide(failure.text, used)}", charged=False) from None
        try:
            return response.status_code, read_json(response.content[:1_000_000], self._limits[2])
        except Unusable:
            return response.status_code, response.text[:200]

    # -- asking -------------------------------------------------------------------------------------------------------

    def _predict(self, batch: Batch) -> Floats:
        return self._scored(batch).scores  # type: ignore[no-any-return]

    def _scored(self, batch: Batch) -> Scored:
        return LOOP.run(self._ask(batch))

    def _bound(self, batch: Batch) -> tuple[int, int]:
        return self.wire.tokens(batch)

    def _ready(self) -> _State:
        state = self._state
        if state is None or state.pid != os.getpid():
            state = self._state = _State(self)
        return state

    async def _ask(self, batch: Batch) -> Scored:
        """Send a batch in as many requests as the protocol and the byte cap want; put the answers together."""
        parts = self._parts(batch)
        if len(parts) == 1:
            return await self._one(batch, *parts[0][1:])
        results = await asyncio.gather(
            *(self._one(batch[rows], request, wire) for rows, request, wire in parts), return_exceptions=True
        )
        answered: dict[int, NDArray[np.float64]] = {}
        refused: set[int] = set()
        worst: OracleError | None = None
        tokens = [0, 0]
        for (rows, *_), result in zip(parts, results):
            if isinstance(result, OracleError):
                if not result.charged:
                    refused.update(range(rows.start, rows.stop))
                tokens = [t + more for t, more in zip(tokens, result.tokens)]
                if worst is None or (worst.retry and not result.retry):
                    worst = result
            elif isinstance(result, BaseException):
                raise result
            else:
                answered.update(zip(range(rows.start, rows.stop), result.scores))
                tokens = [tokens[0] + result.tokens_in, tokens[1] + result.tokens_out]
        if worst is None:
            return Scored(np.stack([answered[i] for i in range(len(answered))]), *tokens)
        charged = len(answered) + len(refused) < sum(rows.stop - rows.start for rows, *_ in parts)
        raise OracleError(
            str(worst), charged=charged or bool(answered), retry=worst.retry, retry_after_s=worst.retry_after_s,
            kind=worst.kind, answered=answered, refused=refused, tokens=(tokens[0], tokens[1]),
        )  # fmt: skip

    def _parts(self, batch: Batch) -> list[tuple[slice, Request, Wire]]:
        wire, size = self._ready().wire, self.wire.rows_a_request or len(batch)
        out: list[tuple[slice, Request, Wire]] = []
        todo = [slice(at, min(at + size, len(batch))) for at in range(0, len(batch), size)]
        while todo:
            rows = todo.pop(0)
            request = wire.request(batch[rows])
            if len(request.body) > self._limits[0] and rows.stop - rows.start > 1:
                middle = (rows.start + rows.stop) // 2
                todo[:0] = [slice(rows.start, middle), slice(middle, rows.stop)]
            else:
                out.append((rows, request, wire))
        return out

    async def _one(self, rows: Batch, request: Request, wire: Wire) -> Scored:
        """One request: wait for a turn, send, read, judge."""
        state, n = self._ready(), len(rows)
        used = self._secrets.headers()
        async with state.slots:
            probe = False
            try:
                probe = await state.breaker.admit()
                await state.pace.turn(sum(wire.tokens(rows[:1])) if state.paces_tokens else 0)
                async with asyncio.timeout(self.timeout_s):
                    scored = await self._exchange(state, request, used, wire, n)
            except Broken as broken:
                raise OracleError(f"{self!r}: stopped: {broken}.", charged=False) from None
            except Failure as failure:
                if failure.weighs:
                    state.breaker.bad(failure.what, probe)
                else:
                    state.breaker.cancelled(probe)
                if failure.retry_after_s is not None:
                    state.pace.hold(min(failure.retry_after_s, self.retry.max_backoff_s))
                retry = self._other_form(state, failure, wire) or failure.retry
                raise OracleError(
                    f"{self!r}: {self._secrets.hide(failure.text, used)}", charged=failure.charged, retry=retry,
                    retry_after_s=failure.retry_after_s, kind=failure.kind, tokens=failure.tokens,
                ) from None  # fmt: skip
            except TimeoutError:
                state.breaker.bad("a timeout", probe)
                raise OracleError(
                    f"{self!r}: no answer within {self.timeout_s:g} s. Raise timeout_s or lower batch_size.",
                    retry=True,
                    kind="timeout",
                ) from None
            except BaseException:
                state.breaker.cancelled(probe)
                raise
            state.breaker.good()
            return scored

    def _other_form(self, state: _State, failure: Failure, wire: Wire) -> bool:
        """Where a server refuses a binary body: speak JSON from now on, and ask again."""
        other = wire.other_form() if failure.status in (400, 404, 406, 415, 422, 500, 501) else None
        if other is None:
            return False
        if wire is state.wire:
            if state.spoke:
                return False
            state.wire = other
        return True

    async def _exchange(self, state: _State, request: Request, used: Mapping[str, str], wire: Wire, n: int) -> Scored:
        """Send and read; raises Failure."""
        import httpx2

        url = join(self.url, request.path)
        for _ in range(4):
            try:
                sent = state.client.build_request(
                    "POST", url, content=request.body, headers={**request.headers, **used}
                )
                response = await state.client.send(sent, stream=True)
            except (httpx2.TransportError, httpx2.InvalidURL, OSError) as error:
                raise transport_failure(error) from None
            try:
                if response.status_code in (307, 308):
                    url = same_host(url, response.headers.get("location", ""))
                    continue
                body = await read_body(response, self._limits[1])
                if response.status_code != 200:
                    raise classify(response.status_code, response.headers, body)
                reply = Reply(body, {k.lower(): v for k, v in response.headers.items()}, self._limits[2])
                return self._read(state, reply, wire, n)
            finally:
                with contextlib.suppress(Exception):
                    await response.aclose()
        raise Failure("more than 3 redirects", charged=False, retry=False)

    def _read(self, state: _State, reply: Reply, wire: Wire, n: int) -> Scored:
        parsed = Parsed([])
        try:
            parsed = wire.parse(reply, n)
            scores = scores_of(parsed.rows, n, self.outputs, self._labels)
        except Unusable as problem:
            raise Failure(
                f"answered 200 with {problem}", retry=True, kind="unusable", weighs=False,
                tokens=(parsed.tokens_in, parsed.tokens_out),
            ) from None  # fmt: skip
        state.spoke = state.spoke or wire is state.wire
        return Scored(scores, parsed.tokens_in, parsed.tokens_out)


class _State:
    """What lives in one process: the client, its traffic, and the form of the protocol that the server accepts."""

    def __init__(self, oracle: HTTPOracle) -> None:
        import httpx2

        self.pid, self.wire, self.spoke = os.getpid(), oracle.wire, False
        n = oracle.max_concurrency
        self.client = httpx2.AsyncClient(
            verify=httpx2.create_ssl_context(verify=oracle._ca_file or True)
            if oracle.url.startswith("https") or oracle._ca_file
            else True,
            timeout=httpx2.Timeout(oracle.timeout_s, pool=None),
            limits=httpx2.Limits(max_connections=n, max_keepalive_connections=n, keepalive_expiry=30.0),
            follow_redirects=False,
            headers={"User-Agent": "blackbox-xai", "Accept-Encoding": "identity"},
        )
        self.slots = asyncio.Semaphore(n)
        self.pace = Pace(*oracle._pace)
        self.paces_tokens = oracle._pace[1] is not None
        failures, rest_s = oracle._breaker
        self.breaker = Breaker(failures, rest_s=rest_s)
        self.shut = weakref.finalize(self, _close, self.client, self.pid)


def _close(client: Any, pid: int) -> None:
    if pid == os.getpid():
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(client.aclose(), LOOP.get()).result(5)


def join(url: str, path: str) -> str:
    """The URL of a method: `path` below `url`, unless `url` is that of the method already."""
    base, mark, query = url.partition("?")
    if not path or base.endswith((":predict", "/infer", "/invocations", path)):
        return url
    if path.startswith(("/completions", "/chat/")) and not base.endswith("/v1"):
        path = path if base.rsplit("/", 1)[-1].startswith("v") else "/v1" + path
    return base + path + mark + query


def same_host(url: str, location: str) -> str:
    """Where a redirect leads, if that is the same host.

    Raises
    ------
    Failure : it is another one; nothing was sent there.
    """
    from urllib.parse import urljoin, urlsplit

    target = urljoin(url, location)
    a, b = urlsplit(url), urlsplit(target)
    if (a.scheme, a.hostname, a.port) != (b.scheme, b.hostname, b.port):
        raise Failure(
            f"redirected to another host ({shown_url(target)}); not followed. Give that URL if it is meant",
            charged=False,
            retry=False,
        )
    return target


def make_wire(
    protocol: str | Wire, model: str | None, output: str | None, version: str | None, labels: tuple[str, ...] | None
) -> Wire:
    """A configured protocol from its name.

    Raises
    ------
    InvalidInput : unknown, or it needs what was not given.
    """
    if isinstance(protocol, Wire):
        if any(v is not None for v in (model, output, version)):
            raise InvalidInput("HTTPOracle: model, output and version belong to the protocol object; give them there.")
        return protocol
    makers: dict[str, Callable[[], Wire]] = {
        "v2": lambda: V2(model=str(model), version=version, output=output or "predict_proba"),
        "mlflow": MLflow,
        "instances": lambda: Instances(model=model, version=version, output=output),
        "huggingface": HuggingFace,
        "openai": lambda: ChatLabels(model=str(model), labels=labels or ()),
    }
    if protocol not in makers:
        raise InvalidInput(
            f"HTTPOracle: protocol {protocol!r} is unknown; there are {', '.join(makers)}, or an object such as "
            "blackbox_xai.oracles.http.Generic(encode=..., decode=...)."
        )
    if protocol in ("v2", "openai") and model is None:
        raise InvalidInput(f"HTTPOracle: protocol {protocol!r} needs model=, its name on the server.")
    return makers[protocol]()
