"""What the pictures show, read back from the Axes."""

from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np
import pytest

from blackbox_xai import Attribution, InvalidInput

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

TEXT = "A dull plot,\nbut $5 well <spent> overall"


def image(errors=True, **changes):
    rng = np.random.default_rng(3)
    values = rng.normal(size=12 * 10)
    fields = {
        "std_error": np.full(120, 0.5) if errors else None,
        "kind": "image",
        "data": rng.integers(0, 255, (12, 10, 3)).astype(np.uint8),
        "layout": {"grid": [12, 10]},
        "output_names": ("cat",),
        "method": "gefa",
    }
    return Attribution(values, 0.1, 0.9, **{**fields, **changes})


def text(**changes):
    spans = [list(m.span()) for m in re.finditer(r"\S+", TEXT)]
    values = np.linspace(-0.4, 0.4, len(spans))
    fields = {
        "std_error": np.full(len(spans), 0.1),
        "kind": "text",
        "data": TEXT,
        "layout": {"spans": spans},
        "feature_names": tuple(TEXT[a:b] for a, b in spans),
        "output_names": ("positive",),
        "method": "kernelshap",
    }
    return Attribution(values, 0.5, 0.2, **{**fields, **changes})


def table(n=6, k=None, **changes):
    values = np.array([0.5, -0.9, 0.1, 0.02, -0.3, 0.2, *np.zeros(n - 6)])
    values = values if k is None else np.stack([values * (j + 1) for j in range(k)], axis=1)
    fields = {
        "std_error": np.full(values.shape, 0.06),
        "kind": "table",
        "data": [float(i) for i in range(n)],
        "feature_names": tuple(f"c{i}" for i in range(n)),
        "output_names": tuple(f"y{j}" for j in range(k or 1)),
        "method": "kernelshap",
    }
    zeros = 0.0 if k is None else np.zeros(k)
    return Attribution(values, zeros, zeros + 1.0, **{**fields, **changes})


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


@pytest.mark.parametrize("a", [image(), text(), table(), Attribution(np.array([1.0, -2.0]), 0.0, -1.0, method="rise")])
def test_ax_given_is_returned_and_pyplot_left_alone(a):
    ax = Figure(figsize=(6, 4)).subplots()
    assert a.plot(ax=ax) is ax
    assert pyplot.get_fignums() == []
    ax.figure.savefig("/dev/null", format="png")


def test_bars_are_sorted_with_intervals_and_hatched_where_the_sign_is_open():
    ax = table().plot()
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == [-0.9, 0.5, -0.3, 0.2, 0.1, 0.02]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False] * 4 + [True, True]
    assert [t.get_text() for t in ax.get_yticklabels()][:2] == ["c1 = 1", "c0 = 0"]
    ends = ax.containers[-1].lines[2][0].get_segments()
    assert ends[0][:, 0] == pytest.approx([-0.9 - 1.96 * 0.06, -0.9 + 1.96 * 0.06], abs=1e-4)


def test_bars_beyond_top_are_summed():
    ax = table().plot(top=2)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([-0.9, 0.5, 0.1 + 0.02 - 0.3 + 0.2])
    assert ax.get_yticklabels()[-1].get_text() == "4 others"


def test_image_limits_are_symmetric_and_robust():
    values = np.concatenate([np.linspace(-1, 1, 119), [50.0]])
    ax = Attribution(**{**vars(image()), "values": values}).plot(uncertainty=False)
    bar = ax.figure.axes[-1]
    low, high = bar.get_ylim()
    assert low == -high
    assert high < 2  # one pixel of 50 does not wash out the rest


def test_image_beside_and_over_and_certainty():
    ax = image().plot()
    assert [each.get_title() for each in ax.figure.axes[:2]] == ["the input", "values"]
    assert ax is ax.figure.axes[2]
    assert "cat" in ax.get_title()
    assert any("standard errors" in each.get_ylabel() for each in image().plot(uncertainty=True).figure.axes)
    with pytest.raises(InvalidInput, match="gives no standard errors"):
        image(errors=False).plot(uncertainty=True)


def test_certainty_of_pixels_is_of_those_nearby_and_signs_cancel():
    values = np.full((60, 60), 3.0)
    values[:, 30:] *= np.where(np.indices((60, 30)).sum(axis=0) % 2, 1, -1)  # right half: signs alternate
    a = Attribution(
        values.ravel(),
        0.1,
        0.9,
        std_error=np.ones(3600),
        kind="image",
        data=np.zeros((60, 60, 3), np.uint8),
        layout={"grid": [60, 60]},
        method="smoothgp",
    )
    panel = next(each for each in a.plot(uncertainty=True).figure.axes if "certain" in each.get_title())
    z = panel.images[0].get_array()
    assert z[:, :25].min() > 2.9
    assert z[:, 35:].max() < 1.5


def test_segments_and_grey_images():
    labels = np.repeat([[0, 1], [2, -1]], 3, axis=0)
    a = Attribution(
        np.array([1.0, -1.0, 0.5]), 0.0, 0.5, kind="image", data=np.full((6, 2, 1), 0.5), layout={"segments": labels}
    )
    assert a.plot().images


def test_every_word_is_drawn_once_with_its_colour():
    ax = text().plot()
    drawn = [t.get_text() for t in ax.texts]
    assert drawn == TEXT.split()
    faces = [t.get_bbox_patch().get_facecolor() for t in ax.texts]
    assert faces[0][2] > faces[0][0]  # negative: blue
    assert faces[-1][0] > faces[-1][2]  # positive: red
    assert {t.get_position()[1] for t in ax.texts[:3]} != {ax.texts[3].get_position()[1]}  # the line break
    ax.figure.savefig("/dev/null", format="png")


def test_words_wrap_inside_narrow_axes():
    ax = Figure(figsize=(1.5, 4)).subplots()
    text().plot(ax=ax)
    assert len({t.get_position()[1] for t in ax.texts}) > 2


def test_several_outputs_need_a_choice():
    with pytest.raises(InvalidInput, match=r"2 outputs were explained \('y0', 'y1'\); choose one with output="):
        table(k=2).plot()
    assert table(k=2).plot(output="y1").patches[0].get_width() == -1.8


def test_methods_without_a_sign_are_not_red_and_blue():
    a = Attribution(**{**vars(image()), "values": np.abs(image().values), "method": "sobol"})
    assert a.plot().figure.axes[-1].get_ylim()[0] == 0.0


def test_series_and_bad_options():
    a = Attribution(
        np.array([1.0, -1.0]), 0.0, 0.0, kind="series", data=np.arange(6.0), layout={"spans": [[0, 3], [3, 6]]}
    )
    assert len(a.plot().patches) == 2
    with pytest.raises(InvalidInput, match="top must be at least 1"):
        table().plot(top=0)
    with pytest.raises(InvalidInput, match="limit must be > 0"):
        image().plot(limit=0)


class TestShapsOwnPlots:
    """`to_shap` is what shap's plots take."""

    def test_bar_and_waterfall(self):
        shap = pytest.importorskip("shap")
        ax = shap.plots.bar(table().to_shap(), show=False)
        assert any("c1" in t.get_text() for t in ax.get_yticklabels())
        ax = shap.plots.waterfall(table().to_shap(), show=False)
        assert any("c1" in t.get_text() for t in ax.get_yticklabels())

    def test_text(self):
        shap = pytest.importorskip("shap")
        page = shap.plots.text(text().to_shap(), display=False)
        assert "overall" in page

    def test_image(self):
        shap = pytest.importorskip("shap")
        e = image().to_shap()
        shap.image_plot(e.values[None], e.data[None].astype(float) / 255, show=False)
        assert pyplot.gcf().axes
