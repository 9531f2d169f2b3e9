"""The client: who pays for which failure, what is never shown, and what a server may not do to us."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from blackbox_xai import BudgetExhausted, InvalidInput, OracleError, QueryBudget, explain
from blackbox_xai.budget import AnswerStore, Price
from blackbox_xai.budget.audit import listing, verify
from blackbox_xai.oracles import HTTPOracle, Meter, Retry
from blackbox_xai.oracles.http import V2, Generic, HuggingFace, MLflow
from blackbox_xai.oracles.http.replies import classify, wait_of

KEY = "sk-very-secret-0123456789"
FAST = Retry(attempts=4, timeouts=1, unusable=1, backoff_s=0.01, max_backoff_s=0.05)


def good(request: Request) -> Response:
    rows = np.array(json.loads(request.data)["inputs"], float)
    return Response(json.dumps({"predictions": rows.sum(axis=1).tolist()}))


def script(server: HTTPServer, *replies: Response | Callable[[Request], Response]) -> list[Request]:
    """Give these replies one after the other, then good ones; collect the requests."""
    seen: list[Request] = []

    def answer(request: Request) -> Response:
        seen.append(request)
        reply = replies[len(seen) - 1] if len(seen) <= len(replies) else good
        return reply if isinstance(reply, Response) else reply(request)

    server.expect_request("/invocations").respond_with_handler(answer)
    return seen


def oracle(server: HTTPServer, **options: Any) -> HTTPOracle:
    options = {"retry": FAST, "batch_size": 4, "max_concurrency": 1, **options}
    return HTTPOracle(server.url_for(""), "mlflow", **options)


def ask(o: HTTPOracle, budget: QueryBudget, n: int = 1, store: AnswerStore | None = None) -> Meter:
    """Send `n` batches of four rows."""
    meter = Meter(o, budget, store)
    rows = np.arange(16.0 * n).reshape(n, 4, 4)
    try:
        for i, got in enumerate(meter.stream([([b"%d" % (4 * i + j) for j in range(4)],
                                              lambda r, i=i: rows[i][r]) for i in range(n)])):  # fmt: skip
            assert got.ravel().tolist() == rows[i].sum(axis=1).tolist()
    finally:
        o.close()
    return meter


@pytest.mark.parametrize(
    ("reply", "used", "repeated"),
    [
        (Response("slow down", 429), 4, 0),
        (Response("conflict", 409), 4, 0),
        (Response("too early", 425), 4, 0),
        (Response("timed out", 408), 4, 4),
        (Response("oops", 500), 4, 4),
        (Response("gateway", 503), 4, 4),
        (Response('{"predictions": [1, 2', 200), 4, 4),
        (Response('{"predictions": [1, 2, 3]}', 200), 4, 4),
        (Response('{"predictions": [6, 22, NaN, 54]}', 200), 4, 1),
    ],
)
def test_who_pays(httpserver: HTTPServer, reply: Response, used: int, repeated: int) -> None:
    seen = script(httpserver, reply)
    budget = QueryBudget(4, spare=4)
    meter = ask(oracle(httpserver), budget)
    assert (budget.used, budget.repeated, len(seen)) == (used, repeated, 2)
    assert meter.ledger.scored == used + repeated
    assert meter.ledger.failed == repeated


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_refusals_are_given_back_and_not_repeated(httpserver: HTTPServer, status: int) -> None:
    seen = script(httpserver, *[Response('{"error_code":"BAD","message":"wrong columns"}', status)] * 9)
    budget = QueryBudget(40, spare=4)
    with pytest.raises(OracleError, match=f"HTTP {status}: wrong columns") as e:
        ask(oracle(httpserver), budget)
    assert (budget.used, len(seen), e.value.charged, e.value.retry) == (0, 1, False, False)


def test_spent_quota_is_a_429_that_is_not_repeated(httpserver: HTTPServer) -> None:
    body = '{"error":{"message":"You exceeded your current quota","code":"insufficient_quota","type":"x"}}'
    seen = script(httpserver, *[Response(body, 429)] * 5)
    with pytest.raises(OracleError, match="waiting will not help"):
        ask(oracle(httpserver), QueryBudget(8))
    assert len(seen) == 1


@pytest.mark.parametrize(("count", "used", "repeated"), [("scored", 4, 4), ("attempts", 4, 8), ("answered", 4, 0)])
def test_what_counts(httpserver: HTTPServer, count: Any, used: int, repeated: int) -> None:
    script(httpserver, Response("x", 429), Response("x", 500))
    budget = QueryBudget(4, spare=8)
    ask(oracle(httpserver, count=count), budget)
    assert (budget.used, budget.repeated) == (used, repeated)


def test_no_spare_ends_the_run_with_what_was_told(httpserver: HTTPServer) -> None:
    script(httpserver, good, good, Response("x", 500))
    with pytest.raises(BudgetExhausted, match="spare"):
        ask(oracle(httpserver), QueryBudget(16), n=4)
    httpserver.clear()
    calls = []

    def flaky(request: Request) -> Response:
        calls.append(1)
        return Response("x", 500) if len(calls) == 12 else good(request)

    httpserver.expect_request("/invocations").respond_with_handler(flaky)
    with oracle(httpserver) as o:
        a = explain(o, np.ones(9), baseline=np.zeros(9), budget=90, method="permutation")
    assert (a.status, a.ledger["failed"] > 0) == ("partial: budget", True)


def test_retry_after_is_honoured(httpserver: HTTPServer) -> None:
    seen: list[float] = []

    def answer(request: Request) -> Response:
        seen.append(time.monotonic())
        return Response("x", 429, {"Retry-After": "0.4"}) if len(seen) == 1 else good(request)

    httpserver.expect_request("/invocations").respond_with_handler(answer)
    ask(oracle(httpserver), QueryBudget(4))
    assert 0.4 <= seen[1] - seen[0] < 2
    date = email.utils.formatdate(1_000_030, usegmt=True)
    assert wait_of({"retry-after": date}, now=1_000_000.0) == 30
    assert wait_of({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert wait_of({"retry-after": "soon"}) is None
    assert not classify(503, {"x-should-retry": "false"}, b"").retry


def test_a_timeout_is_spent_and_repeated_once(httpserver: HTTPServer) -> None:
    def slow(request: Request) -> Response:
        time.sleep(0.8)
        return good(request)

    script(httpserver, slow)
    budget = QueryBudget(4, spare=4)
    ask(oracle(httpserver, timeout_s=0.6), budget)
    assert (budget.used, budget.repeated) == (4, 4)


def test_a_refused_connection_is_free() -> None:
    o = HTTPOracle("http://127.0.0.1:9", "mlflow", retry=FAST, identity="x")
    budget = QueryBudget(10)
    with pytest.raises(OracleError, match="could not connect"):
        ask(o, budget)
    assert budget.used == 0


def test_the_callers_own_mistake_stops_early(httpserver: HTTPServer) -> None:
    seen = script(httpserver, *[Response("ValueError : X has 3 features", 500)] * 99)
    with pytest.raises(OracleError, match=r"failed alike .*X has 3 features.*may be the cause"):
        ask(oracle(httpserver, retry=Retry(attempts=50, backoff_s=0.001)), QueryBudget(400, spare=4000), n=20)
    assert len(seen) == 5


def test_the_breaker_rests_then_gives_up_or_goes_on(httpserver: HTTPServer) -> None:
    stubborn = Retry(attempts=100, backoff_s=0.001, max_backoff_s=0.002)
    options: dict[str, Any] = dict(retry=stubborn, breaker_failures=4, breaker_rest_s=0.05)
    seen = script(httpserver, good, *[Response("down", 503)] * 6)
    ask(oracle(httpserver, **options), QueryBudget(8, spare=100), n=2)
    assert len(seen) == 8
    httpserver.clear()
    seen = script(httpserver, good, *[Response("down", 503)] * 99)
    with pytest.raises(OracleError, match="requests in a row failed"):
        ask(oracle(httpserver, **options), QueryBudget(8, spare=1000), n=2)
    assert len(seen) == 1 + 4 + 3


def test_paces_are_kept(httpserver: HTTPServer) -> None:
    script(httpserver)
    begin = time.monotonic()
    ask(oracle(httpserver, max_concurrency=4, requests_per_second=20), QueryBudget(100), n=10)
    assert time.monotonic() - begin >= 9 / 20


def test_half_a_batch_counts_its_rows(httpserver: HTTPServer) -> None:
    texts: list[str] = []

    def answer(request: Request) -> Response:
        text = json.loads(request.data)["inputs"]
        texts.append(text)
        if text == "b" and texts.count("b") == 1:
            return Response("busy", 429)
        if text == "c" and texts.count("c") == 1:
            return Response("oops", 500)
        return Response(
            json.dumps([[{"label": "A", "score": len(texts) * 0.0 + ord(text)}, {"label": "B", "score": 0}]])
        )

    httpserver.expect_request("/hf").respond_with_handler(answer)
    o = HTTPOracle(httpserver.url_for("/hf"), HuggingFace(), batch_size=4, retry=FAST)
    budget = QueryBudget(4, spare=4)
    meter = Meter(o, budget)
    batch = ["a", "b", "c", "d"]
    (got,) = meter.stream([([t.encode() for t in batch], lambda rows: [batch[i] for i in rows])])
    o.close()
    assert got[:, 0].tolist() == [97, 98, 99, 100]
    assert sorted(texts) == ["a", "b", "b", "c", "c", "d"]
    assert (budget.used, budget.repeated, meter.ledger.failed) == (4, 1, 1)


def test_large_requests_are_split_by_bytes(httpserver: HTTPServer) -> None:
    seen = script(httpserver)
    ask(oracle(httpserver, max_request_bytes=60), QueryBudget(4))
    assert len(seen) > 1
    assert all(len(r.data) <= 60 for r in seen)


def test_what_a_server_may_not_do(httpserver: HTTPServer) -> None:
    script(httpserver, Response(status=307, headers={"Location": "http://elsewhere.invalid/steal"}))
    with pytest.raises(OracleError, match="redirected to another host") as e:
        ask(oracle(httpserver), QueryBudget(4))
    assert not e.value.charged
    httpserver.clear()
    seen = script(httpserver, Response(status=308, headers={"Location": "/invocations"}))
    ask(oracle(httpserver), QueryBudget(4))
    assert len(seen) == 2
    httpserver.clear()
    script(httpserver, *[Response("x" * 5000, 200)] * 3)
    with pytest.raises(OracleError, match="larger than 1000 bytes"):
        ask(oracle(httpserver, max_response_bytes=1000), QueryBudget(4))
    httpserver.clear()
    script(httpserver, *[Response("[" * 5000, 200)] * 3)
    with pytest.raises(OracleError, match="deeper than 64"):
        ask(oracle(httpserver), QueryBudget(4, spare=4))


def test_a_binary_body_that_is_refused_becomes_json_once(httpserver: HTTPServer) -> None:
    kinds: list[bool] = []

    def answer(request: Request) -> Response:
        binary = "Inference-Header-Content-Length" in request.headers
        kinds.append(binary)
        if binary:
            return Response('{"detail":[]}', 422)
        tensor = json.loads(request.data)["inputs"][0]
        rows = np.reshape(tensor["data"], tensor["shape"]).sum(axis=1)
        out = {"name": "predict_proba", "shape": [len(rows)], "datatype": "FP64", "data": rows.tolist()}
        return Response(json.dumps({"outputs": [out]}))

    httpserver.expect_request("/v2/models/m/infer").respond_with_handler(answer)
    o = HTTPOracle(httpserver.url_for(""), V2(model="m", binary=True), batch_size=4, max_concurrency=1, retry=FAST)
    budget = QueryBudget(8)
    ask(o, budget, n=2)
    assert kinds[-1] is False
    assert kinds.count(False) == 2
    assert (budget.used, budget.repeated) == (8, 0)


def test_secrets_are_nowhere(
    httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_MODEL_KEY", KEY)
    header = "other-secret-98765"

    def leaky(request: Request) -> Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        assert request.headers["X-Extra"] == header
        return Response(json.dumps({"error": f"Incorrect API key provided: {KEY}, {header}"}), 401)

    script(httpserver, *[good] * 12, leaky, leaky)
    url = httpserver.url_for("").replace("http://", "http://user:pass-word-1@") + "?token=url-secret-55"
    shown: list[str] = []
    with AnswerStore(tmp_path / "a.db", keep_inputs=True) as store:
        o = HTTPOracle(
            url, MLflow(), api_key="MY_MODEL_KEY", headers={"X-Extra": lambda: header}, batch_size=2, retry=FAST,
            max_concurrency=1,
        )  # fmt: skip
        shown += [repr(o), str(o.identity), repr(o._secrets)]
        # the query of the URL belongs to the method: mlflow's path is below it
        o.url = httpserver.url_for("").rstrip("/")
        a = explain(
            o, np.ones(9), baseline=np.zeros(9), budget=90, store=store, method="kernelshap", on_error="partial"
        )
        o.close()
        shown += [a.status, a.error, json.dumps(a.ledger), repr(a), str(listing(store)), caplog.text]
        assert verify(store) == []
    assert a.status == "partial: error"
    assert "[hidden]" in a.error
    a.save(tmp_path / "a.json")
    everything = "\n".join(shown).encode() + b"".join(p.read_bytes() for p in tmp_path.iterdir())
    for secret in (KEY, header, "pass-word-1", "url-secret-55", "very-secret"):
        assert secret.encode() not in everything, secret
    with pytest.raises(InvalidInput) as e:
        HTTPOracle("http://x", "mlflow", api_key=KEY)
    assert KEY not in str(e.value)
    monkeypatch.delenv("MY_MODEL_KEY")
    with pytest.raises(OracleError, match="'MY_MODEL_KEY' is not set"):
        ask(HTTPOracle(httpserver.url_for(""), "mlflow", api_key="MY_MODEL_KEY"), QueryBudget(4))


def test_money_and_tokens_are_capped(httpserver: HTTPServer) -> None:
    def chat(request: Request) -> Response:
        top = [{"token": "yes", "logprob": -0.5}, {"token": "no", "logprob": -1.5}]
        body = {
            "choices": [{"message": {"content": "yes"}, "logprobs": {"content": [{"top_logprobs": top}]}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 1},
        }
        return Response(json.dumps(body))

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(chat)
    price = Price(per_1k_input_tokens=1.0, per_1k_output_tokens=2.0)
    o = HTTPOracle(httpserver.url_for(""), "openai", model="m", labels=("yes", "no"), price=price, max_concurrency=1)
    budget = QueryBudget(100, max_cost=0.5)  # a query costs 0.012; the most one can is held while it is under way
    text = "one two three four five six seven"
    with o:
        a = explain(o, text, budget=budget, method="permutation", seed=1)
    assert a.status == "partial: budget"
    n = a.ledger["answered"]
    assert 20 <= n <= 41
    assert a.ledger["cost"] == pytest.approx(0.012 * n)
    assert budget.cost == pytest.approx(0.012 * n)
    assert budget.cost <= 0.5
    assert a.ledger["tokens"] == 11 * n


def test_poor_outputs(httpserver: HTTPServer) -> None:
    def labels(request: Request) -> Response:
        rows = np.array(json.loads(request.data)["inputs"], float)
        return Response(json.dumps({"predictions": ["yes" if r.sum() > 2 else "no" for r in rows]}))

    httpserver.expect_request("/invocations").respond_with_handler(labels)
    with oracle(httpserver, outputs="labels", labels=("no", "yes")) as o:
        a = explain(o, np.ones(4), baseline=np.zeros(4), budget=18, method="kernelshap")
    assert (a.full_values, a.base_values, a.target) == (1.0, 0.0, [1])
    np.testing.assert_allclose(a.values, 0.25, atol=1e-9)
    assert a.output_names == ("yes",)
    remote = oracle(httpserver, outputs="labels", labels=("no", "yes"))
    with remote as o, pytest.warns(UserWarning, match="answers labels only"):
        explain(o, np.ones(4), baseline=np.zeros(4), budget=18, method="gefa")


def test_it_works_inside_a_running_event_loop_and_after_pickling(httpserver: HTTPServer) -> None:
    script(httpserver)
    o = pickle.loads(pickle.dumps(oracle(httpserver)))

    async def notebook() -> Any:
        return explain(o, np.ones(4), baseline=np.zeros(4), method="kernelshap", budget=18)

    a = asyncio.run(notebook())
    o.close()
    np.testing.assert_allclose(a.values, 1.0)


def test_construction_asks_nothing_and_says_what_is_wrong() -> None:
    for arguments, text in (
        (("ftp://x", "v2"), "http://"),
        (("http://x", "v3"), "there are v2"),
        (("http://x", "v2"), "needs model="),
        (("http://x", V2(model="m")), "belong to the protocol object"),
    ):
        with pytest.raises(InvalidInput, match=text):
            HTTPOracle(*arguments, model="m" if text.startswith("belong") else None)
    assert HTTPOracle("http://x", Generic(encode=list, decode=list)).identity is None
    one, two = (HTTPOracle("http://x", "v2", model=m) for m in ("a", "b"))
    assert one.identity != two.identity
    assert one.identity == HTTPOracle("http://x", V2(model="a", binary=True)).identity
