"""Predictions and dead letters on their way to their topics.

produce ──► librdkafka's queue ──► broker ──► confirmed (in poll) ──► the frames are finished

Any thread may send; confirmations come out of poll(), which only the polling thread calls, so that offsets have one
writer and need no lock.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from connectors import dead_letters
from connectors.kafka import translated
from connectors.serialisation import Codec
from contracts.errors import PipelineError, Rejected, Transient
from contracts.records import Record
from contracts.topics import PREDICTIONS, STREAM_CONSUMER
from inference.stream.in_flight import FrameInFlight

_QUEUE_FULL_WAIT_SECONDS: Final = 0.05


class Stopping(Exception):  # noqa: N818 - a request, not an error
    """The worker ends while something waits. Nothing is lost: its offsets were not moved."""


class _Confirmation:
    """Called once per record by the producer; finishes the frames when the last one is confirmed."""

    __slots__ = ("_failed", "_finished", "_frames", "_outstanding")

    def __init__(
        self,
        frames: Sequence[FrameInFlight],
        finished: Callable[[Sequence[FrameInFlight]], None],
        failed: Callable[[KafkaError], None],
    ) -> None:
        self._frames = frames
        self._outstanding = len(frames)
        self._finished = finished
        self._failed = failed

    def __call__(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self._failed(error)
            return
        self._outstanding -= 1
        if not self._outstanding:
            self._finished(self._frames)


class _Stub:
    """A message's place without its content, for one at the size limit: it has no room for a reason beside it."""

    def __init__(self, message: Any) -> None:
        self.topic, self.partition, self.offset = message.topic, message.partition, message.offset
        self._size = len(message)

    def key(self) -> None:
        return None

    def value(self) -> None:
        return None

    def headers(self) -> list[tuple[str, bytes]]:
        return [(dead_letters.HEADER_OMITTED_BYTES, str(self._size).encode())]


class Outbox:
    """Sends, and tells which frames are finished."""

    def __init__(
        self,
        producer: Any,
        codec: Codec,
        *,
        finished: Callable[[Sequence[FrameInFlight]], None],
        abandoned: threading.Event,
        is_shadow: bool = False,
    ) -> None:
        self._producer = producer
        self._codec = codec
        self._finished = finished
        self._abandoned = abandoned
        self._is_shadow = is_shadow
        self._skipped: queue.SimpleQueue[Sequence[FrameInFlight]] = queue.SimpleQueue()
        self.failure: PipelineError | None = None

    def send_predictions(self, frames: Sequence[FrameInFlight], predictions: Sequence[Record]) -> None:
        """Sends one prediction per frame.

        Raises:
            Transient: the registry is away and predictions were never encoded before.
            Stopping: the queue is full and the worker ends.
        """
        confirmation = _Confirmation(frames, self._finished, self._failed)
        for prediction in predictions:
            value = self._codec.encode(PREDICTIONS.name, prediction)
            self._with_room(partial(self._produce, prediction["frame_id"], value, confirmation))

    def skip(self, frames: Sequence[FrameInFlight]) -> None:
        """Finishes frames that become nothing, in the next `settle`: a shadow owes none an answer."""
        self._skipped.put(frames)

    def settle(self) -> None:
        """To be called by the polling thread, which alone may finish frames."""
        while not self._skipped.empty():
            self._finished(self._skipped.get())

    def send_dead_letter(self, frame: FrameInFlight, rejected: Rejected, *, stage: str) -> None:
        """Parks a record as it came, with the reason in its headers, the way Connect does.

        Raises:
            Stopping: the queue is full and the worker ends.
        """
        if self._is_shadow:  # the champion parks it: once is enough
            self.skip([frame])
            return
        frame.is_begun = True
        message = frame.message
        reason = f"{rejected.code}: {rejected}"

        def park(what: Any, on_delivery: Callable[..., None]) -> None:
            dead_letters.write(self._producer, STREAM_CONSUMER, what, reason, stage=stage, on_delivery=on_delivery)

        def delivered(error: KafkaError | None, _message: Any) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                try:
                    park(_Stub(message), _Confirmation([frame], self._finished, self._failed))
                except (BufferError, PipelineError) as worse:
                    self.failure = Transient(f"a dead letter could not be written ({worse}); starting again")
            elif error is not None:
                self._failed(error)
            else:
                self._finished([frame])

        try:
            self._with_room(lambda: park(message, delivered))
        except (KafkaException, Rejected):  # not even its key fits beside the reason
            self._with_room(lambda: park(_Stub(message), delivered))

    def _with_room(self, send: Callable[[], None]) -> None:
        while True:
            try:
                send()
            except BufferError:  # the broker is away or slow; the polling thread empties the queue
                if self._abandoned.wait(_QUEUE_FULL_WAIT_SECONDS):
                    raise Stopping from None
            else:
                return

    def _produce(self, key: str, value: bytes, on_delivery: _Confirmation) -> None:
        try:
            self._producer.produce(PREDICTIONS.name, key=key, value=value, on_delivery=on_delivery)
        except KafkaException as error:
            raise translated(error, f"writing to {PREDICTIONS.name}") from error

    def _failed(self, error: KafkaError) -> None:
        # The producer itself waits for a broker that is away, so this is a topic gone or a producer that must start
        # again. The process ends, its offsets unmoved, and the supervisor starts another.
        self.failure = Transient(f"the broker did not take a record ({error.name()}); starting again from the offsets")
