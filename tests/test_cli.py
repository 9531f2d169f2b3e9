"""The command line: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
import re
import sys
import textwrap

import numpy as np
import pytest

from blackbox_xai import cli, load
from blackbox_xai.estimators import METHODS

MODELS = '''
import numpy as np

def words(batch):
    """Score: how many o's."""
    return np.array([t.count("o") for t in batch], float)

def table(frame):
    return 2.0 * frame["a"].to_numpy() - frame["b"].to_numpy()

def bright(batch):
    return batch[:, :, : batch.shape[2] // 2].mean(axis=(1, 2, 3))

calls = 0

def breaks(batch):
    global calls
    calls += 1
    if calls > 2:
        raise RuntimeError("the third call")
    return words(batch)

class holder:
    words = staticmethod(words)
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "some_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("some_models", None)
    return tmp_path


def run(capsys, *words):
    code = cli.main([*words])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, printed.out, printed.err


def test_a_text(here, capsys):
    code, out, err = run(capsys, "explain", "oo no a", "--model", "some_models:words", "--budget", "8")
    assert code == 0
    assert out.splitlines()[0] == "output 0: 0 with everything absent, 3 as it is"
    assert re.search(r"oo +\+2\.0000", out)
    assert "8 of 8 rows sent" in out
    assert "querying" in err  # the bar


def test_json_and_files(here, capsys):
    code, out, err = run(
        capsys, "explain", "oo no a", "--model", "some_models:holder.words", "--budget", "8", "--json", "-q",
        "--out", "a.json", "--out", "a.html", "--out", "a.png", "--out", "a.npz",
    )  # fmt: skip
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["values"] == pytest.approx([2, 1, 0])
    assert said["ledger"]["scored"] == 8
    assert np.array_equal(load("a.json").values, said["values"])
    assert np.array_equal(load("a.npz").values, said["values"])
    assert (here / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<h1>Why output 0?</h1>" in (here / "a.html").read_text()


def test_an_image(here, capsys):
    from PIL import Image

    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15] = 200
    Image.fromarray(pixels).save("photo.png")
    code, out, _ = run(
        capsys, "explain", "photo.png", "--model", "some_models:bright", "--players", "segments", "--baseline", "black",
        "--budget", "60", "--method", "kernelshap", "--side", "16", "-q",
    )  # fmt: skip
    assert code == 0
    assert "segment" in out


def test_a_row_of_a_csv(here, capsys):
    (here / "t.csv").write_text("a,label,b\n1,x,5\n4,y,2\n0,x,0\n")
    code, out, _ = run(
        capsys, "explain", "--csv", "t.csv", "--row", "1", "--drop", "label", "--baseline-rows", "2", "--budget", "4",
        "--model", "some_models:table", "--json", "-q",
    )  # fmt: skip
    assert code == 0
    said = json.loads(out)
    assert dict(zip(said["names"], said["values"])) == pytest.approx({"a": 8, "b": -2})
    assert (said["base_value"], said["full_value"]) == (0, 6)


def test_baseline_rows_median_and_default(here, capsys):
    (here / "t.csv").write_text("a,b\n" + "".join(f"{i},{i % 3}\n" for i in range(9)))
    common = ("explain", "--csv", "t.csv", "--model", "some_models:table", "--json", "-q")
    _, out, _ = run(capsys, *common, "--baseline-rows", "median", "--budget", "4")
    assert json.loads(out)["base_value"] == 2 * 4 - 1
    _, out, _ = run(capsys, *common, "--budget", "200")
    said = json.loads(out)
    assert said["base_value"] == pytest.approx(9 - 9 / 8)  # the mean over the other eight
    assert said["ledger"]["scored"] == 17  # there are no more: each of them with and without either column, and row 0


def test_partial_is_exit_code_3_and_the_result_is_written(here, capsys):
    code, out, err = run(
        capsys, "explain", "one two oo four six oh", "--model", "some_models:breaks", "--batch-size", "14",
        "--budget", "40",
        "--method", "permutation", "--out", "part.json", "-q",
    )  # fmt: skip
    assert code == 3
    assert "partial: error" in err
    assert "the third call" in err
    assert load("part.json").status == "partial: error"
    assert "output 0" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "oo", "--model", "no_such_module:f"], "No module named 'no_such_module'"),
        (["explain", "oo", "--model", "some_models:nothing"], "has no 'nothing'"),
        (["explain", "oo", "--model", "some_models"], "write package.module:name"),
        (["explain", "oo a", "--model", "some_models:words", "--method", "kernelshep"], "Did you mean 'kernelshap'?"),
        (["explain", "oo a b c d e", "--model", "some_models:words", "--budget", "3"], "minimum"),
        (["explain", "oo", "--model", "some_models:words", "--budget", "-3"], "whole number of rows >= 0, got -3"),
        (["explain", "oo", "--model", "some_models:words", "--out", "x.txt"], "must end in"),
        (["explain", "oo", "--model", "some_models:words", "--out", "no/x.html"], "there is no folder"),
        (["explain", "missing.png", "--model", "some_models:words"], "There is no file 'missing.png'"),
        (["explain", "some_models.py", "--model", "some_models:words"], "a file but no picture"),
        (["explain", "--csv", "missing.csv", "--model", "some_models:table"], "cannot be read"),
        (["explain", "oo", "--text", "o", "--model", "some_models:words"], "Give one input"),
        (["explain", "oo", "--example", "table"], "does not take this input"),
        (["explain", "--example", "no"], "there are photo, review, table"),
        (["explain", "--model", "some_models:words"], "give an input"),
        (["explain", "", "--model", "some_models:words"], "The text is empty"),
    ],
)
def test_refusals_are_one_clear_line_and_exit_code_2(here, capsys, words, message):
    code, out, err = run(capsys, *words, *(["-q"] if words[0] == "explain" else []))
    assert code == 2
    assert message in err
    assert out == ""
    assert len(err.strip().splitlines()) == 1


def test_wrong_options_are_exit_code_2(capsys):
    assert run(capsys, "explain", "--budgett", "3")[0] == 2
    assert run(capsys, "explain", "a", "--budget", "2.5")[0] == 2
    assert run(capsys, "nothing")[0] == 2


def test_plan_sends_nothing(here, capsys):
    code, out, _ = run(
        capsys, "plan", "a b c d e f", "--model", "some_models:breaks", "--method", "permutation", "--budget", "40"
    )
    assert code == 0
    assert "permutation on 6 players (Words)" in out
    assert sys.modules["some_models"].calls == 0
    code, out, _ = run(capsys, "plan", "a b c d", "--model", "some_models:words", "--budget", "9", "--json",
                       "--method", "permutation")  # fmt: skip
    assert json.loads(out)["rows"] <= 9


def test_methods_lists_them_all(capsys):
    code, out, _ = run(capsys, "methods")
    assert code == 0
    for name, kind in METHODS.items():
        assert name in out
        assert kind.estimates in out
    listed = {r["name"]: r for r in json.loads(run(capsys, "methods", "--json", "--players", "10")[1])}
    assert set(listed) == set(METHODS)
    assert all(r["rows"] is None or r["minimum"] <= r["rows"] <= 500 for r in listed.values())


def test_help_and_version(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in ("explain", "plan", "methods", "demo"):
        assert command in out
    assert run(capsys, "--version")[:2] == (0, "blackbox-xai 0.1.0\n")
    assert "--budget" in run(capsys, "explain", "--help")[1]


def test_ctrl_c_keeps_what_was_answered(here, capsys):
    (here / "slow_models.py").write_text(
        textwrap.dedent("""
        import numpy as np
        calls = 0
        def stopped(batch):
            global calls
            calls += 1
            if calls == 4:
                raise KeyboardInterrupt
            return np.array([float(len(t)) for t in batch])
        """)
    )
    code, out, err = run(
        capsys, "explain", "one two three four five", "--model", "slow_models:stopped", "--batch-size", "6",
        "--budget", "30", "--method", "permutation", "-q",
    )  # fmt: skip
    assert code == 3
    assert "partial: interrupted" in err
    assert "output 0" in out
