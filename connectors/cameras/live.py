"""Cameras that run by themselves: an RTSP or HTTP stream, a device of this machine.

    open ──► frames ──► lost ──► wait, twice as long each time, at most 30 s ──► open ...

With a rate, frames in between are taken off the stream and left out, so that what is sent stays fresh.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import cv2

from connectors.cameras.images import Captured, captured_image
from connectors.cameras.video import encode, open_video
from contracts.logs import get_logger

log = get_logger(__name__)

LONGEST_WAIT_SECONDS: Final = 30.0
_TIMEOUT_MS: Final = 5_000
_STREAM_OPTIONS: Final = (
    *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS),
    *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS),
)


class VideoCapture(Protocol):
    """What of cv2.VideoCapture is used."""

    def isOpened(self) -> bool: ...  # noqa: N802, D102 - OpenCV's name
    def grab(self) -> bool: ...  # noqa: D102
    def retrieve(self) -> tuple[bool, Any]: ...  # noqa: D102
    def get(self, prop: int) -> float: ...  # noqa: D102
    def release(self) -> None: ...  # noqa: D102


def open_stream(url: str) -> Callable[[], VideoCapture]:
    """Opens a network stream; a server that does not answer is given up after 5 s."""
    return lambda: open_video(url, options=_STREAM_OPTIONS)


def open_device(device: str | int) -> Callable[[], VideoCapture]:
    """Opens a device of this machine by its number or path."""
    return lambda: cv2.VideoCapture(device)


class LiveSource:
    """A stream or a device; endless, except a stream that turns out to be a finite video."""

    is_live = True
    length: int | None = None

    def __init__(
        self,
        opener: Callable[[], VideoCapture],
        *,
        description: str,
        jpeg_quality: int,
        reconnect_seconds: float,
        frames_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = opener
        self.description = description
        self._quality = jpeg_quality
        self._reconnect_seconds = reconnect_seconds
        self._interval = 1 / frames_per_second if frames_per_second else 0.0
        self._clock = clock
        self._frames = 0

    def images(self, stop: threading.Event, say: Callable[[str], None]) -> Iterator[Captured]:
        """Frames as they come; a lost connection is waited for and opened again, without limit."""
        wait = self._reconnect_seconds
        is_known_to_be_away = False
        while not stop.is_set():
            before = self._frames
            video = self._open()
            try:
                if video.isOpened():
                    grabbed = yield from self._read(video, stop, say)
                    if stop.is_set() or self._is_finished(video, grabbed):
                        return
            finally:
                video.release()
            if self._frames > before:
                wait = self._reconnect_seconds
                is_known_to_be_away = False
            if not is_known_to_be_away:
                self._tell_that_it_is_away(frames=self._frames - before)
                is_known_to_be_away = True
            say(f"no picture from {self.description}: trying again every {wait:g} s")
            stop.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _read(
        self, video: VideoCapture, stop: threading.Event, say: Callable[[str], None]
    ) -> Generator[Captured, None, int]:
        """Yields until the stream ends; returns how many frames were taken off it, those left out included."""
        grabbed = 0
        due = self._clock()
        is_first = True
        while not stop.is_set() and video.grab():
            grabbed += 1
            now = self._clock()
            if now < due:
                continue
            # From the schedule, not from now: the rate does not drift. After a pause it starts anew.
            due = max(due + self._interval, now - self._interval)
            is_decoded, pixels = video.retrieve()
            if not is_decoded:
                continue
            if is_first:
                log.info("source_opened", source=self.description)
                say("")
                is_first = False
            yield captured_image(
                encode(pixels, quality=self._quality),
                name=f"frame {self._frames}",
                captured_at=datetime.now(UTC),
            )
            self._frames += 1
        return grabbed

    def _tell_that_it_is_away(self, *, frames: int) -> None:
        """Once, however often it is tried."""
        if frames:
            log.warning("source_lost", source=self.description, frames=frames, next="tried until it is back")
            return
        log.warning(
            "source_away", source=self.description,
            reason="no answer, a login that is refused, or no video: check the address and the camera",
            next="tried until it answers; OPENCV_FFMPEG_LOGLEVEL=16 shows what FFmpeg says",
        )  # fmt: skip

    def _is_finished(self, video: VideoCapture, grabbed: int) -> bool:
        """Whether a video of known length was at its end: an .mp4 behind http is no camera."""
        announced = video.get(cv2.CAP_PROP_FRAME_COUNT)
        return 0 < announced <= grabbed
