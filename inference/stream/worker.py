"""Polls, keeps what is in flight within bounds, gives partitions back cleanly, and moves offsets last.

    poll ─► submit ─► (threads) ─► confirmed ─► commit
      ├ too much in flight: wait a second for room, then pause the partitions and go on polling
      └ a shadow without a challenger: pause them, and later go on at the end: nobody asked for what was missed

Polling never stops, so that slow inference never costs the worker its partitions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from contracts.errors import Transient
from contracts.logs import get_logger
from contracts.topics import FRAMES
from inference.stream.in_flight import FrameInFlight, PartitionInFlight
from inference.stream.metrics import Metrics
from inference.stream.outbox import Outbox
from inference.stream.stages import Stages

POLL_SECONDS: Final = 0.1
FETCH_RECORDS: Final = 64  # handed to the threads together
PATIENCE_SECONDS: Final = 1.0  # how long to wait for room before pausing, which throws away what was fetched ahead
COMMIT_SECONDS: Final = 1.0
LAG_SECONDS: Final = 5.0
REVOKE_SECONDS: Final = 20.0  # to finish what is begun when a partition is taken away; others wait meanwhile
STOP_SECONDS: Final = 6.0

_log = get_logger(__name__)


class Worker:
    """One member of the consumer group. Everything here runs in the polling thread."""

    def __init__(
        self, producer: Any, *, in_flight_limit: int, metrics: Metrics, has_model: Callable[[], bool] = lambda: True
    ) -> None:
        self._producer = producer
        self._has_model = has_model
        self._limit = in_flight_limit  # bytes
        self._metrics = metrics
        self._partitions: dict[int, PartitionInFlight] = {}
        self._in_flight = 0  # bytes
        self._is_paused = False
        self._is_idle = False  # paused, because there is no model
        self._commit_due = 0.0
        self._lag_due = 0.0
        self._consumer: Any
        self._stages: Stages
        self._outbox: Outbox

    def run(self, consumer: Any, stages: Stages, outbox: Outbox, *, stopping: threading.Event) -> None:
        """Works until told to stop, then finishes what is begun, commits and leaves the group.

        Raises:
            Transient: something that only a new start mends; what was not committed is repeated then.
        """
        self._consumer, self._stages, self._outbox = consumer, stages, outbox
        self._consumer.subscribe(
            [FRAMES.name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        stages.start()
        while not stopping.is_set():
            self.step()
        _log.info("worker_stopping", in_flight_bytes=self._in_flight)
        self._give_up(list(self._partitions.values()), within_seconds=STOP_SECONDS)
        self._partitions.clear()  # so that closing the consumer, which revokes them, does not wait once more

    def step(self) -> None:
        """Reads what there is room for. Offsets move last: a crash repeats work, never loses it."""
        self._raise_failures()
        if not self._has_model():
            self._idle()
        elif self._in_flight >= self._limit:
            self._wait_for_room()
        elif self._is_resumed():
            self._submit(self._fetch())
        self._producer.poll(0)
        self._outbox.settle()
        self._commit_when_due()
        self._measure_when_due()

    def finished(self, frames: Sequence[FrameInFlight]) -> None:
        """Called by the outbox, out of the producer's poll: what the frames became is confirmed."""
        for frame in frames:
            frame.partition.finish(frame)
            if not frame.partition.is_revoked:
                self._in_flight -= frame.size_bytes

    def _raise_failures(self) -> None:
        failure = self._stages.failure or self._outbox.failure
        if failure is not None:
            raise failure

    def _fetch(self) -> list[Any]:
        first = self._consumer.poll(POLL_SECONDS)
        return [] if first is None else [first, *self._consumer.consume(FETCH_RECORDS - 1, 0)]

    def _submit(self, messages: Sequence[Any]) -> None:
        frames: list[FrameInFlight] = []
        for message in messages:
            if message.error() is not None:
                _note(message.error())
                continue
            partition = self._partitions.get(message.partition())
            if partition is None:  # taken away while it was being fetched
                continue
            frame = FrameInFlight(partition, message.offset(), len(message), message)
            partition.add(frame)
            self._in_flight += frame.size_bytes
            frames.append(frame)
        if frames:
            self._stages.submit(frames)

    def _wait_for_room(self) -> None:
        """Most often there is room again in a moment; if not, the partitions rest and polling goes on."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._in_flight >= self._limit and not self._is_paused and time.monotonic() < deadline:
            self._raise_failures()
            self._producer.poll(POLL_SECONDS)
            self._outbox.settle()
        if self._in_flight >= self._limit:
            self._poll_paused()

    def _idle(self) -> None:
        if not self._is_idle:
            _log.info("worker_idle", reason="there is no challenger")
            self._is_idle = True
        self._poll_paused()

    def _poll_paused(self) -> None:
        """Keeps the place in the group; a record that was on its way already is taken."""
        if not self._is_paused:
            _log.info("partitions_paused", in_flight_bytes=self._in_flight)
            self._consumer.pause(self._topic_partitions())
            self._is_paused = True
        message = self._consumer.poll(POLL_SECONDS)
        self._submit([] if message is None else [message])

    def _is_resumed(self) -> bool:
        """Lets paused partitions go on. False when that is not possible yet."""
        if self._is_idle and not self._is_at_the_end():
            self._poll_paused()
            return False
        self._is_idle = False
        if self._is_paused:
            self._consumer.resume(self._topic_partitions())
            self._is_paused = False
            _log.info("partitions_resumed", in_flight_bytes=self._in_flight)
        return True

    def _is_at_the_end(self) -> bool:
        """Leaves out what came while there was no model."""
        try:
            for one in self._topic_partitions():
                self._consumer.seek(TopicPartition(one.topic, one.partition, OFFSET_END))
        except KafkaException as error:  # assigned a moment ago, and not ready for it
            _log.info("seek_postponed", reason=error.args[0].name())
            return False
        return True

    def _topic_partitions(self) -> list[TopicPartition]:
        return [TopicPartition(FRAMES.name, number) for number in self._partitions]

    # Rebalancing: the callbacks run inside poll(), in this thread.

    def _on_assign(self, _consumer: Any, assigned: list[TopicPartition]) -> None:
        self._consumer.incremental_assign(assigned)
        self._partitions.update({one.partition: PartitionInFlight(one.partition) for one in assigned})
        if self._is_paused and assigned:
            self._consumer.pause(assigned)
        self._metrics.partitions.set(len(self._partitions))
        if assigned:  # empty when a rebalance changed nothing for us
            _log.info("partitions_assigned", partitions=sorted(one.partition for one in assigned))

    def _on_revoke(self, _consumer: Any, revoked: list[TopicPartition]) -> None:
        """Finishes what is begun, commits, and only then lets go: the next owner repeats as little as possible."""
        self._give_up(self._forget(revoked), within_seconds=REVOKE_SECONDS)
        self._consumer.incremental_unassign(revoked)
        _log.info("partitions_revoked", partitions=sorted(one.partition for one in revoked))

    def _on_lost(self, _consumer: Any, lost: list[TopicPartition]) -> None:
        """They are someone else's already: nothing may be committed."""
        for partition in self._forget(lost):
            self._leave(partition)
        self._consumer.incremental_unassign(lost)
        _log.warning("partitions_lost", partitions=sorted(one.partition for one in lost))

    def _forget(self, gone: Sequence[TopicPartition]) -> list[PartitionInFlight]:
        known = [self._partitions.pop(one.partition, None) for one in gone]
        self._metrics.partitions.set(len(self._partitions))
        return [partition for partition in known if partition is not None]

    def _leave(self, partition: PartitionInFlight) -> None:
        self._in_flight -= partition.unfinished_bytes
        partition.is_revoked = True

    def _give_up(self, partitions: Sequence[PartitionInFlight], *, within_seconds: float) -> None:
        for partition in partitions:
            self._leave(partition)
        deadline = time.monotonic() + within_seconds
        while any(partition.has_begun_frames for partition in partitions) and time.monotonic() < deadline:
            if self._stages.failure is not None or self._outbox.failure is not None:
                break
            self._producer.poll(0.02)
            self._outbox.settle()
        self._commit(partitions, asynchronous=False)

    # Offsets.

    def _commit_when_due(self) -> None:
        now = time.monotonic()
        if now >= self._commit_due:
            self._commit_due = now + COMMIT_SECONDS
            self._commit(self._partitions.values(), asynchronous=True)

    def _commit(self, partitions: Any, *, asynchronous: bool) -> None:
        moved = [one for one in partitions if one.next_offset is not None and one.next_offset != one.requested_offset]
        if not moved:
            return
        offsets = [TopicPartition(FRAMES.name, one.number, one.next_offset) for one in moved]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=asynchronous)
        except KafkaException as error:
            # Not this time: the next commit says the same or more, and the next owner repeats what is not committed.
            _log.warning("commit_failed", reason=error.args[0].name())
            return
        for one in moved:
            one.requested_offset = one.next_offset

    def on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """The broker's answer to a commit: a refused one is made again."""
        if error is None:
            return
        _log.warning("commit_failed", reason=error.name())
        for one in offsets:
            partition = self._partitions.get(one.partition)
            if partition is not None:
                partition.requested_offset = None

    def _measure_when_due(self) -> None:
        self._metrics.in_flight_bytes.set(self._in_flight)
        now = time.monotonic()
        if now < self._lag_due:
            return
        self._lag_due = now + LAG_SECONDS
        lag = 0
        for position in self._consumer.position(self._topic_partitions()):
            _low, high = self._consumer.get_watermark_offsets(position, cached=True)
            if position.offset >= 0 and high >= 0:
                lag += max(0, high - position.offset)
        self._metrics.lag_frames.set(lag)


def _note(error: KafkaError) -> None:
    if error.fatal():
        raise Transient(f"the consumer cannot go on ({error.name()}); starting again from the offsets")
    _log.warning("poll_failed", reason=error.name())
