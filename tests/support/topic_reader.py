"""Reads a topic from its beginning to its end, decoded and checked against the validity rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from connectors.kafka import make_consumer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.settings import Settings
from contracts.validity import violation


def read_topic(
    settings: Settings, topic: str, keep: Callable[[dict[str, Any]], bool], *, seconds: float = 60
) -> list[dict[str, Any]]:
    """The records of a topic that `keep` wants, in order within a partition. Records of others may be anything."""
    registry = SchemaRegistry(settings.registry)
    codec = Codec(registry)
    consumer = make_consumer(settings, "tests-reader", **{"enable.partition.eof": True})
    try:
        partitions = consumer.list_topics(topic, timeout=seconds).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        at_end: set[int] = set()
        found = []
        while len(at_end) < len(partitions):
            message = consumer.poll(seconds)
            assert message is not None, f"{topic} could not be read to its end within {seconds} s"
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                at_end.add(message.partition())
                continue
            try:
                record = codec.decode(topic, message.value())
            except Exception:  # noqa: BLE001 - what another test wrote there on purpose
                continue
            if keep(record):
                problem = violation(topic, record, key=message.key().decode(), broker_time_ms=message.timestamp()[1])
                assert problem is None, problem
                found.append(record)
        return found
    finally:
        consumer.close()
        registry.close()


def session_of(session_id: str) -> Callable[[dict[str, Any]], bool]:
    return lambda record: record["session_id"] == session_id
