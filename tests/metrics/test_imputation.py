"""Noisy linear imputation and replacement operators."""

from __future__ import annotations

import time

import numpy as np
import pytest

from blackbox_xai.errors import InvalidInput
from blackbox_xai.metrics import deletion, noisy_linear, replaced
from blackbox_xai.metrics.imputation import _dissection
from blackbox_xai.players import Blur, Columns, ImagePixels, ImageSegments, Words

RNG = np.random.default_rng(0)


def test_constant_image_is_reproduced():
    image = np.full((20, 17, 3), 0.3)
    filled = noisy_linear(image, RNG.random((20, 17)) < 0.2, noise=0)
    np.testing.assert_allclose(filled, image, atol=1e-14)


def test_ramp_inside_is_exact_and_at_the_border_is_not():
    image = np.repeat((0.05 * np.arange(20.0))[:, None, None], 20, axis=1)
    inside, corner = np.ones((20, 20), bool), np.ones((20, 20), bool)
    inside[5:11, 7:13] = False
    corner[:5, :5] = False
    np.testing.assert_allclose(noisy_linear(image, inside, noise=0), image, atol=1e-14)
    assert np.abs(noisy_linear(image, corner, noise=0) - image).max() == pytest.approx(0.165, abs=5e-4)


def test_small_cases_by_hand():
    image = np.arange(1.0, 10).reshape(3, 3, 1)
    keep = np.ones((3, 3), bool)
    keep[1, 1] = False
    assert noisy_linear(image, keep, noise=0)[1, 1, 0] == pytest.approx(5.0)
    keep = np.ones((3, 3), bool)
    keep[0, 0] = False
    assert noisy_linear(image, keep, noise=0)[0, 0, 0] == pytest.approx((2 / 6 + 4 / 6 + 5 / 12) / (5 / 12))  # 3.4


def test_against_a_dense_solve():
    image, keep = RNG.random((7, 9, 2)), RNG.random((7, 9)) < 0.4
    unknown = [tuple(p) for p in np.argwhere(~keep)]
    matrix, right = np.zeros((len(unknown),) * 2), np.zeros((len(unknown), 2))
    for i, (y, x) in enumerate(unknown):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                q = (y + dy, x + dx)
                if (dy, dx) == (0, 0) or not (0 <= q[0] < 7 and 0 <= q[1] < 9):
                    continue
                w = 1 / 12 if dy and dx else 1 / 6
                matrix[i, i] += w
                if keep[q]:
                    right[i] += w * image[q]
                else:
                    matrix[i, unknown.index(q)] -= w
    filled = noisy_linear(image, keep, noise=0)
    np.testing.assert_allclose(filled[~keep], np.linalg.solve(matrix, right), atol=1e-12)
    np.testing.assert_array_equal(filled[keep], image[keep])
    assert filled.min() >= image[keep].min() - 1e-12
    assert filled.max() <= image[keep].max() + 1e-12


def test_noise_has_its_size_and_seed():
    image, keep = np.full((40, 40, 3), 0.5), np.zeros((40, 40), bool)
    keep[0, 0] = True
    draws = np.stack([noisy_linear(image, keep, noise=0.01, seed=s)[~keep] for s in range(20)])
    assert draws.std() == pytest.approx(0.01, rel=0.01)
    np.testing.assert_array_equal(draws[3], noisy_linear(image, keep, noise=0.01, seed=3)[~keep])


def test_nothing_and_everything_unknown():
    image = RNG.random((6, 6, 3))
    np.testing.assert_array_equal(noisy_linear(image, np.ones((6, 6), bool)), image)
    gone = noisy_linear(image, np.zeros((6, 6), bool), noise=0)
    np.testing.assert_allclose(gone, np.broadcast_to(image.mean(axis=(0, 1)), image.shape))
    with pytest.raises(InvalidInput, match="keep"):
        noisy_linear(image, np.ones((5, 6), bool))


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 3), (17, 23)])
def test_dissection_is_an_order_of_the_grid(shape):
    np.testing.assert_array_equal(np.sort(_dissection(*shape)), np.arange(shape[0] * shape[1]))


@pytest.mark.slow
def test_224_takes_less_than_three_tenths_of_a_second():
    image = RNG.random((224, 224, 3))
    masks = [RNG.random((224, 224)) > share for share in (0.5, 0.9, 0.98)]
    masks.append(np.kron(RNG.random((14, 14)) > 0.9, np.ones((16, 16))) > 0)
    for keep in masks:
        best = np.inf
        for _ in range(5):
            begin = time.process_time()
            noisy_linear(image, keep)
            best = min(best, time.process_time() - begin)
        assert best < 0.3


def test_operators_change_the_replacement_and_nothing_else():
    image = RNG.integers(0, 255, (12, 12, 3), dtype=np.uint8)
    pixels = ImagePixels(image, "black")
    seen = {}
    for name in ("blur", "mean", "black", "grey", "noise", "noisy_linear", 40, (1, 2, 3), Blur(5.0)):
        other = replaced(pixels, name)
        curve = deletion(lambda b: np.asarray(b, float).mean(axis=(1, 2, 3)), other, np.arange(144), steps=4, target=0)
        seen[str(name)] = curve.values
        assert curve.values[0] == pytest.approx(image.mean())
    assert seen["black"][-1] == 0
    assert seen["40"][-1] == 40
    assert seen["mean"][-1] == pytest.approx(image.mean(), abs=1)
    assert len({tuple(v) for v in seen.values()}) == 9
    np.testing.assert_array_equal(pixels.baseline, 0)
    segments = ImageSegments(image, "black", segments=np.arange(144).reshape(12, 12) // 36)
    line = deletion(
        lambda b: np.asarray(b, float).std(axis=(1, 2, 3)), replaced(segments, "noisy_linear"), [4, 3, 2, 1], stride=1
    )
    assert np.isfinite(line.values).all()
    with pytest.raises(InvalidInput, match="unknown for images"):
        replaced(pixels, "sepia")


def test_text_operators():
    words = Words("a b c")
    texts = []
    deletion(lambda b: texts.extend(b) or [0.0] * len(b), replaced(words, "[MASK]"), [3, 2, 1], stride=1)
    assert texts == ["[MASK] [MASK] [MASK]", "a b c", "[MASK] b c", "[MASK] [MASK] c"]
    texts.clear()
    deletion(lambda b: texts.extend(b) or [0.0] * len(b), replaced(words, "remove"), [3, 2, 1], stride=1)
    assert texts == ["", "a b c", "b c", "c"]


def test_table_operators():
    background = RNG.normal(2.0, 3.0, (400, 3))
    background[:, 1] = background[:, 0] + 0.1 * RNG.normal(size=400)
    row = np.array([1.0, -4.0, 5.0])
    parts = Columns(row, background)
    assert parts.noisy

    def first_two(b):
        return np.asarray(b)[:, :2].copy()

    order = [0, 1, 0]  # removes column 1 first
    mean = deletion(first_two, replaced(parts, "mean"), order, stride=1, target=1)
    assert mean.values[1] == pytest.approx(background[:, 1].mean())
    average = replaced(parts, "marginal", background=background[:50])
    assert average.cost == 50
    assert deletion(first_two, average, order, stride=1, target=1).values[1] == pytest.approx(background[:50, 1].mean())
    drawn = [
        deletion(first_two, replaced(parts, "noise", background=background, seed=s), order, stride=1, target=1).values[
            1
        ]
        for s in range(300)
    ]
    assert np.mean(drawn) == pytest.approx(background[:, 1].mean(), abs=4 * np.std(drawn) / 300**0.5)
    assert np.std(drawn) == pytest.approx(background[:, 1].std(), rel=0.15)
    given = [
        deletion(
            first_two, replaced(parts, "gaussian_conditional", background=background, seed=s), order, stride=1, target=1
        ).values[1]
        for s in range(100)
    ]
    assert np.mean(given) == pytest.approx(1.0, abs=0.1)  # column 1 follows column 0, which is 1
    assert np.std(given) == pytest.approx(0.105, rel=0.3)
