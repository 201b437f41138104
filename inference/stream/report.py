"""What the worker's log says of its work: a line for ten seconds in which something was scored, each batch at debug.

add ──► counts ──► ten seconds after the first of them, also when no batch comes any more: frames_scored
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from contracts.logs import get_logger

REPORT_SECONDS: Final = 10.0

_log = get_logger(__name__)


class Report:
    """The frames that were scored and not yet told. One thread calls it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._statuses: Counter[str] = Counter()
        self._model_version = ""

    def add(self, statuses: Counter[str], model_version: str) -> None:
        """Counts one batch's frames by status."""
        if not self._statuses and self._seconds >= REPORT_SECONDS:  # the worker was idle: that is not its pace
            self._begun = self._clock()
        self._statuses.update(statuses)
        self._model_version = model_version
        _log.debug("batch_scored", frames=statuses.total(), model_version=model_version)

    def due_in(self) -> float | None:
        """Seconds until there is something to write; None while nothing was counted."""
        return max(0.0, REPORT_SECONDS - self._seconds) if self._statuses else None

    def write_when_due(self) -> None:
        """Writes at most one line every ten seconds."""
        if self.due_in() == 0:
            self.write()

    def write(self) -> None:
        """Writes what was counted, if anything was."""
        if self._statuses:
            _log.info(
                "frames_scored", **self._statuses, seconds=round(self._seconds, 1), model_version=self._model_version
            )
            self._statuses.clear()
            self._begun = self._clock()

    @property
    def _seconds(self) -> float:
        return self._clock() - self._begun
