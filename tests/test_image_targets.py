"""Pictures end to end: contrastive targets, several classes at once, detectors, early ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blackbox_xai import InvalidInput, explain
from blackbox_xai.estimators import StableOrder

IMAGE = np.full((32, 40, 3), 200, np.uint8)
CALLS: list[int] = []


def two_spots(batch: Any) -> Any:
    """Class 0 sees the left spot, class 1 the right one; class 2 is the rest."""
    CALLS.append(len(batch))
    left = batch[:, 10:20, 5:15, 0].mean(axis=(1, 2)) / 200
    right = batch[:, 12:22, 25:35, 0].mean(axis=(1, 2)) / 200
    scores = np.stack([4 * left, 4 * right, np.full(len(batch), 2.0)], axis=1)
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


def spots(values: Any) -> tuple[float, float]:
    """Mean value in the left and the right spot, over the largest."""
    grid = values.reshape(32, 40) / np.abs(values).max()
    return float(grid[10:20, 5:15].mean()), float(grid[12:22, 25:35].mean())


def test_contrast_of_two_classes() -> None:
    got = explain(two_spots, IMAGE, budget=200, baseline="black", target=lambda s: s[:, 0] - s[:, 1])
    left, right = spots(got.values)
    assert left > 0.3
    assert right < -0.3


def test_five_maps_for_the_price_of_one() -> None:
    CALLS.clear()
    got = explain(two_spots, IMAGE, budget=300, baseline="black", target=[0, 1])
    assert sum(CALLS) <= 300
    (left0, right0), (left1, right1) = spots(got.values[:, 0]), spots(got.values[:, 1])
    assert left0 > right0 + 0.3
    assert right1 > left1 + 0.3


def test_a_run_ends_when_the_order_is_stable() -> None:
    got = explain(
        two_spots, IMAGE, budget=3000, baseline="black", target=0, until=StableOrder(share=0.1, agree=0.8, looks=2)
    )
    assert got.status == "complete: until"
    assert got.ledger["scored"] < 2500
    assert spots(got.values)[0] > 0.4
    rule = StableOrder(agree=1.0, looks=1, least=0)
    assert not rule(_estimate([3.0, 2.0, 1.0, 0.0] * 5))
    assert rule(_estimate([9.0, 2.0, 1.0, 0.0] * 5))
    assert not rule(_estimate([0.0, 2.0, 9.0, 0.0] * 5))
    with pytest.raises(InvalidInput, match="share must lie"):
        StableOrder(share=1.0)


def _estimate(values: list[float]) -> Any:
    from blackbox_xai.estimators import Estimate

    return Estimate(np.array(values), 0.0, 1.0, None, 500)


@pytest.mark.slow
def test_a_detection_is_a_target() -> None:
    """The score of one detection: over the boxes, overlap with the first answer's best box times its class's score."""
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchvision.models.detection")
    from torchvision.ops import box_iou

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5, score_thresh=0.0, detections_per_img=20, topk_candidates=20
    ).eval()
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)

    def boxes(batch: Any) -> Any:
        x = torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return model(list(x))

    first = boxes(image[None])[0]
    best = int(first["scores"].argmax())
    box, label = first["boxes"][best : best + 1], first["labels"][best]

    def score(batch: Any) -> Any:
        """(rows, 2): the detection's score, and how many boxes there are."""
        found = boxes(batch)
        same = [(box_iou(f["boxes"], box)[:, 0] * f["scores"] * (f["labels"] == label)) for f in found]
        return np.array([[float(s.max()) if len(s) else 0.0, float(len(s))] for s in same])

    got = explain(score, image, budget=80, target=0, batch_size=16)
    assert got.method == "smoothgp"
    assert got.values.shape == (64 * 64,)
    assert got.full_values == pytest.approx(float(first["scores"][best]), abs=1e-5)
    assert got.ledger["scored"] <= 80
