from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from contracts.errors import Transient
from inference.batch.sending import Sender
from tests.support.fake_kafka import FakeProducer, a_codec
from tests.support.records import a_frame_record, a_prediction_record


def some_predictions(count: int) -> list:
    return [a_prediction_record(a_frame_record()) for _ in range(count)]


def test_what_is_settled_is_what_the_broker_has() -> None:
    producer = FakeProducer()
    sender = Sender(producer, a_codec())
    sent = some_predictions(5)
    sender.send(sent)
    sender.settle()
    assert sender.acknowledged == 5
    assert [record["frame_id"] for record in producer.predictions()] == [record["frame_id"] for record in sent]
    assert [record["key"] for record in producer.sent["predictions"]] == [record["frame_id"] for record in sent]


def test_a_full_queue_makes_it_wait_and_loses_nothing() -> None:
    producer = FakeProducer(queue=3)
    sender = Sender(producer, a_codec())
    sender.send(some_predictions(10))
    sender.settle()
    assert len(producer.predictions()) == 10


def test_a_record_that_the_broker_never_took_ends_the_job_for_another_try() -> None:
    producer = FakeProducer()
    producer.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    sender = Sender(producer, a_codec())
    sent = some_predictions(2)
    with pytest.raises(Transient, match="writing to predictions"):
        sender.send(sent)  # the fake confirms in poll, which sending ends with
    assert sender.acknowledged == 0


def test_a_broker_that_says_nothing_is_not_waited_for_without_limit() -> None:
    producer = FakeProducer()
    producer.is_up = False
    sender = Sender(producer, a_codec())
    sender.send(some_predictions(2))
    told: list[str] = []
    with pytest.raises(Transient, match="2 records were never acknowledged"):
        sender.settle(lambda: told.append("waiting"), within_seconds=0.01)
    assert told
