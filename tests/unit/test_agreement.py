"""How far two models agree, on boxes that a person can check by looking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.domain.agreement import Agreement, agreement, pair
from inference.domain.detections import NOTHING, Detections

Box = tuple[float, float, float, float]
HERE: Box = (0, 0, 10, 10)
THERE: Box = (100, 100, 120, 120)
ELSEWHERE: Box = (300, 300, 330, 330)


def seen(*found: tuple[str, Box] | tuple[str, Box, float]) -> Detections:
    return Detections(
        labels=tuple(one[0] for one in found),
        confidences=np.array([one[2] if len(one) == 3 else 0.9 for one in found], np.float32),
        boxes=np.array([one[1] for one in found], np.float32).reshape(-1, 4),
    )


def test_every_kind_of_difference_is_counted_once() -> None:
    champion = seen(("open", HERE), ("short", THERE), ("spur", ELSEWHERE))
    challenger = seen(("open", HERE, 0.8), ("mousebite", THERE), ("copper", (500, 500, 510, 510)))
    found = agreement([(champion, challenger)])
    assert found == Agreement(
        frames=1, agreed=1, label_flips=1, missing=1, extra=1, confidence_shift=found.confidence_shift
    )
    assert found.share == pytest.approx(0.25)
    assert found.confidence_shift == pytest.approx(-0.1)


def test_a_model_agrees_with_itself() -> None:
    champion = seen(("open", HERE), ("open", (2, 2, 12, 12)), ("short", THERE))
    found = agreement([(champion, champion)] * 3)
    assert (found.share, found.frames, found.agreeing_frames, found.confidence_shift) == (1.0, 3, 3, 0.0)


def test_frames_without_a_box_agree_and_no_frame_is_no_agreement() -> None:
    assert agreement([(NOTHING, NOTHING)]) == Agreement(frames=1, agreeing_frames=1)
    assert agreement([(NOTHING, NOTHING)]).share == 1.0
    assert agreement([]).share is None
    assert agreement([(seen(("open", HERE)), NOTHING)]).share == 0.0
    assert agreement([(NOTHING, seen(("open", HERE)))]).extra == 1


def test_the_largest_overlap_is_paired_first_and_each_box_once() -> None:
    first = np.array([[0, 0, 10, 10], [3, 0, 13, 10]], np.float32)
    second = np.array([[3, 0, 13, 10], [0, 0, 10, 10], [1, 0, 11, 10]], np.float32)
    assert sorted(pair(first, second)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(("shift", "is_pair"), [(3.3, True), (3.4, False)])  # IoU 0.504 and 0.493
def test_boxes_are_a_pair_from_half_an_overlap_on(shift: float, is_pair: bool) -> None:
    moved = np.array([[shift, 0, 10 + shift, 10]], np.float32)
    assert bool(pair(np.array([HERE], np.float32), moved)) is is_pair


def test_boxes_without_an_area_are_nobodys_pair() -> None:
    point = np.array([[5, 5, 5, 5]], np.float32)
    assert pair(point, point) == []


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    corners = draw(st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 20)] * 2), max_size=6))
    return seen(*[(draw(st.sampled_from("ab")), (x, y, x + w, y + h)) for x, y, w, h in corners])


@given(st.lists(st.tuples(detections(), detections()), max_size=4))
def test_every_box_is_counted_on_its_side(pairs: list[tuple[Detections, Detections]]) -> None:
    found = agreement(pairs)
    assert found.agreed + found.label_flips + found.missing == sum(len(first) for first, _ in pairs)
    assert found.agreed + found.label_flips + found.extra == sum(len(second) for _, second in pairs)
    turned = agreement([(second, first) for first, second in pairs])
    assert (turned.share, turned.missing, turned.extra) == (found.share, found.extra, found.missing)
