"""Every Python block and every `blackbox-xai` line of the README runs as written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from blackbox_xai import cli

mpl.use("Agg")
from matplotlib import pyplot

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [line for line in LINES if re.match("blackbox-xai (?!demo)", line)]  # test_demo.py has the demo
HEAVY = ("torch", "photo.jpg", "A dull plot, saved by warm performances")  # real networks


def cases(texts):
    return [
        pytest.param(t, marks=[pytest.mark.slow] if any(h in t for h in HEAVY) else [], id=f"{i}")
        for i, t in enumerate(texts)
    ]


@pytest.fixture(autouse=True)
def _in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    pyplot.close("all")


def needs(text):
    for module in ("efficientnet_lite_pytorch", "skimage", "pandas"):
        if module in text or (module == "pandas" and ("as_frame" in text or "table" in text or "--csv" in text)):
            pytest.importorskip(module)


@pytest.mark.parametrize("block", cases(BLOCKS))
def test_python_blocks(block):
    needs(block)
    assert re.search(r"budget=\d+|QueryBudget\(\d+\)", block), "each example states its budget"
    space: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), space)  # the README is ours
    why = space.get("why") or space.get("first")
    limit = int(re.search(r"budget=(?:purse\.child\()?(\d+)", block)[1])
    assert why.ledger["scored"] <= limit
    if "why.top(3)" in block:
        assert why.top(3)[0] == ("0", pytest.approx(0.408, abs=5e-4))
        assert why.top(3)[1][1] == pytest.approx(-0.088, abs=5e-4)
        assert why.full_values == pytest.approx(0.73, abs=5e-3)
    if "purse" in space:
        assert space["purse"].used <= 200
        assert space["better"].ledger["scored"] <= 150
    if "flaky" in space:
        assert why.status == "partial: error"
        assert np.array_equal(space["again"].values, why.values)


@pytest.mark.parametrize("line", cases(COMMANDS))
def test_commands(line, tmp_path, capsys):
    needs(line)
    (tmp_path / "my_model.py").write_text("def predict(frame):\n    return frame['a'] * 2.0 + frame['b']\n")
    (tmp_path / "rows.csv").write_text("a,b,label\n" + "".join(f"{i},{i % 4},x\n" for i in range(12)))
    if "photo.jpg" in line:
        data = pytest.importorskip("skimage.data")
        pytest.importorskip("PIL.Image").fromarray(data.chelsea()).save("photo.jpg")
        line = line.replace("--budget 500", "--budget 120")
    assert cli.main(shlex.split(line)[1:]) == 0
    printed = capsys.readouterr().out
    assert printed
    for name in re.findall(r"--out (\S+)", line):
        assert (tmp_path / name).stat().st_size > 500


def test_the_first_screen_has_the_two_commands():
    first = "\n".join(README.splitlines()[:20])
    assert "make demo" in first
    assert "make test" in first


def test_every_method_is_in_the_table():
    from blackbox_xai.estimators import METHODS

    rows = re.findall(r'^\| (`"\w+"`(?:, `"\w+"`)*) \|', README, re.MULTILINE)
    listed = set(re.findall(r'"(\w+)"', " ".join(rows)))
    assert listed == set(METHODS)


def test_the_url_example(httpserver):
    """As written, against a server on another port."""
    from werkzeug import Response

    def infer(request):
        rows = np.array(request.get_json()["inputs"][0]["data"]).reshape(-1, 4)
        one = 1 / (1 + np.exp(-rows @ [1.0, 0.5, 0.0, -0.25]))
        data = np.stack([1 - one, one], axis=1)
        output = {"name": "predict_proba", "shape": list(data.shape), "datatype": "FP64", "data": data.ravel().tolist()}
        return Response(json.dumps({"model_name": "tumours", "outputs": [output]}), content_type="application/json")

    httpserver.expect_request("/v2/models/tumours/infer", method="POST").respond_with_handler(infer)
    (block,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    space: dict[str, object] = {}
    exec(compile(block.replace("http://localhost:8080", httpserver.url_for("")), "README.md", "exec"), space)
    why = space["why"]
    assert why.ledger["scored"] == 16  # all coalitions of four columns
    assert Path("answers.db").exists()
    assert why.top(1)[0][0] in ("0", "1")
