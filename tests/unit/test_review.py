"""What can be said of a frame, and which frame is asked about next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.errors import Rejected
from inference.domain.detections import Detections
from inference.domain.review import (
    MOST_BOXES,
    Candidate,
    LabelledBox,
    Purpose,
    Review,
    Verdict,
    check,
    disagreement,
    doubt,
    rank,
    usefulness,
)

BOX = LabelledBox(label="open", box=(1.0, 2.0, 30.0, 40.0))


def a_review(**changes: Any) -> Review:
    given: dict[str, Any] = {
        "frame_id": "f",
        "reviewer": "ann",
        "reviewer_name": "Ann",
        "verdict": Verdict.CORRECTED,
        "boxes": (BOX,),
    }
    return Review(**(given | changes))


def checked(review: Review, **changes: Any) -> None:
    given: dict[str, Any] = {"width": 64, "height": 48, "part": "train", "known_labels": {"open", "short"}}
    check(review, **(given | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"boxes": (replace(BOX, box=(0.0, 0.0, 64.0, 48.0)),)},
        {"boxes": (replace(BOX, box=(1e-46, 0.0, 64.0 + 1e-9, 48.0)),)},
        {"verdict": Verdict.EMPTY, "boxes": ()},
        {"verdict": Verdict.UNUSABLE, "boxes": ()},
        {"verdict": Verdict.ACCEPTED, "boxes": (), "model_version": "3"},
    ],
)
def test_what_fits_is_taken(changes: dict[str, Any]) -> None:
    checked(a_review(**changes))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"boxes": (replace(BOX, box=(1.0, 2.0, 64.5, 40.0)),)}, "box_outside"),
        ({"boxes": (replace(BOX, box=(-0.5, 2.0, 6.0, 40.0)),)}, "box_outside"),
        ({"boxes": (replace(BOX, box=(1.0, 2.0, 6.0, 48.5)),)}, "box_outside"),
        ({"boxes": (replace(BOX, box=(6.0, 2.0, 6.0, 4.0)),)}, "box_outside"),
        ({"boxes": (replace(BOX, box=(7.0, 2.0, 6.0, 4.0)),)}, "box_outside"),
        ({"boxes": (replace(BOX, box=(1.0, float("nan"), 6.0, 4.0)),)}, "box_outside"),
        ({"boxes": (replace(BOX, box=(6.0, 2.0, 6.0 + 1e-9, 4.0)),)}, "box_outside"),
        ({"boxes": (replace(BOX, box=(0.0, 0.0, 1e-46, 4.0)),)}, "box_outside"),
        ({"boxes": (replace(BOX, box=(0.0, 0.0, 1e300, 4.0)),)}, "box_outside"),
        ({"boxes": (replace(BOX, label="opne"),)}, "unknown_label"),
        ({"boxes": ()}, "no_boxes"),
        ({"boxes": (BOX,) * (MOST_BOXES + 1)}, "too_many_boxes"),
        ({"verdict": Verdict.EMPTY}, "boxes_given"),
        ({"verdict": Verdict.UNUSABLE}, "boxes_given"),
        ({"verdict": Verdict.ACCEPTED, "model_version": "3"}, "boxes_given"),
        ({"verdict": Verdict.ACCEPTED, "boxes": ()}, "no_model_version"),
        ({"purpose": Purpose.GATE}, "not_in_gate"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_code(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as refused:
        checked(a_review(**changes))
    assert refused.value.code == code


def test_the_gate_set_takes_only_what_was_said_from_an_empty_page() -> None:
    checked(a_review(purpose=Purpose.GATE), part="gate")
    for changes in ({"model_version": "3"}, {"verdict": Verdict.ACCEPTED, "boxes": (), "model_version": "3"}):
        with pytest.raises(Rejected) as refused:
            checked(a_review(purpose=Purpose.GATE, **changes), part="gate")
        assert refused.value.code == "not_from_an_empty_page"


def test_without_a_list_every_label_is_known() -> None:
    checked(a_review(boxes=(replace(BOX, label="scratch"),)), known_labels=None)


def seen(*confidences: float, labels: tuple[str, ...] = (), shift: float = 0.0) -> Detections:
    return Detections.of(
        labels or ("open",) * len(confidences),
        confidences,
        [(50.0 * n + shift, 0.0, 50.0 * n + 40.0 + shift, 40.0) for n in range(len(confidences))],
    )


def test_doubt_is_greatest_at_the_threshold_and_falls_to_both_sides() -> None:
    assert doubt([0.25], threshold=0.25) == 1.0
    assert doubt([1.0], threshold=0.25) == 0.0
    assert doubt([0.0], threshold=0.25) == 0.0
    assert doubt([0.95, 0.4], threshold=0.25) == pytest.approx(0.8)
    assert doubt([], threshold=0.25) == 0.0
    assert doubt([0.3], threshold=0.0) == pytest.approx(0.7)
    assert doubt([1.0], threshold=1.0) == 0.0


def test_disagreement_is_the_share_of_boxes_on_which_they_do_not_agree() -> None:
    assert disagreement(seen(0.9, 0.9), seen(0.5, 0.4, shift=5)) == 0.0
    assert disagreement(seen(0.9, 0.9), seen(0.5)) == pytest.approx(1 / 2)
    assert disagreement(seen(0.9), seen(0.9, labels=("short",))) == 1.0
    assert disagreement(seen(0.9), seen(0.9, shift=30)) == 1.0
    assert disagreement(seen(), seen()) == 0.0
    assert disagreement(seen(0.9), seen()) == 1.0


def test_the_most_useful_frame_comes_first() -> None:
    candidates = [
        Candidate(frame_id="1-sure", champion=seen(0.99)),
        Candidate(frame_id="2-doubtful", champion=seen(0.3)),
        Candidate(frame_id="3-disputed", champion=seen(0.9), challenger=seen(0.9, labels=("short",))),
        Candidate(frame_id="4-flagged", champion=None, is_flagged=True),
        Candidate(frame_id="5-unseen", champion=None),
        Candidate(frame_id="6-also-sure", champion=seen(0.99), challenger=seen(0.99)),
    ]
    ranked = rank(candidates, threshold=0.25)
    assert ranked == ["4-flagged", "3-disputed", "2-doubtful", "6-also-sure", "1-sure", "5-unseen"]
    assert usefulness(candidates[2], threshold=0.25) == pytest.approx(1 + 0.1 / 0.75)
