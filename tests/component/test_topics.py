"""The bootstrap's topics on the real broker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from connectors.kafka import assert_topics, ensure_topics, make_admin
from contracts.errors import Misconfigured, Transient
from contracts.settings import KafkaSettings, Settings
from contracts.topics import Topic


@pytest.fixture
def topic(stack: Settings) -> Iterator[Topic]:
    """A topic of this test's own, gone at its end."""
    wanted = Topic(name=f"test-{uuid.uuid4()}", partitions=2)
    yield wanted
    for answer in make_admin(stack).delete_topics([wanted.name], operation_timeout=15).values():
        answer.exception()


def test_the_stacks_topics_are_as_the_contracts_say(stack: Settings):
    assert ensure_topics(stack) == []
    assert_topics(stack)


def test_a_missing_topic_is_created_once(stack: Settings, topic: Topic):
    with pytest.raises(Misconfigured, match="sightline up"):
        assert_topics(stack, [topic])
    assert ensure_topics(stack, [topic]) == [f"created topic {topic.name}"]
    assert ensure_topics(stack, [topic]) == []
    assert_topics(stack, [topic])


def test_a_changed_setting_is_put_back(stack: Settings, topic: Topic):
    ensure_topics(stack, [replace(topic, retention=timedelta(days=1))])
    assert ensure_topics(stack, [topic]) == [f"set {topic.name} retention.ms=2592000000 (was 86400000)"]
    assert ensure_topics(stack, [topic]) == []


def test_another_number_of_partitions_is_a_persons_business_and_nothing_is_changed(stack: Settings, topic: Topic):
    ensure_topics(stack, [topic])
    other = Topic(name=f"test-{uuid.uuid4()}", partitions=1)
    with pytest.raises(Misconfigured, match="has 2 partitions instead of 6"):
        ensure_topics(stack, [replace(topic, partitions=6), other])
    with pytest.raises(Misconfigured, match="has no topic"):
        assert_topics(stack, [other])


def test_a_broker_that_is_away_is_transient():
    with pytest.raises(Transient, match="away"):
        assert_topics(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1")), timeout_seconds=1)
