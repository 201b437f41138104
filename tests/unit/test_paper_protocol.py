from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from inference.delivery.paper_protocol import area_under, best_confidence, evaluate_paper
from tests.unit.test_evaluation import FAR, A, B, found, truth

# 100 x 100 at the origin, and boxes 100 wide and as high as their share of it: IoU is that share.
WHOLE = (0, 0, 100, 100)
AT_THE_LIMIT, ABOVE_IT = (0, 0, 100, 33), (0, 0, 100, 34)


def test_a_box_counts_above_an_overlap_of_a_third_and_not_at_it() -> None:
    for box, expected in ((AT_THE_LIMIT, 0.0), (ABOVE_IT, 1.0)):
        result = evaluate_paper([(found(("open", 0.9, box)), truth(("open", WHOLE)))], ["open"], confidence=0.5)
        assert (result.mean_ap, result.recall) == (expected, expected)


def test_average_precision_is_the_whole_area_of_a_known_ranking() -> None:
    # Hit, miss, hit of three labels: recall 1/3 at precision 1, 2/3 at 2/3, never 1.
    assert area_under(np.array([True, False, True]), 3) == pytest.approx((1 + 2 / 3) / 3)
    # A miss first: precision rises from 0 to 1/2, 2/3; made monotonic both hits count with 2/3.
    assert area_under(np.array([False, True, True]), 2) == pytest.approx(2 / 3)
    assert area_under(np.array([], bool), 2) == 0
    assert isnan(area_under(np.array([], bool), 0))


def test_mean_ap_is_the_mean_over_types_and_the_f_score_over_all_boxes() -> None:
    images = [
        (found(("open", 0.9, A), ("short", 0.8, FAR)), truth(("open", A), ("open", B), ("short", A))),
        (found(("short", 0.7, B)), truth(("short", B))),
    ]
    result = evaluate_paper(images, ["open", "short", "spur"], confidence=0.5)
    assert result.ap["open"] == pytest.approx(1 / 2)
    assert result.ap["short"] == pytest.approx((1 / 2) / 2)  # a miss, then one of two at precision 1/2
    assert isnan(result.ap["spur"])
    assert result.mean_ap == pytest.approx(3 / 8)
    assert (result.precision, result.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 4))
    assert result.f_score == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))


def test_the_f_score_is_read_at_the_confidence_given() -> None:
    images = [(found(("open", 0.9, A), ("open", 0.4, FAR)), truth(("open", A)))]
    assert evaluate_paper(images, ["open"], confidence=0.5).f_score == 1
    assert evaluate_paper(images, ["open"], confidence=0.3).f_score == pytest.approx(2 / 3)


def test_a_second_box_on_one_defect_and_a_wrong_type_are_errors() -> None:
    images = [(found(("open", 0.9, A), ("open", 0.8, A), ("short", 0.7, A)), truth(("open", A)))]
    result = evaluate_paper(images, ["open", "short"], confidence=0.5)
    assert result.precision == pytest.approx(1 / 3)
    assert result.recall == 1


def test_the_best_confidence_parts_the_right_from_the_wrong() -> None:
    images = [
        (found(("open", 0.9, A), ("short", 0.6, B)), truth(("open", A), ("short", B))),
        (found(("open", 0.4, FAR), ("short", 0.1, A)), truth(("short", A))),
    ]
    # Taken down to 0.6: 2 right, F = 2*2/(2+3) = 0.8. Down to 0.1: 3 right of 4, F = 6/7. The last one is the best.
    assert best_confidence(images, ["open", "short"]) == pytest.approx(0.05)
    assert best_confidence(images[:1], ["open", "short"]) == pytest.approx(0.3)
    # A third false alarm between them: down to 0.1 it is 3 right of 6, F = 6/9: below 0.8.
    worse = [*images, (found(("open", 0.3, FAR), ("open", 0.25, B)), truth())]
    assert best_confidence(worse, ["open", "short"]) == pytest.approx(0.5)


def test_detections_of_equal_confidence_are_taken_together() -> None:
    images = [(found(("open", 0.5, A), ("open", 0.5, FAR)), truth(("open", A)))]
    assert best_confidence(images, ["open"]) == pytest.approx(0.25)


def test_without_a_right_detection_there_is_no_best_confidence() -> None:
    with pytest.raises(ValueError, match="train longer"):
        best_confidence([(found(("open", 0.5, FAR)), truth(("open", A)))], ["open"])
