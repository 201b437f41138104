"""One session: one camera in one process, from its opening record to its closing one.

    open()    sessions: last_acknowledged -1      acknowledged before the first frame
    submit()  frames: sequence 0, 1, 2, ...       given to the producer; waits while its queue is full
    (pulse)   sessions: every heartbeat           the largest n with 0..n acknowledged, whatever the source does
    close()   flushes, then sessions: closed_at   only when every frame was acknowledged

A frame that was given to the producer is never dropped: a broker that is away is waited for. What was not acknowledged
when a person gives up is named in the summary, and the session stays open in the records, after one last try to write
how it stands: the audit then judges it up to last_acknowledged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from connectors.cameras.frame import make_frame
from connectors.cameras.images import CapturedImage, RejectedImage
from connectors.cameras.ledger import NAMED, Ledger
from connectors.cameras.summary import Snapshot, Summary, require_camera_id
from connectors.kafka import assert_topics, make_producer, translated
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.errors import PipelineError, Transient
from contracts.identifiers import new_id
from contracts.logs import get_logger
from contracts.records import Session
from contracts.settings import Settings
from contracts.topics import FRAMES, SESSIONS

log = get_logger(__name__)

_RETRY_SECONDS: Final = 1.0
_ASK_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.1
_LAST_HEARTBEAT_SECONDS: Final = 1.0
_SOURCE_LENGTH: Final = 2048

Acknowledged = Callable[[str, PipelineError | None], None]
"""Called from another thread with a frame_id and None once the broker has the frame, or with why it never will."""


class Capture:
    """A session that takes images. Safe for several threads between open() and close()."""

    def __init__(
        self,
        settings: Settings,
        *,
        camera_id: str,
        source: str,
        stop: threading.Event | None = None,
        give_up: threading.Event | None = None,
        producer: Any | None = None,
        codec: Codec | None = None,
    ) -> None:
        """Nothing is sent yet. `stop` ends the wait for an opening, `give_up` every wait.

        A producer that is given may be shared by several sessions; without one the session makes its own.
        """
        self._settings = settings
        self._camera_id = require_camera_id(camera_id)
        self._source = source[-_SOURCE_LENGTH:] or "unnamed"
        self._give_up = give_up or threading.Event()
        self._stop = stop or self._give_up
        # At its usual level the library would repeat our own `broker_went_away` every second.
        self._producer = producer or make_producer(
            settings, queued_megabytes=settings.cameras.queued_megabytes, log_level=2, error_cb=self._on_error
        )
        # Asked only while the session opens: the ids of its schemas never change.
        registry = SchemaRegistry(settings.registry)
        self._own_registry: AbstractContextManager[object] = registry
        self._codec = codec or Codec(registry)
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()
        self.session_id = new_id(self._started_at)

        self._ledger = Ledger()
        self._order = threading.Lock()  # one submit at a time: sequences leave in order
        self._witness = threading.Lock()  # one session record at a time: none follows the closing one
        self._is_ending = False
        self._finished = threading.Event()
        # With this thread's context, so that its log lines carry the same fields.
        self._pulse = threading.Thread(
            target=copy_context().run, args=(self._run_pulse,), name=f"pulse-{camera_id}", daemon=True
        )

    def open(self) -> str:
        """Waits for the broker and the registry, and until the opening record is acknowledged.

        Returns:
            The session_id.

        Raises:
            Misconfigured: a topic or a schema is missing.
            Transient: `stop` or `give_up` was set meanwhile.
        """
        with self._own_registry:
            self._retry(
                lambda: assert_topics(self._settings, (FRAMES, SESSIONS), timeout_seconds=_ASK_SECONDS), "the broker"
            )
            self._retry(lambda: self._codec.prepare(FRAMES.name, SESSIONS.name), "the schema registry")
        self._pulse.start()
        self._send_session(closed_at=None)
        if not self._ledger.wait(lambda: self._ledger.is_settled, self._stop, self._give_up):
            self._finished.set()
            raise self._ledger.broken or _not_opened()
        log.info("session_opened", session_id=self.session_id, camera_id=self._camera_id, source=self._source)
        return self.session_id

    def submit(self, image: CapturedImage, *, on_acknowledged: Acknowledged | None = None) -> str:
        """Gives one image to the producer; waits while its queue is full.

        Returns:
            The frame_id. The frame is safe once it is acknowledged, not before.

        Raises:
            Transient: `give_up` was set while it waited; this image is not part of the session.
            PipelineError: the broker refused a record for good; the session takes no more.
        """
        return self.submit_numbered(image, on_acknowledged=on_acknowledged)[0]

    def submit_numbered(self, image: CapturedImage, *, on_acknowledged: Acknowledged | None = None) -> tuple[str, int]:
        """As `submit`; the frame_id and the sequence."""
        with self._order:
            frame = make_frame(
                image,
                camera_id=self._camera_id,
                session_id=self.session_id,
                sequence=self._ledger.captured,
                now=datetime.now(UTC),
            )
            payload = self._codec.encode(FRAMES.name, frame.to_record())
            sequence, frame_id = frame.sequence, frame.frame_id

            def delivered(error: KafkaError | None, _message: Any) -> None:
                # Holds no image: the queue has it already.
                reason = _reason(error, "sending a frame")
                self._ledger.settle(reason, sequence=sequence)
                if on_acknowledged is not None:
                    _call(on_acknowledged, frame_id, reason)

            self._produce(FRAMES.name, self._camera_id, payload, delivered, is_frame=True)
        return frame_id, sequence

    def reject(self, image: RejectedImage) -> None:
        """Notes an image that was refused at the camera."""
        self._ledger.reject(image)

    def say(self, waiting_for: str) -> None:
        """Shows in the snapshot what the source waits for; "" takes it back."""
        self._ledger.say(waiting_for)

    def snapshot(self) -> Snapshot:
        """Where the session stands now."""
        books = self._ledger
        with books.changed:
            return Snapshot(
                session_id=self.session_id,
                camera_id=self._camera_id,
                captured=books.captured,
                acknowledged=books.watermark.count,
                last_acknowledged=books.watermark.last,
                rejected=books.rejected.total(),
                waiting_for="waiting for the broker" if books.is_away else books.waiting_for,
            )

    def close(self) -> Summary:
        """Waits until every frame is acknowledged, or `give_up`; then writes and awaits the closing record.

        For a session that was opened. Never raises: how it ended is in the summary.
        """
        books = self._ledger
        with self._order:
            is_closed = books.wait(lambda: books.is_flushed, self._give_up)
            with self._witness:
                self._is_ending = True
            if is_closed:
                try:
                    self._send_session(closed_at=datetime.now(UTC))
                except PipelineError as error:
                    log.warning("session_not_closed", session_id=self.session_id, reason=str(error))
                    is_closed = False
            if not is_closed:
                self._send_last_heartbeat()
            is_closed = is_closed and books.wait(lambda: books.is_settled, self._give_up)
        self._finished.set()
        self._pulse.join()
        summary = self._summary(is_closed=is_closed)
        log.info(
            "session_closed" if is_closed else "session_left_open",
            session_id=self.session_id,
            captured=summary.captured,
            acknowledged=summary.acknowledged,
            rejected=summary.rejected,
            seconds=round(summary.seconds, 1),
        )
        return summary

    def _retry(self, action: Callable[[], object], name: str) -> None:
        """Tries until what is away is back, and says once that it waits."""
        is_said = False
        while not (self._stop.is_set() or self._give_up.is_set()):
            try:
                action()
            except Transient as error:
                if not is_said:
                    log.warning("waiting_began", waiting_for=name, reason=str(error))
                    self._ledger.say(f"waiting for {name}")
                    is_said = True
                self._stop.wait(_RETRY_SECONDS)
            else:
                self._ledger.say("")
                return
        raise _not_opened()

    def _produce(
        self, topic: str, key: str, payload: bytes, delivered: Callable[..., None], *, is_frame: bool = False
    ) -> None:
        """Gives a record to the producer and books it; waits while the queue is full. The pulse empties it."""
        books = self._ledger
        with books.changed:
            while True:
                if books.broken is not None:
                    raise books.broken
                if self._give_up.is_set():
                    raise Transient("given up while the broker was away: this record was not sent")
                try:
                    self._producer.produce(topic, key=key, value=payload, on_delivery=delivered)
                except BufferError:
                    books.changed.wait(_POLL_SECONDS)
                except KafkaException as error:
                    raise translated(error, f"sending to {topic}") from error
                else:
                    books.owe(is_frame=is_frame)
                    return

    def _session_record(self, closed_at: datetime | None) -> bytes:
        books = self._ledger
        with books.changed:
            session = Session(
                session_id=self.session_id,
                camera_id=self._camera_id,
                source=self._source,
                started_at=self._started_at,
                last_acknowledged=books.watermark.last,
                captured=books.captured,
                rejected=books.rejected.total(),
                closed_at=closed_at,
                updated_at=datetime.now(UTC),
            )
        return self._codec.encode(SESSIONS.name, session.to_record())

    def _send_session(self, *, closed_at: datetime | None) -> None:
        """Writes the opening or the closing record."""

        def delivered(error: KafkaError | None, _message: Any) -> None:
            self._ledger.settle(_reason(error, "sending a session record"))

        with self._witness:
            self._produce(SESSIONS.name, self.session_id, self._session_record(closed_at), delivered)

    def _send_heartbeat(self) -> None:
        """Writes how the session stands. It gives way: to a full queue, to one still owed, to the closing record."""
        books = self._ledger
        # Never waits for a lock that is held while the queue is full: this thread is the one that empties it.
        if not self._witness.acquire(blocking=False):
            return
        try:
            if self._is_ending or books.owed_heartbeats:
                return
            with suppress(BufferError, KafkaException):
                self._produce_heartbeat()
        finally:
            self._witness.release()

    def _send_last_heartbeat(self) -> None:
        """Before a session is left open: what was acknowledged since the last heartbeat shall be judged too."""
        books = self._ledger
        ends = time.monotonic() + _LAST_HEARTBEAT_SECONDS
        with books.changed:
            while (left := ends - time.monotonic()) > 0:
                try:
                    self._produce_heartbeat()
                except BufferError:
                    books.changed.wait(min(_POLL_SECONDS, left))
                except KafkaException:
                    return
                else:
                    books.changed.wait_for(lambda: not books.owed_heartbeats, left)
                    return

    def _produce_heartbeat(self) -> None:
        def delivered(error: KafkaError | None, _message: Any) -> None:
            self._ledger.settle(_reason(error, "sending a session record"), is_heartbeat=True)

        payload = self._session_record(None)
        with self._ledger.changed:
            self._producer.produce(SESSIONS.name, key=self.session_id, value=payload, on_delivery=delivered)
            self._ledger.owe(is_heartbeat=True)

    def _on_error(self, error: KafkaError) -> None:
        """The library's word on the connection. Only what waiting cannot mend counts; the ledger notices the rest."""
        if error.fatal() or error.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001 - the library's name
            self._ledger.give_way(translated(error, "sending"))

    def _run_pulse(self) -> None:
        """Serves the producer's callbacks, writes the heartbeats and notices a silent broker, until close()."""
        due = time.monotonic() + self._settings.cameras.heartbeat_seconds
        while not self._finished.is_set():
            self._producer.poll(_POLL_SECONDS)
            self._ledger.notice_silence()
            now = time.monotonic()
            if now >= due:
                due = max(due + self._settings.cameras.heartbeat_seconds, now)
                self._send_heartbeat()

    def _summary(self, *, is_closed: bool) -> Summary:
        books = self._ledger
        with books.changed:
            return Summary(
                session_id=self.session_id,
                camera_id=self._camera_id,
                source=self._source,
                captured=books.captured,
                acknowledged=books.watermark.count,
                rejected=dict(books.rejected),
                rejections=list(books.rejections),
                unacknowledged=books.watermark.missing(books.captured, most=NAMED),
                is_closed=is_closed,
                seconds=time.monotonic() - self._started,
                broken=books.broken,
            )


def _reason(error: KafkaError | None, doing: str) -> PipelineError | None:
    return None if error is None else translated(error, doing)


def _call(on_acknowledged: Acknowledged, frame_id: str, reason: PipelineError | None) -> None:
    """A caller's mistake must not end the thread that serves all acknowledgements."""
    try:
        on_acknowledged(frame_id, reason)
    except Exception:
        log.exception("callback_failed", frame_id=frame_id)


def _not_opened() -> Transient:
    return Transient("stopped before the session was open: nothing was captured")
