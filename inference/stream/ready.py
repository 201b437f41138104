"""Frames between intake and engine, with a bound on the memory that their pixels take.

intake ──put──► waiting, at most max_bytes of pixels ──take (full or old enough)──► engine ──release──► room again
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from inference.domain.microbatch import MicroBatch
from inference.stream.in_flight import FrameInFlight

MAX_PIXEL_BYTES: Final = 256 * 1024 * 1024


class ReadyFrames:
    """A micro-batch that two threads share."""

    def __init__(self, *, size: int, age_seconds: float, max_bytes: int = MAX_PIXEL_BYTES) -> None:
        self._batch: MicroBatch[FrameInFlight] = MicroBatch(size=size, age_seconds=age_seconds, clock=time.monotonic)
        self._max_bytes = max_bytes
        self._reserved = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def plan(self, *, size: int, age_seconds: float) -> None:
        """Changes when a batch is due: another model has another best size."""
        with self._changed:
            self._batch.plan(size=size, age_seconds=age_seconds)
            self._changed.notify_all()

    def reserve(self, pixel_bytes: int) -> None:
        """Waits until so many bytes may be decoded; one image always may, however large."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or not self._reserved or self._reserved + pixel_bytes <= self._max_bytes
            )
            self._reserved += pixel_bytes

    def release(self, pixel_bytes: int) -> None:
        """Gives back what was reserved."""
        if pixel_bytes:
            with self._changed:
                self._reserved -= pixel_bytes
                self._changed.notify_all()

    def put(self, frames: Sequence[FrameInFlight]) -> None:
        """Adds frames in order."""
        with self._changed:
            self._batch.add(frames)
            self._changed.notify_all()

    def take(self, *, within_seconds: float | None = None) -> list[FrameInFlight] | None:
        """Waits for a batch that is due; empty when none was within that time, None when closed."""
        deadline = None if within_seconds is None else time.monotonic() + within_seconds
        with self._changed:
            while not self._is_closed:
                if frames := self._batch.take():
                    return frames
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return []
                self._changed.wait(
                    min((wait for wait in (self._batch.due_in(), left) if wait is not None), default=None)
                )
        return None

    def close(self) -> None:
        """Ends the waiting of both threads. What waits is dropped: its offsets were not moved."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
