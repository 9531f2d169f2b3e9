"""Players: coalitions become the inputs they should, and bad inputs are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_xai import InvalidInput, Masks
from blackbox_xai.players import Blur, Columns, Constant, ImagePixels, ImageSegments, Spans, Words

rng = np.random.default_rng(0)
PHOTO = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)


def realise(players: Any, dense: Any, **place: Any) -> Any:
    masks = Masks.from_dense(np.atleast_2d(np.array(dense, bool)), **place)
    return players.realise(masks, np.arange(len(masks) * players.cost))


def test_pixels() -> None:
    p = ImagePixels(PHOTO, "black")
    dense = rng.random((3, 192)) < 0.5
    expected = np.where(dense.reshape(3, 12, 16, 1), PHOTO, 0)
    assert np.array_equal(realise(p, dense), expected)
    assert realise(p, dense).dtype == np.uint8
    out = np.empty((2, 12, 16, 3), np.uint8)
    again = p.realise(Masks.from_dense(dense), np.array([2, 0]), out)
    assert again is out
    assert np.array_equal(out, expected[[2, 0]])


def test_soft_masks_mix_linearly() -> None:
    p = ImagePixels(PHOTO, 0.0)
    levels = rng.integers(0, 256, (2, 192), dtype=np.uint8)
    got = p.realise(Masks(levels, 192, 8), np.arange(2))
    exact = PHOTO * (levels.reshape(2, 12, 16, 1) / 255)
    assert np.abs(got - exact).max() <= 0.5 + 1e-3


def test_segments_and_their_dummies() -> None:
    labels = np.repeat([[7, 7, 3, 9]], 12, axis=0).repeat(4, axis=1)
    image = PHOTO.copy()
    image[:, 12:] = 0  # segment 9 equals the baseline
    p = ImageSegments(image, "black", segments=labels)
    assert p.n_players == 3
    assert p.dummies().tolist() == [False, False, True]
    q = p.restrict(np.array([0, 1]))
    got = realise(q, [[True, False]])[0]  # players in order of label: 3, 7
    assert np.array_equal(got, np.where((labels == 3)[..., None], image, 0))
    assert q.spread(np.array([1.0, 2.0]))[0].tolist() == [2.0] * 8 + [1.0] * 4 + [0.0] * 4


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((4, 4, 4), np.uint8), "alpha"),
        (np.zeros((3, 8, 8), np.uint8), "Channels come last"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.zeros((0, 4, 3), np.uint8), "image"),
    ],
)
def test_bad_image_arrays(image: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        ImagePixels(image)


def test_pil_modes() -> None:
    from PIL import Image

    grey = Image.fromarray(PHOTO[..., 0])
    assert ImagePixels(grey).image.shape == (12, 16, 3)
    opaque = Image.fromarray(PHOTO).convert("RGBA")
    assert np.array_equal(ImagePixels(opaque).image, PHOTO)
    opaque.putalpha(100)
    with pytest.raises(InvalidInput, match="transparent"):
        ImagePixels(opaque)
    with pytest.raises(InvalidInput, match="16 or 32 bits"):
        ImagePixels(Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 200))


def test_image_baselines() -> None:
    assert np.array_equal(ImagePixels(PHOTO, (1, 2, 3)).baseline[5, 5], [1, 2, 3])
    assert np.array_equal(ImagePixels(PHOTO, PHOTO // 2).baseline, PHOTO // 2)
    mean = ImagePixels(PHOTO, "mean").baseline[0, 0]
    assert np.abs(mean - PHOTO.reshape(-1, 3).mean(0)).max() <= 0.5
    assert ImagePixels(PHOTO, Blur(sigma=3)).baseline.std() < PHOTO.std() / 4
    for bad in ("blurr", (1, 2), PHOTO[:4]):
        with pytest.raises(InvalidInput):
            ImagePixels(PHOTO, bad)
    with pytest.raises(InvalidInput, match="sigma"):
        ImagePixels(PHOTO, Blur(sigma=0))
    assert ImagePixels(PHOTO, Constant(0)).dummies().sum() == (PHOTO == 0).all(2).sum()
    np.testing.assert_allclose(ImagePixels(PHOTO, Constant(0)).contrast(), PHOTO.mean(axis=2).ravel())


def test_words_and_removal() -> None:
    text = "A  good film,\nreally good!"
    p = Words(text)
    assert p.names == ("A", "good", "film,", "really", "good!")
    assert realise(p, [[1, 1, 1, 1, 1]]) == [text]
    assert realise(p, [[0, 1, 1, 0, 1]]) == ["good film,\ngood!"]
    assert realise(p, [[0, 0, 0, 0, 0]]) == [""]
    assert realise(Words(text, "[MASK]"), [[1, 0, 1, 1, 0]]) == ["A  [MASK] film,\nreally [MASK]"]
    assert realise(Words("one", empty="."), [[0]]) == ["."]
    for bad in ("", "  \n"):
        with pytest.raises(InvalidInput, match="empty"):
            Words(bad)
    with pytest.raises(InvalidInput, match="in order"):
        Spans("abc", [(0, 2), (1, 3)])


@given(st.lists(st.sampled_from(["a", "bb", "ccc,", "ü", "日本"]), min_size=1, max_size=8), st.data())
def test_removal_leaves_the_words_that_are_present(words: list[str], data: Any) -> None:
    p = Words(" ".join(words))
    keep = data.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
    assert realise(p, [keep]) == [" ".join(w for w, k in zip(words, keep) if k)]


def test_coalitions_that_read_the_same_are_one() -> None:
    p = Words("no no yes")
    keys = p.keys(Masks.from_dense(np.array([[1, 0, 1], [0, 1, 1], [1, 1, 1]], bool)))
    assert keys[0] == keys[1] != keys[2]


def test_restricted_words_stay_in_the_text() -> None:
    p = Words("a b c", "b").restrict(np.array([0, 2]))
    assert p.names == ("a", "c")
    assert realise(p, [[0, 1]]) == ["b b c"]
    assert Words("a b c", "b").dummies().tolist() == [False, True, False]


def test_columns_of_an_array_and_groups() -> None:
    p = Columns([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], groups={"pair": [0, 2]})
    assert p.names == ("pair", "1")
    assert realise(p, [[1, 0], [0, 1]]).tolist() == [[1, 0, 3], [0, 2, 0]]
    with pytest.raises(InvalidInput, match="two groups"):
        Columns([1.0, 2.0], [0.0, 0.0], groups={"a": [0], "b": [0]})
    with pytest.raises(InvalidInput, match="not in the row"):
        Columns([1.0, 2.0], [0.0, 0.0], groups={"a": [5]})
    with pytest.raises(InvalidInput, match="needs a baseline"):
        Columns([1.0, 2.0], None)
    with pytest.raises(InvalidInput, match="NaN or infinity in column 1"):
        Columns([1.0, np.nan], [0.0, 0.0])
    with pytest.raises(InvalidInput, match="has 3 columns"):
        Columns([1.0, 2.0], [0.0, 0.0, 0.0])


def test_columns_of_a_frame_of_mixed_types() -> None:
    pd = pytest.importorskip("pandas")
    data = pd.DataFrame({"age": [30, 40], "city": ["Rome", "Oslo"], "rate": [0.5, 0.7]})
    p = Columns(data.iloc[[0]], data.iloc[[1]])
    got = realise(p, [[1, 0, 1], [0, 1, 0]])
    assert list(got.columns) == ["age", "city", "rate"]
    assert got.dtypes.tolist() == data.dtypes.tolist()
    assert got.to_numpy().tolist() == [[30, "Oslo", 0.5], [40, "Rome", 0.7]]
    assert Columns(data.iloc[0], data.iloc[1]).names == ("age", "city", "rate")
    same = Columns(data.iloc[[0]], data.assign(city="Rome").iloc[[1]])
    assert same.dummies().tolist() == [False, True, False]
    with pytest.raises(InvalidInput, match="lacks the columns"):
        Columns(data.iloc[[0]], data[["age"]])


def test_background_rows_belong_to_groups() -> None:
    background = np.arange(5.0)[:, None] + 100
    p = Columns([1.0], background, seed=3)
    assert (p.cost, p.noisy) == (1, 5)
    dense = np.zeros((40, 1), bool)
    got = realise(p, dense, start=0, group=2).ravel()
    assert (got[::2] == got[1::2]).all()
    assert len(set(got)) == 5
    later = realise(p, dense[:10], start=20, group=2).ravel()
    assert np.array_equal(later, got[20:30])
    ends = realise(p, [[0], [0], [0], [1]], start=-4).ravel()
    assert sorted(ends[:3]) == [100, 101, 102]
    assert ends[3] == 1
    every = Columns([1.0], background, all_rows=True)
    assert (every.cost, every.noisy) == (5, 0)
    assert realise(every, [[0], [1]]).ravel().tolist() == [100, 101, 102, 103, 104, 1, 1, 1, 1, 1]
