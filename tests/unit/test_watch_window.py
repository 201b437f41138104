from __future__ import annotations

from typing import Any

import pytest

from inference.domain.gate_file import Watch
from inference.domain.watch_window import Figures, Outcome, judge

ASKED = Watch(
    frames=500,
    minutes=10,
    max_failed_share=0.01,
    p99_ms=2000,
    min_agreement=0.7,
    detections_per_frame=(1, 15),
    min_precision=0.8,
    min_reviews=30,
)


def figures(**changes: Any) -> Figures:
    """A champion with which all is well."""
    values = {"frames": 600, "failed": 0, "detections_per_frame": 4.0, "stream_frames": 600, "p99_ms": 900.0}
    values |= {"compared_frames": 600, "agreement": 0.9, "reviews": 40, "precision": 0.95}
    return Figures(**values | changes)


def test_a_champion_with_which_all_is_well_is_kept() -> None:
    said = judge(figures(), ASKED)
    assert (said.outcome, said.causes, said.lacking) == (Outcome.KEEP, (), ())


def test_what_lies_on_its_threshold_is_kept() -> None:
    at = figures(frames=600, failed=6, p99_ms=2000.0, agreement=0.7, detections_per_frame=15.0, precision=0.8)
    assert judge(at, ASKED).outcome is Outcome.KEEP


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"failed": 7}, "7 of 600 frames failed: 1.17%, at most 1.00%"),
        ({"p99_ms": 2001.0}, "p99 latency 2001 ms, budget 2000 ms"),
        ({"agreement": 0.699}, "agreement with the previous champion 0.699, floor 0.700"),
        ({"detections_per_frame": 0.99}, "0.99 detections per frame, outside 1 to 15"),
        ({"detections_per_frame": 15.01}, "15.01 detections per frame, outside 1 to 15"),
        ({"precision": 0.799}, "precision 0.799 by 40 reviews, floor 0.800"),
    ],
)
def test_each_cause_alone_rolls_back_and_is_named(changes: dict[str, Any], cause: str) -> None:
    said = judge(figures(**changes), ASKED)
    assert (said.outcome, said.causes) == (Outcome.ROLL_BACK, (cause,))


def test_all_causes_are_named_together() -> None:
    said = judge(figures(failed=600, p99_ms=9e3, agreement=0.0, detections_per_frame=0.0, precision=0.0), ASKED)
    assert len(said.causes) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": 499, "failed": 499, "detections_per_frame": 0.0},
        {"stream_frames": 499, "p99_ms": 9e9},
        {"compared_frames": 499, "agreement": 0.0},
    ],
)
def test_too_few_frames_are_no_cause_and_extend_the_window(changes: dict[str, Any]) -> None:
    said = judge(figures(**changes), ASKED)
    assert (said.outcome, said.causes) == (Outcome.EXTEND, ())
    assert said.lacking[0].startswith("499 of 500 frames")


def test_too_few_reviews_are_no_cause_and_are_said() -> None:
    said = judge(figures(reviews=29, precision=0.0), ASKED)
    assert (said.outcome, said.lacking) == (Outcome.KEEP, ("29 of 30 reviews",))


def test_a_cause_counts_though_something_else_is_lacking() -> None:
    said = judge(figures(compared_frames=0, agreement=None, failed=60), ASKED)
    assert said.outcome is Outcome.ROLL_BACK
    assert said.lacking == ("0 of 500 frames that the previous champion saw too",)


def test_nothing_seen_is_extended() -> None:
    nothing = {"frames": 0, "stream_frames": 0, "compared_frames": 0, "reviews": 0}
    unknown = dict.fromkeys(("detections_per_frame", "p99_ms", "agreement", "precision"))
    assert judge(figures(**nothing | unknown), ASKED).outcome is Outcome.EXTEND
