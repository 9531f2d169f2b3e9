"""HTML that stands alone, says what was partial, and never runs what the input says."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from blackbox_xai import Attribution, report
from tests.test_plots import image, table, text


class Checker(HTMLParser):
    """Every tag closed in order; tags and data kept."""

    VOID = frozenset({"img", "meta", "rect", "path", "br", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.seen, self.words = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("a", [image(), text(), table(), table(k=3), table(20), image(errors=False)])
def test_fragments_are_whole_and_reach_nowhere(a):
    page = a.to_html()
    checked = Checker(page)
    assert a._repr_html_() == page
    for tag, attributes in checked.seen:
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "http" not in page


def test_text_of_the_user_is_escaped():
    evil = "<script>alert(1)</script>"
    for a in (
        table(feature_names=(evil, *"abcde")),
        text(output_names=(evil,)),
        table(status="partial: error", error=evil),
    ):
        page = report.page(evil, [a])
        assert evil not in page
        assert "&lt;script&gt;" in page
    assert "&lt;spent&gt;" in text().to_html()


def test_partial_results_say_so():
    page = table(status="partial: budget", error="asked for 3").to_html()
    assert "partial: budget" in page
    assert "asked for 3" in page


def test_png_reads_back():
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    with image_module.open(io.BytesIO(report.png(pixels))) as picture:
        assert np.array_equal(np.asarray(picture), pixels)


def test_pictures_of_large_images_are_bounded():
    a = Attribution(
        np.ones(1000 * 900), 0.0, 1.0, kind="image", data=np.zeros((1000, 900, 3), np.uint8),
        layout={"grid": [1000, 900]},
    )  # fmt: skip
    assert report.photo_of(a).shape == report.overlay(a).shape == report.heat_of(a).shape == (333, 300, 3)


def test_colours_follow_the_sign():
    a = Attribution(
        np.array([1.0, -1.0]), 0.0, 0.0, kind="image", data=np.zeros((1, 2, 3), np.uint8), layout={"grid": [1, 2]}
    )
    red, blue = report.heat_of(a)[0].astype(int)
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50


def test_bars_sum_up_the_rest_and_show_intervals():
    page = Checker(table(30).to_html())
    words = "".join(page.words)
    assert "15 others" in words
    assert re.search(r"-0\.9000 ± 0\.1176", words)
    assert "the sign is not certain" in words


def test_matplotlib_is_not_needed():
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.path.insert(0, 'tests')\n"
        "import numpy as np\n"
        "from blackbox_xai import Attribution\n"
        "picture = np.zeros((2, 2, 3), np.uint8)\n"
        "a = Attribution(np.ones(4), 0., 1., kind='image', data=picture, layout={'grid': [2, 2]})\n"
        "assert 'data:image/png' in a.to_html()\n"
        "try: a.plot()\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "blackbox-xai[plots]"' in done.stdout


def test_page_holds_pictures_as_data():
    page = report.page("Two", [image(), "<h2>words</h2>"], lead="<p>lead</p>")
    assert page.count("<section>") == 2
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(pictures) == 3
    assert all(base64.b64decode(p).startswith(b"\x89PNG") for p in pictures)
    Checker(page.replace("<!DOCTYPE html>", ""))
