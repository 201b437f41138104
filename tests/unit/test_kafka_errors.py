from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.cameras import capture
from connectors.kafka import consumer_config, producer_config, translated
from contracts.errors import Misconfigured, Rejected, Transient
from contracts.settings import CameraSettings, KafkaSettings, Settings
from contracts.topics import MAX_IMAGE_BYTES, MAX_RECORD_BYTES


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._ALL_BROKERS_DOWN, Transient),
        (KafkaError._TRANSPORT, Transient),
        (KafkaError._TIMED_OUT, Transient),
        (KafkaError.NOT_ENOUGH_REPLICAS, Transient),
        (KafkaError.REQUEST_TIMED_OUT, Transient),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, Transient),
        (KafkaError.MSG_SIZE_TOO_LARGE, Rejected),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Misconfigured),
        (KafkaError._UNKNOWN_TOPIC, Misconfigured),
        (KafkaError._AUTHENTICATION, Misconfigured),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Misconfigured),
        (KafkaError.INVALID_CONFIG, Misconfigured),
    ],
)
def test_every_broker_error_says_what_next(code, kind):
    for error in (KafkaError(code), KafkaException(KafkaError(code))):
        found = translated(error, "sending a frame")
        assert type(found) is kind
        assert str(found).startswith("sending a frame: ")


def test_a_lost_producer_state_is_mended_by_a_new_start():
    fatal = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True)
    assert type(translated(fatal, "sending a frame")) is Transient


def test_a_producer_waits_for_ever_and_loses_nothing():
    config = producer_config(Settings())
    assert config["acks"] == "all"
    assert config["enable.idempotence"] is True
    assert config["delivery.timeout.ms"] == 0
    assert config["partitioner"] == "murmur2_random"
    assert config["compression.type"] == "none"


def test_a_consumer_fetches_the_largest_image_and_moves_no_offset_by_itself():
    config = consumer_config(Settings(), "group")
    assert config["fetch.message.max.bytes"] >= MAX_RECORD_BYTES > MAX_IMAGE_BYTES
    assert config["receive.message.max.bytes"] >= config["fetch.max.bytes"] + 512
    assert config["enable.auto.commit"] is False
    assert config["enable.auto.offset.store"] is False


def test_a_producers_queue_is_its_owners_choice_not_the_cameras():
    settings = Settings(cameras=CameraSettings(queued_megabytes=8))
    assert producer_config(settings)["queue.buffering.max.kbytes"] == 64 * 1024
    assert producer_config(settings, queued_megabytes=9)["queue.buffering.max.kbytes"] == 9 * 1024


def test_a_cameras_queue_is_as_large_as_its_setting(monkeypatch: pytest.MonkeyPatch):
    made = []
    monkeypatch.setattr(capture, "make_producer", lambda _settings, **given: made.append(given))
    capture.Capture(Settings(cameras=CameraSettings(queued_megabytes=8)), camera_id="c1", source="a test")
    assert [given["queued_megabytes"] for given in made] == [8]


def test_an_override_wins():
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="elsewhere:9092"))
    assert producer_config(settings, **{"linger.ms": 50})["linger.ms"] == 50
    assert consumer_config(settings, "group", **{"group.id": "other"})["group.id"] == "other"
    assert producer_config(settings)["bootstrap.servers"] == "elsewhere:9092"
