"""An answer that many ask for and that costs something: asked once, good for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Keeps the last answer for some seconds. Who asks while it is being fetched waits for it."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None

    def get(self, ask: Callable[[], T]) -> T:
        """The kept answer, or a new one. An error is not kept."""
        with self._lock:
            if self._kept is None or self._clock() - self._kept[0] > self._seconds:
                answer = ask()
                # Stamped after asking: an answer that took long would be stale on arrival, and each waiter would ask anew.
                self._kept = (self._clock(), answer)
            return self._kept[1]
