"""Predictions on their way to the topic, counted when the broker has them.

send, send, ... ──► librdkafka's queue ──► broker ──► acknowledged
settle           waits for all of them
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from connectors.kafka import translated
from connectors.serialisation import Codec
from contracts.errors import PipelineError, Transient
from contracts.records import Record
from contracts.topics import PREDICTIONS

# How long the broker may be away: then the job ends with 75, and whoever started it tries again later.
PATIENCE_SECONDS: Final = 120
_POLL_SECONDS: Final = 0.2
_DOING: Final = f"writing to {PREDICTIONS.name}"


class Sender:
    """One thread's. `producer` has delivery.timeout.ms set: a record that is not acknowledged by then has failed."""

    def __init__(self, producer: Any, codec: Codec) -> None:
        self._producer = producer
        self._codec = codec
        self._sent = 0
        self._failure: PipelineError | None = None
        self.acknowledged = 0  # records that the broker has

    def send(self, predictions: Iterable[Record]) -> None:
        """Puts them into the queue; waits while it is full.

        Raises:
            Transient: the broker did not take an earlier one.
        """
        for prediction in predictions:
            self._produce(prediction["frame_id"], self._codec.encode(PREDICTIONS.name, prediction))
        self._poll(0)

    def settle(self, tell: Callable[[], None] = lambda: None, *, within_seconds: float = PATIENCE_SECONDS + 30) -> None:
        """Waits until the broker has all that was sent; `tell` is called meanwhile.

        Raises:
            Transient: it does not take them.
        """
        deadline = time.monotonic() + within_seconds
        while self.acknowledged < self._sent:
            self._poll(_POLL_SECONDS)
            tell()
            if time.monotonic() > deadline:
                raise Transient(
                    f"{_DOING}: {self._sent - self.acknowledged} records were never acknowledged: run it again"
                )

    def _produce(self, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(PREDICTIONS.name, key=key, value=value, on_delivery=self._delivered)
            except BufferError:  # full: the broker is slower than the engine, or away
                self._poll(_POLL_SECONDS)
            except KafkaException as error:
                raise translated(error, _DOING) from error
            else:
                self._sent += 1
                return

    def _poll(self, seconds: float) -> None:
        self._producer.poll(seconds)
        if self._failure is not None:
            raise self._failure

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._failure = translated(error, _DOING)
