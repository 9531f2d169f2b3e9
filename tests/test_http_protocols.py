"""Protocols against recorded bodies of real servers: request builders and response parsers, no network."""

from __future__ import annotations

import base64
import io
import itertools
import json
import struct
from typing import Any

import numpy as np
import pytest

from blackbox_xai import InvalidInput
from blackbox_xai.oracles.http import (
    V2,
    ChatLabels,
    Completion,
    Generic,
    HuggingFace,
    HuggingFaceBatch,
    Instances,
    MLflow,
    Sampled,
)
from blackbox_xai.oracles.http.openai import normal
from blackbox_xai.oracles.http.wire import Reply, Unusable, encode_image, read_json, scores_of

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])


def reply(body: Any, **headers: str) -> Reply:
    return Reply(
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        {k.replace("_", "-"): v for k, v in headers.items()},
    )


def sent(wire: Any, rows: Any) -> Any:
    return json.loads(wire.request(rows).body)


def test_v2_json_as_mlserver_speaks_it() -> None:
    wire = V2(model="iris", version="2")
    request = wire.request(ROWS)
    assert request.path == "/v2/models/iris/versions/2/infer"
    assert json.loads(request.body) == {
        "id": "0",
        "inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": ROWS.ravel().tolist()}],
        "outputs": [{"name": "predict_proba"}],
    }
    recorded = (
        b'{"model_name":"iris","id":"a1","parameters":{},"outputs":[{"name":"predict_proba","shape":[2,3],'
        b'"datatype":"FP64","parameters":{"content_type":"np"},"data":[0.98,0.018,1.4e-08,5.5e-05,0.08,0.92]}]}'
    )
    got = scores_of(wire.parse(reply(recorded), 2).rows, 2, "scores", None)
    assert got.tolist() == [[0.98, 0.018, 1.4e-08], [5.5e-05, 0.08, 0.92]]
    with pytest.raises(Unusable, match="no output 'margin' among \\['predict_proba'\\]"):
        V2(model="iris", output="margin").parse(reply(recorded), 2)
    with pytest.raises(Unusable, match="does not fill"):
        wire.parse(reply(recorded.replace(b"[2,3]", b"[2,4]")), 2)
    with pytest.raises(Unusable, match="not JSON"):
        wire.parse(reply(recorded[:60]), 2)


def test_v2_binary_and_back_to_json() -> None:
    wire = V2(model="iris", binary=True)
    request = wire.request(ROWS)
    cut = int(request.headers["Inference-Header-Content-Length"])
    head = json.loads(request.body[:cut])
    assert head["inputs"][0]["parameters"] == {"binary_data_size": 64}
    assert head["outputs"] == [{"name": "predict_proba", "parameters": {"binary_data": True}}]
    assert np.frombuffer(request.body[cut:], "<f8").tolist() == ROWS.ravel().tolist()
    scores = np.array([[0.5, 0.25], [0.125, 1.0]], "<f4")
    header = json.dumps(
        {
            "outputs": [
                {"name": "other", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}},
                {"name": "predict_proba", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}},
            ]
        }
    ).encode()
    answer = reply(header + bytes(8) + scores.tobytes(), inference_header_content_length=str(len(header)))
    assert np.array_equal(wire.parse(answer, 2).rows, scores)
    with pytest.raises(Unusable, match="cut short"):
        wire.parse(answer._replace(body=answer.body[:-1]), 2)
    plain = {"outputs": [{"name": "predict_proba", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}]}
    assert wire.parse(reply(plain), 2).rows.tolist() == [[1], [2]]  # accepted, answered in JSON
    assert wire.other_form() == V2(model="iris")


def test_v2_text_labels_and_images() -> None:
    text = sent(V2(model="m", content_type="str"), ["good film", "bad"])
    assert text["inputs"][0] == {
        "name": "x",
        "shape": [2, 1],
        "datatype": "BYTES",
        "data": ["good film", "bad"],
        "parameters": {"content_type": "str"},
    }
    binary = V2(model="m", binary=True).request(["ab", "é"]).body
    assert binary.endswith(struct.pack("<I", 2) + b"ab" + struct.pack("<I", 2) + "é".encode())
    labels = {"outputs": [{"name": "predict_proba", "shape": [2, 1], "datatype": "BYTES", "data": ["no", "yes"]}]}
    rows = V2(model="m").parse(reply(labels), 2).rows
    assert scores_of(rows, 2, "labels", ("yes", "no")).tolist() == [[0, 1], [1, 0]]
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    tensor = sent(V2(model="m"), images)["inputs"][0]
    assert (tensor["datatype"], tensor["shape"], tensor["data"]) == ("UINT8", [2, 4, 5, 3], images.ravel().tolist())
    assert sent(V2(model="m", channels_first=True), images)["inputs"][0]["shape"] == [2, 3, 4, 5]
    png = sent(V2(model="m", image="png"), images)["inputs"][0]["data"][1]
    from PIL import Image

    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))), images[1])
    jpeg = Image.open(io.BytesIO(encode_image(images[0] / 255.0, "jpeg")))
    assert (jpeg.format, jpeg.size) == ("JPEG", (5, 4))


def test_mlflow() -> None:
    assert sent(MLflow(), ROWS) == {"inputs": ROWS.tolist()}
    assert sent(MLflow(form="instances", params={"t": 1}), ROWS) == {"instances": ROWS.tolist(), "params": {"t": 1}}
    split = sent(MLflow(form="dataframe_split", columns=("a", "b", "c", "d")), ROWS)
    assert split == {"dataframe_split": {"columns": ["a", "b", "c", "d"], "data": ROWS.tolist()}}
    with pytest.raises(InvalidInput, match="columns="):
        MLflow(form="dataframe_split").request(ROWS)
    got = MLflow().parse(reply(b'{"predictions":[[0.98,0.018,1.4e-08]]}'), 1)
    assert scores_of(got.rows, 1, "scores", None).tolist() == [[0.98, 0.018, 1.4e-08]]
    with pytest.raises(Unusable, match="predictions"):
        MLflow().parse(reply({"error_code": "BAD_REQUEST"}), 1)


def test_instances() -> None:
    wire = Instances(model="m", signature="serving_default", input_name="img", output="scores")
    assert wire.request(ROWS).path == "/v1/models/m:predict"
    assert sent(wire, ROWS) == {"signature_name": "serving_default", "instances": [{"img": r} for r in ROWS.tolist()]}
    assert wire.parse(reply({"predictions": [{"scores": [1, 2]}, {"scores": [3, 4]}]}), 2).rows == [[1, 2], [3, 4]]
    image = sent(Instances(image="png"), np.zeros((1, 2, 2, 3), np.uint8))["instances"][0]
    assert base64.b64decode(image["b64"]).startswith(b"\x89PNG")


def test_huggingface_maps_by_label() -> None:
    wire = HuggingFace(top_k=2, function_to_apply="softmax")
    assert sent(wire, ["I like it"]) == {
        "inputs": "I like it",
        "parameters": {"top_k": 2, "function_to_apply": "softmax"},
    }
    recorded = [{"label": "POSITIVE", "score": 0.9}, {"label": "NEUTRAL", "score": 0.06}]
    for body in (recorded, [recorded]):  # some servers nest one text's answer
        rows = wire.parse(reply(body), 1).rows
        got = scores_of(rows, 1, "top-k", ("NEGATIVE", "NEUTRAL", "POSITIVE"))
        np.testing.assert_allclose(got, [[0.04, 0.06, 0.9]])
    with pytest.raises(Unusable, match="top-k"):
        scores_of([recorded], 1, "scores", ("NEGATIVE", "NEUTRAL", "POSITIVE"))
    many = HuggingFaceBatch()
    assert sent(many, ["a", "b"])["inputs"] == ["a", "b"]
    rows = many.parse(reply([recorded, recorded[::-1]]), 2).rows
    assert scores_of(rows, 2, "scores", None).tolist() == [[0.06, 0.9], [0.06, 0.9]]
    assert HuggingFace().request(np.zeros((1, 3, 3, 3), np.uint8)).headers["Content-Type"] == "image/png"


def test_generic() -> None:
    wire = Generic(encode=lambda rows: {"q": list(rows)}, decode=lambda body: [[r["s"]] for r in body["r"]])
    assert sent(wire, ["a"]) == {"q": ["a"]}
    assert wire.parse(reply({"r": [{"s": 2}]}), 1).rows == [[2]]
    with pytest.raises(Unusable, match="decode raised KeyError"):
        wire.parse(reply({"x": 1}), 1)
    with pytest.raises(InvalidInput, match="NaN"):
        Generic(encode=lambda rows: rows.tolist(), decode=list).request(np.array([np.nan]))


def echo(prompt: str, answer: str, cuts: list[int], scores: list[Any], more: str = " and") -> dict[str, Any]:
    """A completions body as llama.cpp and vLLM give it: tokens cut at `cuts` of prompt + answer + one more token."""
    text = prompt + answer + more
    edges = [*cuts, len(prompt + answer), len(text)]
    tokens = [text[a:b] for a, b in itertools.pairwise(edges)]
    return {
        "choices": [
            {"text": text, "logprobs": {"tokens": tokens, "token_logprobs": [*scores, -9.0], "text_offset": edges[:-1]}}
        ],
        "usage": {"prompt_tokens": len(tokens), "completion_tokens": 1, "total_tokens": len(tokens) + 1},
    }


def test_the_answer_is_scored_by_where_its_tokens_begin() -> None:
    wire = Completion(model="m", answer=" Paris, of course")
    body = sent(wire, ["The capital is"])
    assert (body["prompt"], body["echo"], body["logprobs"]) == ("The capital is Paris, of course", True, 1)
    answer = echo("The capital is", " Paris, of course", [0, 3, 11, 14, 20, 21], [None, -5, -1, -0.5, -0.25, -0.125])
    got = wire.parse(reply(answer), 1)
    assert (got.rows.tolist(), got.tokens_in, got.tokens_out) == ([[-0.875]], 7, 1)
    mean = Completion(model="m", answer=" Paris, of course", value="mean").parse(reply(answer), 1).rows
    np.testing.assert_allclose(mean, -0.875 / 3)
    logit = Completion(model="m", answer=" Paris, of course", value="logit").parse(reply(answer), 1).rows
    np.testing.assert_allclose(logit, -0.875 - np.log(1 - np.exp(-0.875)))
    merged = echo("say foo", "bar", [0, 4, 6], [None, -1, -0.5])  # "ob" straddles the join
    with pytest.raises(Unusable, match="straddles"):
        Completion(model="m", answer="bar").parse(reply(merged), 1)
    with pytest.raises(Unusable, match="does not score prompts"):
        wire.parse(reply({"choices": [{"text": "x", "logprobs": None}]}), 1)


def test_label_words_and_what_is_not_listed() -> None:
    wire = ChatLabels(model="m", labels=("yes", "no"), system="Answer yes or no.")
    body = sent(wire, ["Is it good?"])
    assert body["messages"][0]["role"] == "system"
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"], body["temperature"]) == (True, 20, 1, 0)

    def answer(top: list[tuple[str, float]]) -> Any:
        listed = [{"token": t, "logprob": v} for t, v in top]
        return reply({"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"top_logprobs": listed}]}}]})

    got = wire.parse(answer([("Yes", np.log(0.5)), (" yes", np.log(0.1)), ("No", np.log(0.2)), ("The", -3)]), 1).rows
    np.testing.assert_allclose(got, [[0.75, 0.25]])
    got = wire.parse(answer([("yes", np.log(0.9)), ("the", np.log(0.1))]), 1).rows
    np.testing.assert_allclose(got, [[0.9, 0.1]])  # "no" is not listed: at most as likely as the last
    with pytest.raises(InvalidInput, match="different labels"):
        ChatLabels(model="m", labels=("Yes", "yes "))


def test_sampled_answers() -> None:
    wire = Sampled(model="m", answer="42", samples=4)
    assert sent(wire, ["?"])["n"] == 4
    choices = [{"message": {"content": c}} for c in ("42", " 42.0.", "forty-two", '"42"')]
    assert wire.parse(reply({"choices": choices}), 1).rows.tolist() == [[0.75]]
    assert normal(" Paris. ") == normal("paris")
    assert wire.stochastic


def test_strangers_json() -> None:
    assert read_json(b'{"a": "[[[[[[[[[[", "b": [[1]]}', 3) == {"a": "[" * 10, "b": [[1]]}
    assert read_json(rb'["a\"[[[[[[[", [[2]]]', 3) == ['a"[[[[[[[', [[2]]]
    with pytest.raises(Unusable, match="deeper than 64"):
        read_json(b"[" * 100_000, 64)
    with pytest.raises(Unusable, match="not JSON"):
        read_json(b'{"a": ', 64)
    for kind, rows in (("scores", [[1, 2], [3]]), ("scores", [["a"], ["b"]]), ("labels", ["maybe", "yes"])):
        with pytest.raises(Unusable):
            scores_of(rows, 2, kind, ("yes", "no"))
