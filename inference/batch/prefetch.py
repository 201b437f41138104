"""Frames on their way to the engine: some are read ahead, some decoded ahead, none more than there is room for.

    frames ──readers──► bytes ──decoders──► pixels ──► [batch, batch, ...]   in order
             (threads)          (threads)

The generator itself is single-threaded: it admits while the caller asks for the next batch, so room needs no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from inference.batch.objects import Lost, Seen
from inference.persistence.objects import CONNECTIONS
from inference.persistence.outstanding import FrameToScore

MAX_PIXEL_BYTES: Final = 256 * 1024 * 1024  # as the stream's
READERS: Final = CONNECTIONS

Loaded = Seen | Lost


class Prefetch:
    """Reads and decodes ahead. Close it, or use it as a context: it has threads.

    Args:
        read: a frame's bytes, or why there are none; called by several threads.
        see: its pixels; called by several threads.
        readers: threads.
        decoders: threads.
        max_frames: ahead of the engine.
        max_pixel_bytes: of decoded images; one image always may, however large.
    """

    def __init__(
        self,
        read: Callable[[FrameToScore], bytes | Lost],
        see: Callable[[bytes], Seen],
        *,
        readers: int = READERS,
        decoders: int,
        max_frames: int,
        max_pixel_bytes: int = MAX_PIXEL_BYTES,
    ) -> None:
        self._read = read
        self._see = see
        self._max_frames = max_frames
        self._max_pixel_bytes = max_pixel_bytes
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="read")
        self._decoders = ThreadPoolExecutor(decoders, thread_name_prefix="decode")

    def batches(self, frames: Iterable[FrameToScore], *, size: int) -> Iterator[list[tuple[FrameToScore, Loaded]]]:
        """Every frame once, `size` at a time; fewer at the end, or where so many have no room together.

        Raises:
            PipelineError: what reading raised.
        """
        coming = iter(frames)
        upcoming = next(coming, None)
        waiting: deque[tuple[FrameToScore, Future[Loaded]]] = deque()
        held = 0  # bytes of pixels, those of the batch that the caller has included
        while upcoming is not None or waiting:
            while upcoming is not None and self._has_room(len(waiting), held, upcoming):
                held += _pixel_bytes(upcoming)
                waiting.append((upcoming, self._begin(upcoming)))
                upcoming = next(coming, None)
            batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            yield [(frame, future.result()) for frame, future in batch]
            held -= sum(_pixel_bytes(frame) for frame, _ in batch)

    def close(self) -> None:
        """Ends the threads; what they have not begun is dropped."""
        self._readers.shutdown(cancel_futures=True)
        self._decoders.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _has_room(self, frames: int, held: int, upcoming: FrameToScore) -> bool:
        return frames < self._max_frames and (not frames or held + _pixel_bytes(upcoming) <= self._max_pixel_bytes)

    def _begin(self, frame: FrameToScore) -> Future[Loaded]:
        reading = self._readers.submit(self._read, frame)
        return self._decoders.submit(self._decoded, reading)

    def _decoded(self, reading: Future[bytes | Lost]) -> Loaded:
        # Reading began earlier and in the same order: a decoder waits for one image, never for a queue of them.
        data = reading.result()
        return data if isinstance(data, Lost) else self._see(data)


def _pixel_bytes(frame: FrameToScore) -> int:
    return frame.width * frame.height * 3
