from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from inference.delivery.evaluation import (
    Truth,
    average_precision,
    calibration_error,
    evaluate,
)
from inference.domain.detections import Detections
from inference.domain.overlap import overlaps

A, B, FAR = (10, 10, 50, 50), (100, 100, 140, 140), (300, 300, 340, 340)
HALF = (10, 10, 50, 30)  # IoU 0.5 with A


def found(*each: tuple[str, float, tuple[int, int, int, int]]) -> Detections:
    each = tuple(sorted(each, key=lambda item: -item[1]))
    return Detections(
        labels=tuple(item[0] for item in each),
        confidences=np.array([item[1] for item in each], np.float32),
        boxes=np.array([item[2] for item in each], np.float32).reshape(-1, 4),
    )


def truth(*each: tuple[str, tuple[int, int, int, int]]) -> Truth:
    boxes = np.array([item[1] for item in each], np.float32).reshape(-1, 4)
    return Truth(labels=tuple(item[0] for item in each), boxes=boxes)


def test_finding_everything_and_nothing_else_is_one() -> None:
    result = evaluate(
        [(found(("open", 0.9, A), ("short", 0.8, B)), truth(("open", A), ("short", B)))], ["open", "short"]
    )
    assert result.overall.ap50 == pytest.approx(1)
    assert result.overall.ap50_95 == pytest.approx(1)
    assert result.overall.precision == 1
    assert result.overall.recall == 1
    assert result.overall.labels == 2


def test_finding_nothing_is_zero() -> None:
    result = evaluate([(Detections.empty(), truth(("open", A)))], ["open"])
    assert result.overall.ap50 == 0
    assert result.overall.recall == 0
    assert isnan(result.overall.precision)


def test_a_class_that_is_nowhere_does_not_count_in_the_mean() -> None:
    result = evaluate([(found(("open", 0.9, A)), truth(("open", A)))], ["open", "short"])
    assert isnan(result.classes[1].ap50)
    assert result.overall.ap50 == pytest.approx(1)


def test_the_right_box_with_the_wrong_label_finds_nothing() -> None:
    result = evaluate([(found(("short", 0.9, A)), truth(("open", A)))], ["open", "short"])
    assert result.overall.ap50 == 0
    assert result.classes[1].precision == 0


def test_the_right_box_in_another_image_finds_nothing() -> None:
    result = evaluate([(found(("open", 0.9, A)), truth()), (Detections.empty(), truth(("open", A)))], ["open"])
    assert result.overall.ap50 == 0


def test_a_second_box_on_the_same_defect_is_a_false_alarm() -> None:
    result = evaluate([(found(("open", 0.9, A), ("open", 0.8, A)), truth(("open", A)))], ["open"])
    assert result.overall.precision == 0.5
    assert result.overall.recall == 1
    assert result.overall.ap50 == pytest.approx(1)  # the false alarm comes after full recall


def test_a_false_alarm_ranked_first_costs_precision_over_the_whole_curve() -> None:
    result = evaluate([(found(("open", 0.9, FAR), ("open", 0.8, A)), truth(("open", A)))], ["open"])
    assert result.overall.ap50 == pytest.approx(0.5)


def test_half_an_overlap_counts_at_half_and_not_above() -> None:
    result = evaluate([(found(("open", 0.9, HALF)), truth(("open", A)))], ["open"])
    assert result.overall.ap50 == pytest.approx(1)
    assert result.overall.ap50_95 == pytest.approx(0.1)  # one of ten thresholds


def test_precision_and_recall_are_read_at_the_models_threshold() -> None:
    images = [(found(("open", 0.9, A), ("open", 0.1, FAR)), truth(("open", A), ("open", B)))]
    result = evaluate(images, ["open"], confidence=0.25)
    assert result.overall.precision == 1
    assert result.overall.recall == 0.5


def test_average_precision_of_a_known_ranking() -> None:
    # Hits at ranks 1 and 3 of two labels: precision 1 up to recall 0.5 (51 of 101 points), then 2/3 (50 points).
    assert average_precision(np.array([True, False, True]), 2) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_overlap_of_touching_and_of_empty_boxes_is_zero() -> None:
    one = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], np.float32)
    other = np.array([[10, 0, 20, 10], [5, 5, 5, 5], [0, 0, 10, 5]], np.float32)
    assert overlaps(one, other).tolist() == [[0, 0, 0.5], [0, 0, 0]]


def test_an_honest_confidence_has_no_calibration_error() -> None:
    assert calibration_error(np.full(10, 0.75), np.array([True] * 3 + [False])[np.arange(10) % 4]) < 0.06
    assert calibration_error(np.full(10, 0.95), np.zeros(10, bool)) == pytest.approx(0.95)
    assert isnan(calibration_error(np.empty(0), np.empty(0, bool)))
