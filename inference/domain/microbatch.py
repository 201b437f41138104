"""When a batch is full or old enough. Pure: the clock is given, waiting is the caller's.

add, add, add ... ──► size reached                      ──► take()
                 └──► the oldest has waited age_seconds ──► take()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class MicroBatch(Generic[T]):
    """Items in order of arrival, handed out in batches."""

    def __init__(self, *, size: int, age_seconds: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._age_seconds = age_seconds
        self._clock = clock
        self._waiting: deque[tuple[float, T]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def plan(self, *, size: int, age_seconds: float) -> None:
        """Changes when a batch is due, from now on; what waits stays, in order."""
        self._size = size
        self._age_seconds = age_seconds

    def add(self, items: Iterable[T]) -> None:
        """Appends items that arrived together."""
        now = self._clock()
        self._waiting.extend((now, item) for item in items)

    def due_in(self) -> float | None:
        """Seconds until a batch is due: 0 when it is, None when nothing waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self._size:
            return 0.0
        arrived, _ = self._waiting[0]
        return max(0.0, arrived + self._age_seconds - self._clock())

    def take(self) -> list[T]:
        """At most `size` items, the oldest first; empty when no batch is due."""
        if self.due_in() != 0.0:
            return []
        return [self._waiting.popleft()[1] for _ in range(min(self._size, len(self._waiting)))]
