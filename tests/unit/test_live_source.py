from __future__ import annotations

import threading

import cv2
import numpy as np
from structlog.testing import capture_logs

from connectors.cameras.live import LONGEST_WAIT_SECONDS, LiveSource


class Time:
    """A clock that stands still, and a stop event whose wait moves it on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now


class Stop(threading.Event):
    def __init__(self, time: Time, *, after_waits: int) -> None:
        super().__init__()
        self._time = time
        self._after = after_waits

    def wait(self, timeout: float | None = None) -> bool:
        self._time.waits.append(timeout or 0.0)
        self._time.now += timeout or 0.0
        if len(self._time.waits) >= self._after:
            self.set()
        return self.is_set()


class Video:
    """A stream of `frames` frames, 40 ms apart; None: it cannot be opened."""

    def __init__(self, time: Time, frames: int | None, *, announced: int = 0) -> None:
        self._time = time
        self._left = frames or 0
        self._is_open = frames is not None
        self._announced = announced
        self.is_released = False

    def isOpened(self) -> bool:  # noqa: N802
        return self._is_open

    def grab(self) -> bool:
        if self._left == 0:
            return False
        self._left -= 1
        self._time.now += 0.04
        return True

    def retrieve(self):
        return True, np.zeros((24, 32, 3), np.uint8)

    def get(self, prop: int) -> float:
        return self._announced if prop == cv2.CAP_PROP_FRAME_COUNT else 0.0

    def release(self) -> None:
        self.is_released = True


def a_source(time: Time, videos: list[Video], fps: float | None = None) -> LiveSource:
    remaining = iter(videos)
    return LiveSource(
        lambda: next(remaining),
        description="rtsp://cam/line",
        jpeg_quality=90,
        reconnect_seconds=2.0,
        frames_per_second=fps,
        clock=time.clock,
    )


def test_a_lost_stream_is_opened_again_and_says_so():
    time = Time()
    videos = [Video(time, 3), Video(time, None), Video(time, 2), Video(time, None)]
    said: list[str] = []
    found = list(a_source(time, videos).images(Stop(time, after_waits=4), said.append))
    assert [image.name for image in found] == [f"frame {number}" for number in range(5)]
    assert said == [
        "",
        "no picture from rtsp://cam/line: trying again every 2 s",
        "no picture from rtsp://cam/line: trying again every 4 s",
        "",
        "no picture from rtsp://cam/line: trying again every 2 s",
        "no picture from rtsp://cam/line: trying again every 4 s",
    ]
    assert all(video.is_released for video in videos)


def test_an_outage_is_one_line_of_the_log_however_often_it_is_tried():
    time = Time()
    videos = [Video(time, None), Video(time, None), Video(time, 2), Video(time, None), Video(time, None)]
    with capture_logs() as logged:
        list(a_source(time, videos).images(Stop(time, after_waits=5), lambda _text: None))
    assert [(line["event"], line.get("frames")) for line in logged if line["log_level"] == "warning"] == [
        ("source_away", None),
        ("source_lost", 2),
    ]


def test_the_wait_doubles_and_is_bounded():
    time = Time()
    list(a_source(time, [Video(time, None) for _ in range(8)]).images(Stop(time, after_waits=8), lambda _text: None))
    assert time.waits == [2.0, 4.0, 8.0, 16.0, *[LONGEST_WAIT_SECONDS] * 4]


def test_with_a_rate_frames_in_between_are_left_out():
    time = Time()
    stop = Stop(time, after_waits=1)
    found = list(
        a_source(time, [Video(time, 250)], fps=5).images(stop, lambda _text: None)
    )  # 10 s of 25 frames a second
    assert 49 <= len(found) <= 51


def test_frames_of_a_live_source_carry_when_they_were_captured():
    time = Time()
    found = list(a_source(time, [Video(time, 2)]).images(Stop(time, after_waits=1), lambda _text: None))
    assert all(image.captured_at.tzinfo is not None for image in found)


def test_a_finite_video_behind_a_url_ends():
    time = Time()
    stop = Stop(time, after_waits=1)
    found = list(a_source(time, [Video(time, 5, announced=5)]).images(stop, lambda _text: None))
    assert len(found) == 5
    assert time.waits == []


def test_a_finite_video_behind_a_url_ends_also_when_a_rate_leaves_frames_out():
    time = Time()
    stop = Stop(time, after_waits=1)
    found = list(a_source(time, [Video(time, 50, announced=50)], fps=5).images(stop, lambda _text: None))
    assert 9 <= len(found) <= 11
    assert time.waits == []


def test_a_finite_video_that_broke_off_is_tried_again():
    time = Time()
    found = list(
        a_source(time, [Video(time, 3, announced=5), Video(time, 5, announced=5)]).images(
            Stop(time, after_waits=9), lambda _text: None
        )
    )
    assert len(found) == 8
    assert time.waits == [2.0]
