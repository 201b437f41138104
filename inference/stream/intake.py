"""From the topic's bytes to records and pixels; what the contract refuses goes to the dead letters.

message ──Avro──► record ──validity rule──► header ──pool: decode──► ready
           │           └── violation ──► dead letter
           ├── garbage, unknown schema ──► dead letter
           └── registry away ──► the same message again, for as long as it takes
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

from connectors.serialisation import Codec
from contracts.errors import Rejected, Transient
from contracts.logs import get_logger
from contracts.records import Record
from contracts.topics import FRAMES
from contracts.validity import violation
from inference.domain.decode import Status, decode, read_header
from inference.domain.letterbox import Image
from inference.stream.in_flight import FrameInFlight
from inference.stream.metrics import Metrics
from inference.stream.outbox import Outbox, Stopping
from inference.stream.ready import ReadyFrames

# Where a record was refused, in a dead letter's header; the first is Connect's own name for the place.
_CONVERTER: Final = "VALUE_CONVERTER"
_VALIDATION: Final = "VALIDATION"
_LONGEST_WAIT_SECONDS: Final = 5.0

_log = get_logger(__name__)


class Intake:
    """Reads messages in order. One thread calls it; decoding has threads of its own."""

    def __init__(
        self,
        codec: Codec,
        ready: ReadyFrames,
        outbox: Outbox,
        metrics: Metrics,
        *,
        retention: timedelta,
        max_pixels: int,
        decode_threads: int,
        needs_pixels: bool,
        abandoned: threading.Event,
    ) -> None:
        self._codec = codec
        self._ready = ready
        self._outbox = outbox
        self._metrics = metrics
        self._retention = retention
        self._max_pixels = max_pixels
        self._needs_pixels = needs_pixels
        self._abandoned = abandoned
        self._refused: Counter[str] = Counter()  # by code, in the frames being taken
        self._example = ""  # the last one of them, for the log
        self._pool = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")

    def take(self, frames: Sequence[FrameInFlight]) -> None:
        """Reads the frames and puts them, in order, where the engine finds them.

        Raises:
            Stopping: the worker ends while the registry is away.
        """
        accepted: list[FrameInFlight] = []
        self._refused.clear()
        for frame in frames:
            if frame.partition.is_revoked:
                continue
            record = self._read(frame)
            if record is None:
                continue
            frame.message = None  # its bytes are not needed twice
            image: bytes = record.pop("image")
            frame.record = record
            if self._needs_pixels:
                self._decode(frame, image)
                self._ready.put((frame,))
                continue
            header = read_header(image, max_pixels=self._max_pixels)
            frame.image = header if isinstance(header, Status) else Status.OK
            accepted.append(frame)
        if accepted:
            self._ready.put(accepted)
        if self._refused:
            _log.warning("frames_refused", **self._refused, example=self._example)

    def close(self) -> None:
        """Ends the decoding threads; what they have not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def _read(self, frame: FrameInFlight) -> Record | None:
        """The frame's valid record; None when it went to the dead letters, or is no longer ours."""
        wait = 0.25
        while not frame.partition.is_revoked:
            try:
                return self._checked(frame)
            except Transient as error:
                _log.warning("intake_waits", reason=str(error), seconds=wait)
                if self._abandoned.wait(wait):
                    raise Stopping from error
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
        return None

    def _checked(self, frame: FrameInFlight) -> Record | None:
        try:
            record = self._codec.decode(FRAMES.name, frame.message.value())
        except Rejected as rejected:
            self._refuse(frame, rejected, stage=_CONVERTER)
            return None
        found = violation(
            FRAMES.name,
            record,
            key=_text(frame.message.key()),
            broker_time_ms=frame.message.timestamp()[1],
            retention=self._retention,
        )
        if found is not None:
            self._refuse(frame, Rejected(found.detail, code=found.code), stage=_VALIDATION)
            return None
        return record

    def _refuse(self, frame: FrameInFlight, rejected: Rejected, *, stage: str) -> None:
        self._metrics.dead_letters.labels(rejected.code).inc()
        self._refused[rejected.code] += 1
        self._example = f"partition {frame.partition.number}, offset {frame.offset}: {rejected}"
        self._outbox.send_dead_letter(frame, rejected, stage=stage)

    def _decode(self, frame: FrameInFlight, image: bytes) -> None:
        header = read_header(image, max_pixels=self._max_pixels)
        if isinstance(header, Status):
            frame.image = header
            return
        frame.pixel_bytes = header.width * header.height * 3
        self._ready.reserve(frame.pixel_bytes)
        frame.image = self._pool.submit(self._pixels, image)

    def _pixels(self, image: bytes) -> Image | Status:
        begin = time.perf_counter()
        decoded = decode(image, max_pixels=self._max_pixels)
        self._metrics.stage_seconds.labels("decode").observe(time.perf_counter() - begin)
        return decoded


def _text(key: Any) -> str | None:
    """The key as text; None, which is no camera's, where it is not UTF-8."""
    try:
        return key.decode() if isinstance(key, bytes) else key
    except UnicodeDecodeError:
        return None
