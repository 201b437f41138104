"""What was read from the topic and is not finished, and up to where everything is. Pure.

    offsets of a partition   40 41 42 43 44 45
    finished                 x  x     x
    committable                    42

A crash repeats 42 and what follows it, and loses nothing.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from contracts.records import Record
from inference.domain.decode import Status
from inference.domain.letterbox import Image


class PartitionInFlight:
    """One assigned partition. Only the polling thread changes it; others read `is_revoked`."""

    __slots__ = ("_frames", "is_revoked", "next_offset", "number", "requested_offset")

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_revoked = False  # its frames are someone else's now: those not yet in a batch are left out
        self.next_offset: int | None = None  # everything before it is finished; None until something is
        self.requested_offset: int | None = None  # the last one given to the broker
        self._frames: deque[FrameInFlight] = deque()

    def add(self, frame: FrameInFlight) -> None:
        """Takes the next frame, in the order of the topic."""
        self._frames.append(frame)

    def finish(self, frame: FrameInFlight) -> None:
        """Marks a frame finished and moves the offset over all that are, without a gap."""
        frame.is_finished = True
        frames = self._frames
        while frames and frames[0].is_finished:
            self.next_offset = frames.popleft().offset + 1

    @property
    def has_begun_frames(self) -> bool:
        """Whether a frame is in a batch or on its way to its topic."""
        return any(frame.is_begun and not frame.is_finished for frame in self._frames)

    @property
    def unfinished_bytes(self) -> int:
        """The size of what was read and is not finished."""
        return sum(frame.size_bytes for frame in self._frames if not frame.is_finished)


@dataclass(slots=True, eq=False)
class FrameInFlight:
    """One record on its way through the worker."""

    partition: PartitionInFlight
    offset: int
    size_bytes: int  # of the record's value
    message: Any  # confluent_kafka.Message, until it is read
    record: Record | None = None  # without the image
    image: Image | Status | Future[Image | Status] = Status.OK  # OK alone: the engine needs no pixels
    pixel_bytes: int = 0  # reserved for the decoded image
    is_begun: bool = False  # in a batch, or given to a topic
    is_finished: bool = False  # what it became is confirmed by the broker
