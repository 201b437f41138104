"""A source into a session, at a rate, until its end, a count, or a stop.

    source ──(own thread, a few images ahead)──► pace ──► Capture

The source has a thread of its own, so that a slow one keeps nobody from stopping it, and reads while the last image
is sent. The few images it had read ahead when it was stopped were never captured.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from connectors.cameras.capture import Capture
from connectors.cameras.images import Captured, CapturedImage, RejectedImage
from connectors.cameras.pace import Pace
from connectors.cameras.sources import Source
from connectors.cameras.summary import Summary
from contracts.errors import Misconfigured, PipelineError
from contracts.logs import get_logger

log = get_logger(__name__)

AHEAD: Final = 4
LONGEST_READ_SECONDS: Final = 6.0  # a stream's own limit is 5 s
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What `sightline send` was asked for."""

    frames_per_second: float | None = None  # None: as fast as the source and the broker allow
    count: int | None = None  # stop after so many frames
    is_loop: bool = False  # begin again at the source's end
    truth: Path | None = None  # where the simulator's truth is written, a JSON object a line


def send(source: Source, capture: Capture, order: Order, *, stop: threading.Event) -> Summary:
    """Opens the session, sends, closes it. What went wrong after the opening is in the summary's `failure`.

    Raises:
        Transient: stopped before the session was open.
        Misconfigured: topics or schemas are missing, or the truth cannot be written.
    """

    def images(halt: threading.Event) -> Iterator[Captured]:
        return _rounds(source, halt, capture.say) if order.is_loop else source.images(halt, capture.say)

    with _truth_file(order.truth) as truth:
        capture.open()
        # A live source keeps the rate itself, by leaving frames out.
        pace = Pace(None if source.is_live else order.frames_per_second)
        read_ahead = Ahead(images, stop)
        try:
            _send_all(read_ahead, capture, pace, stop, count=order.count, truth=truth)
        except PipelineError as error:
            log.warning("sending_stopped", reason=str(error))
        finally:
            read_ahead.halt()
            summary = capture.close()
            read_ahead.join()
    return summary


def _send_all(
    images: Iterable[Captured],
    capture: Capture,
    pace: Pace,
    stop: threading.Event,
    *,
    count: int | None,
    truth: TextIO | None,
) -> None:
    sent = 0
    for image in images:
        if isinstance(image, RejectedImage):
            capture.reject(image)
            continue
        pace.wait(stop)
        if stop.is_set():
            return
        frame_id = capture.submit(image)
        if truth is not None:
            truth.write(_truth_line(frame_id, image))
        sent += 1
        if sent == count:
            return


def _rounds(source: Source, halt: threading.Event, say: Callable[[str], None]) -> Iterator[Captured]:
    """The source again and again, unless a whole round held nothing but refusals."""
    has_image = True
    while has_image and not halt.is_set():
        has_image = False
        for image in source.images(halt, say):
            has_image |= isinstance(image, CapturedImage)
            yield image


class Ahead:
    """Iterates over a source in a thread of its own, at most `AHEAD` images ahead; ends at once when `stop` is set.

    The factory is given an event that is set when nobody wants more, by `stop` or because the caller is done.
    """

    def __init__(self, images: Callable[[threading.Event], Iterator[Captured]], stop: threading.Event) -> None:
        self._images = images
        self._stop = stop
        self._halt = threading.Event()
        self._ready: queue.Queue[Captured | _End] = queue.Queue(maxsize=AHEAD)
        self._thread = threading.Thread(target=self._read, name="source", daemon=True)

    def __iter__(self) -> Iterator[Captured]:
        self._thread.start()
        while not self._stop.is_set():
            try:
                item = self._ready.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def halt(self) -> None:
        """Tells the source to end; what it read ahead is left."""
        self._halt.set()

    def join(self) -> None:
        """Waits for the source's end, at most as long as a stream may keep silent.

        A thread that is inside OpenCV when the interpreter ends takes the whole process down with an abort.
        """
        self._halt.set()
        if self._thread.ident is not None:
            self._thread.join(LONGEST_READ_SECONDS)

    def _read(self) -> None:
        try:
            for image in self._images(self._halt):
                self._put(image)
                if self._halt.is_set():
                    return
            self._put(_End())
        except BaseException as error:  # noqa: BLE001 - it is raised where the images are consumed
            self._put(_End(error))

    def _put(self, item: Captured | _End) -> None:
        while not self._halt.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return


@dataclass(frozen=True, slots=True)
class _End:
    """The source has no more, or failed."""

    error: BaseException | None = None


def _truth_file(path: Path | None) -> AbstractContextManager[TextIO | None]:
    if path is None:
        return nullcontext()
    try:
        return path.open("w", encoding="utf-8", buffering=1)  # by line: what was sent is there even after kill -9
    except OSError as error:
        raise Misconfigured(f"cannot write the truth to {path}: {error.strerror}") from error


def _truth_line(frame_id: str, image: CapturedImage) -> str:
    truth = image.truth
    known = {} if truth is None else {"labels": truth.labels, "boxes": truth.boxes}
    return json.dumps({"frame_id": frame_id, "width": image.width, "height": image.height, **known}) + "\n"
