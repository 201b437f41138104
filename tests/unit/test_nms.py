from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.domain.detections import Detections
from inference.domain.letterbox import Letterbox
from inference.domain.nms import decode_yolo

UNTOUCHED = Letterbox(scale=1.0, pad_x=0, pad_y=0)
CLASSES = ("open", "short", "spur")


def raw_output(boxes: list[tuple[float, float, float, float]], scores: list[list[float]]) -> NDArray[np.float32]:
    """Boxes as x1 y1 x2 y2 and one row of scores each, as the model would answer them."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    centres, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return np.concatenate([centres, sizes, np.array(scores, np.float32).reshape(-1, len(CLASSES))], axis=1).T


def decoded(raw: NDArray[np.float32], placed: Letterbox = UNTOUCHED, **changed: float) -> Detections:
    settings = {"width": 100, "height": 100, "confidence": 0.25, "iou": 0.5, "max_detections": 300} | changed
    return decode_yolo(raw, placed, classes=CLASSES, **settings)  # type: ignore[arg-type]


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def by_brute_force(boxes: NDArray[np.float64], scores: NDArray[np.float64], confidence: float, iou: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda at: -scores[at].max()):
        label, score = scores[index].argmax(), scores[index].max()
        if score >= confidence and all(
            scores[other].argmax() != label or overlap(boxes[other], boxes[index]) <= iou for other in kept
        ):
            kept.append(index)
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([0.3, 0.5, 0.7]))
def test_same_boxes_survive_as_by_comparing_all_pairs(seed: int, count: int, iou: float) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (count, 2))], axis=1)
    scores = random.uniform(0, 1, (count, len(CLASSES)))
    expected = by_brute_force(boxes, scores, 0.4, iou)
    found = decoded(raw_output([tuple(box) for box in boxes], scores.tolist()), confidence=0.4, iou=iou)
    assert found.labels == tuple(CLASSES[scores[index].argmax()] for index in expected)
    np.testing.assert_allclose(found.confidences, scores[expected].max(axis=1) if expected else [], atol=1e-6)
    np.testing.assert_allclose(found.boxes, boxes[expected].reshape(-1, 4), atol=1e-3)


def test_overlapping_boxes_of_two_classes_both_stay() -> None:
    box = (10.0, 10.0, 50.0, 50.0)
    found = decoded(raw_output([box, box], [[0.9, 0, 0], [0, 0.8, 0]]))
    assert found.labels == ("open", "short")


def test_boxes_come_back_through_the_letterbox() -> None:
    placed = Letterbox(scale=0.5, pad_x=0, pad_y=40)
    found = decoded(raw_output([(10, 50, 30, 60)], [[0.9, 0, 0]]), placed, width=640, height=480)
    np.testing.assert_allclose(found.boxes, [[20, 20, 60, 40]])


def test_boxes_are_clipped_to_the_image_and_dropped_outside_it() -> None:
    found = decoded(raw_output([(-10, -20, 50, 120), (-30, -30, -5, -5)], [[0.9, 0, 0], [0, 0.8, 0]]))
    np.testing.assert_allclose(found.boxes, [[0, 0, 50, 100]])


def test_most_confident_come_first_and_only_so_many() -> None:
    boxes = [(float(x), 0.0, x + 5.0, 5.0) for x in range(0, 80, 10)]
    found = decoded(raw_output(boxes, [[0.3 + 0.05 * n, 0, 0] for n in range(len(boxes))]), max_detections=3)
    np.testing.assert_allclose(found.confidences, [0.65, 0.6, 0.55], atol=1e-6)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [4], range(7)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_never_reach_a_box(rows: list[int], value: float) -> None:
    raw = raw_output([(10, 10, 50, 50), (60, 60, 90, 90)], [[0.9, 0, 0], [0, 0.8, 0]])
    raw[list(rows), 0] = value
    found = decoded(raw)
    assert np.isfinite(found.boxes).all()
    assert "short" in found.labels


def test_an_output_where_everything_fires_takes_bounded_time() -> None:
    random = np.random.default_rng(0)
    raw = random.uniform(0, 1, (7, 34_000)).astype(np.float32)
    raw[:2] *= 4000
    assert len(decoded(raw, width=4000, height=4000)) == 300


def test_an_output_of_another_model_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 classes need"):
        decoded(np.zeros((84, 10), np.float32))


def test_detections_of_unequal_length_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="2 labels"):
        Detections(labels=("a", "b"), confidences=np.zeros(1, np.float32), boxes=np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="float32"):
        Detections(labels=("a",), confidences=np.zeros(1), boxes=np.zeros((1, 4)))  # type: ignore[arg-type]
