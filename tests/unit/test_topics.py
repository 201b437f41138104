from __future__ import annotations

from datetime import timedelta

from connectors.kafka import topic_config
from contracts.settings import KafkaSettings, RetentionSettings, Settings
from contracts.topics import ALL_TOPICS, DEAD_LETTERS, FRAMES, PREDICTIONS
from contracts.validity import RETENTION


def test_a_dead_letter_outlives_the_frame_that_it_accounts_for() -> None:
    assert all(topic.retention > RETENTION for topic in DEAD_LETTERS)


def test_dead_letters_are_kept_longer_where_frames_are() -> None:
    settings = Settings(retention=RetentionSettings(days=365))
    kept = timedelta(milliseconds=int(topic_config(settings, DEAD_LETTERS[0])["retention.ms"]))
    assert kept > timedelta(days=365)


def test_the_limit_on_size_is_set_on_frames_alone() -> None:
    settings = Settings(kafka=KafkaSettings(frames_partition_bytes=2**30))
    assert topic_config(settings, FRAMES)["retention.bytes"] == str(2**30)
    assert "retention.bytes" not in topic_config(settings, PREDICTIONS)


def test_a_dead_letter_fits_whatever_record_was_refused() -> None:
    largest = max(int(topic.config["max.message.bytes"]) for topic in ALL_TOPICS if topic not in DEAD_LETTERS)
    assert all(int(topic.config["max.message.bytes"]) > largest for topic in DEAD_LETTERS)


def test_every_topic_is_stored_uncompressed_so_that_the_broker_measures_what_consumers_must_hold():
    assert {topic.config["compression.type"] for topic in ALL_TOPICS} == {"uncompressed"}
