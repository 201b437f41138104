"""So many frames a second, by a schedule: frame n is due at start + n / rate, so that nothing drifts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

LATEST_SECONDS: Final = 1.0
"""A short delay is made up for; after a longer one the schedule starts anew, for a burst is no rate."""


class Pace:
    """Waits until the next frame is due."""

    def __init__(
        self,
        frames_per_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._interval = 1 / frames_per_second if frames_per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._start: float | None = None
        self._frames = 0

    def wait(self, stop: threading.Event) -> None:
        """Returns when the next frame is due, or at once when `stop` is set."""
        if not self._interval:
            return
        now = self._clock()
        if self._start is None or now - self._due() > LATEST_SECONDS:
            self._start, self._frames = now, 0
        while (left := self._due() - self._clock()) > 0 and not stop.is_set():
            self._sleep(stop, left)
        self._frames += 1

    def _due(self) -> float:
        return (self._start or 0.0) + self._frames * self._interval
