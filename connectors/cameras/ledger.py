"""What a session gave to the broker, what came back, and what was refused before: its books, for several threads.

owe ──► settle      a record given to the producer ──► acknowledged, or refused for good: then the session is broken
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from connectors.cameras.images import RejectedImage
from connectors.cameras.watermark import Watermark
from contracts.errors import PipelineError
from contracts.logs import get_logger

log = get_logger(__name__)

SILENCE_SECONDS: Final = 2.0
"""So long may the broker owe an acknowledgement before it is called away."""
NAMED: Final = 20
"""So many rejections and missing sequences are named, the rest are counted."""
_WAIT_SECONDS: Final = 0.1


class Ledger:
    """The books. Everything below is read and written under `changed`, which is notified at every acknowledgement."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.changed = threading.Condition()
        self.watermark = Watermark()
        self.captured = 0  # frames given to the producer
        self.rejected: Counter[str] = Counter()  # images refused at the camera, by code
        self.rejections: list[str] = []  # "name: reason" of the first
        self.broken: PipelineError | None = None  # why the broker will take no more
        self.waiting_for = ""  # what the source waits for
        self.is_away = False  # the broker owes an acknowledgement for too long
        self.owed_heartbeats = 0
        self._clock = clock
        self._owed = 0
        self._progress_at = 0.0  # the last acknowledgement, or when the broker began to owe one

    @property
    def is_settled(self) -> bool:
        """Whether no record is owed. Call it under `changed`."""
        return self._owed == 0

    @property
    def is_flushed(self) -> bool:
        """Whether every frame is acknowledged. Call it under `changed`."""
        return self.watermark.count == self.captured

    def owe(self, *, is_frame: bool = False, is_heartbeat: bool = False) -> None:
        """Books a record that was given to the producer. Call it under `changed`, with the giving."""
        if self._owed == 0:
            self._progress_at = self._clock()
        self._owed += 1
        self.captured += is_frame
        self.owed_heartbeats += is_heartbeat

    def settle(self, reason: PipelineError | None, *, sequence: int | None = None, is_heartbeat: bool = False) -> None:
        """Books a record's end. `reason` is why the broker refused it; it was tried without limit before."""
        with self.changed:
            self._owed -= 1
            self.owed_heartbeats -= is_heartbeat
            self._progress_at = self._clock()
            if reason is None and sequence is not None:
                self.watermark.acknowledge(sequence)
            self.changed.notify_all()
        if reason is not None:
            self.give_way(reason)

    def give_way(self, reason: PipelineError) -> None:
        """Books that the broker will take no more. The first reason stays."""
        with self.changed:
            if self.broken is None:
                self.broken = reason
                log.error("broker_refused", reason=str(reason))
            self.changed.notify_all()

    def reject(self, image: RejectedImage) -> None:
        """Books an image that was refused at the camera."""
        with self.changed:
            self.rejected[image.code] += 1
            if len(self.rejections) < NAMED:
                self.rejections.append(f"{image.name}: {image.reason}")
        log.warning("image_rejected", image=image.name, code=image.code, reason=image.reason)

    def say(self, waiting_for: str) -> None:
        """Notes what the source waits for; "" takes it back."""
        with self.changed:
            self.waiting_for = waiting_for

    def notice_silence(self) -> None:
        """Says once that the broker went away, and once that it is back."""
        with self.changed:
            silence = self._clock() - self._progress_at if self._owed else 0.0
            is_away = silence > SILENCE_SECONDS
            if is_away and not self.is_away:
                log.warning("broker_went_away", owed=self._owed)
            elif self.is_away and not is_away:
                log.info("broker_came_back", owed=self._owed)
            self.is_away = is_away

    def wait(self, is_done: Callable[[], bool], *ends: threading.Event) -> bool:
        """Waits for acknowledgements; False when the broker will take no more, or one of `ends` is set."""
        with self.changed:
            while not is_done():
                if self.broken is not None or any(end.is_set() for end in ends):
                    return False
                self.changed.wait(_WAIT_SECONDS)
        return True
