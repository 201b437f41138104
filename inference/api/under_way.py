"""What is known of one image while the API works on it, and of the memory that all of them take together."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from inference.domain.decode import Header
from inference.domain.detections import Detections
from inference.domain.letterbox import Image
from inference.registry.model_version import ModelVersion

_PIXEL_BYTES: Final = 256 * 1024 * 1024  # of decoded images at a time; one always may, however large


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one image got."""

    version: ModelVersion
    engine: str
    role: str  # of the model that answered: champion | challenger
    width: int  # pixels, as stored
    height: int
    detections: Detections
    annotated: bytes | None  # JPEG, where it was asked for
    queue_seconds: float
    decode_seconds: float
    infer_seconds: float


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One image on its way. The loop owns the future; the threads only look whether it still waits."""

    data: bytes
    header: Header
    version: str | None
    confidence: float | None
    is_annotated: bool
    future: asyncio.Future[Answer]
    began: float = field(default_factory=time.perf_counter)
    image: Image | None = None
    pixel_bytes: int = 0  # reserved for the decoded image
    decode_seconds: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more."""
        return self.future.done()


End = tuple[Job, Answer | Exception | None]  # None: nobody waits any more


class Pixels:
    """Bounds the memory of decoded images: the decoder waits while others are in the engine or drawn into."""

    def __init__(self) -> None:
        self._reserved = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def reserve(self, size: int) -> int:
        """Waits for so many bytes; gives the number back."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or not self._reserved or self._reserved + size <= _PIXEL_BYTES
            )
            self._reserved += size
        return size

    def release(self, size: int) -> None:
        """They are free again."""
        if size:
            with self._changed:
                self._reserved -= size
                self._changed.notify()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
