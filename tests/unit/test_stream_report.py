"""The worker tells how many frames it scored, the last ones too."""

from __future__ import annotations

from collections import Counter

from structlog.testing import capture_logs

from inference.stream.ready import ReadyFrames
from inference.stream.report import REPORT_SECONDS, Report


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(logged: list) -> list[tuple[int, float]]:
    return [(line["ok"], line["seconds"]) for line in logged if line["event"] == "frames_scored"]


def test_a_report_counts_the_frames_of_ten_seconds() -> None:
    time = Time()
    report = Report(time)
    with capture_logs() as logged:
        for _ in range(25):
            time.now += 1.0
            report.add(Counter(ok=3), "7")
            report.write_when_due()
    assert told(logged) == [(30, 10.0), (30, 10.0)]


def test_the_last_frames_are_told_when_no_more_come() -> None:
    time = Time()
    report = Report(time)
    with capture_logs() as logged:
        report.add(Counter(ok=2), "7")
        assert report.due_in() == REPORT_SECONDS
        time.now += REPORT_SECONDS
        report.write_when_due()
        report.write_when_due()
    assert told(logged) == [(2, 10.0)]
    assert report.due_in() is None


def test_idle_time_before_a_batch_does_not_count() -> None:
    time = Time()
    report = Report(time)
    time.now += 3600
    with capture_logs() as logged:
        report.add(Counter(ok=1), "7")
        time.now += REPORT_SECONDS
        report.write_when_due()
    assert told(logged) == [(1, 10.0)]


def test_waiting_for_frames_ends_with_none_of_them_after_the_time_given() -> None:
    ready = ReadyFrames(size=4, age_seconds=0.01)
    assert ready.take(within_seconds=0.02) == []
    ready.close()
    assert ready.take(within_seconds=0.02) is None
